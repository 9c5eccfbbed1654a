/* Cutting an arena for the ranks. */
#include "sync/partition_impl.h"

#include <stdlib.h>

/* What the ranks before rank r have of the buckets so far is as near to r /
 * num_ranks of them as items allow, so that what one bucket could not give to a
 * rank the next one does. *item is the first of the bucket, and then of the
 * next one. */
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
