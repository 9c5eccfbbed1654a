/* Cutting an arena for the ranks. */
#include "base/partition_impl.h"

#include <stdlib.h>
#include <string.h>

/* A run of items, or a rank, by how much it has. */
typedef struct load {
  int64_t count;
  int index;
} load;

static int most_first(const void *a, const void *b)
{
  const load *x = a, *y = b;
  return x->count != y->count ? (x->count < y->count) - (x->count > y->count)
                              : (x->index > y->index) - (x->index < y->index);
}

static int least_first(const void *a, const void *b)
{
  const load *x = a, *y = b;
  return x->count != y->count ? (x->count > y->count) - (x->count < y->count)
                              : (x->index > y->index) - (x->index < y->index);
}

/* Each item goes to the run in which its middle lies, if all were of one
 * length. *item is the first of the bucket, and then of the next one. */
static void cut_runs(const tr__cuts *cuts,
                     tr__range bucket,
                     int num_ranks,
                     int64_t *item,
                     tr__range *runs)
{
  int64_t length = bucket.end - bucket.begin, begin = 0;
  for (int g = 0; g < num_ranks; g++) {
    int64_t end = begin;
    while (*item < cuts->count && cuts->begins[*item] < bucket.end) {
      tr__wide twice_middle = (tr__wide)cuts->begins[*item] +
                              cuts->begins[*item + 1] - 2 * bucket.begin;
      if (g < num_ranks - 1 &&
          twice_middle * num_ranks >= 2 * (tr__wide)length * (g + 1)) {
        break;
      }
      end = cuts->begins[*item + 1] - bucket.begin;
      ++*item;
    }
    runs[g] = (tr__range){begin, end};
    begin = end;
  }
}

typedef struct scratch {
  tr__range *runs;
  load *lengths, *ranks;
} scratch;

static void give_runs(tr__partition *out, int bucket, scratch *s)
{
  int num_ranks = out->num_ranks;
  tr__range *slices = out->slices + (int64_t)bucket * num_ranks;
  for (int g = 0; g < num_ranks; g++) {
    s->lengths[g] = (load){s->runs[g].end - s->runs[g].begin, g};
  }
  size_t count = (size_t)num_ranks;
  qsort(s->lengths, count, sizeof *s->lengths, most_first);
  qsort(s->ranks, count, sizeof *s->ranks, least_first);
  for (int i = 0; i < num_ranks; i++) {
    slices[s->ranks[i].index] = s->runs[s->lengths[i].index];
    s->ranks[i].count += s->lengths[i].count;
  }
}

static void cut(const tr__cuts *cuts, tr__partition *out, scratch *s)
{
  int64_t item = 0;
  for (int r = 0; r < out->num_ranks; r++) {
    s->ranks[r] = (load){0, r};
  }
  for (int b = 0; b < out->num_buckets; b++) {
    out->buckets[b] = cuts->buckets[b];
    cut_runs(cuts, cuts->buckets[b], out->num_ranks, &item, s->runs);
    give_runs(out, b, s);
  }
}

tr_status
tr__partition_create(const tr__cuts *cuts, int num_ranks, tr__partition **out)
{
  size_t ranks = (size_t)num_ranks, buckets = (size_t)cuts->num_buckets;
  scratch s = {.runs = calloc(ranks, sizeof *s.runs),
               .lengths = calloc(ranks, sizeof *s.lengths),
               .ranks = calloc(ranks, sizeof *s.ranks)};
  tr__partition *made = calloc(1, sizeof *made);
  if (made != NULL) {
    *made = (tr__partition){
        .num_ranks = num_ranks,
        .num_buckets = cuts->num_buckets,
        .buckets = calloc(buckets + 1, sizeof *made->buckets),
        .slices = calloc(buckets * ranks + 1, sizeof *made->slices)};
  }
  bool is_there = made != NULL && made->buckets != NULL &&
                  made->slices != NULL && s.runs != NULL && s.lengths != NULL &&
                  s.ranks != NULL;
  if (is_there) {
    cut(cuts, made, &s);
  } else {
    tr__partition_destroy(&made);
  }
  free(s.runs);
  free(s.lengths);
  free(s.ranks);
  *out = made;
  return is_there ? TR_OK
                  : TR_FAIL(TR_ENOMEM,
                            "no memory to spread %lld parts over %d "
                            "ranks",
                            (long long)cuts->count, num_ranks);
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
