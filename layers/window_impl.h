/* Code of the layers with a sliding window. Ops see three spatial axes: a layer
 * with fewer has extent 1 in front. */
#ifndef TR_WINDOW_IMPL_H
#define TR_WINDOW_IMPL_H

#include "base/random_impl.h"
#include "model/node_impl.h"

#include <train/pool.h>

/* One option: a number for all axes, and an array (or NULL) whose numbers
 * replace it where they are not 0. */
typedef struct tr__extents {
  int64_t all;
  const int64_t *each;
} tr__extents;

typedef struct tr__window_opts {
  tr__extents kernel, stride, padding, dilation;
  int64_t groups;
} tr__window_opts;

/* tr__set_extents - set the last ndim of three numbers from an option, and the
 * numbers before them to `front`. */
void tr__set_extents(int64_t out[3], int ndim, tr__extents values, int front);

/* tr__window_of - a window over ndim axes; dilation and groups 0: 1. A stride
 * of 0 stays 0: tr__default_stride() replaces it. */
tr__window tr__window_of(int ndim, const tr__window_opts *opts);

/* tr__default_stride - replace strides of 0. */
void tr__default_stride(tr__window *window, const int64_t stride[3]);

/* tr__infer_window - check input 0, (C, ...) with ndim spatial axes, against a
 * window, and set the node's shape to (channels, ...). */
tr_status tr__infer_window(const tr_model *net,
                           tr__node *node,
                           int ndim,
                           const tr__window *window,
                           int64_t channels);

/* tr__check_image - whether input 0 is (C, ...) with ndim spatial axes. */
tr_status tr__check_image(const tr_model *net, const tr__node *node, int ndim);

/* tr__check_window - kernel and stride at least 1, the others not negative. */
tr_status
tr__check_window(const tr__node *node, int ndim, const tr__window *window);

/* tr__describe_window - write the kernel and all options that are not
 * default. */
void tr__describe_window(FILE *out, int ndim, const tr__window *window);

/* tr__volume - a tensor (N, C, ...) with three spatial axes. */
tr__tensor tr__volume(tr__tensor t);

/* Options of all pools. */
typedef struct tr__pool_opts {
  int ndim;
  tr__window window;
  tr__average average;
} tr__pool_opts;

tr__pool_opts tr__pool1d(const tr_pool1d_opts *opts);
tr__pool_opts tr__pool2d(const tr_pool2d_opts *opts);
tr__pool_opts tr__pool3d(const tr_pool3d_opts *opts);

/* tr__infer_pool - tr__infer_window() and a check that padding is at most half
 * the kernel. */
tr_status tr__infer_pool(const tr_model *net, tr__node *node);

void tr__describe_pool(const tr__node *node, FILE *out);

/* tr__random_pool - draw valid options and the shape of an input. */
tr_pool3d_opts
tr__random_pool(const tr__random *random, int ndim, tr_shape *in);

#endif
