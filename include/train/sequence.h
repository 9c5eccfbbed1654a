/* Layers on sequences: token numbers, embeddings, positions, attention. Each
 * call adds one node; see train/layers.h. */
#ifndef TRAIN_SEQUENCE_H
#define TRAIN_SEQUENCE_H

#include <train/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* tr_input_ids - an input of the model that holds numbers of things, as of the
 * characters of a text.
 *
 * shape  [in]  extents of one sample
 *
 * The k-th call of this and of tr_input() together reads tr_batch.inputs[k],
 * here as (count, shape...) int32. Only tr_embedding() takes it.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_ESHAPE, TR_EINVAL
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API tr_node tr_input_ids(tr_model *net, tr_shape shape);

typedef struct tr_embedding_opts {
  int64_t num;      /* of things; ids are 0..num-1; required */
  int64_t out;      /* numbers that stand for a thing; required */
  const char *name; /* of the layer; NULL: "embedding_1", ... */
} tr_embedding_opts;

/* tr_embedding - a learned vector in place of each id.
 *
 *   y[n, ..., :] = W[ids[n, ...], :]    ids (N, ...), W (num, out),
 *                                       y (N, ..., out)
 *
 * W starts normal with mean 0 and standard deviation 1. An id outside
 * 0..num-1 gives NaN, and so a loss that the step refuses.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, also where x is no tr_input_ids()
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.Embedding */
TR_API tr_node tr_embedding(tr_model *net,
                            tr_node ids,
                            const tr_embedding_opts *opts);

typedef struct tr_position_opts {
  double std;       /* of the first values; 0: 1; TR_ZERO: 0 */
  const char *name; /* of the layer; NULL: "position_1", ... */
} tr_position_opts;

/* tr_position - a learned number for each place of a sample is added.
 *
 *   y[n, :] = x[n, :] + W       x, y (N, T, D), W (T, D), or any shape
 *
 * W starts normal with mean 0.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL for a negative std
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.Embedding of 0..T-1, as in GPT-2 */
TR_API tr_node tr_position(tr_model *net,
                           tr_node x,
                           const tr_position_opts *opts);

typedef struct tr_attention_opts {
  int64_t heads; /* that divide D; required */
  int causal;    /* 1: no place sees those behind it */
} tr_attention_opts;

/* tr_attention - multi-head self attention.
 *
 *   s[i,j] = q[i] k[j] / sqrt(E), for each head with E = D / heads
 *   y[i]   = sum over j of softmax(s[i,:])[j] v[j]
 *
 *   qkv (N, T, 3 D): q, k and v of all heads in turn; y (N, T, D)
 *
 * With causal, j goes to i. The memory is linear in T. The projections before
 * and behind are tr_linear().
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_EINVAL, TR_ESHAPE
 * Ownership: opts is borrowed for the call
 * Threads:   one thread per context
 * Source:    torch.nn.functional.scaled_dot_product_attention; Dao 2023,
 *            arXiv:2307.08691 */
TR_API tr_node tr_attention(tr_model *net,
                            tr_node qkv,
                            const tr_attention_opts *opts);

#ifdef __cplusplus
}
#endif

#endif
