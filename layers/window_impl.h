/* What layers with a sliding window share. A layer of fewer than three spatial
 * extents has those in front as 1. */
#ifndef TR_WINDOW_IMPL_H
#define TR_WINDOW_IMPL_H

#include "base/random_impl.h"
#include "model/node_impl.h"

#include <train/pool.h>

/* One option: a number for all extents, and an array (or NULL) whose numbers
 * hold instead where they are not 0. */
typedef struct tr__extents {
  int64_t all;
  const int64_t *each;
} tr__extents;

typedef struct tr__window_opts {
  tr__extents kernel, stride, padding, dilation;
  int64_t groups;
} tr__window_opts;

/* tr__set_extents - the last ndim of three numbers; `front` before them. */
void tr__set_extents(int64_t out[3], int ndim, tr__extents values, int front);

/* tr__window_of - a window over ndim extents; dilation and groups 0: 1. A
 * stride that is 0 stays so, for pools and convolutions to choose. */
tr__window tr__window_of(int ndim, const tr__window_opts *opts);

/* tr__default_stride - where a stride is 0. */
void tr__default_stride(tr__window *window, const int64_t stride[3]);

/* tr__infer_window - check input 0, (C, ...) with ndim spatial extents, against
 * a window and set the node's shape to (channels, ...). */
tr_status tr__infer_window(const tr_model *net,
                           tr__node *node,
                           int ndim,
                           const tr__window *window,
                           int64_t channels);

/* tr__check_image - is input 0 a (C, ...) of ndim spatial extents? */
tr_status tr__check_image(const tr_model *net, const tr__node *node, int ndim);

/* tr__check_window - kernel and stride at least 1, the rest not negative. */
tr_status
tr__check_window(const tr__node *node, int ndim, const tr__window *window);

/* tr__describe_window - the kernel, and what is not its default. */
void tr__describe_window(FILE *out, int ndim, const tr__window *window);

/* tr__volume - a tensor (N, C, ...) with all its three spatial extents. */
tr__tensor tr__volume(tr__tensor t);

/* What the pools make of their options. */
typedef struct tr__pool_opts {
  int ndim;
  tr__window window;
  tr__average average;
} tr__pool_opts;

tr__pool_opts tr__pool1d(const tr_pool1d_opts *opts);
tr__pool_opts tr__pool2d(const tr_pool2d_opts *opts);
tr__pool_opts tr__pool3d(const tr_pool3d_opts *opts);

/* tr__infer_pool - as tr__infer_window, and padding at most half the kernel. */
tr_status tr__infer_pool(const tr_model *net, tr__node *node);

void tr__describe_pool(const tr__node *node, FILE *out);

/* tr__random_pool - random legal options, and the shape of an input. */
tr_pool3d_opts
tr__random_pool(const tr__random *random, int ndim, tr_shape *in);

#endif
