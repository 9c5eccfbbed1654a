/* The tuned backend: the reference, with single-precision ops that run on all
 * threads of the pool and leave their products to OpenBLAS. Work is cut by the
 * shape of the problem, never by the number of threads, so that the bits do
 * not depend on it; OpenBLAS is called for one task, on one thread. */
#ifndef TR_CPU_IMPL_H
#define TR_CPU_IMPL_H

#include "base/backend_impl.h"

extern const tr__backend_type tr__cpu_type;

/* A matrix in memory: rows `stride` elements apart. */
typedef struct tr__cpu_matrix {
  float *data;
  int64_t stride;
} tr__cpu_matrix;

typedef struct tr__cpu_factor {
  const float *data;
  int64_t stride;
  bool transposed; /* stored as (columns, rows) */
} tr__cpu_factor;

/* tr__cpu_gemm - c (m, n) <- (c +) a (m, p) b (p, n), sizes m, n, p. */
void tr__cpu_gemm(tr__cpu_matrix c,
                  tr__cpu_factor a,
                  tr__cpu_factor b,
                  const int64_t sizes[3],
                  int accumulate);

/* tr__cpu_finish - y (m, n) <- activation(y); with column non-NULL first adds
 * column[j] to each element of column j. */
void tr__cpu_finish(tr__cpu_matrix y,
                    const float *column,
                    int64_t rows,
                    int64_t columns,
                    tr__activation activation);

/* tr__cpu_add_tile - y (m, n) <- (y +) tile, whose rows are contiguous. */
void tr__cpu_add_tile(tr__cpu_matrix y,
                      const float *tile,
                      int64_t rows,
                      int64_t columns,
                      int accumulate);

/* The part of scratch memory that belongs to a thread, in floats. */
static inline float *
tr__cpu_scratch(const tr__tensor *workspace, size_t bytes, int thread)
{
  return (float *)((char *)workspace->data + (size_t)thread * bytes);
}

/* tr__cpu_start_planes - what a sum over taps begins with: each of the rows of
 * y <- its bias, 0 where b is NULL; with accumulate they stay, plus the bias.
 */
void tr__cpu_start_planes(tr__cpu_matrix y,
                          const float *b,
                          int64_t planes,
                          int accumulate);

/* tr__cpu_is_depthwise - does each output channel see one input channel? Then
 * the sums are made in place, without columns. */
bool tr__cpu_is_depthwise(const tr__window *window, const tr__tensor *x);
void tr__cpu_depthwise_forward(tr__pool *pool, tr__conv_forward_args *args);
void tr__cpu_depthwise_backward_input(tr__pool *pool,
                                      tr__conv_backward_input_args *args);

/* One file per topic; each sets its slots of the table. */
void tr__cpu_set_linear(tr__ops *ops);
void tr__cpu_set_conv(tr__ops *ops);
void tr__cpu_set_elementwise(tr__ops *ops);
void tr__cpu_set_pool(tr__ops *ops);
void tr__cpu_set_losses(tr__ops *ops);
void tr__cpu_set_shape(tr__ops *ops);

size_t tr__cpu_linear_workspace(const tr__pool *pool, tr__op op, const void *a);
size_t tr__cpu_conv_workspace(const tr__pool *pool, tr__op op, const void *a);
void tr__cpu_set_sequence(tr__ops *ops);
void tr__cpu_set_attention(tr__ops *ops);
void tr__cpu_set_activation(tr__ops *ops);
void tr__cpu_set_norm(tr__ops *ops);

void tr__cpu_set_muon(tr__ops *ops);
size_t tr__cpu_muon_workspace(const tr__muon_update_args *args);

size_t tr__cpu_attention_workspace(const tr__pool *pool, tr__op op);

#endif
