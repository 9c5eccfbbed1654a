/* Reproducible mode: an all-reduce sums each micro-batch of a step on its own,
 * before it is added to the earlier ones. Otherwise the bits of the sum would
 * depend on the number of ranks. */
#include "sync/sync_impl.h"

static tr__tensor grads(const tr__store *store)
{
  return tr__store_flat(store, store->grads, 0, store->count);
}

static bool is_cut(const tr_context *ctx)
{
  return ctx->comm->shards.total > 0 && ctx->comm->size > 1;
}

void tr__micro_batch_drop_empty(tr_model *net, int64_t begin, int64_t end)
{
  tr_context *ctx = net->ctx;
  const tr__store *store = &net->store;
  if (is_cut(ctx) && net->backward_rows == 0) {
    tr__tensor part = tr__store_flat(store, store->grads, begin, end - begin);
    ctx->backend->ops.fill(&ctx->backend->stream,
                           &(tr__fill_args){.y = part, .value = -0.0});
  }
}

/* Allocates the sums at their first use, which all ranks reach together. */
static tr_status make_room(tr__store *store)
{
  tr__backend *backend = store->ctx->backend;
  size_t bytes = tr__store_grad_bytes(store);
  if (store->micro_batch_sums != NULL) {
    return TR_OK;
  }
  return tr__agree(
      store->ctx->comm,
      backend->type->alloc(backend, bytes, &store->micro_batch_sums));
}

tr_status tr__micro_batch_begin(tr_model *net)
{
  tr_context *ctx = net->ctx;
  tr__store *store = &net->store;
  if (!is_cut(ctx)) {
    return TR_OK;
  }
  TR_TRY(make_room(store));
  tr__micro_batch_drop_empty(net, 0, store->count);
  int64_t count = store->count + TR__TAIL_COUNT;
  TR_TRY(tr__staged_allreduce(ctx, store->grads, count, ctx->dtype));
  tr__stream *stream = &ctx->backend->stream;
  tr__tensor all = tr__store_flat(store, store->grads, 0, count);
  tr__tensor earlier = tr__store_flat(store, store->micro_batch_sums, 0, count);
  /* -0 + x has the bits of x, also for x = -0. */
  if (!net->step.has_micro_batch_sums) {
    ctx->backend->ops.fill(stream,
                           &(tr__fill_args){.y = earlier, .value = -0.0});
  }
  ctx->backend->ops.add(stream, &(tr__add_args){.y = earlier, .x = all});
  net->step.has_micro_batch_sums = true;
  ctx->backend->ops.fill(stream,
                         &(tr__fill_args){.y = grads(store), .value = -0.0});
  ctx->backend->ops.fill(stream, &(tr__fill_args){.y = tr__store_tail(store)});
  return TR_OK;
}

void tr__micro_batch_finish(tr_model *net)
{
  tr_context *ctx = net->ctx;
  tr__store *store = &net->store;
  if (!net->step.has_micro_batch_sums) {
    return;
  }
  net->step.has_micro_batch_sums = false;
  int64_t count = store->count + TR__TAIL_FAILED;
  ctx->backend->ops.add(
      &ctx->backend->stream,
      &(tr__add_args){
          .y = tr__store_flat(store, store->grads, 0, count),
          .x = tr__store_flat(store, store->micro_batch_sums, 0, count)});
}
