/* Distributed data: how many samples each rank gives to a global batch when
 * every rank holds samples of its own. */
#ifndef TR_DEAL_IMPL_H
#define TR_DEAL_IMPL_H

#include "base/base_impl.h"

/* The sample counts of all ranks, and scratch memory. */
typedef struct tr__deal {
  int rank, size;
  const int64_t *counts; /* (size) samples of each rank; borrowed */
  int64_t total;         /* their sum */
  int64_t *begin, *end;  /* (size) scratch; owned */
  int *heap;             /* (size) scratch; owned */
} tr__deal;

/* The samples that one rank gives to one global batch. */
typedef struct tr__deal_part {
  int64_t place; /* position of its first sample in the rank's own order */
  int64_t count;
  int64_t first; /* position of its first sample in the global batch */
} tr__deal_part;

/* tr__deal_create - counts are borrowed until tr__deal_destroy(). */
tr_status
tr__deal_create(const int64_t *counts, int size, int rank, tr__deal **out);
void tr__deal_destroy(tr__deal **deal);

/* tr__deal_at - this rank's samples among the `count` samples that follow the
 * first `done` of an epoch; done + count <= total. Each sample of each rank
 * comes once per epoch, the samples of all ranks add up to `count`, and with
 * fixed counts per rank the result depends on done and count alone. One thread
 * at a time. */
tr__deal_part tr__deal_at(tr__deal *deal, int64_t done, int64_t count);

/* tr__deal_max_rows - an upper bound on the samples that any rank gives to one
 * global batch of this size. */
int64_t tr__deal_max_rows(const tr__deal *deal, int64_t batch);

#endif
