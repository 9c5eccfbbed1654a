/* Embeddings and positions on all threads. */
#include "backend/cpu/cpu_impl.h"
#include "backend/cpu_ref/reference_impl.h"

#include <string.h>

/* Tokens of a task, columns of a task. */
enum { TOKENS = 64, COLUMNS = 512, STRIP = 32 };

static int64_t parts(int64_t extent, int64_t part)
{
  return (extent + part - 1) / part;
}

static void embedding_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  tr__embedding_forward_args a = *(const tr__embedding_forward_args *)arg;
  int64_t begin = task * TOKENS;
  a.y.dims[0] = tr__min(TOKENS, a.y.dims[0] - begin);
  a.y.data = (float *)a.y.data + begin * a.y.dims[1];
  a.ids.data = (int32_t *)a.ids.data + begin;
  tr__ref_embedding_forward_f32(&a);
}

static void embedding_forward(tr__stream *stream,
                              const tr__embedding_forward_args *args)
{
  if (args->y.dtype != TR_F32) {
    tr__ref_embedding_forward_f64(args);
    return;
  }
  tr__embedding_forward_args copy = *args;
  tr__pool_run(stream->backend->pool, parts(args->y.dims[0], TOKENS),
               embedding_task, &copy);
}

/* A strip of dw's columns: all tokens in their order. */
static void scatter_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  const tr__embedding_backward_args *a = arg;
  int64_t V = a->dw.dims[0], D = a->dw.dims[1], first = task * STRIP;
  int64_t width = tr__min(STRIP, D - first), R = a->dy.dims[0];
  const int32_t *ids = a->ids.data;
  float *dw = (float *)a->dw.data + first;
  const float *dy = (const float *)a->dy.data + first;
  for (int64_t v = 0; v < V && !a->accumulate; v++) {
    memset(dw + v * D, 0, (size_t)width * sizeof *dw);
  }
  for (int64_t r = 0; r < R; r++) {
    if (ids[r] >= 0 && ids[r] < V) {
      tr__cpu_add_tile((tr__cpu_matrix){dw + ids[r] * D, D}, dy + r * D, 1,
                       width, 1);
    }
  }
}

static void embedding_backward(tr__stream *stream,
                               const tr__embedding_backward_args *args)
{
  if (args->dw.dtype != TR_F32) {
    tr__ref_embedding_backward_f64(args);
    return;
  }
  if (args->shards.total > 1) {
    tr__ref_embedding_backward_f32(args);
    return;
  }
  tr__embedding_backward_args copy = *args;
  tr__pool_run(stream->backend->pool, parts(args->dw.dims[1], STRIP),
               scatter_task, &copy);
}

static void position_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  tr__position_forward_args a = *(const tr__position_forward_args *)arg;
  a.y.data = (float *)a.y.data + task * a.y.dims[1];
  a.x.data = (float *)a.x.data + task * a.y.dims[1];
  a.y.dims[0] = 1;
  tr__ref_position_forward_f32(&a);
}

static void position_forward(tr__stream *stream,
                             const tr__position_forward_args *args)
{
  if (args->y.dtype != TR_F32) {
    tr__ref_position_forward_f64(args);
    return;
  }
  tr__position_forward_args copy = *args;
  tr__pool_run(stream->backend->pool, args->y.dims[0], position_task, &copy);
}

static void position_sum_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  const tr__position_backward_args *a = arg;
  int64_t M = a->dw.dims[0], first = task * COLUMNS, N = a->dy.dims[0];
  int64_t width = tr__min(COLUMNS, M - first);
  float *dw = (float *)a->dw.data + first;
  if (!a->accumulate) {
    memset(dw, 0, (size_t)width * sizeof *dw);
  }
  for (int64_t n = 0; n < N; n++) {
    tr__cpu_add_tile((tr__cpu_matrix){dw, width},
                     (const float *)a->dy.data + n * M + first, 1, width, 1);
  }
}

static void position_backward(tr__stream *stream,
                              const tr__position_backward_args *args)
{
  if (args->dw.dtype != TR_F32) {
    tr__ref_position_backward_f64(args);
    return;
  }
  if (args->shards.total > 1) {
    tr__ref_position_backward_f32(args);
    return;
  }
  tr__position_backward_args copy = *args;
  tr__pool_run(stream->backend->pool, parts(args->dw.dims[0], COLUMNS),
               position_sum_task, &copy);
}

void tr__cpu_set_sequence(tr__ops *ops)
{
  ops->embedding_forward = embedding_forward;
  ops->embedding_backward = embedding_backward;
  ops->position_forward = position_forward;
  ops->position_backward = position_backward;
}
