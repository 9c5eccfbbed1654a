/* The op table: everything that a backend computes.
 *
 * Each op has one argument struct, passed by pointer and free of pointers to
 * host memory, so that a backend can copy it and work later. The first member
 * of each struct is the op's output, whose dtype says in which precision the
 * op works. Outputs and inputs are row-major unless a tensor's layout says
 * otherwise. N rows may be 0: then reductions give zeros.
 *
 * `accumulate` non-zero: add to the output instead of setting it. */
#ifndef TR_OPS_IMPL_H
#define TR_OPS_IMPL_H

#include "base/tensor_impl.h"

/* Numbers that change every step, in one block of backend memory, so that ops
 * which were captured once can read new ones. All double. */
typedef struct tr__step_block {
  double seed_scale; /* of d(loss): loss scale / planned weight */
  double planned;    /* the weight that seed_scale divided by */
  double rng_step;   /* step of random numbers: optimizer step * 256 + batch */
  double rng_first;  /* place of this rank's first row in the global batch */
  double lr;
  double correction1; /* 1 - beta1^t */
  double correction2; /* 1 - beta2^t */
  double first;       /* 1 in the first step of an optimizer, else 0 */
} tr__step_block;

/* Behind the gradients lies a tail of the same dtype that is summed with them
 * by every all-reduce. */
enum {
  TR__TAIL_LOSS = 0,    /* sum of weighted losses */
  TR__TAIL_WEIGHT = 1,  /* sum of sample weights */
  TR__TAIL_CORRECT = 2, /* sum of weights of rightly classified samples */
  TR__TAIL_FAILED = 3,  /* ranks that failed in this step */
  TR__TAIL_STOP = 4,    /* ranks that were asked to stop */
  TR__TAIL_STEP = 5,    /* step number modulo 16 */
  TR__TAIL_STEP_SQUARE = 6,
  TR__TAIL_COUNT = 16
};

typedef enum tr__activation {
  TR__ACTIVATION_NONE = 0,
  TR__ACTIVATION_RELU = 1
} tr__activation;

/* A sliding window over height and width. */
typedef struct tr__window {
  int64_t kernel[2], stride[2], padding[2];
} tr__window;

/* y <- value */
typedef struct tr__fill_args {
  tr__tensor y;
  double value;
} tr__fill_args;

/* y <- y + x, element by element; x has y's count */
typedef struct tr__add_args {
  tr__tensor y, x;
} tr__add_args;

/* y (N, K) <- activation(x (N, D) w^T (K, D) + b (K)); b may be absent */
typedef struct tr__linear_forward_args {
  tr__tensor y, x, w, b;
  tr__activation activation;
} tr__linear_forward_args;

/* dx (N, D) <- dy (N, K) w (K, D) */
typedef struct tr__linear_backward_input_args {
  tr__tensor dx, dy, w;
  int accumulate;
} tr__linear_backward_input_args;

/* dw (K, D) <- dy^T (K, N) x (N, D);  db (K) <- sum over rows of dy.
 * Either may be absent; dw's extents are there in any case. Reduces over
 * samples. */
typedef struct tr__linear_backward_weight_args {
  tr__tensor dw, db, x, dy, workspace;
  tr__shards shards;
  int accumulate;
} tr__linear_backward_weight_args;

/* y (N, K, P, Q) <- activation(x (N, C, H, W) * w (K, C, I, J) + b (K));
 * b may be absent. workspace: what the backend asked for, bytes. */
typedef struct tr__conv2d_forward_args {
  tr__tensor y, x, w, b, workspace;
  tr__window window;
  tr__activation activation;
} tr__conv2d_forward_args;

/* dx (N, C, H, W) from dy (N, K, P, Q) and w (K, C, I, J) */
typedef struct tr__conv2d_backward_input_args {
  tr__tensor dx, dy, w, workspace;
  tr__window window;
  int accumulate;
} tr__conv2d_backward_input_args;

/* dw (K, C, I, J), db (K) from x (N, C, H, W), dy (N, K, P, Q). Either may be
 * absent; dw's extents are there in any case. Reduces over samples. */
typedef struct tr__conv2d_backward_weight_args {
  tr__tensor dw, db, x, dy, workspace;
  tr__window window;
  tr__shards shards;
  int accumulate;
} tr__conv2d_backward_weight_args;

/* y <- max(x, 0); y may be x */
typedef struct tr__relu_forward_args {
  tr__tensor y, x;
} tr__relu_forward_args;

/* dx <- dy where y > 0, else 0; y is relu's output; dx may be dy (then
 * accumulate is 0) */
