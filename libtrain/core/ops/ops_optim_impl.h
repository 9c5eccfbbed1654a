/* Ops of optimizers other than SGD and Adam, of gradient norms, loss scaling
 * and averages. ops_impl.h includes this file. */
#ifndef TR_OPS_OPTIM_IMPL_H
#define TR_OPS_OPTIM_IMPL_H

#include "core/tensor_impl.h"

/* RMSprop as in train/optim.h; g as in sgd_update. m (momentum) and mean (mean
 * gradient, for the centred form) may be absent. */
#define TR__ARGS_rmsprop_update(OPERAND, NUMBER)                               \
  OPERAND(p, INOUT, ELEMENTS, 0)                                               \
  OPERAND(grad, IN, ELEMENTS, 0)                                               \
  OPERAND(v, INOUT, ELEMENTS, 0)                                               \
  OPERAND(m, INOUT, ELEMENTS, OPTIONAL)                                        \
  OPERAND(mean, INOUT, ELEMENTS, OPTIONAL)                                     \
  OPERAND(tail, IN, WHOLE, 0)                                                  \
  OPERAND(block, IN, WHOLE, 0)                                                 \
  NUMBER(double, lr_scale)                                                     \
  NUMBER(double, alpha)                                                        \
  NUMBER(double, eps)                                                          \
  NUMBER(double, momentum)                                                     \
  NUMBER(double, weight_decay)

/* Adagrad as in train/optim.h; g as in sgd_update. */
#define TR__ARGS_adagrad_update(OPERAND, NUMBER)                               \
  OPERAND(p, INOUT, ELEMENTS, 0)                                               \
  OPERAND(grad, IN, ELEMENTS, 0)                                               \
  OPERAND(v, INOUT, ELEMENTS, 0)                                               \
  OPERAND(tail, IN, WHOLE, 0)                                                  \
  OPERAND(block, IN, WHOLE, 0)                                                 \
  NUMBER(double, lr_scale)                                                     \
  NUMBER(double, eps)                                                          \
  NUMBER(double, weight_decay)

/* Newton-Schulz iterations and their polynomial: Jordan 2024, as
 * torch.optim.Muon has them. */
#define TR__MUON_STEPS 5
#define TR__MUON_A     3.4445
#define TR__MUON_B     (-4.7750)
#define TR__MUON_C     2.0315
#define TR__MUON_EPS   1e-7

/* Number of matrix elements in one partial sum of squares. */
#define TR__MUON_BLOCK 16384

/* Muon for one matrix p (R, C); g as in sgd_update, without decay.
 *
 * m <- m + (1 - momentum) (g - m)
 * x <- m, with Nesterov g + momentum (m - g);  x <- x / max(|x|, eps)
 * x <- A x + (B s + C s^2) x with s = x x^T, TR__MUON_STEPS times; where R > C,
 * x^T takes the place of x
 * p <- p (1 - lr weight_decay) - lr scale x
 *
 * |x| is the root of the sum of squares, summed in double. */
#define TR__ARGS_muon_update(OPERAND, NUMBER)                                  \
  OPERAND(p, INOUT, WHOLE, 0)                                                  \
  OPERAND(grad, IN, WHOLE, 0)                                                  \
  OPERAND(m, INOUT, WHOLE, 0)                                                  \
  OPERAND(tail, IN, WHOLE, 0)                                                  \
  OPERAND(block, IN, WHOLE, 0)                                                 \
  OPERAND(workspace, SCRATCH, WHOLE, 0)                                        \
  NUMBER(double, lr_scale)                                                     \
  NUMBER(double, momentum)                                                     \
  NUMBER(double, weight_decay)                                                 \
  NUMBER(double, scale)                                                        \
  NUMBER(int, nesterov)

/* Number of elements in one partial sum of sum_squares. */
#define TR__SQUARES_BLOCK 4096

/* sums[i] (double) <- sum of squares, in double, of the elements
 * i * TR__SQUARES_BLOCK.. of x, whose dtype is the working precision. */
#define TR__ARGS_sum_squares(OPERAND, NUMBER)                                  \
  OPERAND(x, IN, ELEMENTS, 0)                                                  \
  OPERAND(sums, OUT, WHOLE, 0)

/* With S = block.loss_scale and n = block.num_skipped before the op:
 *
 * block.grad_norm <- sqrt(sum of sums) * |block.planned / tail[WEIGHT]| / S; 0
 * where tail[WEIGHT] is 0
 * block.grad_scale <- min(1, limit / (grad_norm + 1e-6)) / S; 1 / S where limit
 * is 0
 * block.skip <- 1 where skips is not 0 and grad_norm or the sum of all losses
 * in tail is not finite, else 0
 * block.num_skipped <- n + block.skip
 * Where n is not 0, correction1, correction2 and first become those of step
 * block.step - n.
 * Where growth_interval is not 0, the op halves S when grad_norm is not finite,
 * but not below 1/2. An S of 1/2 means that no scale helps. The op doubles S
 * after growth_interval finite steps in a row, up to 2^60.
 *
 * tail's dtype is the working precision. block is the only output. */
#define TR__ARGS_clip_factor(OPERAND, NUMBER)                                  \
  OPERAND(tail, IN, WHOLE, 0)                                                  \
  OPERAND(sums, IN, WHOLE, 0)                                                  \
  OPERAND(block, INOUT, WHOLE, 0)                                              \
  NUMBER(double, limit)                                                        \
  NUMBER(double, beta1)                                                        \
  NUMBER(double, beta2)                                                        \
  NUMBER(int64_t, growth_interval)                                             \
  NUMBER(int, skips)

/* e <- e + (1 - decay) (p - e) */
#define TR__ARGS_ema_update(OPERAND, NUMBER)                                   \
  OPERAND(e, INOUT, ELEMENTS, 0)                                               \
  OPERAND(p, IN, ELEMENTS, 0)                                                  \
  NUMBER(double, decay)

/* a and b, of equal count, change places. */
#define TR__ARGS_swap(OPERAND, NUMBER)                                         \
  OPERAND(a, INOUT, ELEMENTS, 0)                                               \
  OPERAND(b, INOUT, ELEMENTS, 0)

#define TR__OPS_OPTIM(X)                                                       \
  X(rmsprop_update)                                                            \
  X(adagrad_update)                                                            \
  X(muon_update)                                                               \
  X(sum_squares)                                                               \
  X(clip_factor)                                                               \
  X(ema_update)                                                                \
  X(swap)

#endif
