/* Ops of activations, softmax, dropout and normalisation. ops_impl.h includes
 * this file. */
#ifndef TR_OPS_NORM_IMPL_H
#define TR_OPS_NORM_IMPL_H

#include "core/tensor_impl.h"

/* True if backward of an activation reads its output; else it reads its input.
 */
static inline bool tr__activation_uses_output(tr__activation kind)
{
  return kind == TR__ACTIVATION_LEAKY_RELU || kind == TR__ACTIVATION_SIGMOID ||
         kind == TR__ACTIVATION_TANH;
}

/* y <- kind(x), from LEAKY_RELU on; y may be x */
#define TR__ARGS_activation_forward(OPERAND, NUMBER)                           \
  OPERAND(y, OUT, ELEMENTS, HALF)                                              \
  OPERAND(x, IN, ELEMENTS, HALF | ALIAS)                                       \
  NUMBER(tr__activation, kind)                                                 \
  NUMBER(double, slope)

/* dx <- dy kind'(x); value is the output where tr__activation_uses_output()
 * says so, else the input; dx may be dy (then accumulate is 0) */
#define TR__ARGS_activation_backward(OPERAND, NUMBER)                          \
  OPERAND(dx, OUT, ELEMENTS, HALF | ADDS)                                      \
  OPERAND(dy, IN, ELEMENTS, HALF | ALIAS)                                      \
  OPERAND(value, IN, ELEMENTS, HALF)                                           \
  NUMBER(tr__activation, kind)                                                 \
  NUMBER(double, slope)                                                        \
  NUMBER(int, accumulate)

/* y <- exp(x) / sum of exp(x) over the last axis; y may be x */
#define TR__ARGS_softmax_forward(OPERAND, NUMBER)                              \
  OPERAND(y, OUT, ROWS, HALF)                                                  \
  OPERAND(x, IN, ROWS, HALF | ALIAS)

/* dx <- y (dy - sum of dy y over the last axis); dx may be dy (then
 * accumulate is 0) */
#define TR__ARGS_softmax_backward(OPERAND, NUMBER)                             \
  OPERAND(dx, OUT, ROWS, HALF | ADDS)                                          \
  OPERAND(dy, IN, ROWS, HALF | ALIAS)                                          \
  OPERAND(y, IN, ROWS, HALF)                                                   \
  NUMBER(int, accumulate)

/* y <- x / (1 - p) where the element is kept, else 0; y may be x (then
 * accumulate is 0). The op keeps element i of row n where the random number
 * (seed of round block.rng_round, in round 0 the given seed; i, block.rng_first
 * + first_row + n, block.rng_step, stream) is at least p.
 * Backward is the same op on the gradient. */
#define TR__ARGS_dropout(OPERAND, NUMBER)                                      \
  OPERAND(y, OUT, SAMPLES, HALF | ADDS)                                        \
  OPERAND(x, IN, SAMPLES, HALF | ALIAS)                                        \
  OPERAND(block, IN, WHOLE, 0)                                                 \
  NUMBER(uint64_t, seed)                                                       \
  NUMBER(int64_t, first_row)                                                   \
  NUMBER(double, p)                                                            \
  NUMBER(uint16_t, stream)                                                     \
  NUMBER(int, accumulate)

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
#define TR__ARGS_norm_forward(OPERAND, NUMBER)                                 \
  OPERAND(y, OUT, SAMPLES, HALF)                                               \
  OPERAND(x, IN, SAMPLES, HALF | ALIAS)                                        \
  OPERAND(w, IN, WHOLE, OPTIONAL)                                              \
  OPERAND(b, IN, WHOLE, OPTIONAL)                                              \
  OPERAND(stats, OUT, SAMPLES, 0)                                              \
  NUMBER(tr__norm, norm)

/* dx <- r (g - mean(g) - xhat mean(g xhat)),  g = dy w, xhat = (x - mean) r;
 * not centred: without mean(g). dx may be dy (then accumulate is 0) */
#define TR__ARGS_norm_backward_input(OPERAND, NUMBER)                          \
  OPERAND(dx, OUT, SAMPLES, HALF | ADDS)                                       \
  OPERAND(dy, IN, SAMPLES, HALF | ALIAS)                                       \
  OPERAND(x, IN, SAMPLES, HALF)                                                \
  OPERAND(w, IN, WHOLE, OPTIONAL)                                              \
  OPERAND(stats, IN, SAMPLES, 0)                                               \
  NUMBER(tr__norm, norm)                                                       \
  NUMBER(int, accumulate)

/* dw <- sum of dy xhat, db <- sum of dy. dw or db may be absent; dw's extents
 * are set in any case. Reduces over samples. */
