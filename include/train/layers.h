/* Inputs, linear layers and flatten, and the rules of all layer functions: each
 * call adds one node. The model remembers the first error, and tr_model_build()
 * returns it with the layer's name. Zero-initialise option structs: every zero
 * means the default; TR_ZERO is the number 0. */
#ifndef TRAIN_LAYERS_H
#define TRAIN_LAYERS_H

#include <train/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* tr_input - an input of the model.
 *
 * shape  [in]  extents of one sample
 *
 * The k-th call reads tr_batch.inputs[k].
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_ESHAPE, TR_EINVAL
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API tr_node tr_input(tr_model *net, tr_shape shape);

typedef struct tr_linear_opts {
  int64_t out;      /* number of outputs; required */
  int no_bias;      /* 1: without bias */
  const char *name; /* name of the layer; NULL: "linear_1", "linear_2", ... */
} tr_linear_opts;

/* tr_linear - an affine map of the last axis.
 *
 *   y = x W^T + b        x (N, ..., in), W (out, in), b (out), y (N, ..., out)
 *
 * Initial values of W and b are uniform in +-1/sqrt(in). Images need
 * tr_flatten() first.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE where a sample is a scalar
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.Linear */
TR_API tr_node tr_linear(tr_model *net, tr_node x, const tr_linear_opts *opts);

/* tr_flatten - the same values as one vector per sample: (N, ...) -> (N, D).
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered
 * Ownership: nothing is created or kept
 * Threads:   one thread per context
 * Source:    torch.nn.Flatten */
TR_API tr_node tr_flatten(tr_model *net, tr_node x);

#ifdef __cplusplus
}
#endif

#endif
