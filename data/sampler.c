/* The order of an epoch, and which part of it is whose. */
#include "base/random_impl.h"
#include "data/data_impl.h"

tr__sampler_step
tr__sampler_at(const tr__sampler *sampler, int64_t epoch, int64_t done)
{
  int64_t count = tr__min(sampler->batch, sampler->num_samples - done);
  int64_t first = tr__part(count, sampler->rank, sampler->size);
  int64_t end = tr__part(count, sampler->rank + 1, sampler->size);
  return (tr__sampler_step){.epoch = epoch,
                            .place = done + first,
                            .count = end - first,
                            .first = first,
                            .global_count = count};
}

void tr__sampler_ids(const tr__sampler *sampler,
                     const tr__sampler_step *step,
                     int64_t *ids)
{
  tr__permutation order =
      tr__permutation_of(sampler->seed, step->epoch, sampler->num_samples);
  for (int64_t i = 0; i < step->count; i++) {
    int64_t place = step->place + i;
    ids[i] = sampler->shuffle ? tr__permute(&order, place) : place;
  }
}

int64_t tr__sampler_max_rows(const tr__sampler *sampler)
{
  int64_t count = tr__min(sampler->batch, sampler->num_samples);
  return count / sampler->size + (count % sampler->size != 0);
}
