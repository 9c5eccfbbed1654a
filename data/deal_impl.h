/* Distributed data: how each global batch is dealt to ranks that hold samples
 * of their own. */
#ifndef TR_DEAL_IMPL_H
#define TR_DEAL_IMPL_H

#include "base/base_impl.h"

/* The counts of all ranks, and room to work in. */
typedef struct tr__deal {
  int rank, size;
  const int64_t *counts; /* (size) samples of each rank; borrowed */
  int64_t total;         /* their sum */
  int64_t *begin, *end;  /* (size) scratch; owned */
  int *heap;             /* (size) scratch; owned */
} tr__deal;

/* One rank's part of one batch. */
typedef struct tr__deal_part {
  int64_t place; /* of its first sample in the rank's own order */
  int64_t count;
  int64_t first; /* of its first sample in the global batch */
} tr__deal_part;

/* tr__deal_create - counts are borrowed until tr__deal_destroy(). */
tr_status
tr__deal_create(const int64_t *counts, int size, int rank, tr__deal **out);
void tr__deal_destroy(tr__deal **deal);

/* tr__deal_at - this rank's part of the `count` samples that follow after
 * `done` of an epoch; done + count <= total. Every sample of every rank is in
 * one part, the parts of the ranks add up to count, and depend on done and
 * count alone. One thread at a time. */
tr__deal_part tr__deal_at(tr__deal *deal, int64_t done, int64_t count);

/* tr__deal_max_rows - no rank ever gets more in a batch of so many. */
int64_t tr__deal_max_rows(const tr__deal *deal, int64_t batch);

#endif
