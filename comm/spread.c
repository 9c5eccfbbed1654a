/* Gradients to the ranks that update from them, and what those make of the
 * parameters to all ranks. */
#include "base/store_impl.h"

static tr__transfer transfer_of(const tr__store *store,
                                void *arena,
                                tr__range elements,
                                tr__collective kind)
{
  int64_t count = elements.end - elements.begin;
  return (tr__transfer){
      .kind = kind,
      .buf = tr__store_flat(store, arena, elements.begin, count).data,
      .count = count,
      .dtype = store->ctx->dtype};
}

/* One transfer per bucket. */
static tr_status
for_every_bucket(const tr__store *store, void *arena, tr__collective kind)
{
  const tr__partition *p = store->partition;
  for (int b = 0; b < p->num_buckets; b++) {
    tr__transfer t = transfer_of(store, arena, p->buckets[b], kind);
    t.slices = p->slices + (int64_t)b * p->num_ranks;
    t.wire = kind == TR__REDUCE_SCATTER ? store->ctx->wire : 0;
    TR_TRY(tr__transfer_arena(store->ctx, &t));
  }
  return TR_OK;
}

/* The tail says how large the batch was and which rank has failed: it is never
 * rounded, and all ranks need all of it. */
tr_status tr__store_reduce_grads(tr__store *store)
{
  tr_context *ctx = store->ctx;
  const tr__range whole = {0, store->count};
  if (store->partition == NULL && ctx->wire == 0) {
    return tr__allreduce_arena(ctx, store->grads, store->count + TR__TAIL_COUNT,
                               ctx->dtype);
  }
  if (store->partition != NULL) {
    TR_TRY(for_every_bucket(store, store->grads, TR__REDUCE_SCATTER));
    store->grads_are_spread = true;
  } else {
    tr__transfer t = transfer_of(store, store->grads, whole, TR__ALLREDUCE);
    t.wire = ctx->wire;
    TR_TRY(tr__transfer_arena(ctx, &t));
  }
  return tr__allreduce_arena(ctx, tr__store_tail(store).data, TR__TAIL_COUNT,
                             ctx->dtype);
}

tr_status tr__store_gather_values(tr__store *store)
{
  return for_every_bucket(store, store->values, TR__ALLGATHER);
}
