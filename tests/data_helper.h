/* A context that data sets and loaders work on, as any rank of any number of
 * ranks, in one process: its communicator only says the numbers. */
#ifndef TR_DATA_HELPER_H
#define TR_DATA_HELPER_H

#include "test.h"

#include "data/data_impl.h"

static tr_status alone_broadcast(tr__comm *comm, void *buf, size_t n, int root)
{
  (void)comm;
  (void)buf;
  (void)n;
  (void)root;
  return TR_OK;
}

static tr_status
alone_reduce(tr__comm *comm, int64_t *values, int count, tr__reduce how)
{
  (void)comm;
  (void)values;
  (void)count;
  (void)how;
  return TR_OK;
}

static const tr__comm_type alone_type = {
    .name = "alone", .broadcast = alone_broadcast, .reduce_i64 = alone_reduce};

typedef struct alone {
  tr__comm comm;
  tr_context ctx;
} alone;

/* alone_init - rank of size, without the others. */
static inline tr_context *
alone_init(alone *a, int rank, int size, tr_dtype dtype)
{
  memset(a, 0, sizeof *a);
  a->comm.type = &alone_type;
  a->comm.rank = rank;
  a->comm.size = size;
  a->ctx.comm = &a->comm;
  a->ctx.dtype = dtype;
  a->ctx.seed = 7;
  return &a->ctx;
}

#endif
