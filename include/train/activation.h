/* Activations, softmax and dropout. As in train/layers.h, each call adds one
 * node, tr_model_build() returns the first error, and a zero in an option
 * struct means the default. */
#ifndef TRAIN_ACTIVATION_H
#define TRAIN_ACTIVATION_H

#include <train/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* tr_relu - y = max(x, 0); the gradient at 0 is 0.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered
 * Ownership: nothing is created or kept
 * Threads:   one thread per context
 * Source:    torch.nn.ReLU */
TR_API tr_node tr_relu(tr_model *net, tr_node x);

typedef struct tr_leaky_relu_opts {
  double negative_slope; /* 0: 0.01; TR_ZERO: 0; at most 1 */
} tr_leaky_relu_opts;

/* tr_leaky_relu - y = x where x >= 0, else negative_slope x.
 *
 * The gradient at 0 is negative_slope dy. opts may be NULL.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.LeakyReLU */
TR_API tr_node tr_leaky_relu(tr_model *net,
                             tr_node x,
                             const tr_leaky_relu_opts *opts);

typedef struct tr_gelu_opts {
  int tanh; /* 1: the approximation by tanh */
} tr_gelu_opts;

/* tr_gelu - y = x Phi(x), Phi the standard normal distribution.
 *
 *   Phi(x) = (1 + erf(x / sqrt(2))) / 2
 *   tanh:    (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
 *
 * opts may be NULL.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.GELU; Hendrycks and Gimpel 2016, arXiv:1606.08415 */
TR_API tr_node tr_gelu(tr_model *net, tr_node x, const tr_gelu_opts *opts);

/* tr_silu - y = x / (1 + exp(-x)).
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered
 * Ownership: nothing is created or kept
 * Threads:   one thread per context
 * Source:    torch.nn.SiLU */
TR_API tr_node tr_silu(tr_model *net, tr_node x);

/* tr_sigmoid - y = 1 / (1 + exp(-x)).
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered
 * Ownership: nothing is created or kept
 * Threads:   one thread per context
 * Source:    torch.nn.Sigmoid */
TR_API tr_node tr_sigmoid(tr_model *net, tr_node x);

/* tr_tanh - y = tanh(x).
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered
 * Ownership: nothing is created or kept
 * Threads:   one thread per context
 * Source:    torch.nn.Tanh */
TR_API tr_node tr_tanh(tr_model *net, tr_node x);

/* tr_softmax - softmax over the last axis: x, y (N, ..., K).
 *
 *   y[k] = exp(x[k]) / sum over j of exp(x[j])
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_ESHAPE for samples that are a scalar
 * Ownership: nothing is created or kept
 * Threads:   one thread per context
 * Source:    torch.nn.Softmax(dim=-1) */
TR_API tr_node tr_softmax(tr_model *net, tr_node x);

typedef struct tr_dropout_opts {
  double p; /* probability with which an element becomes 0; 0: none does */
} tr_dropout_opts;

/* tr_dropout - in training y = x / (1 - p), or 0 with probability p; in
 * evaluation y = x.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Exact:     the seed, the place in the global batch, the step, the number of
 *            forwards in training since then and the layer determine which
 *            elements become 0; ranks and threads do not
 * Source:    torch.nn.Dropout */
TR_API tr_node tr_dropout(tr_model *net,
                          tr_node x,
                          const tr_dropout_opts *opts);

#ifdef __cplusplus
}
#endif

#endif
