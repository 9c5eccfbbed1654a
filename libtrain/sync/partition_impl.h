/* Partition of an arena over the ranks, for ZeRO stage 1. */
#ifndef TR_PARTITION_IMPL_H
#define TR_PARTITION_IMPL_H

#include "core/comm_impl.h"

/* Every bucket of the arena is one transfer, and every rank owns one range, its
 * slice, of every bucket. */
typedef struct tr__partition {
  int num_ranks, num_buckets;
  tr__range *buckets; /* [num_buckets], ascending, without gaps */
  tr__range *slices;  /* [num_buckets][num_ranks], relative to the bucket's
                         begin, ascending; some may be empty */
} tr__partition;

/* The places where slices may begin. */
typedef struct tr__partition_spec {
  const tr__range *buckets; /* [num_buckets], each begins where an item does */
  int num_buckets;
  int64_t *begins; /* [count + 1], ascending: the begins of the items, each of
                      which one rank owns as a whole, and the arena's end */
  int64_t count;   /* items */
} tr__partition_spec;

/* tr__partition_create - partition an arena. Local; equal arguments give equal
 * results on all ranks.
 *
 * A slice is a contiguous run of items, and slices are in the order of ranks.
 * No rank owns more than 1/num_ranks of the arena plus two items. */
tr_status tr__partition_create(const tr__partition_spec *cuts,
                               int num_ranks,
                               tr__partition **out);

void tr__partition_destroy(tr__partition **partition);

/* tr__partition_range - a rank's slice of a bucket, as a range of the arena. */
static inline tr__range
tr__partition_range(const tr__partition *partition, int bucket, int rank)
{
  int64_t begin = partition->buckets[bucket].begin;
  const tr__range own =
      partition->slices[(int64_t)bucket * partition->num_ranks + rank];
  return (tr__range){begin + own.begin, begin + own.end};
}

/* tr__range_common - the intersection of two ranges; empty where its end equals
 * its begin. */
static inline tr__range tr__range_common(tr__range a, tr__range b)
{
  int64_t begin = tr__max(a.begin, b.begin);
  return (tr__range){begin, tr__max(begin, tr__min(a.end, b.end))};
}

#endif
