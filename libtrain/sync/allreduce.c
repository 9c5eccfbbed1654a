/* All-reduce of gradients and tail in the explicit loop. The summed tail tells
 * all ranks of failures, stop requests and ranks at different steps. */
#include "sync/sync_impl.h"

/* Writes this rank's flags into the tail, behind the sums of backward. */
void tr__sync_upload_flags(tr_model *net)
{
  tr_context *ctx = net->ctx;
  /* Numbers below 16 keep the sum of squares exact in single precision for tens
   * of thousands of ranks. */
  double step = (double)(net->step.num_steps % 16);
  const double flags[] = {
      ctx->pending != TR_OK,
      atomic_load(&ctx->stop_requested) != 0,
      step,
      step * step,
  };
  enum { COUNT = sizeof flags / sizeof flags[0] };
  float narrow[COUNT];
  for (int i = 0; i < COUNT; i++) {
    narrow[i] = (float)flags[i];
  }
  bool is_double = ctx->dtype == TR_F64;
  tr__tensor tail = tr__store_flat(&net->store, net->store.grads,
                                   net->store.count + TR__TAIL_FAILED, COUNT);
  ctx->backend->type->upload(&ctx->backend->stream, tail.data,
                             is_double ? (const void *)flags : narrow,
                             COUNT * tr_dtype_size(ctx->dtype));
}

/* The variance of step numbers over P ranks is 0 where all ranks are at the
 * same step, else at least (P-1)/P^2. */
static tr_status check_steps(const tr_model *net)
{
  double size = net->ctx->comm->size;
  double step = net->known[TR__TAIL_STEP] / size;
  double square = net->known[TR__TAIL_STEP_SQUARE] / size;
  if (square - step * step < 0.5 / size) {
    return TR_OK;
  }
  /* All ranks have the same sums, so all ranks make this collective call. */
  return tr__agree(
      net->ctx->comm,
      TR_FAIL(TR_EMISMATCH,
              "tr_model_allreduce_grads: ranks are at different steps; rank %d "
              "is at step %lld",
              net->ctx->comm->rank, (long long)net->step.num_steps));
}

/* Broadcast of rank 0's buffers, where ranks update them from their own
 * samples, so that all ranks evaluate and hash the same model. The other ranks
 * add zeros. */
static tr_status share_buffers(tr_model *net)
{
  tr__store *store = &net->store;
  tr_context *ctx = net->ctx;
  bool is_local = false;
  for (int i = 0; i < net->num_nodes; i++) {
    is_local |= (net->nodes[i].flags & TR__LOCAL_BUFFERS) != 0;
  }
  if (!is_local || ctx->comm->size == 1) {
    return TR_OK;
  }
  int64_t count = store->value_count - store->count;
  tr__tensor buffers =
      tr__store_flat(store, store->values, store->count, count);
  if (ctx->comm->rank != 0) {
    ctx->backend->ops.fill(&ctx->backend->stream,
                           &(tr__fill_args){.y = buffers});
  }
  return tr__staged_allreduce(ctx, buffers.data, count, ctx->dtype);
}

tr_status tr__sync_take_sums(tr_model *net)
{
  tr_context *ctx = net->ctx;
  tr__store *store = &net->store;
  tr__micro_batch_finish(net);
  tr__store_add_uses(store);
  tr_status status = tr__read_tail(net, tr__store_tail(store).data);
  if (status != TR_OK && ctx->pending != TR_OK) {
    ctx->torn = true;
    /* The sums of the other ranks contain this rank's NaN. */
    return tr__context_agree_pending(ctx);
  }
  TR_TRY(status);
  tr__step_end_allreduce(&net->step, net->buckets.partition != NULL);
  /* A failed rank adds 1, or NaN where its device has failed. */
  if (!(net->known[TR__TAIL_FAILED] == 0)) {
    ctx->torn = true; /* loaders and running statistics have advanced */
    return tr__context_agree_pending(ctx);
  }
  if (net->known[TR__TAIL_STOP] > 0) {
    ctx->stop_agreed = true;
  }
  TR_TRY(check_steps(net));
  return share_buffers(net);
}

tr_status tr_model_allreduce_grads(tr_model *net)
{
  tr__store *store = &net->store;
  TR_TRY(tr__step_check(&net->step, TR__STEP_ALLREDUCE, false));
  tr__work before =
      tr__work_begin(net->ctx->comm->board, TR__WORK_ALLREDUCE, 0);
  tr__sync_upload_flags(net);
  tr__micro_batch_drop_empty(net, 0, store->count);
  tr_status status = tr__sync_reduce_grads(net);
  if (status == TR_OK) {
    status = tr__sync_take_sums(net);
  }
  tr__work_end(net->ctx->comm->board, before);
  return tr_error_push(status, __FILE__, __LINE__);
}
