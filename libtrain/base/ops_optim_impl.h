/* Ops of optimizers beyond SGD and Adam, and of what stands around a step. */
#ifndef TR_OPS_OPTIM_IMPL_H
#define TR_OPS_OPTIM_IMPL_H

#include "base/tensor_impl.h"

/* RMSprop as in train/optim.h; g as in sgd_update. m (momentum) and mean (of
 * gradients, for the centred form) may be absent. */
typedef struct tr__rmsprop_update_args {
  tr__tensor p, grad, v, m, mean, tail, block;
  double lr_scale, alpha, eps, momentum, weight_decay;
} tr__rmsprop_update_args;

/* Adagrad as in train/optim.h; g as in sgd_update. */
typedef struct tr__adagrad_update_args {
  tr__tensor p, grad, v, tail, block;
  double lr_scale, eps, weight_decay;
} tr__adagrad_update_args;

/* So many elements make one sum of sum_squares. */
#define TR__SQUARES_BLOCK 16384

/* sums[i] (double) <- sum of squares, in double, of the elements
 * i * TR__SQUARES_BLOCK.. of x, whose dtype is the working precision. */
typedef struct tr__sum_squares_args {
  tr__tensor x, sums;
} tr__sum_squares_args;

/* block.grad_norm <- sqrt(sum of sums) * block.planned / tail[WEIGHT]
 * block.grad_scale <- min(1, limit / (grad_norm + 1e-6)); 1 where limit is 0
 * block.skip <- 1 where skips is not 0 and grad_norm or tail[LOSS] is not
 * finite, else 0; block.num_skipped <- block.num_skipped + block.skip. tail's
 * dtype is the working precision; block is the only output. */
typedef struct tr__clip_factor_args {
  tr__tensor tail, sums, block;
  double limit;
  int skips;
} tr__clip_factor_args;

/* e <- e + (1 - decay) (p - e) */
typedef struct tr__ema_update_args {
  tr__tensor e, p;
  double decay;
} tr__ema_update_args;

/* a and b, of one count, change places. */
typedef struct tr__swap_args {
  tr__tensor a, b;
} tr__swap_args;

#define TR__OPS_OPTIM(X)                                                       \
  X(rmsprop_update)                                                            \
  X(adagrad_update)                                                            \
  X(sum_squares)                                                               \
  X(clip_factor)                                                               \
  X(ema_update)                                                                \
  X(swap)

#endif
