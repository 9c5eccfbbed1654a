/* The collective of communicator.c with an entry in the rank status for each
 * call, so that a watchdog knows which rank has come to which call and which
 * ranks wait. */
#include "comm/mpi/mpi_impl.h"

static void enter(tr__comm *comm, tr__call call, int64_t bytes)
{
  tr__call_begin(comm->board, call, bytes);
  tr__wait_begin(comm->board, TR__MEETINGS);
}

static void leave(tr__comm *comm)
{
  tr__wait_end(comm->board);
  tr__call_end(comm->board, TR__MEETINGS);
}

static void watched_destroy(tr__comm *comm)
{
  tr__mpi_bare_type.destroy(comm);
}

static tr_status
watched_start(tr__comm *comm, const tr__transfer *transfer, tr__request **out)
{
  tr__call call = (tr__call)(transfer->kind + TR__CALL_ALLREDUCE);
  int64_t bytes = transfer->count * (int64_t)tr_dtype_size(transfer->dtype);
  tr__call_begin(comm->board, call, bytes);
  tr_status status = tr__mpi_bare_type.start(comm, transfer, out);
  if (*out == NULL) {
    tr__call_end(comm->board, TR__TRANSFERS);
  }
  return status;
}

static tr_status watched_test(tr__comm *comm, tr__request **request, bool *done)
{
  bool is_open = *request != NULL;
  tr_status status = tr__mpi_bare_type.test(comm, request, done);
  if (is_open && *request == NULL) {
    tr__call_end(comm->board, TR__TRANSFERS);
  }
  return status;
}

static bool watched_sleep(tr__comm *comm, tr__request *request)
{
  return tr__mpi_bare_type.sleep(comm, request);
}

static void watched_look(tr__comm *comm, const tr__request *request)
{
  const tr__mpi_algorithm *algorithm = request->algorithm;
  if (algorithm != NULL && algorithm->look != NULL) {
    int awaited = -1;
    int64_t moves = algorithm->look((tr__comm_mpi *)comm, request, &awaited);
    tr__wait_note(comm->board, awaited, moves);
  }
}

static tr_status
watched_broadcast(tr__comm *comm, void *buf, size_t bytes, int root)
{
  enter(comm, TR__CALL_BROADCAST, (int64_t)bytes);
  tr__wait_note(comm->board, root, 0);
  tr_status status = tr__mpi_bare_type.broadcast(comm, buf, bytes, root);
  leave(comm);
  return status;
}

static tr_status
watched_reduce_i64(tr__comm *comm, int64_t *values, int count, tr__reduce how)
{
  enter(comm, TR__CALL_AGREE, count);
  tr_status status = tr__mpi_bare_type.reduce_i64(comm, values, count, how);
  leave(comm);
  return status;
}

static tr_status watched_sum_f64(tr__comm *comm, double *values, int count)
{
  enter(comm, TR__CALL_SUM, count);
  tr_status status = tr__mpi_bare_type.sum_f64(comm, values, count);
  leave(comm);
  return status;
}

static tr_status watched_barrier(tr__comm *comm)
{
  enter(comm, TR__CALL_BARRIER, 0);
  tr_status status = tr__mpi_bare_type.barrier(comm);
  leave(comm);
  return status;
}

static tr_status watched_alloc(tr__comm *comm, size_t bytes, void **out)
{
  tr__call_begin(comm->board, TR__CALL_SHARE, (int64_t)bytes);
  tr__block_begin(comm->board, TR__MEETINGS);
  tr_status status = tr__mpi_bare_type.alloc(comm, bytes, out);
  tr__block_end(comm->board);
  tr__call_end(comm->board, TR__MEETINGS);
  return status;
}

static void watched_free(tr__comm *comm, void *data)
{
  tr__mpi_bare_type.free(comm, data);
}

const tr__comm_type tr__comm_mpi_type = {
    .name = "mpi",
    .destroy = watched_destroy,
    .start = watched_start,
    .test = watched_test,
    .sleep = watched_sleep,
    .look = watched_look,
    .broadcast = watched_broadcast,
    .reduce_i64 = watched_reduce_i64,
    .sum_f64 = watched_sum_f64,
    .barrier = watched_barrier,
    .alloc = watched_alloc,
    .free = watched_free,
};
