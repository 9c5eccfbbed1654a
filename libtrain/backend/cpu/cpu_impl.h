/* The tuned backend: the reference, with single-precision ops that run on all
 * threads of the pool and leave their products to OpenBLAS. Work is cut by the
 * shape of the problem, never by the number of threads, so that the bits do
 * not depend on it; OpenBLAS is called for one task, on one thread. */
#ifndef TR_CPU_IMPL_H
#define TR_CPU_IMPL_H

#include "backend/cpu_ref/reference_impl.h"
#include "backend/op_tensors_impl.h"
#include "base/vector_half_impl.h"
#include "core/backend_impl.h"

#include <stdatomic.h>

extern const tr__backend_type tr__cpu_type;

/* Scratch memory of one thread; it grows in the first step, and is kept. */
typedef struct tr__cpu_memory {
  void *data;
  size_t bytes;
} tr__cpu_memory;

typedef struct tr__cpu_backend {
  tr__backend base;
  atomic_int status; /* the first failure of a task; stays */
  bool has_blas;
  tr__cpu_memory scratch[]; /* of each thread */
} tr__cpu_backend;

void tr__cpu_release_memory(tr__cpu_memory *memory);

/* tr__blas_begin - one thread of OpenBLAS' own while there are contexts, and
 * its buffers for so many of ours. TR_ENOMEM, and then there is nothing to end.
 */
tr_status tr__blas_begin(int threads);

/* tr__blas_end - the last one gives OpenBLAS its threads back. */
void tr__blas_end(void);

static inline int64_t tr__cpu_blocks(int64_t extent, int64_t block)
{
  return (extent + block - 1) / block;
}

/* A matrix in memory: rows `stride` elements apart. */
typedef struct tr__cpu_matrix {
  float *data;
  int64_t stride;
} tr__cpu_matrix;

typedef struct tr__cpu_factor {
  const void *data;
  int64_t stride;
  bool transposed; /* stored as (columns, rows) */
  tr_dtype dtype;  /* TR_F32, the default, or of 16 bits */
} tr__cpu_factor;

/* tr__cpu_factor_in - a matrix that lies in a tensor from element `first` on.
 */
static inline tr__cpu_factor tr__cpu_factor_in(const tr__tensor *t,
                                               int64_t first,
                                               int64_t stride,
                                               bool transposed)
{
  return (tr__cpu_factor){(const char *)t->data +
                              (size_t)first * tr_dtype_size(t->dtype),
                          stride, transposed, t->dtype};
}

/* tr__cpu_gemm - c (m, n) <- (c +) a (m, p) b (p, n), sizes m, n, p; factors
 * of TR_F32. */
void tr__cpu_gemm(tr__cpu_matrix c,
                  tr__cpu_factor a,
                  tr__cpu_factor b,
                  const int64_t sizes[3],
                  int accumulate);

/* tr__cpu_gemm_mixed - the same for factors of any type: those of 16 bits are
 * widened block by block into scratch memory of tr__cpu_gemm_floats() floats,
 * which is not used where there are none. */
void tr__cpu_gemm_mixed(tr__cpu_matrix c,
                        tr__cpu_factor a,
                        tr__cpu_factor b,
                        const int64_t sizes[3],
                        int accumulate,
                        float *scratch);
int64_t tr__cpu_gemm_floats(int64_t m, int64_t n, int64_t p);

/* tr__cpu_tile_to_fp32 - the part of an output that a task works on, `rows`
 * rows of `columns` elements from element `first` on, `stride` apart: where it
 * lies or, if it is of 16 bits, as a copy in `wide`, which begins with what is
 * there where the task adds to it. tr__cpu_tile_from_fp32 - puts the copy back.
 */
typedef struct tr__cpu_tile {
  const tr__tensor *whole;
  int64_t first, stride, rows, columns;
} tr__cpu_tile;
tr__cpu_matrix
tr__cpu_tile_to_fp32(const tr__cpu_tile *tile, int accumulate, float *wide);
void tr__cpu_tile_from_fp32(const tr__cpu_tile *tile, tr__cpu_matrix matrix);

/* tr__cpu_floats - the elements first..first+count-1 of a tensor as floats:
 * where they lie or, if they are of 16 bits, as a copy in `wide`. */
const float *
tr__cpu_floats(const tr__tensor *t, int64_t first, int64_t count, float *wide);

/* A call whose tasks make wide copies, of so many floats each; 0 where no
 * operand is of 16 bits. */
typedef struct tr__cpu_call {
  tr__backend *backend;
  const void *args;
  int64_t floats;
} tr__cpu_call;
tr__cpu_call tr__cpu_call_of(tr__stream *stream,
                             tr__op op,
                             const void *args,
                             int64_t floats);

/* tr__cpu_thread_scratch - memory of this thread for the call's wide copies,
 * NULL where it makes none. It is kept, and grows in the first step. False
 * without memory: then the backend has failed, and there is nothing to do. */
bool tr__cpu_thread_scratch(const tr__cpu_call *call, int thread, float **wide);

static inline float *tr__cpu_behind(float *wide, int64_t floats)
{
  return wide != NULL ? wide + floats : NULL;
}

/* How an op is cut into parts that are calls of the same op. */
typedef struct tr__cpu_split {
  unsigned operands;   /* bit i: tensor i consists of the units, one after the
                          other */
  int64_t units, step; /* of all, and those of one task */
  /* adapt - what else the part's arguments need; NULL: nothing. */
  void (*adapt)(tr__any_args *part, const void *whole, int64_t begin);
  tr__op_fn run; /* on a part, in TR_F32 or TR_F64; NULL: the reference */
} tr__cpu_split;

/* tr__cpu_parallel_for - work on an op part by part on all threads. */
void tr__cpu_parallel_for(tr__stream *stream,
                          tr__op op,
                          const void *args,
                          const tr__cpu_split *cut);

/* tr__cpu_split_tensor - units begin..begin+count-1 of a tensor's `units`. Its
 * extents stay where the first is a multiple of them; otherwise it is a matrix.
 */
tr__tensor tr__cpu_split_tensor(const tr__tensor *t,
                                int64_t units,
                                int64_t begin,
                                int64_t count);

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
void tr__cpu_depthwise_forward(tr__stream *stream,
                               const tr__conv_forward_args *args);
void tr__cpu_depthwise_backward_input(tr__stream *stream,
                                      const tr__conv_backward_input_args *args);

/* tr__blas_name - which BLAS this is, with its kernels. Returns out.
 * tr__cpu_kernels_name - the vectors that this CPU's kernels use. */
const char *tr__blas_name(char *out, size_t bytes);
const char *tr__cpu_kernels_name(void);

/* One file per topic; each sets its slots of the table. */
void tr__cpu_set_linear(tr__ops *ops);
void tr__cpu_set_conv(tr__ops *ops);
void tr__cpu_set_elementwise(tr__ops *ops);
void tr__cpu_set_pool(tr__ops *ops);
void tr__cpu_set_rows(tr__ops *ops);
size_t
tr__cpu_linear_workspace(const tr__threads *pool, tr__op op, const void *a);
size_t
tr__cpu_conv_workspace(const tr__threads *pool, tr__op op, const void *a);
void tr__cpu_set_sequence(tr__ops *ops);
void tr__cpu_set_attention(tr__ops *ops);
void tr__cpu_set_norm(tr__ops *ops);

void tr__cpu_set_muon(tr__ops *ops);
size_t tr__cpu_muon_workspace(const tr__muon_update_args *args);

size_t tr__cpu_attention_workspace(const tr__threads *pool, tr__op op);

#endif
