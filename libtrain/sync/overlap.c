/* Overlap of backward with the all-reduce: the transfer of a bucket begins once
 * backward has passed the layer that makes it final. The last one waits for
 * this rank's flags in the tail. With ZeRO stage 1, forward overlaps with the
 * all-gather of values. */
#include "comm/queue_impl.h"
#include "sync/sync_impl.h"

#include <stdlib.h>

static int64_t bytes_of(const tr_model *net, int64_t count)
{
  return count * (int64_t)tr_dtype_size(net->ctx->dtype);
}

/* The host memory for a transfer of `data`, which may be staging memory. */
static void *on_host(const tr_model *net, void *data)
{
  tr__backend *backend = net->ctx->backend;
  size_t offset = (size_t)((char *)data - (char *)net->store.grads);
  return net->overlap.staging != NULL ? (char *)net->overlap.staging + offset
                                      : backend->type->host_view(backend, data);
}

static void drop_empty(tr_model *net, const tr__transfer *sum)
{
  size_t bytes = (size_t)((char *)sum->buf - (char *)net->store.grads);
  int64_t begin = (int64_t)(bytes / tr_dtype_size(sum->dtype));
  tr__micro_batch_drop_empty(net, begin,
                             tr__min(begin + sum->count, net->store.count));
}

static void release(tr_model *net, int number)
{
  tr_context *ctx = net->ctx;
  tr__transfer sum = tr__sync_transfer(net, number);
  void *data = sum.buf;
  drop_empty(net, &sum);
  sum.buf = on_host(net, data);
  tr__stage_in(ctx, data, &sum);
  tr__queue_push(ctx->queue, &sum, number);
  net->overlap.num_released++;
}

/* Backward has passed a node: queues the buckets that are final now. Never
 * waits for other ranks. */
static void pass(tr_model *net, int node)
{
  tr__overlap *overlap = &net->overlap;
  if (!overlap->is_on) {
    return;
  }
  while (overlap->num_released < tr__sync_num_transfers(net) - 1 &&
         net->buckets.all[overlap->num_released].node >= node) {
    release(net, overlap->num_released);
  }
  tr__queue_poll(net->ctx->queue);
}

/* Copies the sums from staging memory back to the device, in stream order. */
static void unstage(tr_model *net)
{
  tr__backend *backend = net->ctx->backend;
  int64_t count = net->store.count + TR__TAIL_COUNT;
  if (net->overlap.staging != NULL) {
    backend->type->upload(&backend->stream, net->store.grads,
                          net->overlap.staging, (size_t)bytes_of(net, count));
  }
}

static tr_status finish(tr_model *net)
{
  tr_context *ctx = net->ctx;
  tr__sync_upload_flags(net);
  release(net, tr__sync_num_transfers(net) - 1);
  tr__work before = tr__work_begin(ctx->comm->board, TR__WORK_ALLREDUCE, 0);
  double begin = tr__timeline_begin(ctx->timeline);
  tr_status status = tr__queue_wait(ctx->queue);
  tr__work_end(ctx->comm->board, before);
  TR_TRY(status);
  tr__timeline_end(ctx->timeline, begin, "wait", "gradients");
  unstage(net);
  return tr__sync_take_sums(net);
}

tr_status tr__sync_backward(tr_model *net)
{
  tr__overlap *overlap = &net->overlap;
  if (net->ctx->comm->size == 1) {
    TR_TRY(tr_model_backward(net));
    return tr_model_allreduce_grads(net);
  }
  *overlap = (tr__overlap){.is_on = true, .staging = overlap->staging};
  int64_t before = tr__queue_num_started(net->ctx->queue);
  tr_status status = tr_model_backward(net);
  overlap->is_on = false;
  if (status != TR_OK) {
    return tr_error_push(status, __FILE__, __LINE__); /* no bucket is queued */
  }
  overlap->num_early = overlap->num_released;
  overlap->num_started = tr__queue_num_started(net->ctx->queue) - before;
  return finish(net);
}

static int64_t first_read(const tr_model *net, const tr__node *node)
{
  int64_t first = INT64_MAX;
  for (int i = 0; node != NULL && i < node->num_params; i++) {
    const tr__param *param = &net->store.params[node->params[i]];
    if (tr__param_is_trained(param)) {
      first = tr__min(first, param->offset);
    }
  }
  return node != NULL ? first : 0;
}

/* Waits for the values that a node reads, or with NULL for all, where an
 * all-gather of them is deferred. */
static void await(tr_model *net, const tr__node *node)
{
  if (net->buckets.partition == NULL || tr__queue_is_empty(net->ctx->queue)) {
    return;
  }
  int64_t first = first_read(net, node);
  if (first < INT64_MAX && net->overlap.status == TR_OK) {
    double begin = tr__timeline_begin(net->ctx->timeline);
    net->overlap.status = tr__sync_wait_for(net, first);
    tr__timeline_end(net->ctx->timeline, begin, "wait", "parameters");
  }
}

/* Drops overlap.status, since the queue returns the same failure again. */
tr_status tr__sync_wait_values(tr_model *net)
{
  if (net->buckets.partition == NULL) {
    return TR_OK;
  }
  tr_status status = tr__queue_wait(net->ctx->queue);
  net->overlap.status = TR_OK;
  net->ctx->torn |= status != TR_OK;
  return tr_error_push(status, __FILE__, __LINE__);
}

/* Makes the buckets and allocates what their transfers need. Local. */
static tr_status create(tr_model *net)
{
  tr_context *ctx = net->ctx;
  const tr__store *store = &net->store;
  TR_TRY(tr__sync_make_buckets(net));
  TR_TRY(tr__queue_reserve(ctx->queue, net->buckets.count + 1));
  bool is_visible =
      ctx->backend->type->host_view(ctx->backend, store->grads) != NULL;
  if (is_visible || ctx->comm->size == 1) {
    return TR_OK;
  }
  int64_t bytes = bytes_of(net, store->count + TR__TAIL_COUNT);
  size_t rounded = tr__align((size_t)bytes, 4096);
  net->overlap.staging = aligned_alloc(4096, rounded);
  TR_CHECK(net->overlap.staging != NULL, TR_ENOMEM,
           "no memory to stage %lld bytes of gradients", (long long)bytes);
  return TR_OK;
}

static void free_staging(tr_model *net)
{
  free(net->overlap.staging);
  net->overlap.staging = NULL;
}

const tr__step_hooks *tr__sync_hooks(void)
{
  static const tr__step_hooks hooks = {.create = create,
                                       .release = free_staging,
                                       .before_node = await,
                                       .after_forward = tr__sync_wait_values,
                                       .begin_micro_batch =
                                           tr__micro_batch_begin,
                                       .after_node = pass};
  return &hooks;
}
