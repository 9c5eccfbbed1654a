/* What the layers share that give their input another shape. */
#ifndef TR_LAYERS_VIEW_IMPL_H
#define TR_LAYERS_VIEW_IMPL_H

#include "model/node_impl.h"

/* tr__view_forward - nothing: the output lies where the input lies. */
void tr__view_forward(const tr__pass *run, const tr__node *node);

/* tr__view_backward - nothing, unless somebody else adds to the gradient too.
 */
void tr__view_backward(const tr__pass *run, const tr__node *node);

/* tr__copy_gradient - dx of input i <- (dx +) dy, of one count. */
void tr__copy_gradient(const tr__pass *run, const tr__node *node, int i);

#endif
