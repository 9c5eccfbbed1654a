/* Layers on sequences: inputs of ids, embeddings, positions, attention. Each
 * call adds one node; see train/layers.h. */
#ifndef TRAIN_SEQUENCE_H
#define TRAIN_SEQUENCE_H

#include <train/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* tr_input_ids - an input of the model that holds ids, such as those of
 * characters.
 *
 * shape  [in]  extents of one sample
 *
 * The k-th call of this function and tr_input() together reads
 * tr_batch.inputs[k], here as (count, shape...) int32. Only tr_embedding()
 * takes the node.
 *
 * Calls:     local, before tr_model_build()
 * Errors:    remembered: TR_ESHAPE, TR_EINVAL
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API tr_node tr_input_ids(tr_model *net, tr_shape shape);

typedef struct tr_embedding_opts {
  int64_t num;      /* number of ids, 0..num-1; required */
  int64_t out;      /* length of the vector of an id; required */
  const char *name; /* name of the layer; NULL: "embedding_1", ... */
} tr_embedding_opts;

/* tr_embedding - replace each id by a learned vector.
 *
 *   y[n, ..., :] = W[ids[n, ...], :]    ids (N, ...), W (num, out),
 *                                       y (N, ..., out)
 *
 * Initial values of W are normal with mean 0 and standard deviation 1. An id
 * outside 0..num-1 gives NaN, and thus a non-finite loss.
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
  double std;       /* standard deviation of the initial values; 0: 1; TR_ZERO:
                       0 */
  const char *name; /* name of the layer; NULL: "position_1", ... */
} tr_position_opts;

/* tr_position - add a learned number to each place of a sample.
 *
 *   y[n, :] = x[n, :] + W       x, y (N, T, D), W (T, D), or any shape
 *
 * Initial values of W are normal with mean 0.
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
  int64_t heads; /* number of heads, a divisor of D; required */
  int causal;    /* 1: a place does not depend on the places behind it */
} tr_attention_opts;

/* tr_attention - multi-head self attention.
 *
 *   s[i,j] = q[i] k[j] / sqrt(E), for each head with E = D / heads
 *   y[i]   = sum over j of softmax(s[i,:])[j] v[j]
 *
 *   qkv (N, T, 3 D): q, k and v of all heads in turn; y (N, T, D)
 *
 * With causal, the sums over j end at i. The memory is linear in T. Use
 * tr_linear() for the projections before and behind.
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
