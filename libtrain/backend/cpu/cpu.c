/* The cpu backend: its op table, its workspaces, and the failure of tasks. */
#include "backend/cpu/cpu_impl.h"
#include "backend/cpu_ref/reference_impl.h"
#include "backend/host_memory_impl.h"

#include <stdlib.h>

static tr_status wait(tr__stream *stream)
{
  tr__cpu_backend *self = (tr__cpu_backend *)stream->backend;
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

static size_t workspace(tr__backend *backend, tr__op op, const void *args)
{
  /* Double precision runs the ops of the reference. */
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

static tr_status create(tr__threads *pool, tr__backend **out)
{
  size_t threads = (size_t)tr__threads_count(pool);
  tr__cpu_backend *self =
      calloc(1, sizeof *self + threads * sizeof *self->scratch);
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
  tr__cpu_backend *self = (tr__cpu_backend *)backend;
  for (int i = 0; i < tr__threads_count(backend->pool); i++) {
    tr__cpu_release_memory(&self->scratch[i]);
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
