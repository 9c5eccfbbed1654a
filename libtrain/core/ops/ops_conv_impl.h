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
typedef struct tr__conv_forward_args {
  tr__tensor y, x, w, b, workspace;
  tr__window window;
  tr__activation activation;
  int accumulate;
} tr__conv_forward_args;

/* dx (N, C, D, H, W) <- (dx +) transposed convolution of dy (N, K, P, Q, R)
 * with w (K, C / groups, kernel), + b (C). b may be absent; an op with b does
 * not accumulate. */
typedef struct tr__conv_backward_input_args {
  tr__tensor dx, dy, w, b, workspace;
  tr__window window;
  int accumulate;
} tr__conv_backward_input_args;

/* dw (K, C / groups, kernel) from x (N, C, D, H, W) and dy (N, K, P, Q, R);
 * db <- the sum over samples and places of dy, (K), or of x, (C), for which
 * db_of_x is 1. dw or db may be absent; dw's extents are set in any case.
 * Reduces over samples. */
typedef struct tr__conv_backward_weight_args {
  tr__tensor dw, db, x, dy, workspace;
  tr__window window;
  tr__shards shards;
  int accumulate;
  int db_of_x;
} tr__conv_backward_weight_args;

/* y (N, C, P, Q, R) <- maximum of each window of x (N, C, D, H, W); index
 * (int32, y's extents) <- (d H + h) W + w of the first maximum, -1 where the
 * window lies in the padding. A NaN is the maximum. */
typedef struct tr__maxpool_forward_args {
  tr__tensor y, x, index;
  tr__window window;
} tr__maxpool_forward_args;

/* dx (N, C, D, H, W) <- (dx +) dy (N, C, P, Q, R) added at index; 0
 * elsewhere */
typedef struct tr__maxpool_backward_args {
  tr__tensor dx, dy, index;
  int accumulate;
} tr__maxpool_backward_args;

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
typedef struct tr__avgpool_forward_args {
  tr__tensor y, x;
  tr__window window;
  tr__average average;
} tr__avgpool_forward_args;

/* dx (N, C, D, H, W) <- (dx +) dy (N, C, P, Q, R) / divisor, added to each
 * element of its window */
typedef struct tr__avgpool_backward_args {
  tr__tensor dx, dy;
  tr__window window;
  tr__average average;
  int accumulate;
} tr__avgpool_backward_args;

/* y (N, C) <- mean over H, W of x (N, C, H, W) */
typedef struct tr__global_avgpool2d_forward_args {
  tr__tensor y, x;
} tr__global_avgpool2d_forward_args;

/* dx (N, C, H, W) <- dy (N, C) / (H W) */
typedef struct tr__global_avgpool2d_backward_args {
  tr__tensor dx, dy;
  int accumulate;
} tr__global_avgpool2d_backward_args;

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
