/* Ops that join, slice and rearrange values. ops_impl.h includes this file. */
#ifndef TR_OPS_SHAPE_IMPL_H
#define TR_OPS_SHAPE_IMPL_H

#include "core/tensor_impl.h"

/* y <- a + b, element by element; y may be a */
#define TR__ARGS_sum(OPERAND, NUMBER)                                          \
  OPERAND(y, OUT, ELEMENTS, HALF)                                              \
  OPERAND(a, IN, ELEMENTS, HALF | ALIAS)                                       \
  OPERAND(b, IN, ELEMENTS, HALF)

/* y <- a b, element by element */
#define TR__ARGS_product(OPERAND, NUMBER)                                      \
  OPERAND(y, OUT, ELEMENTS, HALF | ADDS)                                       \
  OPERAND(a, IN, ELEMENTS, HALF)                                               \
  OPERAND(b, IN, ELEMENTS, HALF)                                               \
  NUMBER(int, accumulate)

/* y[r, y_first + i] <- x[r, x_first + i] for i < count, of the rows r of y
 * (R, Y) and x (R, X). The op leaves the rest of y alone. */
#define TR__ARGS_copy(OPERAND, NUMBER)                                         \
  OPERAND(y, INOUT, ROWS, HALF)                                                \
  OPERAND(x, IN, ROWS, HALF)                                                   \
  NUMBER(int64_t, y_first)                                                     \
  NUMBER(int64_t, x_first)                                                     \
  NUMBER(int64_t, count)                                                       \
  NUMBER(int, accumulate)

/* y <- x converted to y's type; equal counts; one of the two is of TR_F32 */
#define TR__ARGS_cast(OPERAND, NUMBER)                                         \
  OPERAND(y, OUT, ELEMENTS, HALF)                                              \
  OPERAND(x, IN, ELEMENTS, HALF)

/* One number per axis. */
typedef struct tr__axes {
  int of[TR_MAX_DIMS];
} tr__axes;

/* y <- x with its axes in another order: y.dims[i] is
 * x.dims[order.of[i]]. order.of[0] is 0. */
#define TR__ARGS_permute(OPERAND, NUMBER)                                      \
  OPERAND(y, OUT, SAMPLES, HALF | ADDS)                                        \
  OPERAND(x, IN, SAMPLES, HALF)                                                \
  NUMBER(tr__axes, order)                                                      \
  NUMBER(int, accumulate)

/* y (N, C, s H, s W) <- each element of x (N, C, H, W) repeated s times along H
 * and W, s = scale */
#define TR__ARGS_upsample2d_forward(OPERAND, NUMBER)                           \
  OPERAND(y, OUT, SAMPLES, HALF)                                               \
  OPERAND(x, IN, SAMPLES, HALF)                                                \
  NUMBER(int64_t, scale)

/* dx (N, C, H, W) <- sum of the s x s elements of dy (N, C, s H, s W) */
#define TR__ARGS_upsample2d_backward(OPERAND, NUMBER)                          \
  OPERAND(dx, OUT, SAMPLES, HALF | ADDS)                                       \
  OPERAND(dy, IN, SAMPLES, HALF)                                               \
  NUMBER(int64_t, scale)                                                       \
  NUMBER(int, accumulate)

#define TR__OPS_SHAPE(X)                                                       \
  X(sum)                                                                       \
  X(product)                                                                   \
  X(copy)                                                                      \
  X(cast)                                                                      \
  X(permute)                                                                   \
  X(upsample2d_forward)                                                        \
  X(upsample2d_backward)

#endif
