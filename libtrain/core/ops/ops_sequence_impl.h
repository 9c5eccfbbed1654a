/* Ops on sequences: embeddings, positions, attention. ops_impl.h includes this
 * file. */
#ifndef TR_OPS_SEQUENCE_IMPL_H
#define TR_OPS_SEQUENCE_IMPL_H

#include "core/tensor_impl.h"

/* y (R, D) <- row ids[r] of w (V, D); NaN where ids[r] is not in 0..V-1.
 * ids (R) int32. */
#define TR__ARGS_embedding_forward(OPERAND, NUMBER)                            \
  OPERAND(y, OUT, ROWS, HALF)                                                  \
  OPERAND(w, IN, WHOLE, 0)                                                     \
  OPERAND(ids, IN, ROWS, 0)

/* dw (V, D) <- row v is the sum of the rows r of dy with ids[r] = v, in
 * ascending order of r. Reduces over samples. */
#define TR__ARGS_embedding_backward(OPERAND, NUMBER)                           \
  OPERAND(dw, OUT, WHOLE, ADDS)                                                \
  OPERAND(dy, IN, ROWS, HALF)                                                  \
  OPERAND(ids, IN, ROWS, 0)                                                    \
  OPERAND(workspace, SCRATCH, WHOLE, 0)                                        \
  NUMBER(tr__shards, shards)                                                   \
  NUMBER(int, accumulate)

/* y (N, M) <- x (N, M) + w (M) in each row; y may be x */
#define TR__ARGS_position_forward(OPERAND, NUMBER)                             \
  OPERAND(y, OUT, SAMPLES, HALF)                                               \
  OPERAND(x, IN, SAMPLES, HALF | ALIAS)                                        \
  OPERAND(w, IN, WHOLE, 0)

/* dw (M) <- sum over rows of dy (N, M). Reduces over samples. */
#define TR__ARGS_position_backward(OPERAND, NUMBER)                            \
  OPERAND(dw, OUT, WHOLE, ADDS)                                                \
  OPERAND(dy, IN, SAMPLES, HALF)                                               \
  OPERAND(workspace, SCRATCH, WHOLE, 0)                                        \
  NUMBER(tr__shards, shards)                                                   \
  NUMBER(int, accumulate)

/* Multi-head self attention. qkv (N, T, 3 D) holds queries, keys and values.
 * Each head has E = D / heads of the D numbers. For each head
 *
 *   s[i,j] = q[i,:] k[j,:] / sqrt(E), -inf where is_causal and j > i
 *   y[i,:] <- sum over j of softmax(s[i,:])[j] v[j,:]        y (N, T, D)
 *   lse[i] <- log(sum over j of exp(s[i,j]))                 lse (N, heads, T)
 *
 * The op holds no tensor of T x T. */
#define TR__ARGS_attention_forward(OPERAND, NUMBER)                            \
  OPERAND(y, OUT, SAMPLES, HALF)                                               \
  OPERAND(lse, OUT, SAMPLES, 0)                                                \
  OPERAND(qkv, IN, SAMPLES, HALF)                                              \
  OPERAND(workspace, SCRATCH, WHOLE, 0)                                        \
  NUMBER(int64_t, heads)                                                       \
  NUMBER(int, is_causal)

/* dqkv (N, T, 3 D) from dy (N, T, D) and from y and lse of forward. */
#define TR__ARGS_attention_backward(OPERAND, NUMBER)                           \
  OPERAND(dqkv, OUT, SAMPLES, HALF | ADDS)                                     \
  OPERAND(dy, IN, SAMPLES, HALF)                                               \
  OPERAND(y, IN, SAMPLES, HALF)                                                \
  OPERAND(lse, IN, SAMPLES, 0)                                                 \
  OPERAND(qkv, IN, SAMPLES, HALF)                                              \
  OPERAND(workspace, SCRATCH, WHOLE, 0)                                        \
  NUMBER(int64_t, heads)                                                       \
  NUMBER(int, is_causal)                                                       \
  NUMBER(int, accumulate)

#define TR__OPS_SEQUENCE(X)                                                    \
  X(embedding_forward)                                                         \
  X(embedding_backward)                                                        \
  X(position_forward)                                                          \
  X(position_backward)                                                         \
  X(attention_forward)                                                         \
  X(attention_backward)

#endif
