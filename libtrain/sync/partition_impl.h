/* How what lies in an arena is spread over the ranks. */
#ifndef TR_PARTITION_IMPL_H
#define TR_PARTITION_IMPL_H

#include "core/comm_impl.h"

/* The arena is cut into buckets, which travel one by one, and every rank has
 * one range of each. */
typedef struct tr__partition {
  int num_ranks, num_buckets;
  tr__range *buckets; /* [num_buckets], ascending, without gaps */
  tr__range *slices;  /* [num_buckets][num_ranks], from the bucket's begin,
                         ascending, some may be empty */
} tr__partition;

/* Where an arena may be cut. */
typedef struct tr__partition_spec {
  const tr__range *buckets; /* [num_buckets], which begin where items do */
  int num_buckets;
  int64_t *begins; /* [count + 1], ascending: of the items that stay whole, and
                      the arena's end */
  int64_t count;
} tr__partition_spec;

/* tr__partition_create - the same on all ranks that give the same.
 *
 * A rank's range of a bucket is a run of items, in the order of ranks. No rank
 * has more than 1/num_ranks of the arena and two items. */
tr_status tr__partition_create(const tr__partition_spec *cuts,
                               int num_ranks,
                               tr__partition **out);

void tr__partition_destroy(tr__partition **partition);

/* tr__partition_range - a rank's range of a bucket, in the arena. */
static inline tr__range
tr__partition_range(const tr__partition *partition, int bucket, int rank)
{
  int64_t begin = partition->buckets[bucket].begin;
  const tr__range own =
      partition->slices[(int64_t)bucket * partition->num_ranks + rank];
  return (tr__range){begin + own.begin, begin + own.end};
}

/* tr__range_common - what two ranges have in common; empty: end is begin. */
static inline tr__range tr__range_common(tr__range a, tr__range b)
{
  int64_t begin = tr__max(a.begin, b.begin);
  return (tr__range){begin, tr__max(begin, tr__min(a.end, b.end))};
}

#endif
