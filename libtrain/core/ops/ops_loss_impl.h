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
typedef struct tr__xent_rule_forward_args {
  tr__tensor loss, prob, correct, share, x, target, class_weight;
  tr__xent_rule rule;
} tr__xent_rule_forward_args;

/* dx (N, K) <- scale * block.seed_scale * block.loss_scale * weight_i * d loss
 * / d x; weight as in softmax_xent_backward. */
typedef struct tr__xent_rule_backward_args {
  tr__tensor dx, prob, target, weight, class_weight, block;
  tr__xent_rule rule;
  double scale;
  int accumulate;
} tr__xent_rule_backward_args;

typedef enum tr__regression {
  TR__REGRESSION_MSE,   /* e^2, e = x - t */
  TR__REGRESSION_MAE,   /* |e| */
  TR__REGRESSION_HUBER, /* e^2 / 2 for |e| <= delta, else delta (|e| -
                           delta/2) */
  TR__REGRESSION_BCE    /* -(q t log s(x) + (1 - t) log(1 - s(x))), s the
                           logistic function, q the pos_weight of the element's
                           last place, 1 where it is absent */
} tr__regression;

/* loss (N) <- mean over the row's elements of l(x, target); x, target (N, D);
 * pos_weight has one element per last place and its count divides D. */
typedef struct tr__regression_forward_args {
  tr__tensor loss, x, target, pos_weight;
  double delta;
  tr__regression kind;
} tr__regression_forward_args;

/* dx <- scale * block.seed_scale * block.loss_scale * weight_i / D * l'(x,
 * target); weight (N) may be absent: 1. */
typedef struct tr__regression_backward_args {
  tr__tensor dx, x, target, pos_weight, weight, block;
  double delta, scale;
  tr__regression kind;
  int accumulate;
} tr__regression_backward_args;

#define TR__OPS_LOSS(X)                                                        \
  X(xent_rule_forward)                                                         \
  X(xent_rule_backward)                                                        \
  X(regression_forward)                                                        \
  X(regression_backward)

#endif