typedef struct tr__relu_backward_args {
  tr__tensor dx, dy, y;
  int accumulate;
} tr__relu_backward_args;

/* y (N, C, P, Q) <- maximum of each window of x (N, C, H, W); index (int32,
 * y's extents; may be absent) <- h*W + w of the first maximum. A NaN is the
 * maximum. */
typedef struct tr__maxpool2d_forward_args {
  tr__tensor y, x, index;
  tr__window window;
} tr__maxpool2d_forward_args;

/* dx (N, C, H, W) <- dy (N, C, P, Q) sent to index; 0 elsewhere */
typedef struct tr__maxpool2d_backward_args {
  tr__tensor dx, dy, index;
  int accumulate;
} tr__maxpool2d_backward_args;

/* y (N, C) <- mean over H, W of x (N, C, H, W) */
typedef struct tr__global_avgpool2d_forward_args {
  tr__tensor y, x;
} tr__global_avgpool2d_forward_args;

/* dx (N, C, H, W) <- dy (N, C) / (H W) */
typedef struct tr__global_avgpool2d_backward_args {
  tr__tensor dx, dy;
  int accumulate;
} tr__global_avgpool2d_backward_args;

/* loss (N) <- logsumexp(x[i,:]) - x[i,t_i]; prob (N, K) <- softmax(x);
 * correct (N) <- 1 where x[i,t_i] is the first largest of its row, else 0.
 * x (N, K), target (N) int32 in 0..K-1. prob may be x. */
typedef struct tr__softmax_xent_forward_args {
  tr__tensor loss, prob, correct, x, target;
} tr__softmax_xent_forward_args;

/* dx (N, K) <- block.seed_scale * weight_i * (prob - onehot(target));
 * weight (N) may be absent: 1. block is a tr__step_block. dx may be prob. */
typedef struct tr__softmax_xent_backward_args {
  tr__tensor dx, prob, target, weight, block;
  int accumulate;
} tr__softmax_xent_backward_args;

/* tail[LOSS] <- sum w_i loss_i, tail[WEIGHT] <- sum w_i, tail[CORRECT] <- sum
 * w_i correct_i, the first three elements of tail, summed in double; weight
 * may be absent: 1. Reduces over samples. */
typedef struct tr__loss_sum_args {
  tr__tensor tail, loss, correct, weight;
  tr__shards shards;
  int accumulate;
} tr__loss_sum_args;

/* g <- grad * block.planned / tail[WEIGHT] + weight_decay p
 * m <- g in the optimizer's first step, else momentum m + g; m may be absent
 * p <- p - block.lr * m (g without m). All of one count. Where tail[WEIGHT]
 * is 0, g is 0. */
typedef struct tr__sgd_update_args {
  tr__tensor p, grad, m, tail, block;
  double momentum, weight_decay;
} tr__sgd_update_args;

/* Adam as in train/optim.h; decoupled non-zero: AdamW. g as in sgd_update,
 * with weight_decay p added only where not decoupled. */
typedef struct tr__adam_update_args {
  tr__tensor p, grad, m, v, tail, block;
  double beta1, beta2, eps, weight_decay;
  int decoupled;
} tr__adam_update_args;

/* count[0] (int32) <- number of elements of x that are Inf or NaN (saturates
 * at 2^31-1). x's dtype is the working precision here. */
typedef struct tr__count_nonfinite_args {
  tr__tensor x, count;
} tr__count_nonfinite_args;

/* X(op): one line per op. The table, the strict backend's queue, the staging
 * entries of a device backend and the tests are made from this list. */
#define TR__OPS(X)                                                             \
  X(fill)                                                                      \
  X(add)                                                                       \
  X(linear_forward)                                                            \
  X(linear_backward_input)                                                     \
  X(linear_backward_weight)                                                    \
  X(conv2d_forward)                                                            \
  X(conv2d_backward_input)                                                     \
  X(conv2d_backward_weight)                                                    \
  X(relu_forward)                                                              \
  X(relu_backward)                                                             \
  X(maxpool2d_forward)                                                         \
  X(maxpool2d_backward)                                                        \
  X(global_avgpool2d_forward)                                                  \
  X(global_avgpool2d_backward)                                                 \
  X(softmax_xent_forward)                                                      \
  X(softmax_xent_backward)                                                     \
  X(loss_sum)                                                                  \
  X(sgd_update)                                                                \
  X(adam_update)                                                               \
  X(count_nonfinite)

typedef enum tr__op {
#define TR__OP_ENUM(op) TR__OP_##op,
  TR__OPS(TR__OP_ENUM)
#undef TR__OP_ENUM
      TR__NUM_OPS
} tr__op;

#endif
