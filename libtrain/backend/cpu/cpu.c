#include "backend/cpu/cpu_impl.h"
#include "backend/cpu_ref/reference_impl.h"
#include "backend/host_memory_impl.h"
#include "base/clones_impl.h"

#include <cblas.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

typedef struct thread_memory {
  void *data;
  size_t bytes;
} thread_memory;

typedef struct cpu_backend {
  tr__backend base;
  atomic_int status; /* sticky */
  bool has_blas;
  thread_memory wide[];
} cpu_backend;

tr__cpu_call
tr__cpu_call_of(tr__stream *stream, tr__op op, const void *args, int64_t floats)
{
  bool is_half = tr__op_has_halves(op, args);
  return (tr__cpu_call){stream->backend, args, is_half ? floats : 0};
}

static void unmap(thread_memory *own)
{
  if (own->bytes > 0) {
    munmap(own->data, own->bytes);
  }
  *own = (thread_memory){NULL, 0};
}

/* Mapped, not allocated: what is outgrown goes back at once, and does not stay
 * between the pieces of the heap. */
static bool grow(thread_memory *own, size_t bytes)
{
  unmap(own);
  size_t rounded = tr__align(bytes, (size_t)1 << 16);
  void *data = mmap(NULL, rounded, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return false;
  }
  *own = (thread_memory){data, rounded};
  return true;
}

bool tr__cpu_get_wide(const tr__cpu_call *call, int thread, float **wide)
{
  cpu_backend *self = (cpu_backend *)call->backend;
  thread_memory *own = &self->wide[thread];
  size_t bytes = (size_t)call->floats * sizeof(float);
  *wide = NULL;
  if (bytes == 0) {
    return true;
  }
  if (own->bytes < bytes && !grow(own, bytes)) {
    atomic_store(&self->status, TR_ENOMEM);
    return false;
  }
  *wide = own->data;
  return true;
}

static tr_status wait(tr__stream *stream)
{
  cpu_backend *self = (cpu_backend *)stream->backend;
  tr_status status = (tr_status)atomic_load(&self->status);
  TR_CHECK(status == TR_OK, status, "no memory for wide copies of numbers");
  return TR_OK;
}

static tr_status
download(tr__stream *stream, void *dst, const void *src, size_t bytes)
{
  TR_TRY(wait(stream));
  return tr__host_download(stream, dst, src, bytes);
}

void tr__cpu_gemm(tr__cpu_matrix c,
                  tr__cpu_factor a,
                  tr__cpu_factor b,
                  const int64_t sizes[3],
                  int accumulate)
{
  cblas_sgemm(CblasRowMajor, a.transposed ? CblasTrans : CblasNoTrans,
              b.transposed ? CblasTrans : CblasNoTrans, tr__int(sizes[0]),
              tr__int(sizes[1]), tr__int(sizes[2]), 1, a.data,
              tr__int(a.stride), b.data, tr__int(b.stride),
              accumulate ? 1.0f : 0.0f, c.data, tr__int(c.stride));
}

static TR__CLONES void finish(tr__cpu_matrix y,
                              const float *column,
                              int64_t rows,
                              int64_t columns,
                              tr__activation activation)
{
  for (int64_t i = 0; i < rows; i++) {
    float *row = y.data + i * y.stride;
    for (int64_t j = 0; column != NULL && j < columns; j++) {
      row[j] += column[j];
    }
    for (int64_t j = 0; activation == TR__ACTIVATION_RELU && j < columns; j++) {
      row[j] = row[j] < 0 ? 0 : row[j];
    }
  }
}

static TR__CLONES void add_tile(tr__cpu_matrix y,
                                const float *tile,
                                int64_t rows,
                                int64_t columns,
                                int accumulate)
{
  for (int64_t i = 0; i < rows; i++) {
    float *row = y.data + i * y.stride;
    const float *from = tile + i * columns;
    for (int64_t j = 0; j < columns; j++) {
      row[j] = accumulate ? row[j] + from[j] : from[j];
    }
  }
}

void tr__cpu_finish(tr__cpu_matrix y,
                    const float *column,
                    int64_t rows,
                    int64_t columns,
                    tr__activation activation)
{
  finish(y, column, rows, columns, activation);
}

void tr__cpu_add_tile(tr__cpu_matrix y,
                      const float *tile,
                      int64_t rows,
                      int64_t columns,
                      int accumulate)
{
  add_tile(y, tile, rows, columns, accumulate);
}

static size_t workspace(tr__backend *backend, tr__op op, const void *args)
{
  /* Double precision runs on the reference. */
  if (((const tr__tensor *)args)->dtype == TR_F64) {
    return tr__ref_workspace(backend, op, args);
  }
  if (op == TR__OP_embedding_backward || op == TR__OP_position_backward) {
    return tr__ref_workspace(backend, op, args);
  }
  if (op == TR__OP_attention_forward || op == TR__OP_attention_backward) {
    return tr__cpu_attention_workspace(backend->pool, op);
  }
  if (op == TR__OP_linear_forward || op == TR__OP_linear_backward_weight) {
    return tr__cpu_linear_workspace(backend->pool, op, args);
  }
  if (op == TR__OP_norm_backward_weight || op == TR__OP_batchnorm_sums ||
      op == TR__OP_batchnorm_backward_sums) {
    return tr__ref_workspace(backend, op, args);
  }
  if (op == TR__OP_muon_update) {
    return tr__cpu_muon_workspace(args);
  }
  return tr__cpu_conv_workspace(backend->pool, op, args);
}

static tr_status create(tr__pool *pool, tr__backend **out)
{
  size_t threads = (size_t)tr__pool_num_threads(pool);
  cpu_backend *self = calloc(1, sizeof *self + threads * sizeof *self->wide);
  *out = self != NULL ? &self->base : NULL;
  TR_CHECK(self != NULL, TR_ENOMEM, "cannot allocate the cpu backend");
  self->base =
      (tr__backend){.type = &tr__cpu_type, .ops = tr__ref_ops(), .pool = pool};
  self->base.stream.backend = &self->base;
  tr__cpu_set_linear(&(*out)->ops);
  tr__cpu_set_conv(&(*out)->ops);
  tr__cpu_set_elementwise(&(*out)->ops);
  tr__cpu_set_pool(&(*out)->ops);
  tr__cpu_set_rows(&(*out)->ops);
  tr__cpu_set_sequence(&(*out)->ops);
  tr__cpu_set_attention(&(*out)->ops);
  tr__cpu_set_norm(&(*out)->ops);
  tr__cpu_set_muon(&(*out)->ops);
  TR_TRY(tr__blas_begin((int)threads));
  self->has_blas = true;
  return TR_OK;
}

static void destroy(tr__backend *backend)
{
  cpu_backend *self = (cpu_backend *)backend;
  for (int i = 0; i < tr__pool_num_threads(backend->pool); i++) {
    unmap(&self->wide[i]);
  }
  if (self->has_blas) {
    tr__blas_end();
  }
  free(self);
}

const tr__backend_type tr__cpu_type = {
    .name = "cpu",
    .create = create,
    .destroy = destroy,
    .alloc = tr__host_alloc,
    .free = tr__host_free,
    .upload = tr__host_upload,
    .download = download,
    .wait = wait,
    .host_view = tr__host_view,
    .workspace = workspace,
};
