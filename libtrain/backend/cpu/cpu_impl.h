/* The cpu backend: the reference, with single-precision and 16-bit ops that run
 * on all threads of the pool and call OpenBLAS for matrix products. Work is
 * split by the shape of the problem, never by the number of threads, so that
 * the bits do not depend on it. A task calls OpenBLAS on its own thread alone.
 */
#ifndef TR_CPU_IMPL_H
#define TR_CPU_IMPL_H

#include "backend/cpu_ref/reference_impl.h"
#include "base/vector_half_impl.h"
#include "core/backend_impl.h"
#include "core/ops/operands_impl.h"

#include <stdatomic.h>

extern const tr__backend_type tr__cpu_type;

/* Scratch memory of one thread. It grows in the first step and is kept. */
typedef struct tr__cpu_memory {
  void *data;
  size_t bytes;
} tr__cpu_memory;

typedef struct tr__cpu_backend {
  tr__backend base;
  atomic_int status; /* TR_OK until a task fails; sticky */
  bool has_blas;
  tr__cpu_memory scratch[]; /* one per thread */
} tr__cpu_backend;

void tr__cpu_release_memory(tr__cpu_memory *memory);

/* tr__blas_begin - limit OpenBLAS to one thread of its own while there are
 * contexts, and reserve its buffers for so many of our threads. After TR_ENOMEM
 * tr__blas_end() must not be called. */
tr_status tr__blas_begin(int threads);

/* tr__blas_end - the last context restores OpenBLAS' number of threads. */
void tr__blas_end(void);

static inline int64_t tr__cpu_blocks(int64_t extent, int64_t block)
{
  return (extent + block - 1) / block;
}

/* A matrix of floats whose rows are `stride` elements apart. */
typedef struct tr__cpu_matrix {
  float *data;
  int64_t stride;
} tr__cpu_matrix;

typedef struct tr__cpu_factor {
  const void *data;
  int64_t stride;
  bool transposed; /* stored as (columns, rows) */
  tr_dtype dtype;  /* TR_F32, the default, or 16-bit */
} tr__cpu_factor;

/* tr__cpu_factor_in - a factor that begins at element `first` of a tensor. */
static inline tr__cpu_factor tr__cpu_factor_in(const tr__tensor *t,
                                               int64_t first,
                                               int64_t stride,
                                               bool transposed)
{
  return (tr__cpu_factor){(const char *)t->data +
                              (size_t)first * tr_dtype_size(t->dtype),
                          stride, transposed, t->dtype};
}

/* tr__cpu_gemm - c (m, n) <- (c +) a (m, p) b (p, n). sizes are m, n, p; both
 * factors are TR_F32. */
void tr__cpu_gemm(tr__cpu_matrix c,
                  tr__cpu_factor a,
                  tr__cpu_factor b,
                  const int64_t sizes[3],
                  int accumulate);

/* tr__cpu_gemm_mixed - the same for fp32 or 16-bit factors. 16-bit factors are
 * widened block by block into scratch memory of tr__cpu_gemm_floats() floats,
 * which fp32 factors do not use. */
void tr__cpu_gemm_mixed(tr__cpu_matrix c,
                        tr__cpu_factor a,
                        tr__cpu_factor b,
                        const int64_t sizes[3],
                        int accumulate,
                        float *scratch);
int64_t tr__cpu_gemm_floats(int64_t m, int64_t n, int64_t p);

/* A tile of the output `whole`: `rows` rows of `columns` elements from element
 * `first` on, `stride` apart. tr__cpu_tile_to_fp32 - the tile in place or, if
 * it is 16-bit, as an fp32 copy in `wide`, filled only with accumulate.
 * tr__cpu_tile_from_fp32 - round the copy back. */
typedef struct tr__cpu_tile {
  const tr__tensor *whole;
  int64_t first, stride, rows, columns;
} tr__cpu_tile;
tr__cpu_matrix
tr__cpu_tile_to_fp32(const tr__cpu_tile *tile, int accumulate, float *wide);
void tr__cpu_tile_from_fp32(const tr__cpu_tile *tile, tr__cpu_matrix matrix);

