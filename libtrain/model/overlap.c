/* Backward and all-reduce at once: each bucket is summed over the ranks as soon
 * as backward has passed the layer that makes it final, except the last, which
 * waits for this rank's flags in the tail. */
#include "model/model_impl.h"

#include <stdlib.h>

static int64_t bytes_of(const tr_model *net, int64_t count)
{
  return count * (int64_t)tr_dtype_size(net->ctx->dtype);
}

/* The last bucket's transfer takes the tail along. */
static int64_t transfer_count(const tr_model *net, int bucket)
{
  const tr__bucket *b = &net->store.buckets[bucket];
  bool is_last = bucket == net->store.num_buckets - 1;
  return b->end - b->begin + (is_last ? TR__TAIL_COUNT : 0);
}

static char *gradients(const tr_model *net, int bucket)
{
  char *grads = net->store.grads;
  return grads + bytes_of(net, net->store.buckets[bucket].begin);
}

static char *staged(const tr_model *net, int bucket)
{
  char *staging = net->overlap.staging;
  return staging + bytes_of(net, net->store.buckets[bucket].begin);
}

static void release(tr_model *net, int bucket)
{
  tr_context *ctx = net->ctx;
  int64_t count = transfer_count(net, bucket);
  bool is_staged = net->overlap.staging != NULL;
  void *data = gradients(net, bucket);
  const tr__bucket *b = &net->store.buckets[bucket];
  tr__model_drop_empty(net, b->begin, b->end);
  void *host = is_staged ? staged(net, bucket)
                         : ctx->backend->type->host_view(ctx->backend, data);
  tr__ready_for_sum(
      ctx, data,
      &(tr__transfer){.buf = host, .count = count, .dtype = ctx->dtype});
  tr__queue_push(
      ctx->queue,
      &(tr__transfer){
          .kind = TR__ALLREDUCE, .buf = host, .count = count, ctx->dtype},
      bucket);
  net->overlap.num_released++;
}

void tr__overlap_pass(tr_model *net, int node)
{
  tr__overlap *overlap = &net->overlap;
  const tr__store *store = &net->store;
  if (!overlap->is_on) {
    return;
  }
  while (overlap->num_released < store->num_buckets - 1 &&
         store->buckets[overlap->num_released].node >= node) {
    release(net, overlap->num_released);
  }
  tr__queue_poll(net->ctx->queue);
}

/* What was summed in host memory goes back, in stream order. */
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
  tr__model_upload_flags(net);
  release(net, net->store.num_buckets - 1);
  double begin = tr__timeline_begin(ctx->timeline);
  TR_TRY(tr__queue_wait(ctx->queue));
  tr__timeline_end(ctx->timeline, begin, "wait", "gradients");
  unstage(net);
  return tr__model_take_sums(net);
}

tr_status tr__model_backward_summed(tr_model *net)
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
    return tr_error_push(status, __FILE__, __LINE__); /* nothing was computed */
  }
  overlap->num_early = overlap->num_released;
  overlap->num_started = tr__queue_num_started(net->ctx->queue) - before;
  return finish(net);
}

tr_status tr__overlap_create(tr_model *net)
{
  tr_context *ctx = net->ctx;
  const tr__store *store = &net->store;
  TR_TRY(tr__store_cut_buckets(net));
  TR_TRY(tr__queue_reserve(ctx->queue, store->num_buckets));
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

void tr__overlap_release(tr_model *net)
{
  free(net->overlap.staging);
  net->overlap.staging = NULL;
}
