/* Ops of activations, softmax, dropout and normalisation. */
#ifndef TR_OPS_NORM_IMPL_H
#define TR_OPS_NORM_IMPL_H

#include "base/tensor_impl.h"

/* Functions of single elements. A layer that can activate applies those up to
 * RELU; the others are ops of their own. */
typedef enum tr__activation {
  TR__ACTIVATION_NONE = 0,
  TR__ACTIVATION_RELU = 1,
  TR__ACTIVATION_LEAKY_RELU, /* x where x >= 0, else slope x */
  TR__ACTIVATION_GELU,       /* x Phi(x), Phi the normal distribution */
  TR__ACTIVATION_GELU_TANH,  /* its approximation by tanh */
  TR__ACTIVATION_SILU,       /* x / (1 + exp(-x)) */
  TR__ACTIVATION_SIGMOID,    /* 1 / (1 + exp(-x)) */
  TR__ACTIVATION_TANH
} tr__activation;

/* Backward of these is a function of the output, of the others one of the
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

/* dx <- dy kind'(x); value is the output where backward uses it, else the
 * input; dx may be dy (then accumulate is 0) */
typedef struct tr__activation_backward_args {
  tr__tensor dx, dy, value;
  tr__activation kind;
  double slope;
  int accumulate;
} tr__activation_backward_args;

/* y <- exp(x) / sum of exp(x) over the last extent; y may be x */
typedef struct tr__softmax_forward_args {
  tr__tensor y, x;
} tr__softmax_forward_args;

/* dx <- y (dy - sum of dy y over the last extent); dx may be dy (then
 * accumulate is 0) */
typedef struct tr__softmax_backward_args {
  tr__tensor dx, dy, y;
  int accumulate;
} tr__softmax_backward_args;

/* y <- x / (1 - p) where the element is kept, else 0; y may be x (then
 * accumulate is 0). Element i of row n is kept where the number (seed; i,
 * block.rng_first + first_row + n, block.rng_step, stream) is at least p.
 * Backward is the same op on the gradient. */
typedef struct tr__dropout_args {
  tr__tensor y, x, block;
  uint64_t seed;
  int64_t first_row;
  double p;
  uint16_t stream;
  int accumulate;
} tr__dropout_args;

#define TR__OPS_NORM(X)                                                        \
  X(activation_forward)                                                        \
  X(activation_backward)                                                       \
  X(softmax_forward)                                                           \
  X(softmax_backward)                                                          \
  X(dropout)

#endif
