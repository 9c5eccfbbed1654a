/* What layers with a sliding window over height and width share. */
#ifndef TR_WINDOW_IMPL_H
#define TR_WINDOW_IMPL_H

#include "model/node_impl.h"

/* tr__square_window - the same numbers for height and width. */
tr__window tr__square_window(int64_t kernel, int64_t stride, int64_t padding);

/* tr__infer_window - check input 0 (C, H, W) against a window and set the
 * node's shape to (channels, P, Q). */
tr_status tr__infer_window(const tr_model *net,
                           tr__node *node,
                           const tr__window *window,
                           int64_t channels);

#endif
