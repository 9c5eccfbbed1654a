/* Sizes and functions that all files of convolution on the cpu backend use. */
#ifndef TR_CPU_CONV_IMPL_H
#define TR_CPU_CONV_IMPL_H

#include "backend/cpu/cpu_impl.h"

/* The columns of a task fill about so many floats, so that they stay in the
 * second-level cache until the product reads them. */
enum { TR__COLUMN_FLOATS = 1 << 17, TR__LEAST_COLUMNS = 256 };

/* Sizes of a convolution. rows are output rows, numbered through all depths. */
typedef struct tr__conv_sizes {
  int64_t groups, C, K; /* C, K: channels of a group of x and y */
  int64_t taps, rows, R;
  int64_t places, plane; /* elements of a channel of y and of x */
  int64_t image, output; /* elements of one sample */
} tr__conv_sizes;

static inline tr__conv_sizes tr__conv_sizes_of(const tr__tensor *x,
                                               const tr__tensor *y,
                                               const tr__window *window)
{
  return (tr__conv_sizes){
      .groups = window->groups,
      .C = x->dims[1] / window->groups,
      .K = y->dims[1] / window->groups,
      .taps = tr__taps(window),
      .rows = y->dims[2] * y->dims[3],
      .R = y->dims[4],
      .places = tr__places(y),
      .plane = tr__places(x),
      .image = tr__tensor_row(x),
      .output = tr__tensor_row(y),
  };
}

/* Output rows that im2col unrolls at a time, if a column has `unrolled`
 * elements. */
static inline int64_t tr__conv_rows_per_block(const tr__conv_sizes *s,
                                              int64_t unrolled)
{
  int64_t columns = tr__max(TR__LEAST_COLUMNS, TR__COLUMN_FLOATS / unrolled);
  return tr__min(s->rows, tr__max(1, (columns + s->R - 1) / s->R));
}

/* True if the image itself is the matrix of columns: a kernel of one element,
 * and an output with the extents of the image. The image of a transposed
 * convolution may have larger extents. */
static inline bool tr__conv_is_pointwise(const tr__tensor *x,
                                         const tr__tensor *y,
                                         const tr__window *w)
{
  bool is = true;
  for (int i = 0; i < 3; i++) {
    is = is && w->kernel[i] == 1 && w->stride[i] == 1 && w->padding[i] == 0 &&
         x->dims[i + 2] == y->dims[i + 2];
  }
  return is;
}

static inline size_t tr__cpu_aligned_floats(int64_t count)
{
  return tr__align((size_t)count * sizeof(float), 64);
}

/* tr__conv_unroll - col <- the columns (im2col) of a patch of sample n. They
 * have the type of the image, because im2col only copies. */
void tr__conv_unroll(void *col,
                     const tr__tensor *x,
                     int64_t n,
                     const tr__tensor *y,
                     const tr__window *window,
                     const tr__patch *patch);

/* tr__cpu_set_conv_weight - set the op of conv_weight.c.
 * tr__cpu_conv_weight_workspace - bytes of its workspace, for all threads. */
void tr__cpu_set_conv_weight(tr__ops *ops);
size_t tr__cpu_conv_weight_workspace(const tr__threads *pool,
                                     const tr__conv_backward_weight_args *args);

#endif
