/* Ops that join, slice and rearrange values. ops_impl.h includes this file. */
#ifndef TR_OPS_SHAPE_IMPL_H
#define TR_OPS_SHAPE_IMPL_H

#include "core/tensor_impl.h"

/* y <- a + b, element by element; y may be a */
typedef struct tr__sum_args {
  tr__tensor y, a, b;
} tr__sum_args;

/* y <- a b, element by element */
typedef struct tr__product_args {
  tr__tensor y, a, b;
  int accumulate;
} tr__product_args;

/* y[r, y_first + i] <- x[r, x_first + i] for i < count, of the rows r of y
 * (R, Y) and x (R, X). The op leaves the rest of y alone. */
typedef struct tr__copy_args {
  tr__tensor y, x;
  int64_t y_first, x_first, count;
  int accumulate;
} tr__copy_args;

/* y <- x converted to y's type; equal counts; one of the two is of TR_F32 */
typedef struct tr__cast_args {
  tr__tensor y, x;
} tr__cast_args;

/* y <- x with its axes in another order: y.dims[i] is x.dims[order[i]].
 * order[0] is 0. */
typedef struct tr__permute_args {
  tr__tensor y, x;
  int order[TR_MAX_DIMS];
  int accumulate;
} tr__permute_args;

/* y (N, C, s H, s W) <- each element of x (N, C, H, W) repeated s times along H
 * and W, s = scale */
typedef struct tr__upsample2d_forward_args {
  tr__tensor y, x;
  int64_t scale;
} tr__upsample2d_forward_args;

/* dx (N, C, H, W) <- sum of the s x s elements of dy (N, C, s H, s W) */
typedef struct tr__upsample2d_backward_args {
  tr__tensor dx, dy;
  int64_t scale;
  int accumulate;
} tr__upsample2d_backward_args;

#define TR__OPS_SHAPE(X)                                                       \
  X(sum)                                                                       \
  X(product)                                                                   \
  X(copy)                                                                      \
  X(cast)                                                                      \
  X(permute)                                                                   \
  X(upsample2d_forward)                                                        \
  X(upsample2d_backward)

#endif
