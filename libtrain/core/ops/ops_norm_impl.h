/* Ops of activations, softmax, dropout and normalisation. ops_impl.h includes
 * this file. */
#ifndef TR_OPS_NORM_IMPL_H
#define TR_OPS_NORM_IMPL_H

#include "core/tensor_impl.h"

/* Whether backward of a kind reads the output; the other kinds read the
 * input. */
static inline bool tr__activation_uses_output(tr__activation kind)
{
  return kind == TR__ACTIVATION_LEAKY_RELU || kind == TR__ACTIVATION_SIGMOID ||
         kind == TR__ACTIVATION_TANH;
}

/* y <- kind(x), from LEAKY_RELU on; y may be x */
typedef struct tr__activation_forward_args {
  tr__tensor y, x;
  tr__activation kind;
  double slope;
} tr__activation_forward_args;

/* dx <- dy kind'(x); value is the output where tr__activation_uses_output()
 * says so, else the input; dx may be dy (then accumulate is 0) */
typedef struct tr__activation_backward_args {
  tr__tensor dx, dy, value;
  tr__activation kind;
  double slope;
  int accumulate;
} tr__activation_backward_args;

/* y <- exp(x) / sum of exp(x) over the last axis; y may be x */
typedef struct tr__softmax_forward_args {
  tr__tensor y, x;
} tr__softmax_forward_args;

/* dx <- y (dy - sum of dy y over the last axis); dx may be dy (then
 * accumulate is 0) */
typedef struct tr__softmax_backward_args {
  tr__tensor dx, dy, y;
  int accumulate;
} tr__softmax_backward_args;

/* y <- x / (1 - p) where the element is kept, else 0; y may be x (then
 * accumulate is 0). The op keeps element i of row n where the random number
 * (seed of round block.rng_round, in round 0 the given seed; i, block.rng_first
 * + first_row + n, block.rng_step, stream) is at least p.
 * Backward is the same op on the gradient. */
typedef struct tr__dropout_args {
  tr__tensor y, x, block;
  uint64_t seed;
  int64_t first_row;
  double p;
  uint16_t stream;
  int accumulate;
} tr__dropout_args;

/* The statistics of a sample, which consists of `groups` groups of `channels`
 * times `inner` elements. Each group has its own mean and variance. */
typedef struct tr__norm {
  int64_t groups, channels, inner;
  int shared;  /* 1: all groups use the same weights, one per channel; 0: each
                  group has its own */
  int centred; /* 0: the op takes the mean as 0 (RMSNorm) */
  double eps;
} tr__norm;

/* mean, var <- of each group;  r = 1 / sqrt(var + eps)
 * y <- (x - mean) r w + b;  stats (N, groups, 2) <- mean, r
 * x (N, ...), w, b (channels), or (groups * channels) where not shared; both
 * may be absent;
 * y may be x */
typedef struct tr__norm_forward_args {
  tr__tensor y, x, w, b, stats;
  tr__norm norm;
} tr__norm_forward_args;

/* dx <- r (g - mean(g) - xhat mean(g xhat)),  g = dy w, xhat = (x - mean) r;
 * not centred: without mean(g). dx may be dy (then accumulate is 0) */
typedef struct tr__norm_backward_input_args {
  tr__tensor dx, dy, x, w, stats;
  tr__norm norm;
  int accumulate;
} tr__norm_backward_input_args;

/* dw <- sum of dy xhat, db <- sum of dy. dw or db may be absent; dw's extents
 * are set in any case. Reduces over samples. */
typedef struct tr__norm_backward_weight_args {
  tr__tensor dw, db, x, dy, stats, workspace;
  tr__norm norm;
  tr__shards shards;
  int accumulate;
} tr__norm_backward_weight_args;

/* sums (2 C + 1) double <- mean and sum of (x - mean)^2 per channel of x (N, C,
 * ...), number of values per channel. x's dtype is the working precision here.
 * Reduces over samples. */
typedef struct tr__batchnorm_sums_args {
  tr__tensor x, sums, workspace;
  tr__shards shards;
} tr__batchnorm_sums_args;

/* With sums: mean, var of them; stats (2, C) double <- mean,
 * 1 / sqrt(var + eps); and where there was any value,
 *   running_mean <- (1 - momentum) running_mean + momentum mean
 *   running_var  <- likewise with var n / (n - 1);  batches <- batches + 1
 * The running values of a channel stay where a new one would not be finite.
 * With parts (ranks, at least 2 C + 1) double: sums <- the sums of the ranks,
 * merged in the order of the tree over num_shards; the op overwrites parts.
 * Without sums: stats <- the running values, which stay. */
typedef struct tr__batchnorm_stats_args {
  tr__tensor running_mean, running_var, batches, stats, sums, parts;
  double momentum, eps;
  int64_t num_shards;
} tr__batchnorm_stats_args;

/* y <- activation((x - mean) r w + b); w and b may be absent; y may be x */
typedef struct tr__batchnorm_forward_args {
  tr__tensor y, x, w, b, stats;
  tr__activation activation;
} tr__batchnorm_forward_args;

/* sums (2 C) double <- sum of dy, sum of dy xhat;  db, dw <- the same; either
 * may be absent. dy's dtype is the working precision here. Reduces over
 * samples. */
typedef struct tr__batchnorm_backward_sums_args {
  tr__tensor dy, x, stats, sums, dw, db, workspace;
  tr__shards shards;
  int accumulate; /* applies to dw and db */
} tr__batchnorm_backward_sums_args;

/* dx <- r w (dy - grad_sums[dy] / n - xhat grad_sums[dy xhat] / n), n =
 * sums[2 C]; with sums absent, dx <- r w dy. w may be absent; dx may be dy
 * (then accumulate is 0) */
typedef struct tr__batchnorm_backward_input_args {
  tr__tensor dx, dy, x, w, stats, sums, grad_sums;
  int accumulate;
} tr__batchnorm_backward_input_args;

#define TR__OPS_NORM(X)                                                        \
  X(activation_forward)                                                        \
  X(activation_backward)                                                       \
  X(softmax_forward)                                                           \
  X(softmax_backward)                                                          \
  X(dropout)                                                                   \
  X(norm_forward)                                                              \
  X(norm_backward_input)                                                       \
  X(norm_backward_weight)                                                      \
  X(batchnorm_sums)                                                            \
  X(batchnorm_stats)                                                           \
  X(batchnorm_forward)                                                         \
  X(batchnorm_backward_sums)                                                   \
  X(batchnorm_backward_input)

#endif
