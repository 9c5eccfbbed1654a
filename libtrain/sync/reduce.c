/* ZeRO stage 1: reduce-scatter of gradient buckets, all-gather of the updated
 * parameters. Without it, all-reduce of the buckets. */
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

int tr__sync_num_transfers(const tr__store *store)
{
  return store->num_buckets + tr__store_tail_is_apart(store);
}

static tr__range elements_of(const tr__store *store, int bucket)
{
  const tr__bucket *b = &store->buckets[bucket];
  return store->partition != NULL ? store->partition->buckets[bucket]
                                  : (tr__range){b->begin, b->end};
}

tr__transfer tr__sync_transfer(const tr__store *store, int i)
{
  const tr__partition *p = store->partition;
  bool is_bucket = i < store->num_buckets;
  tr__range elements = elements_of(store, is_bucket ? i : i - 1);
  if (!is_bucket) {
    elements.begin = elements.end;
  }
  if (i == tr__sync_num_transfers(store) - 1) {
    elements.end = store->count + TR__TAIL_COUNT;
  }
  tr__transfer sum = transfer_of(store, store->grads, elements);
  sum.wire = is_bucket ? store->ctx->wire : 0;
  if (p != NULL && is_bucket) {
    sum.kind = TR__REDUCE_SCATTER;
    sum.skip_exit_barrier = true; /* with the tail's */
    sum.slices = p->slices + (int64_t)i * p->num_ranks;
  }
  return sum;
}

tr_status tr__sync_reduce_grads(tr__store *store)
{
  tr_context *ctx = store->ctx;
  if (!tr__store_tail_is_apart(store)) {
    return tr__staged_allreduce(ctx, store->grads,
                                store->count + TR__TAIL_COUNT, ctx->dtype);
  }
  for (int i = 0; i < tr__sync_num_transfers(store); i++) {
    const tr__transfer sum = tr__sync_transfer(store, i);
    TR_TRY(tr__staged_transfer(ctx, &sum));
  }
  return TR_OK;
}

/* What forward needs first is at the arena's end. In shared memory no rank may
 * write into the others' values before these have read the old ones: they have
 * when the tail's sum has ended, if nothing comes between, or the first of
 * these transfers has begun. */
tr_status tr__sync_gather_values(tr__store *store)
{
  tr_context *ctx = store->ctx;
  tr__backend *backend = ctx->backend;
  const tr__partition *p = store->partition;
  bool is_visible = backend->type->host_view(backend, store->values) != NULL;
  bool is_deferred = is_visible && store->may_defer, has_begun = false;
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

tr_status tr__sync_wait_for(tr__store *store, int64_t element)
{
  const tr__partition *p = store->partition;
  if (p == NULL || tr__queue_is_empty(store->ctx->queue)) {
    return TR_OK;
  }
  int bucket = p->num_buckets - 1;
  while (bucket > 0 && element < p->buckets[bucket].begin) {
    bucket--;
  }
  return tr__queue_wait_for(store->ctx->queue, p->num_buckets - bucket);
}
