/* Gradients to the ranks that update from them, and what those make of the
 * parameters to all ranks. */
#include "base/store_impl.h"

static tr__transfer
transfer_of(const tr__store *store, void *arena, int64_t begin, int64_t count)
{
  return (tr__transfer){.buf = tr__store_flat(store, arena, begin, count).data,
                        .count = count,
                        .dtype = store->ctx->dtype};
}

/* The tail says how large the batch was and which rank has failed: it is never
 * rounded, and all ranks need all of it. */
static bool tail_is_apart(const tr__store *store)
{
  return store->partition != NULL || store->ctx->wire != 0;
}

int tr__store_num_sums(const tr__store *store)
{
  return store->num_buckets + tail_is_apart(store);
}

tr__transfer tr__store_sum(const tr__store *store, int i)
{
  const tr__partition *p = store->partition;
  if (i == store->num_buckets) {
    return transfer_of(store, store->grads, store->count, TR__TAIL_COUNT);
  }
  const tr__bucket *b = &store->buckets[i];
  bool has_tail = i == store->num_buckets - 1 && !tail_is_apart(store);
  int64_t count = b->end - b->begin + (has_tail ? TR__TAIL_COUNT : 0);
  tr__transfer sum = transfer_of(store, store->grads, b->begin, count);
  sum.wire = store->ctx->wire;
  if (p != NULL) {
    sum.kind = TR__REDUCE_SCATTER;
    sum.slices = p->slices + (int64_t)i * p->num_ranks;
  }
  return sum;
}

tr_status tr__store_reduce_grads(tr__store *store)
{
  tr_context *ctx = store->ctx;
  if (!tail_is_apart(store)) {
    return tr__allreduce_arena(ctx, store->grads, store->count + TR__TAIL_COUNT,
                               ctx->dtype);
  }
  for (int i = 0; i < tr__store_num_sums(store); i++) {
    const tr__transfer sum = tr__store_sum(store, i);
    TR_TRY(tr__transfer_arena(ctx, &sum));
  }
  return TR_OK;
}

tr_status tr__store_gather_values(tr__store *store)
{
  const tr__partition *p = store->partition;
  for (int b = 0; b < p->num_buckets; b++) {
    const tr__range elements = p->buckets[b];
    tr__transfer t = transfer_of(store, store->values, elements.begin,
                                 elements.end - elements.begin);
    t.kind = TR__ALLGATHER;
    t.slices = p->slices + (int64_t)b * p->num_ranks;
    TR_TRY(tr__transfer_arena(store->ctx, &t));
  }
  return TR_OK;
}
