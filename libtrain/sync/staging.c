/* Collectives on backend memory, through a host buffer where the host cannot
 * access it. */
#include "comm/queue_impl.h"
#include "sync/staging_impl.h"

#include <math.h>
#include <stdlib.h>

static tr_status grow_staging(tr__comm *comm, size_t bytes)
{
  size_t rounded = tr__align(bytes, 4096);
  void *grown = aligned_alloc(4096, rounded);
  TR_CHECK(grown != NULL, TR_ENOMEM,
           "no memory to stage an all-reduce of %zu bytes", bytes);
  free(comm->staging);
  comm->staging = grown;
  comm->staging_bytes = rounded;
  return TR_OK;
}

/* Devices and counts are equal on all ranks, so all ranks grow the staging
 * buffer in the same call. */
static tr_status
host_buffer(tr_context *ctx, void *data, size_t bytes, void **out)
{
  tr__comm *comm = ctx->comm;
  *out = ctx->backend->type->host_view(ctx->backend, data);
  if (*out != NULL) {
    return TR_OK;
  }
  if (bytes > comm->staging_bytes) {
    TR_TRY(tr__agree(comm, grow_staging(comm, bytes)));
  }
  *out = comm->staging;
  return TR_OK;
}

/* A rank whose device has failed sends NaN, which tells the others. */
static void poison(void *values, int64_t count, tr_dtype dtype)
{
  for (int64_t i = 0; i < count; i++) {
    if (dtype == TR_F64) {
      ((double *)values)[i] = NAN;
    } else {
      ((float *)values)[i] = NAN;
    }
  }
}

void tr__stage_in(tr_context *ctx, void *data, const tr__transfer *to)
{
  tr__backend *backend = ctx->backend;
  size_t bytes = (size_t)to->count * tr_dtype_size(to->dtype);
  bool is_visible = backend->type->host_view(backend, data) != NULL;
  tr_status status = is_visible ? backend->type->wait(&backend->stream)
                                : backend->type->download(&backend->stream,
                                                          to->buf, data, bytes);
  if (status != TR_OK) {
    /* A return here would leave the other ranks waiting for this one. */
    tr__context_set_pending(ctx, status);
    poison(to->buf, to->count, to->dtype);
  }
}

tr_status tr__staged_transfer(tr_context *ctx, const tr__transfer *transfer)
{
  static const char *const names[] = {[TR__ALLREDUCE] = "all-reduce",
                                      [TR__REDUCE_SCATTER] = "reduce-scatter",
                                      [TR__ALLGATHER] = "all-gather"};
  tr__comm *comm = ctx->comm;
  if (comm->size == 1 || transfer->count == 0) {
    return TR_OK;
  }
  size_t bytes = (size_t)transfer->count * tr_dtype_size(transfer->dtype);
  tr__transfer on_host = *transfer;
  /* Queued buckets go first, so that all ranks have the same order. */
  TR_TRY(tr__queue_wait(ctx->queue));
  TR_TRY(host_buffer(ctx, transfer->buf, bytes, &on_host.buf));
  tr__stage_in(ctx, transfer->buf, &on_host);
  tr__request *request;
  double begin = tr__timeline_begin(ctx->timeline);
  TR_TRY(comm->type->start(comm, &on_host, &request));
  TR_TRY(tr__comm_wait(comm, &request));
  tr__timeline_end(ctx->timeline, begin, "wait", names[transfer->kind]);
  if (on_host.buf == comm->staging) {
    tr__backend *backend = ctx->backend;
    backend->type->upload(&backend->stream, transfer->buf, on_host.buf, bytes);
  }
  return TR_OK;
}

tr_status
tr__staged_allreduce(tr_context *ctx, void *data, int64_t count, tr_dtype dtype)
{
  return tr__staged_transfer(
      ctx, &(tr__transfer){.buf = data, .count = count, .dtype = dtype});
}
