/* Computes the partition of an arena over the ranks, bucket by bucket. */
#include "sync/partition_impl.h"

#include <stdlib.h>

/* After each bucket, the ranks before rank r together own as nearly r /
 * num_ranks of all buckets so far as items allow. So a rank that gets too
 * little of one bucket gets more of the next. before[r] is what they own. *item
 * is the first item of the bucket, and on return that of the next one. */
static void cut_bucket(const tr__partition_spec *cuts,
                       tr__partition *out,
                       int bucket,
                       int64_t *item,
                       int64_t *before)
{
  const tr__range whole = out->buckets[bucket];
  tr__range *slices = out->slices + (int64_t)bucket * out->num_ranks;
  int64_t i = *item, begin = 0;
  for (int r = 0; r < out->num_ranks; r++) {
    bool is_last = r == out->num_ranks - 1;
    int64_t wanted = whole.begin - before[r + 1] +
                     tr__even_split(whole.end, r + 1, out->num_ranks);
    while (i < cuts->count && cuts->begins[i] < whole.end &&
           (is_last || 2 * wanted >= cuts->begins[i] + cuts->begins[i + 1])) {
      i++;
    }
    slices[r] = (tr__range){begin, cuts->begins[i] - whole.begin};
    begin = slices[r].end;
    before[r + 1] += begin;
  }
  *item = i;
}

static tr__partition *allocate(size_t num_ranks, size_t num_buckets)
{
  tr__partition *made = calloc(1, sizeof *made);
  if (made == NULL) {
    return NULL;
  }
  made->num_ranks = (int)num_ranks;
  made->num_buckets = (int)num_buckets;
  made->buckets = calloc(num_buckets + 1, sizeof *made->buckets);
  made->slices = calloc(num_buckets * num_ranks + 1, sizeof *made->slices);
  if (made->buckets == NULL || made->slices == NULL) {
    tr__partition_destroy(&made);
  }
  return made;
}

tr_status tr__partition_create(const tr__partition_spec *cuts,
                               int num_ranks,
                               tr__partition **out)
{
  int64_t *before = calloc((size_t)num_ranks + 1, sizeof *before), item = 0;
  *out = allocate((size_t)num_ranks, (size_t)cuts->num_buckets);
  bool is_there = before != NULL && *out != NULL;
  for (int b = 0; b < cuts->num_buckets && is_there; b++) {
    (*out)->buckets[b] = cuts->buckets[b];
    cut_bucket(cuts, *out, b, &item, before);
  }
  free(before);
  if (!is_there) {
    tr__partition_destroy(out);
  }
  TR_CHECK(is_there, TR_ENOMEM, "no memory to spread %lld parts over %d ranks",
           (long long)cuts->count, num_ranks);
  return TR_OK;
}

void tr__partition_destroy(tr__partition **partition)
{
  if (*partition != NULL) {
    free((*partition)->buckets);
    free((*partition)->slices);
    free(*partition);
    *partition = NULL;
  }
}
