/* Ops that slide a window: convolution and pooling.
 *
 * Images are volumes (N, C, D, H, W): a layer with fewer spatial axes gives
 * extent 1 for the front ones. Along each axis the window at output place p
 * reads the input at p * stride + i * dilation - padding, i in 0..kernel-1. */
#ifndef TR_OPS_CONV_IMPL_H
#define TR_OPS_CONV_IMPL_H

#include "core/ops/ops_norm_impl.h"
#include "core/tensor_impl.h"

typedef struct tr__window {
  int64_t kernel[3], stride[3], padding[3], dilation[3];
  int64_t groups; /* of a convolution: output channels of a group depend on the
                     input channels of that group only */
} tr__window;

/* y (N, K, P, Q, R) <- (y +) activation(x (N, C, D, H, W) * w + b (K)), a
 * cross-correlation with w (K, C / groups, kernel); b may be absent. An op with
 * an activation does not accumulate. workspace: the bytes that the backend
 * asked for. */
#define TR__ARGS_conv_forward(OPERAND, NUMBER)                                 \
  OPERAND(y, OUT, SAMPLES, HALF | ADDS)                                        \
  OPERAND(x, IN, SAMPLES, HALF)                                                \
  OPERAND(w, IN, WHOLE, HALF)                                                  \
  OPERAND(b, IN, WHOLE, OPTIONAL)                                              \
  OPERAND(workspace, SCRATCH, WHOLE, 0)                                        \
  NUMBER(tr__window, window)                                                   \
  NUMBER(tr__activation, activation)                                           \
  NUMBER(int, accumulate)

/* dx (N, C, D, H, W) <- (dx +) transposed convolution of dy (N, K, P, Q, R)
 * with w (K, C / groups, kernel), + b (C). b may be absent; an op with b does
 * not accumulate. */
#define TR__ARGS_conv_backward_input(OPERAND, NUMBER)                          \
  OPERAND(dx, OUT, SAMPLES, HALF | ADDS)                                       \
  OPERAND(dy, IN, SAMPLES, HALF)                                               \
  OPERAND(w, IN, WHOLE, HALF)                                                  \
  OPERAND(b, IN, WHOLE, OPTIONAL)                                              \
  OPERAND(workspace, SCRATCH, WHOLE, 0)                                        \
  NUMBER(tr__window, window)                                                   \
  NUMBER(int, accumulate)

/* dw (K, C / groups, kernel) from x (N, C, D, H, W) and dy (N, K, P, Q, R);
 * db <- the sum over samples and places of dy, (K), or of x, (C), for which
 * db_of_x is 1. dw or db may be absent; dw's extents are set in any case.
 * Reduces over samples. */
#define TR__ARGS_conv_backward_weight(OPERAND, NUMBER)                         \
  OPERAND(dw, OUT, WHOLE, OPTIONAL | ADDS)                                     \
  OPERAND(db, OUT, WHOLE, OPTIONAL | ADDS)                                     \
  OPERAND(x, IN, SAMPLES, HALF)                                                \
  OPERAND(dy, IN, SAMPLES, HALF)                                               \
  OPERAND(workspace, SCRATCH, WHOLE, 0)                                        \
  NUMBER(tr__window, window)                                                   \
  NUMBER(tr__shards, shards)                                                   \
  NUMBER(int, accumulate)                                                      \
  NUMBER(int, db_of_x)

/* y (N, C, P, Q, R) <- maximum of each window of x (N, C, D, H, W); index
 * (int32, y's extents) <- (d H + h) W + w of the first maximum, -1 where the
 * window lies in the padding. A NaN is the maximum. */
#define TR__ARGS_maxpool_forward(OPERAND, NUMBER)                              \
  OPERAND(y, OUT, SAMPLES, HALF)                                               \
  OPERAND(x, IN, SAMPLES, HALF)                                                \
  OPERAND(index, OUT, SAMPLES, 0)                                              \
  NUMBER(tr__window, window)

/* dx (N, C, D, H, W) <- (dx +) dy (N, C, P, Q, R) added at index; 0
 * elsewhere */
#define TR__ARGS_maxpool_backward(OPERAND, NUMBER)                             \
  OPERAND(dx, OUT, SAMPLES, HALF | ADDS)                                       \
  OPERAND(dy, IN, SAMPLES, HALF)                                               \
  OPERAND(index, IN, SAMPLES, 0)                                               \
  NUMBER(int, accumulate)

/* What an average divides the sum over a window by. */
typedef enum tr__average {
  TR__AVERAGE_PADDED = 0,  /* number of its elements inside the padded image */
  TR__AVERAGE_INSIDE = 1,  /* number of its elements inside the image */
  TR__AVERAGE_ADAPTIVE = 2 /* likewise; the window is not read: place p of P
                              covers floor(p E / P) .. ceil((p + 1) E / P) - 1
                              of the input's extent E */
} tr__average;

/* y (N, C, P, Q, R) <- mean of each window of x (N, C, D, H, W); 0 where no
 * element lies in the image */
#define TR__ARGS_avgpool_forward(OPERAND, NUMBER)                              \
  OPERAND(y, OUT, SAMPLES, HALF)                                               \
  OPERAND(x, IN, SAMPLES, HALF)                                                \
  NUMBER(tr__window, window)                                                   \
  NUMBER(tr__average, average)

/* dx (N, C, D, H, W) <- (dx +) dy (N, C, P, Q, R) / divisor, added to each
 * element of its window */
#define TR__ARGS_avgpool_backward(OPERAND, NUMBER)                             \
  OPERAND(dx, OUT, SAMPLES, HALF | ADDS)                                       \
  OPERAND(dy, IN, SAMPLES, HALF)                                               \
  NUMBER(tr__window, window)                                                   \
  NUMBER(tr__average, average)                                                 \
  NUMBER(int, accumulate)

/* y (N, C) <- mean over H, W of x (N, C, H, W) */
#define TR__ARGS_global_avgpool2d_forward(OPERAND, NUMBER)                     \
  OPERAND(y, OUT, SAMPLES, HALF)                                               \
  OPERAND(x, IN, SAMPLES, HALF)

/* dx (N, C, H, W) <- dy (N, C) / (H W) */
#define TR__ARGS_global_avgpool2d_backward(OPERAND, NUMBER)                    \
  OPERAND(dx, OUT, SAMPLES, HALF | ADDS)                                       \
  OPERAND(dy, IN, SAMPLES, HALF)                                               \
  NUMBER(int, accumulate)

#define TR__OPS_CONV(X)                                                        \
  X(conv_forward)                                                              \
  X(conv_backward_input)                                                       \
  X(conv_backward_weight)                                                      \
  X(maxpool_forward)                                                           \
  X(maxpool_backward)                                                          \
  X(avgpool_forward)                                                           \
  X(avgpool_backward)                                                          \
  X(global_avgpool2d_forward)                                                  \
  X(global_avgpool2d_backward)

#endif
