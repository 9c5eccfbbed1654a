/* The op table: everything that a backend computes.
 *
 * Each op has one argument struct, which the caller passes by pointer and which
 * holds no pointer to host memory, so that a backend can copy it and work
 * later. The first member of the struct is the output of the op, and its dtype
 * is the precision in which the op works. Tensors are row-major unless their
 * layout says otherwise. N may be 0 rows: then reductions give zeros.
 *
 * Where `accumulate` is not 0, the op adds to the output instead of setting
 * it. */
#ifndef TR_OPS_IMPL_H
#define TR_OPS_IMPL_H

#include "core/ops/ops_conv_impl.h"
#include "core/ops/ops_norm_impl.h"
#include "core/ops/ops_sequence_impl.h"
#include "core/ops/ops_shape_impl.h"
#include "core/tensor_impl.h"

#include <train/data.h>

/* Numbers that change in every step, in one block of backend memory, so that
 * captured ops read new ones. All are double. */
typedef struct tr__step_block {
  double seed_scale; /* factor of d(loss), besides loss_scale: 1 / planned
                        weight */
  double planned;    /* the weight by which seed_scale divided */
  double rng_step;   /* step of random numbers: optimizer step * 256 + number of
                        forwards since then, modulo 256 */
  double rng_first;  /* place of this rank's first row in the global batch */
  double rng_round;  /* number of forwards since that step / 256; each round has
                        its own seed */
  double lr;
  double correction1; /* 1 - beta1^t */
  double correction2; /* 1 - beta2^t */
  double first;       /* 1 in the first step of an optimizer, else 0 */
  double step;        /* t: steps of the optimizer, this one included */
  double grad_scale;  /* factor of the mean gradient: clipping / loss_scale */
  double skip;        /* 1: updates change nothing */
  double grad_norm;   /* norm of the mean gradient, where clip_factor has
                         computed it */
  double num_skipped; /* steps that clip_factor has skipped */
  double loss_scale;  /* factor of d(loss); 1 except in float16 */
  double good_steps;  /* finite steps since loss_scale changed */
} tr__step_block;

/* The tail behind the gradients, of the same dtype. Every all-reduce of the
 * gradients includes it. */
enum {
  TR__TAIL_LOSS = 0, /* sums of weighted losses, one per loss of the model */
  TR__TAIL_WEIGHT = TR_MAX_INPUTS, /* sum of sample weights */
  TR__TAIL_CORRECT, /* sum of the weights of correctly classified samples */
  TR__TAIL_FAILED,  /* ranks that failed in this step */
  TR__TAIL_STOP,    /* ranks that were asked to stop */
  TR__TAIL_STEP,    /* step number modulo 16 */
  TR__TAIL_STEP_SQUARE,
  TR__TAIL_COUNT = 16
};

/* tr__tail_loss - the sum of all losses of the model. Ranks reduce each loss on
 * its own, and this function adds them last, so that the sum does not depend on
 * the number of ranks. */
static inline double tr__tail_loss(const double tail[TR__TAIL_FAILED])
{
  double sum = tail[TR__TAIL_LOSS];
  for (int i = 1; i < TR_MAX_INPUTS; i++) {
    sum += tail[TR__TAIL_LOSS + i];
  }
  return sum;
}

/* y <- value */
typedef struct tr__fill_args {
  tr__tensor y;
  double value;
} tr__fill_args;

/* y <- y + x, element by element; x and y have equal counts */
typedef struct tr__add_args {
  tr__tensor y, x;
} tr__add_args;

/* y (N, K) <- activation(x (N, D) w^T (K, D) + b (K)); b may be absent. The op
 * multiplies each shard on its own: the bits of a product may depend on its
 * number of rows. */
typedef struct tr__linear_forward_args {
  tr__tensor y, x, w, b, workspace;
  tr__shards shards;
  tr__activation activation;
} tr__linear_forward_args;

/* dx (N, D) <- dy (N, K) w (K, D), also shard by shard */
typedef struct tr__linear_backward_input_args {
  tr__tensor dx, dy, w;
  tr__shards shards;
  int accumulate;
} tr__linear_backward_input_args;

/* dw (K, D) <- dy^T (K, N) x (N, D);  db (K) <- sum over rows of dy.
 * dw or db may be absent; dw's extents are set in any case. Reduces over
 * samples. */