/* tr__cpu_floats - the elements first..first+count-1 of a tensor as floats: in
 * place or, if they are 16-bit, as a copy in `wide`. */
const float *
tr__cpu_floats(const tr__tensor *t, int64_t first, int64_t count, float *wide);

/* A call of an op. Each task makes fp32 copies of so many floats; 0 without
 * 16-bit operands. */
typedef struct tr__cpu_call {
  tr__backend *backend;
  const void *args;
  int64_t floats;
} tr__cpu_call;
tr__cpu_call tr__cpu_call_of(tr__stream *stream,
                             tr__op op,
                             const void *args,
                             int64_t floats);

/* tr__cpu_thread_scratch - *wide <- memory of this thread for the call's fp32
 * copies, NULL if it makes none. Returns false if there is no memory: then the
 * backend has failed with TR_ENOMEM, and the task returns at once. */
bool tr__cpu_thread_scratch(const tr__cpu_call *call, int thread, float **wide);

/* tr__cpu_behind - wide + floats; NULL stays NULL. */
static inline float *tr__cpu_behind(float *wide, int64_t floats)
{
  return wide != NULL ? wide + floats : NULL;
}

/* How an op is split into calls of the same op on fewer units. The operands
 * that the op's table does not call WHOLE are sequences of these units. */
typedef struct tr__cpu_split {
  int64_t units, step; /* in all, and per task */
  /* adapt - what else to change in the call for units from `begin` on; or NULL.
   */
  void (*adapt)(tr__any_args *part, const void *whole, int64_t begin);
  tr__op_fn run; /* run such a call, in TR_F32 or TR_F64; NULL: the reference */
} tr__cpu_split;

/* tr__cpu_parallel_for - run an op on all threads, split as told. */
void tr__cpu_parallel_for(tr__stream *stream,
                          tr__op op,
                          const void *args,
                          const tr__cpu_split *split);

/* tr__cpu_split_tensor - units begin..begin+count-1 of a tensor's `units`. The
 * tensor keeps its axes if `units` divides dims[0]; else it becomes a matrix.
 */
tr__tensor tr__cpu_split_tensor(const tr__tensor *t,
                                int64_t units,
                                int64_t begin,
                                int64_t count);

/* tr__cpu_finish - y (rows, columns) <- activation(y). If column is not NULL,
 * column[j] is first added to each element of column j. */
void tr__cpu_finish(tr__cpu_matrix y,
                    const float *column,
                    int64_t rows,
                    int64_t columns,
                    tr__activation activation);

/* tr__cpu_add_tile - y (rows, columns) <- (y +) tile, which is contiguous. */
void tr__cpu_add_tile(tr__cpu_matrix y,
                      const float *tile,
                      int64_t rows,
                      int64_t columns,
                      int accumulate);

/* A thread's own `bytes` bytes of a workspace. */
static inline float *
tr__cpu_scratch(const tr__tensor *workspace, size_t bytes, int thread)
{
  return (float *)((char *)workspace->data + (size_t)thread * bytes);
}

/* tr__cpu_start_planes - what a sum over taps begins with: set each row of y to
 * its bias, or 0 if b is NULL; with accumulate add the bias to it. */
void tr__cpu_start_planes(tr__cpu_matrix y,
                          const float *b,
                          int64_t planes,
                          int accumulate);

/* tr__cpu_is_depthwise - true if each output channel sees one input channel.
 * Then the functions below compute the sums in place, without im2col. */
bool tr__cpu_is_depthwise(const tr__window *window, const tr__tensor *x);
void tr__cpu_depthwise_forward(tr__stream *stream,
                               const tr__conv_forward_args *args);
void tr__cpu_depthwise_backward_input(tr__stream *stream,
                                      const tr__conv_backward_input_args *args);

/* tr__blas_name - the BLAS and the core whose kernels it uses; returns out.
 * tr__cpu_kernels_name - vectors of our kernels on this CPU, as "avx2". */
const char *tr__blas_name(char *out, size_t bytes);
const char *tr__cpu_kernels_name(void);

/* Each file sets the ops of its topic in the table. A workspace function
 * returns bytes for all threads. */
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
