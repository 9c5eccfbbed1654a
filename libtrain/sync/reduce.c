/* ZeRO stage 1: reduce-scatter of gradient buckets, all-gather of the updated
 * parameters. Without ZeRO: all-reduce of the buckets. */
#include "comm/queue_impl.h"
#include "sync/sync_impl.h"

static tr__transfer
transfer_of(const tr__store *store, void *arena, tr__range elements)
{
  int64_t count = elements.end - elements.begin;
  return (tr__transfer){
      .buf = tr__store_flat(store, arena, elements.begin, count).data,
      .count = count,
      .dtype = store->ctx->dtype};
}

int tr__sync_num_transfers(const tr_model *net)
{
  return net->buckets.count + tr__tail_is_apart(net);
}

static tr__range elements_of(const tr__buckets *buckets, int i)
{
  const tr__bucket *b = &buckets->all[i];
  return buckets->partition != NULL ? buckets->partition->buckets[i]
                                    : (tr__range){b->begin, b->end};
}

tr__transfer tr__sync_transfer(const tr_model *net, int i)
{
  const tr__store *store = &net->store;
  const tr__partition *p = net->buckets.partition;
  bool is_bucket = i < net->buckets.count;
  tr__range elements = elements_of(&net->buckets, is_bucket ? i : i - 1);
  if (!is_bucket) {
    elements.begin = elements.end;
  }
  if (i == tr__sync_num_transfers(net) - 1) {
    elements.end = store->count + TR__TAIL_COUNT;
  }
  tr__transfer sum = transfer_of(store, store->grads, elements);
  sum.wire = is_bucket ? store->ctx->wire : 0;
  if (p != NULL && is_bucket) {
    sum.kind = TR__REDUCE_SCATTER;
    sum.skip_exit_barrier = true; /* the tail's transfer has one */
    sum.slices = p->slices + (int64_t)i * p->num_ranks;
  }
  return sum;
}

tr_status tr__sync_reduce_grads(tr_model *net)
{
  const tr__store *store = &net->store;
  tr_context *ctx = net->ctx;
  if (!tr__tail_is_apart(net)) {
    return tr__staged_allreduce(ctx, store->grads,
                                store->count + TR__TAIL_COUNT, ctx->dtype);
  }
  for (int i = 0; i < tr__sync_num_transfers(net); i++) {
    const tr__transfer sum = tr__sync_transfer(net, i);
    TR_TRY(tr__staged_transfer(ctx, &sum));
  }
  return TR_OK;
}

/* Forward reads the end of the arena first, so the last bucket goes first. In
 * shared memory, no rank may overwrite values that another rank still reads.
 * The first transfer begins with a barrier for that. A deferred gather needs
 * none, since no rank reads values between the tail's sum and this call. */
tr_status tr__sync_gather_values(tr_model *net, bool may_defer)
{
  const tr__store *store = &net->store;
  tr_context *ctx = net->ctx;
  tr__backend *backend = ctx->backend;
  const tr__partition *p = net->buckets.partition;
  bool is_visible = backend->type->host_view(backend, store->values) != NULL;
  bool is_deferred = is_visible && may_defer, has_begun = false;
  if (is_deferred) {
    TR_TRY(backend->type->wait(&backend->stream));
  }
  for (int b = p->num_buckets - 1; b >= 0; b--) {
    tr__transfer t = transfer_of(store, store->values, p->buckets[b]);
    t.kind = TR__ALLGATHER;
    t.skip_entry_barrier = is_deferred || has_begun;
    t.skip_exit_barrier = !is_deferred && b > 0;
    t.slices = p->slices + (int64_t)b * p->num_ranks;
    has_begun |= t.count > 0;
    if (is_deferred) {
      tr__queue_push(ctx->queue, &t, b);
    } else {
      TR_TRY(tr__staged_transfer(ctx, &t));
    }
  }
  return TR_OK;
}

tr_status tr__sync_wait_for(tr_model *net, int64_t element)
{
  const tr__partition *p = net->buckets.partition;
  if (p == NULL || tr__queue_is_empty(net->ctx->queue)) {
    return TR_OK;
  }
  int bucket = p->num_buckets - 1;
  while (bucket > 0 && element < p->buckets[bucket].begin) {
    bucket--;
  }
  return tr__queue_wait_for(net->ctx->queue, p->num_buckets - bucket);
}