typedef struct tr__linear_backward_weight_args {
  tr__tensor dw, db, x, dy, workspace;
  tr__shards shards;
  int accumulate;
} tr__linear_backward_weight_args;

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

/* loss (N) <- logsumexp(x[i,:]) - x[i,t_i]; prob (N, K) <- softmax(x);
 * correct (N) <- 1 where x[i,t_i] is the first largest of its row, else 0.
 * x (N, K), target (N) int32 in 0..K-1. prob may be x. */
typedef struct tr__softmax_xent_forward_args {
  tr__tensor loss, prob, correct, x, target;
} tr__softmax_xent_forward_args;

/* dx (N, K) <- block.seed_scale * block.loss_scale * weight_i * (prob -
 * onehot(target)); weight (N, or one per group of N / count rows) may be
 * absent: 1. block is a tr__step_block. dx may be prob. */
typedef struct tr__softmax_xent_backward_args {
  tr__tensor dx, prob, target, weight, block;
  int accumulate;
} tr__softmax_xent_backward_args;

/* tail[LOSS + number] <- scale * sum w_i loss_i; where number is 0, the model's
 * first loss, tail[WEIGHT] <- sum w_i share_i, tail[CORRECT] <- sum w_i
 * correct_i. The op adds in double. correct may be absent: 0. weight (one per
 * shards.times rows) and share may be absent: 1. The op sets the other elements
 * up to CORRECT to 0. Reduces over samples. */
typedef struct tr__loss_sum_args {
  tr__tensor tail, loss, correct, weight, share;
  tr__shards shards;
  double scale;
  int number, accumulate;
} tr__loss_sum_args;

/* g <- grad * block.grad_scale * block.planned / tail[WEIGHT] + weight_decay p
 * m <- g in the optimizer's first step, else momentum m + (1 - dampening) g; m
 * may be absent
 * p <- p - lr m, with Nesterov p - lr (g + momentum m), without m p - lr g
 *
 * lr is block.lr * lr_scale. All tensors have equal counts. In every update op
 * g is 0 where tail[WEIGHT] is 0, and nothing changes where block.skip is not
 * 0. */
typedef struct tr__sgd_update_args {
  tr__tensor p, grad, m, tail, block;
  double lr_scale, momentum, dampening, weight_decay;
  int nesterov;
} tr__sgd_update_args;

/* Adam as in train/optim.h; decoupled non-zero: AdamW. g as in sgd_update, but
 * weight_decay p enters it only where decoupled is 0. */
typedef struct tr__adam_update_args {
  tr__tensor p, grad, m, v, tail, block;
  double lr_scale, beta1, beta2, eps, weight_decay;
  int decoupled;
} tr__adam_update_args;

/* count[0] (int32) <- number of elements of x that are Inf or NaN (saturates
 * at 2^31-1). x's dtype is the working precision here. */
typedef struct tr__count_nonfinite_args {
  tr__tensor x, count;
} tr__count_nonfinite_args;

#include "core/ops/ops_loss_impl.h"
#include "core/ops/ops_optim_impl.h"

/* X(op), one line per op. From this list come the table, the strict backend's
 * queue, the staging entries of a device backend, and the tests. */
#define TR__OPS(X)                                                             \
  TR__OPS_CONV(X)                                                              \
  TR__OPS_SHAPE(X)                                                             \
  TR__OPS_SEQUENCE(X)                                                          \
  X(fill)                                                                      \
  X(add)                                                                       \
  X(linear_forward)                                                            \
  X(linear_backward_input)                                                     \
  X(linear_backward_weight)                                                    \
  X(relu_forward)                                                              \
  X(relu_backward)                                                             \
  X(softmax_xent_forward)                                                      \
  X(softmax_xent_backward)                                                     \
  X(loss_sum)                                                                  \
  X(sgd_update)                                                                \
  X(adam_update)                                                               \
  X(count_nonfinite)                                                           \
  TR__OPS_LOSS(X)                                                              \
  TR__OPS_OPTIM(X)                                                             \
  TR__OPS_NORM(X)

typedef enum tr__op {
#define TR__OP_ENUM(op) TR__OP_##op,
  TR__OPS(TR__OP_ENUM)
#undef TR__OP_ENUM
      TR__NUM_OPS
} tr__op;

#endif
