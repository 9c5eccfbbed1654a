/* Initialisers: initial values of parameters that replace a layer's own. */
#ifndef TRAIN_INIT_H
#define TRAIN_INIT_H

#include <train/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Zero-initialise; every zero is the default. Names, formulas and defaults are
 * those of torch.nn.init. */
typedef struct tr_init_opts {
  const char *kind;         /* kind of the values; required; see
                               tr_model_init_param() */
  const char *mode;         /* kaiming: "fan_in" (default) or "fan_out" */
  const char *nonlinearity; /* kaiming: "leaky_relu" (default), "relu", "tanh",
                               "sigmoid", "selu", "linear" */
  double slope; /* kaiming with leaky_relu: PyTorch's `a`, its negative slope;
                   0: the gain of relu */
  double gain;  /* xavier, orthogonal; 0: 1; TR_ZERO: 0 */
  double mean;  /* normal, trunc_normal */
  double std;   /* normal, trunc_normal; 0: 1; TR_ZERO: 0 */
  double low, high; /* uniform; both 0: 0 to 1. trunc_normal, as values, not in
                       units of std; both 0: -2 to 2 */
  double value;     /* value of the kind "constant" */
} tr_init_opts;

/* tr_model_init_param - set the initial values of the parameters that a pattern
 * names.
 *
 *   kind             values of a tensor with fan_in = I K, fan_out = O K where
 *                    its extents are (O, I, ...) and K is the product of the
 *                    others
 *   kaiming_uniform  uniform in +-sqrt(3) s, s = g / sqrt(fan)
 *   kaiming_normal   normal with standard deviation s; g is 1 for linear and
 *                    sigmoid, 5/3 for tanh, sqrt(2) for relu, 3/4 for selu,
 *                    sqrt(2 / (1 + slope^2)) for leaky_relu
 *   xavier_uniform   uniform in +-sqrt(3) s, s = gain sqrt(2/(fan_in+fan_out))
 *   xavier_normal    normal with standard deviation s
 *   uniform          in [low, high)
 *   normal           of mean and std
 *   trunc_normal     of mean and std, within [low, high]
 *   constant         value;  zeros, ones: 0, 1
 *   orthogonal       gain times (O, I K) with orthonormal rows, or columns
 *                    where there are more rows than columns
 *
 * pattern  [in]  of parameter names like "fc*.weight", as in a shell. The call
 *                leaves buffers alone.
 *
 *   tr_model_init_param(net, "*.weight", &(tr_init_opts){
 *                       .kind = "kaiming_normal", .nonlinearity = "relu"});
 *   tr_model_init_param(net, "*.bias", &(tr_init_opts){.kind = "zeros"});
 *
 * The values are a function of the context's seed and of the parameter's place
 * in the model. The call does not change gradients and the optimizer's state,
 * so call it before training.
 *
 * Calls:     collective on the context's communicator; rank 0 broadcasts its
 *            values
 * Errors:    TR_ESTATE before tr_model_build(); TR_EINVAL for a pattern without
 *            a match, an unknown kind or numbers out of range; TR_ESHAPE where
 *            a parameter has too few axes for the kind; TR_ENOMEM; agreed. Of
 *            these, all but TR_ENOMEM leave every parameter unchanged.
 * Ownership: nothing is kept
 * Threads:   one thread per context
 * Source:    torch.nn.init; He et al. 2015, arXiv:1502.01852; Glorot and Bengio
 *            2010; Saxe et al. 2013, arXiv:1312.6120 */
TR_API tr_status tr_model_init_param(tr_model *net,
                                     const char *pattern,
                                     const tr_init_opts *opts);

#ifdef __cplusplus
}
#endif

#endif
