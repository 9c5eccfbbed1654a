/* The sampler: the shuffled order of an epoch, and which samples of each global
 * batch this rank reads. */
#include "base/random_impl.h"
#include "data/data_impl.h"

void tr_batch_range(const tr_context *ctx,
                    int64_t global_count,
                    int64_t *first,
                    int64_t *count)
{
  const tr__comm *comm = ctx->comm;
  *first = tr__comm_first_row(comm, global_count, comm->rank);
  *count = tr__comm_first_row(comm, global_count, comm->rank + 1) - *first;
}

tr__sampler_step
tr__sampler_at(const tr__sampler *sampler, int64_t epoch, int64_t done)
{
  int64_t count = tr__min(sampler->batch, sampler->num_samples - done);
  if (sampler->deal != NULL) {
    tr__deal_part part = tr__deal_at(sampler->deal, done, count);
    return (tr__sampler_step){.epoch = epoch,
                              .place = part.place,
                              .count = part.count,
                              .first = part.first,
                              .global_count = count};
  }
  int64_t first = tr__even_split(count, sampler->shard[0], sampler->shards);
  int64_t end = tr__even_split(count, sampler->shard[1], sampler->shards);
  return (tr__sampler_step){.epoch = epoch,
                            .place = done + first,
                            .count = end - first,
                            .first = first,
                            .global_count = count};
}

/* Ranks that hold samples of their own shuffle them differently. With one order
 * for all, sample j of every rank would always be in the same batch: neighbours
 * of a field, for example. */
static tr__permutation order_of(const tr__sampler *sampler, int64_t epoch)
{
  const tr__deal *deal = sampler->deal;
  if (deal == NULL) {
    return tr__permutation_of(sampler->seed, epoch, sampler->num_samples);
  }
  uint64_t other = (uint64_t)deal->rank * UINT64_C(0x9e3779b97f4a7c15);
  return tr__permutation_of(sampler->seed ^ other, epoch,
                            deal->counts[deal->rank]);
}

void tr__sampler_ids(const tr__sampler *sampler,
                     const tr__sampler_step *step,
                     int64_t *ids)
{
  tr__permutation order = order_of(sampler, step->epoch);
  for (int64_t i = 0; i < step->count; i++) {
    int64_t place = step->place + i;
    ids[i] = sampler->shuffle ? tr__permute(&order, place) : place;
  }
}

int64_t tr__sampler_max_rows(const tr__sampler *sampler)
{
  if (sampler->deal != NULL) {
    return tr__deal_max_rows(sampler->deal, sampler->batch);
  }
  int64_t count = tr__min(sampler->batch, sampler->num_samples);
  tr__wide rows = (tr__wide)count * sampler->most;
  return (int64_t)((rows + sampler->shards - 1) / sampler->shards);
}
