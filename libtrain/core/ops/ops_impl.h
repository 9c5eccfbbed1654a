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
#define TR__ARGS_fill(OPERAND, NUMBER)                                         \
  OPERAND(y, OUT, ELEMENTS, 0)                                                 \
  NUMBER(double, value)

/* y <- y + x, element by element; x and y have equal counts */
#define TR__ARGS_add(OPERAND, NUMBER)                                          \
  OPERAND(y, INOUT, ELEMENTS, 0)                                               \
  OPERAND(x, IN, ELEMENTS, 0)

/* y (N, K) <- activation(x (N, D) w^T (K, D) + b (K)); b may be absent. The op
 * multiplies each shard on its own: the bits of a product may depend on its
 * number of rows. */
#define TR__ARGS_linear_forward(OPERAND, NUMBER)                               \
  OPERAND(y, OUT, ROWS, HALF)                                                  \
  OPERAND(x, IN, ROWS, HALF)                                                   \
  OPERAND(w, IN, WHOLE, HALF)                                                  \
  OPERAND(b, IN, WHOLE, OPTIONAL)                                              \
  OPERAND(workspace, SCRATCH, WHOLE, 0)                                        \
  NUMBER(tr__shards, shards)                                                   \
  NUMBER(tr__activation, activation)

/* dx (N, D) <- dy (N, K) w (K, D), also shard by shard */
#define TR__ARGS_linear_backward_input(OPERAND, NUMBER)                        \
  OPERAND(dx, OUT, ROWS, HALF | ADDS)                                          \
  OPERAND(dy, IN, ROWS, HALF)                                                  \
  OPERAND(w, IN, WHOLE, HALF)                                                  \
  NUMBER(tr__shards, shards)                                                   \
  NUMBER(int, accumulate)

/* dw (K, D) <- dy^T (K, N) x (N, D);  db (K) <- sum over rows of dy.
 * dw or db may be absent; dw's extents are set in any case. Reduces over
 * samples. */
#define TR__ARGS_linear_backward_weight(OPERAND, NUMBER)                       \
  OPERAND(dw, OUT, WHOLE, OPTIONAL | ADDS)                                     \
  OPERAND(db, OUT, WHOLE, OPTIONAL | ADDS)                                     \
  OPERAND(x, IN, ROWS, HALF)                                                   \
  OPERAND(dy, IN, ROWS, HALF)                                                  \
  OPERAND(workspace, SCRATCH, WHOLE, 0)                                        \
  NUMBER(tr__shards, shards)                                                   \
  NUMBER(int, accumulate)

/* y <- max(x, 0); y may be x */
#define TR__ARGS_relu_forward(OPERAND, NUMBER)                                 \
  OPERAND(y, OUT, ELEMENTS, HALF)                                              \
  OPERAND(x, IN, ELEMENTS, HALF | ALIAS)

/* dx <- dy where y > 0, else 0; y is relu's output; dx may be dy (then
 * accumulate is 0) */
#define TR__ARGS_relu_backward(OPERAND, NUMBER)                                \
  OPERAND(dx, OUT, ELEMENTS, HALF | ADDS)                                      \
  OPERAND(dy, IN, ELEMENTS, HALF | ALIAS)                                      \
  OPERAND(y, IN, ELEMENTS, HALF)                                               \
  NUMBER(int, accumulate)

/* loss (N) <- logsumexp(x[i,:]) - x[i,t_i]; prob (N, K) <- softmax(x);
 * correct (N) <- 1 where x[i,t_i] is the first largest of its row, else 0.
 * x (N, K), target (N) int32 in 0..K-1. prob may be x. */
#define TR__ARGS_softmax_xent_forward(OPERAND, NUMBER)                         \
  OPERAND(loss, OUT, ROWS, 0)                                                  \
  OPERAND(prob, OUT, ROWS, 0)                                                  \
  OPERAND(correct, OUT, ROWS, 0)                                               \
  OPERAND(x, IN, ROWS, HALF | ALIAS)                                           \
  OPERAND(target, IN, ROWS, 0)

/* dx (N, K) <- block.seed_scale * block.loss_scale * weight_i * (prob -
 * onehot(target)); weight (N, or one per group of N / count rows) may be
 * absent: 1. block is a tr__step_block. dx may be prob. */
