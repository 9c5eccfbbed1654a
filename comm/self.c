/* The collective of a single rank: its numbers are the sums already. */
#include "comm/mpi/comm_mpi_impl.h"

#include <limits.h>
#include <stdlib.h>

static void self_destroy(tr__comm *comm)
{
  free(comm->staging);
  free(comm->shards.first);
  free(comm);
}

static tr_status
self_start(tr__comm *comm, const tr__transfer *transfer, tr__request **out)
{
  (void)comm;
  *out = NULL;
  return tr__comm_check(transfer);
}

static tr_status self_test(tr__comm *comm, tr__request **request, bool *done)
{
  (void)comm;
  *request = NULL;
  *done = true;
  return TR_OK;
}

static bool self_sleep(tr__comm *comm, tr__request *request)
{
  (void)comm;
  (void)request;
  return false;
}

static tr_status
self_broadcast(tr__comm *comm, void *buf, size_t bytes, int root)
{
  (void)comm;
  (void)buf;
  (void)bytes;
  TR_CHECK(root == 0, TR_EINVAL, "broadcast from rank %d of 1", root);
  return TR_OK;
}

static tr_status
self_reduce_i64(tr__comm *comm, int64_t *values, int count, tr__reduce how)
{
  (void)comm;
  (void)values;
  (void)count;
  (void)how;
  return TR_OK;
}

static tr_status self_sum_f64(tr__comm *comm, double *values, int count)
{
  (void)comm;
  (void)values;
  (void)count;
  return TR_OK;
}

static tr_status self_barrier(tr__comm *comm)
{
  (void)comm;
  return TR_OK;
}

/* No other rank shares memory. */
static tr_status self_alloc(tr__comm *comm, size_t bytes, void **out)
{
  (void)comm;
  (void)bytes;
  *out = NULL;
  return TR_OK;
}

static void self_free(tr__comm *comm, void *data)
{
  (void)comm;
  (void)data;
}

const tr__comm_type tr__comm_self_type = {
    .name = "self",
    .destroy = self_destroy,
    .start = self_start,
    .test = self_test,
    .sleep = self_sleep,
    .broadcast = self_broadcast,
    .reduce_i64 = self_reduce_i64,
    .sum_f64 = self_sum_f64,
    .barrier = self_barrier,
    .alloc = self_alloc,
    .free = self_free,
};

tr_status tr__comm_self_create(tr__comm **out)
{
  *out = calloc(1, sizeof **out);
  TR_CHECK(*out != NULL, TR_ENOMEM, "no memory for a communicator");
  **out = (tr__comm){.type = &tr__comm_self_type,
                     .rank = 0,
                     .size = 1,
                     .local_size = 1,
                     .cpu_sharers = 1,
                     .tr__int_limit = INT_MAX};
  return TR_OK;
}
