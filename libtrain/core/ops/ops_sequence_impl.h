/* Ops on sequences: embeddings, positions, attention. ops_impl.h includes this
 * file. */
#ifndef TR_OPS_SEQUENCE_IMPL_H
#define TR_OPS_SEQUENCE_IMPL_H

#include "core/tensor_impl.h"

/* y (R, D) <- row ids[r] of w (V, D); NaN where ids[r] is not in 0..V-1.
 * ids (R) int32. */
typedef struct tr__embedding_forward_args {
  tr__tensor y, w, ids;
} tr__embedding_forward_args;

/* dw (V, D) <- row v is the sum of the rows r of dy with ids[r] = v, in
 * ascending order of r. Reduces over samples. */
typedef struct tr__embedding_backward_args {
  tr__tensor dw, dy, ids, workspace;
  tr__shards shards;
  int accumulate;
} tr__embedding_backward_args;

/* y (N, M) <- x (N, M) + w (M) in each row; y may be x */
typedef struct tr__position_forward_args {
  tr__tensor y, x, w;
} tr__position_forward_args;

/* dw (M) <- sum over rows of dy (N, M). Reduces over samples. */
typedef struct tr__position_backward_args {
  tr__tensor dw, dy, workspace;
  tr__shards shards;
  int accumulate;
} tr__position_backward_args;

/* Multi-head self attention. qkv (N, T, 3 D) holds queries, keys and values.
 * Each head has E = D / heads of the D numbers. For each head
 *
 *   s[i,j] = q[i,:] k[j,:] / sqrt(E), -inf where is_causal and j > i
 *   y[i,:] <- sum over j of softmax(s[i,:])[j] v[j,:]        y (N, T, D)
 *   lse[i] <- log(sum over j of exp(s[i,j]))                 lse (N, heads, T)
 *
 * The op holds no tensor of T x T. */
typedef struct tr__attention_forward_args {
  tr__tensor y, lse, qkv, workspace;
  int64_t heads;
  int is_causal;
} tr__attention_forward_args;

/* dqkv (N, T, 3 D) from dy (N, T, D) and from y and lse of forward. */
typedef struct tr__attention_backward_args {
  tr__tensor dqkv, dy, y, lse, qkv, workspace;
  int64_t heads;
  int is_causal;
  int accumulate;
} tr__attention_backward_args;

#define TR__OPS_SEQUENCE(X)                                                    \
  X(embedding_forward)                                                         \
  X(embedding_backward)                                                        \
  X(position_forward)                                                          \
  X(position_backward)                                                         \
  X(attention_forward)                                                         \
  X(attention_backward)

#endif
