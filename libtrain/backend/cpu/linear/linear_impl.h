/* Functions that the files of fully connected layers call in each other. */
#ifndef TR_CPU_LINEAR_IMPL_H
#define TR_CPU_LINEAR_IMPL_H

#include "backend/cpu/cpu_impl.h"

/* tr__cpu_linear_few_forward, _backward_input - for shards of few rows, TR_F32
 * only. forward needs a workspace of tr__cpu_linear_few_bytes(x) bytes. */
void tr__cpu_linear_few_forward(tr__threads *pool,
                                const tr__linear_forward_args *args);
void tr__cpu_linear_few_backward_input(
    tr__threads *pool, const tr__linear_backward_input_args *args);
size_t tr__cpu_linear_few_bytes(const tr__tensor *x);

/* Weight and bias gradients (linear_weight.c); bytes of their workspace. */
void tr__cpu_linear_backward_weight(
    tr__stream *stream, const tr__linear_backward_weight_args *args);
size_t
tr__cpu_linear_weight_workspace(const tr__threads *pool,
                                const tr__linear_backward_weight_args *args);

#endif
