/* The inputs and layers that models are written in. Each call adds one node;
 * the first error is remembered and returned by tr_model_build(), with the
 * layer's name. Option structs: zero-initialise, every zero is the default;
 * TR_ZERO is the number 0. */
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
  const char *name; /* of the layer; NULL: "linear_1", "linear_2", ... */
} tr_linear_opts;

/* tr_linear - an affine map of the last axis.
 *
 *   y = x W^T + b        x (N, ..., in), W (out, in), b (out), y (N, ..., out)
 *
 * W and b start uniform in +-1/sqrt(in). Images want tr_flatten() before.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE where x has no axis
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