#define TR__ARGS_softmax_xent_backward(OPERAND, NUMBER)                        \
  OPERAND(dx, OUT, ROWS, HALF | ADDS)                                          \
  OPERAND(prob, IN, ROWS, ALIAS)                                               \
  OPERAND(target, IN, ROWS, 0)                                                 \
  OPERAND(weight, IN, SAMPLES, OPTIONAL)                                       \
  OPERAND(block, IN, WHOLE, 0)                                                 \
  NUMBER(int, accumulate)

/* tail[LOSS + number] <- scale * sum w_i loss_i; where number is 0, the model's
 * first loss, tail[WEIGHT] <- sum w_i share_i, tail[CORRECT] <- sum w_i
 * correct_i. The op adds in double. correct may be absent: 0. weight (one per
 * shards.times rows) and share may be absent: 1. The op sets the other elements
 * up to CORRECT to 0. Reduces over samples. */
#define TR__ARGS_loss_sum(OPERAND, NUMBER)                                     \
  OPERAND(tail, INOUT, WHOLE, 0)                                               \
  OPERAND(loss, IN, ROWS, 0)                                                   \
  OPERAND(correct, IN, ROWS, OPTIONAL)                                         \
  OPERAND(weight, IN, SAMPLES, OPTIONAL)                                       \
  OPERAND(share, IN, ROWS, OPTIONAL)                                           \
  NUMBER(tr__shards, shards)                                                   \
  NUMBER(double, scale)                                                        \
  NUMBER(int, number)                                                          \
  NUMBER(int, accumulate)

/* g <- grad * block.grad_scale * block.planned / tail[WEIGHT] + weight_decay p
 * m <- g in the optimizer's first step, else momentum m + (1 - dampening) g; m
 * may be absent
 * p <- p - lr m, with Nesterov p - lr (g + momentum m), without m p - lr g
 *
 * lr is block.lr * lr_scale. All tensors have equal counts. In every update op
 * g is 0 where tail[WEIGHT] is 0, and nothing changes where block.skip is not
 * 0. */
#define TR__ARGS_sgd_update(OPERAND, NUMBER)                                   \
  OPERAND(p, INOUT, ELEMENTS, 0)                                               \
  OPERAND(grad, IN, ELEMENTS, 0)                                               \
  OPERAND(m, INOUT, ELEMENTS, OPTIONAL)                                        \
  OPERAND(tail, IN, WHOLE, 0)                                                  \
  OPERAND(block, IN, WHOLE, 0)                                                 \
  NUMBER(double, lr_scale)                                                     \
  NUMBER(double, momentum)                                                     \
  NUMBER(double, dampening)                                                    \
  NUMBER(double, weight_decay)                                                 \
  NUMBER(int, nesterov)

/* Adam as in train/optim.h; decoupled non-zero: AdamW. g as in sgd_update, but
 * weight_decay p enters it only where decoupled is 0. */
#define TR__ARGS_adam_update(OPERAND, NUMBER)                                  \
  OPERAND(p, INOUT, ELEMENTS, 0)                                               \
  OPERAND(grad, IN, ELEMENTS, 0)                                               \
  OPERAND(m, INOUT, ELEMENTS, 0)                                               \
  OPERAND(v, INOUT, ELEMENTS, 0)                                               \
  OPERAND(tail, IN, WHOLE, 0)                                                  \
  OPERAND(block, IN, WHOLE, 0)                                                 \
  NUMBER(double, lr_scale)                                                     \
  NUMBER(double, beta1)                                                        \
  NUMBER(double, beta2)                                                        \
  NUMBER(double, eps)                                                          \
  NUMBER(double, weight_decay)                                                 \
  NUMBER(int, decoupled)

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
  TR__OPS_LOSS(X)                                                              \
  TR__OPS_OPTIM(X)                                                             \
  TR__OPS_NORM(X)

typedef enum tr__op {
#define TR__OP_ENUM(op) TR__OP_##op,
  TR__OPS(TR__OP_ENUM)
#undef TR__OP_ENUM
      TR__NUM_OPS
} tr__op;

/* The argument structs: the operands, then the numbers. */
#define TR__OPERAND_FIELD(name, direction, follows, flags) tr__tensor name;
#define TR__NUMBER_FIELD(type, name)                       type name;
#define TR__ARGS_STRUCT(op)                                                    \
  typedef struct tr__##op##_args {                                             \
    TR__ARGS_##op(TR__OPERAND_FIELD, TR__NUMBER_FIELD)                         \
  } tr__##op##_args;
TR__OPS(TR__ARGS_STRUCT)
#undef TR__ARGS_STRUCT
#undef TR__NUMBER_FIELD
#undef TR__OPERAND_FIELD

#endif