#define TR__ARGS_norm_backward_weight(OPERAND, NUMBER)                         \
  OPERAND(dw, OUT, WHOLE, OPTIONAL | ADDS)                                     \
  OPERAND(db, OUT, WHOLE, OPTIONAL | ADDS)                                     \
  OPERAND(x, IN, SAMPLES, HALF)                                                \
  OPERAND(dy, IN, SAMPLES, HALF)                                               \
  OPERAND(stats, IN, SAMPLES, 0)                                               \
  OPERAND(workspace, SCRATCH, WHOLE, 0)                                        \
  NUMBER(tr__norm, norm)                                                       \
  NUMBER(tr__shards, shards)                                                   \
  NUMBER(int, accumulate)

/* sums (2 C + 1) double <- mean and sum of (x - mean)^2 per channel of x (N, C,
 * ...), number of values per channel. x's dtype is the working precision here.
 * Reduces over samples. */
#define TR__ARGS_batchnorm_sums(OPERAND, NUMBER)                               \
  OPERAND(x, IN, SAMPLES, HALF)                                                \
  OPERAND(sums, OUT, WHOLE, 0)                                                 \
  OPERAND(workspace, SCRATCH, WHOLE, 0)                                        \
  NUMBER(tr__shards, shards)

/* With sums: mean, var of them; stats (2, C) double <- mean,
 * 1 / sqrt(var + eps); and where there was any value,
 *   running_mean <- (1 - momentum) running_mean + momentum mean
 *   running_var  <- likewise with var n / (n - 1);  batches <- batches + 1
 * The running values of a channel stay where a new one would not be finite.
 * With parts (ranks, at least 2 C + 1) double: sums <- the sums of the ranks,
 * merged in the order of the tree over num_shards; the op overwrites parts.
 * Without sums: stats <- the running values, which stay. */
#define TR__ARGS_batchnorm_stats(OPERAND, NUMBER)                              \
  OPERAND(running_mean, INOUT, WHOLE, 0)                                       \
  OPERAND(running_var, INOUT, WHOLE, 0)                                        \
  OPERAND(batches, INOUT, WHOLE, 0)                                            \
  OPERAND(stats, OUT, WHOLE, 0)                                                \
  OPERAND(sums, INOUT, WHOLE, OPTIONAL)                                        \
  OPERAND(parts, INOUT, WHOLE, OPTIONAL)                                       \
  NUMBER(double, momentum)                                                     \
  NUMBER(double, eps)                                                          \
  NUMBER(int64_t, num_shards)

/* y <- activation((x - mean) r w + b); w and b may be absent; y may be x */
#define TR__ARGS_batchnorm_forward(OPERAND, NUMBER)                            \
  OPERAND(y, OUT, SAMPLES, HALF)                                               \
  OPERAND(x, IN, SAMPLES, HALF | ALIAS)                                        \
  OPERAND(w, IN, WHOLE, OPTIONAL)                                              \
  OPERAND(b, IN, WHOLE, OPTIONAL)                                              \
  OPERAND(stats, IN, WHOLE, 0)                                                 \
  NUMBER(tr__activation, activation)

/* sums (2 C) double <- sum of dy, sum of dy xhat;  db, dw <- the same; either
 * may be absent. dy's dtype is the working precision here. Reduces over
 * samples. */
#define TR__ARGS_batchnorm_backward_sums(OPERAND, NUMBER)                      \
  OPERAND(dy, IN, SAMPLES, HALF)                                               \
  OPERAND(x, IN, SAMPLES, HALF)                                                \
  OPERAND(stats, IN, WHOLE, 0)                                                 \
  OPERAND(sums, OUT, WHOLE, 0)                                                 \
  OPERAND(dw, OUT, WHOLE, OPTIONAL | ADDS)                                     \
  OPERAND(db, OUT, WHOLE, OPTIONAL | ADDS)                                     \
  OPERAND(workspace, SCRATCH, WHOLE, 0)                                        \
  NUMBER(tr__shards, shards)                                                   \
  NUMBER(int, accumulate)

/* dx <- r w (dy - grad_sums[dy] / n - xhat grad_sums[dy xhat] / n), n =
 * sums[2 C]; with sums absent, dx <- r w dy. w may be absent; dx may be dy
 * (then accumulate is 0) */
#define TR__ARGS_batchnorm_backward_input(OPERAND, NUMBER)                     \
  OPERAND(dx, OUT, SAMPLES, HALF | ADDS)                                       \
  OPERAND(dy, IN, SAMPLES, HALF | ALIAS)                                       \
  OPERAND(x, IN, SAMPLES, HALF)                                                \
  OPERAND(w, IN, WHOLE, OPTIONAL)                                              \
  OPERAND(stats, IN, WHOLE, 0)                                                 \
  OPERAND(sums, IN, WHOLE, OPTIONAL)                                           \
  OPERAND(grad_sums, IN, WHOLE, OPTIONAL)                                      \
  NUMBER(int, accumulate)

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
