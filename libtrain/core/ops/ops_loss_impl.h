/* Ops of losses other than the plain cross-entropy. ops_impl.h includes this
 * file. */
#ifndef TR_OPS_LOSS_IMPL_H
#define TR_OPS_LOSS_IMPL_H

#include "core/tensor_impl.h"

/* How a row of class numbers enters the loss. */
typedef struct tr__xent_rule {
  double smoothing; /* weight that label smoothing moves from the target to all
                       classes */
  int64_t ignored;  /* rows with this target do not count */
  int ignores;      /* 0: no target is ignored */
} tr__xent_rule;

/* With c the class weights, 1 where class_weight (K) is absent, and e the
 * smoothing:
 *
 *   loss (N) <- (1 - e) c[t] nll[t] + e/K sum over k of c[k] nll[k]
 *   nll[k] = logsumexp(x[i,:]) - x[i,k];  share (N) <- c[t]
 *   correct (N) <- c[t] where x[i,t] is the first largest of its row, else 0
 *   prob (N, K) <- softmax(x)
 *
 * In ignored rows all outputs but prob are 0. Any other target outside 0..K-1
 * gives a loss of NaN. x (N, K), target (N) int32. */
#define TR__ARGS_xent_rule_forward(OPERAND, NUMBER)                            \
  OPERAND(loss, OUT, ROWS, 0)                                                  \
  OPERAND(prob, OUT, ROWS, 0)                                                  \
  OPERAND(correct, OUT, ROWS, 0)                                               \
  OPERAND(share, OUT, ROWS, 0)                                                 \
  OPERAND(x, IN, ROWS, HALF)                                                   \
  OPERAND(target, IN, ROWS, 0)                                                 \
  OPERAND(class_weight, IN, WHOLE, OPTIONAL)                                   \
  NUMBER(tr__xent_rule, rule)

/* dx (N, K) <- scale * block.seed_scale * block.loss_scale * weight_i * d loss
 * / d x; weight as in softmax_xent_backward. */
#define TR__ARGS_xent_rule_backward(OPERAND, NUMBER)                           \
  OPERAND(dx, OUT, ROWS, HALF | ADDS)                                          \
  OPERAND(prob, IN, ROWS, 0)                                                   \
  OPERAND(target, IN, ROWS, 0)                                                 \
  OPERAND(weight, IN, SAMPLES, OPTIONAL)                                       \
  OPERAND(class_weight, IN, WHOLE, OPTIONAL)                                   \
  OPERAND(block, IN, WHOLE, 0)                                                 \
  NUMBER(tr__xent_rule, rule)                                                  \
  NUMBER(double, scale)                                                        \
  NUMBER(int, accumulate)

typedef enum tr__regression {
  TR__REGRESSION_MSE,   /* e^2, e = x - t */
  TR__REGRESSION_MAE,   /* |e| */
  TR__REGRESSION_HUBER, /* e^2 / 2 for |e| <= delta, else delta (|e| -
                           delta/2) */
  TR__REGRESSION_BCE    /* -(q t log s(x) + (1 - t) log(1 - s(x))), s the
                           logistic function, q the element's pos_weight, 1
                           where it is absent */
} tr__regression;

/* loss (N) <- mean over the row's elements of l(x, target); x, target (N, D).
 * Element i of a row uses pos_weight[i mod its count]; the count divides D. */
#define TR__ARGS_regression_forward(OPERAND, NUMBER)                           \
  OPERAND(loss, OUT, SAMPLES, 0)                                               \
  OPERAND(x, IN, SAMPLES, HALF)                                                \
  OPERAND(target, IN, SAMPLES, 0)                                              \
  OPERAND(pos_weight, IN, WHOLE, OPTIONAL)                                     \
  NUMBER(double, delta)                                                        \
  NUMBER(tr__regression, kind)

/* dx <- scale * block.seed_scale * block.loss_scale * weight_i / D * l'(x,
 * target); weight (N) may be absent: 1. */
#define TR__ARGS_regression_backward(OPERAND, NUMBER)                          \
  OPERAND(dx, OUT, SAMPLES, HALF | ADDS)                                       \
  OPERAND(x, IN, SAMPLES, HALF)                                                \
  OPERAND(target, IN, SAMPLES, 0)                                              \
  OPERAND(pos_weight, IN, WHOLE, OPTIONAL)                                     \
  OPERAND(weight, IN, SAMPLES, OPTIONAL)                                       \
  OPERAND(block, IN, WHOLE, 0)                                                 \
  NUMBER(double, delta)                                                        \
  NUMBER(double, scale)                                                        \
  NUMBER(tr__regression, kind)                                                 \
  NUMBER(int, accumulate)

#define TR__OPS_LOSS(X)                                                        \
  X(xent_rule_forward)                                                         \
  X(xent_rule_backward)                                                        \
  X(regression_forward)                                                        \
  X(regression_backward)

#endif
