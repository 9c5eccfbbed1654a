/* Code of the layers that only change the shape: the output is an alias of the
 * input. */
#ifndef TR_LAYERS_VIEW_IMPL_H
#define TR_LAYERS_VIEW_IMPL_H

#include "model/node_impl.h"

/* tr__view_forward - does nothing: the output is an alias of the input. */
void tr__view_forward(const tr__pass *run, const tr__node *node);

/* tr__view_backward - does nothing, unless another layer adds to the gradient
 * too. */
void tr__view_backward(const tr__pass *run, const tr__node *node);

/* tr__copy_gradient - dx of input i <- (dx +) dy; both have equal counts. */
void tr__copy_gradient(const tr__pass *run, const tr__node *node, int i);

#endif
