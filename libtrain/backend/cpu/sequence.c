/* Gradients of embeddings and positions on all threads, split over columns. */
#include "backend/cpu/cpu_impl.h"
#include "backend/cpu_ref/reference_impl.h"

#include <string.h>

/* Columns per task: COLUMNS of positions, STRIP of embeddings. */
enum { COLUMNS = 512, STRIP = 32 };

static int64_t parts(int64_t extent, int64_t part)
{
  return (extent + part - 1) / part;
}

/* One strip of columns of dw: each task adds all tokens in their order. */
static void scatter_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  const tr__embedding_backward_args *a = arg;
  int64_t V = a->dw.dims[0], D = a->dw.dims[1], first = task * STRIP;
  int64_t width = tr__min(STRIP, D - first), R = a->dy.dims[0];
  const int32_t *ids = a->ids.data;
  float *dw = (float *)a->dw.data + first;
  float wide[STRIP];
  for (int64_t v = 0; v < V && !a->accumulate; v++) {
    memset(dw + v * D, 0, (size_t)width * sizeof *dw);
  }
  for (int64_t r = 0; r < R; r++) {
    if (ids[r] >= 0 && ids[r] < V) {
      const float *dy = tr__cpu_floats(&a->dy, r * D + first, width, wide);
      tr__cpu_add_tile((tr__cpu_matrix){dw + ids[r] * D, D}, dy, 1, width, 1);
    }
  }
}

static void embedding_backward(tr__stream *stream,
                               const tr__embedding_backward_args *args)
{
  if (args->dw.dtype == TR_F64 || args->shards.total > 1) {
    tr__ref_run(TR__OP_embedding_backward, args);
    return;
  }
  tr__embedding_backward_args copy = *args;
  tr__threads_run(stream->backend->pool, parts(args->dw.dims[1], STRIP),
                  scatter_task, &copy);
}

static void position_sum_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  const tr__position_backward_args *a = arg;
  int64_t M = a->dw.dims[0], first = task * COLUMNS, N = a->dy.dims[0];
  int64_t width = tr__min(COLUMNS, M - first);
  float *dw = (float *)a->dw.data + first, wide[COLUMNS];
  if (!a->accumulate) {
    memset(dw, 0, (size_t)width * sizeof *dw);
  }
  for (int64_t n = 0; n < N; n++) {
    tr__cpu_add_tile((tr__cpu_matrix){dw, width},
                     tr__cpu_floats(&a->dy, n * M + first, width, wide), 1,
                     width, 1);
  }
}

static void position_backward(tr__stream *stream,
                              const tr__position_backward_args *args)
{
  if (args->dw.dtype == TR_F64 || args->shards.total > 1) {
    tr__ref_run(TR__OP_position_backward, args);
    return;
  }
  tr__position_backward_args copy = *args;
  tr__threads_run(stream->backend->pool, parts(args->dw.dims[0], COLUMNS),
                  position_sum_task, &copy);
}

void tr__cpu_set_sequence(tr__ops *ops)
{
  ops->embedding_backward = embedding_backward;
  ops->position_backward = position_backward;
}
