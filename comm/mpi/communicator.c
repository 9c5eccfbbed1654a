/* The collective over MPI, on a duplicate of the caller's communicator:
 * transfers by the algorithms of this folder, small collectives by MPI calls.
 */
#include "comm/mpi/mpi_impl.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Numbers that one call of MPI sums. */
enum { SUMS = 64 };

static tr__comm_mpi *mine(tr__comm *comm)
{
  return (tr__comm_mpi *)comm;
}

tr_status tr__mpi_choose(const tr__comm_mpi *comm,
                         const tr__transfer *transfer,
                         const tr__mpi_algorithm **out)
{
  const tr__mpi_algorithm *algorithm = tr__comm_choose(&comm->base, transfer);
  if (transfer->kind != TR__ALLGATHER) {
    TR_TRY(tr__comm_check_order(&comm->base, algorithm));
  }
  bool sends_wire =
      transfer->wire == 0 || algorithm->sends_nothing || algorithm->has_wire;
  /* Not every algorithm can send 16-bit numbers. */
  *out = sends_wire ? algorithm : &tr__mpi_direct;
  return TR_OK;
}

static void cut_slices(tr__comm_mpi *comm, const tr__transfer *transfer)
{
  for (int r = 0; r < comm->base.size; r++) {
    int64_t count = transfer->count;
    comm->blocks[r] = tr__comm_range(&comm->base, transfer->slices, count,
                                     transfer->dtype, r);
  }
}

tr_status tr__mpi_begin(tr__comm_mpi *comm,
                        const tr__mpi_algorithm *algorithm,
                        const tr__transfer *transfer,
                        const tr__range *blocks)
{
  tr__request *request = &comm->request;
  if (blocks == NULL) {
    cut_slices(comm, transfer);
  }
  request->kind = transfer->kind;
  request->buf = transfer->buf;
  request->count = transfer->count;
  request->dtype = transfer->dtype;
  request->wire = algorithm->has_wire ? transfer->wire : 0;
  request->skip_entry_barrier = transfer->skip_entry_barrier;
  request->skip_exit_barrier = transfer->skip_exit_barrier;
  request->element = tr_dtype_size(transfer->dtype);
  request->type = transfer->dtype == TR_F64 ? MPI_DOUBLE : MPI_FLOAT;
  request->blocks = blocks != NULL ? blocks : comm->blocks;
  request->is_done = transfer->count == 0 || comm->base.size == 1;
  request->algorithm = algorithm;
  if (!request->is_done) {
    TR_TRY(algorithm->start(comm, request));
    TR_TRY(algorithm->advance(comm, request, &request->is_done));
  }
  return TR_OK;
}

static tr_status
mpi_start(tr__comm *base, const tr__transfer *transfer, tr__request **out)
{
  tr__comm_mpi *comm = mine(base);
  const tr__mpi_algorithm *algorithm = NULL;
  *out = NULL;
  TR_TRY(tr__comm_check(transfer));
  TR_CHECK(comm->request.algorithm == NULL, TR_ESTATE,
           "an all-reduce was started before the last one had finished");
  TR_TRY(tr__mpi_choose(comm, transfer, &algorithm));
  *out = &comm->request;
  TR_TRY(tr__mpi_begin(comm, algorithm, transfer, NULL));
  return TR_OK;
}

static tr_status mpi_test(tr__comm *base, tr__request **handle, bool *done)
{
  tr__request *request = *handle;
  *done = request == NULL || request->is_done;
  tr_status status = TR_OK;
  if (!*done) {
    status = request->algorithm->advance(mine(base), request, done);
  }
  /* A transfer that has failed is over too. */
  if ((*done || status != TR_OK) && request != NULL) {
    request->algorithm = NULL;
    *handle = NULL;
  }
  return tr_error_push(status, __FILE__, __LINE__);
}

static bool mpi_sleep(tr__comm *base, tr__request *request)
{
  const tr__mpi_algorithm *algorithm = request->algorithm;
  return algorithm->sleep != NULL && !request->is_done &&
         algorithm->sleep(mine(base), request);
}

/* Polls MPI's request as tr__comm_wait() polls a transfer: a wait in MPI would
 * keep a CPU busy and show watchdogs no progress. */
static tr_status finish(tr__comm_mpi *comm, MPI_Request *request)
{
  double begin = tr__now();
  int is_done = 0;
  TR_TRY_MPI(MPI_Test(request, &is_done, MPI_STATUS_IGNORE));
  while (!is_done) {
    tr__comm_rest(&comm->base, NULL, tr__now() - begin);
    TR_TRY_MPI(MPI_Test(request, &is_done, MPI_STATUS_IGNORE));
  }
  tr__comm_rested(&comm->base, TR__MEETINGS, tr__now() - begin);
  return TR_OK;
}

static tr_status
mpi_broadcast(tr__comm *base, void *buf, size_t bytes, int root)
{
  tr__comm_mpi *comm = mine(base);
  int64_t done = 0, all = (int64_t)bytes;
  TR_CHECK(root >= 0 && root < base->size, TR_EINVAL,
           "broadcast from rank %d of %d", root, base->size);
  while (done < all) {
    int64_t count = tr__min(all - done, base->tr__int_limit);
    MPI_Request request;
    TR_TRY_MPI(MPI_Ibcast((char *)buf + done, tr__int(count), MPI_BYTE, root,
                          comm->comm, &request));
    TR_TRY(finish(comm, &request));
    done += count;
  }
  return TR_OK;
}

static tr_status
mpi_reduce_i64(tr__comm *base, int64_t *values, int count, tr__reduce how)
{
  MPI_Op op = how == TR__SUM ? MPI_SUM : how == TR__MIN ? MPI_MIN : MPI_MAX;
  MPI_Request request;
  TR_TRY_MPI(MPI_Iallreduce(MPI_IN_PLACE, values, count, MPI_INT64_T, op,
                            mine(base)->comm, &request));
  return finish(mine(base), &request);
}

/* In the order of ranks, so that the result does not depend on MPI. */
static tr_status sum_some(tr__comm_mpi *comm, double *values, int count)
{
  MPI_Request request;
  TR_TRY_MPI(MPI_Iallgather(values, count, MPI_DOUBLE, comm->sums, count,
                            MPI_DOUBLE, comm->comm, &request));
  TR_TRY(finish(comm, &request));
  for (int i = 0; i < count; i++) {
    double sum = 0;
    for (int rank = 0; rank < comm->base.size; rank++) {
      sum += comm->sums[(int64_t)rank * count + i];
    }
    values[i] = sum;
  }
  return TR_OK;
}

static tr_status mpi_sum_f64(tr__comm *base, double *values, int count)
{
  for (int first = 0; first < count; first += SUMS) {
    int some = count - first < SUMS ? count - first : SUMS;
    TR_TRY(sum_some(mine(base), values + first, some));
  }
  return TR_OK;
}

static tr_status mpi_barrier(tr__comm *base)
{
  MPI_Request request;
  TR_TRY_MPI(MPI_Ibarrier(mine(base)->comm, &request));
  return finish(mine(base), &request);
}

static void free_communicator(MPI_Comm *comm)
{
  if (*comm != MPI_COMM_NULL && tr__mpi_is_active()) {
    MPI_Comm_free(comm);
  }
}

static void mpi_destroy(tr__comm *base)
{
  tr__comm_mpi *comm = mine(base);
  tr__nodes_release(comm);
  tr__shm_destroy(comm);
  free_communicator(&comm->node);
  free_communicator(&comm->comm);
  free(base->staging);
  free(comm->blocks);
  free(comm->scratch);
  free(comm->requests);
  free(comm->ints);
  free(comm->sums);
  free(comm->parts);
  free(base->shards.first);
  if (base->board != NULL) {
    base->board->release(base->board);
  }
  free(comm);
}

const tr__comm_type tr__mpi_bare_type = {
    .name = "mpi",
    .destroy = mpi_destroy,
    .start = mpi_start,
    .test = mpi_test,
    .sleep = mpi_sleep,
    .broadcast = mpi_broadcast,
    .reduce_i64 = mpi_reduce_i64,
    .sum_f64 = mpi_sum_f64,
    .barrier = mpi_barrier,
    .alloc = tr__nodes_alloc,
    .free = tr__nodes_free,
};

static tr_status duplicate(int handle, MPI_Comm *out)
{
  TR_CHECK(tr__mpi_is_active(), TR_ESTATE,
           "a context on a communicator needs MPI to be initialised");
  MPI_Comm comm = MPI_Comm_f2c((MPI_Fint)handle);
  TR_CHECK(comm != MPI_COMM_NULL, TR_EINVAL,
           "the communicator is MPI_COMM_NULL on this rank");
  int is_inter = 0;
  TR_TRY_MPI(MPI_Comm_test_inter(comm, &is_inter));
  TR_CHECK(!is_inter, TR_EINVAL,
           "the communicator is an intercommunicator, expected an "
           "intracommunicator");
  TR_TRY_MPI(MPI_Comm_dup(comm, out));
  return TR_OK;
}

static size_t scratch_bytes(const tr__comm_mpi *comm)
{
  size_t direct = (size_t)comm->base.size * tr__direct_chunk_bytes(comm);
  return TR__DEPTH * (direct > comm->chunk ? direct : comm->chunk);
}

static bool get_memory(tr__comm_mpi *comm)
{
  size_t size = (size_t)comm->base.size;
  comm->blocks = calloc(size, sizeof *comm->blocks);
  comm->scratch = malloc(scratch_bytes(comm));
  comm->requests = calloc(4 * TR__DEPTH * size, sizeof *comm->requests);
  comm->ints = calloc(2 * size, sizeof *comm->ints);
  comm->parts = calloc(size, sizeof *comm->parts);
  comm->sums = calloc(SUMS * size, sizeof *comm->sums);
  for (size_t i = 0; comm->requests != NULL && i < 4 * TR__DEPTH * size; i++) {
    comm->requests[i] = MPI_REQUEST_NULL;
  }
  return comm->blocks != NULL && comm->scratch != NULL &&
         comm->requests != NULL && comm->ints != NULL && comm->parts != NULL &&
         comm->sums != NULL;
}

tr_status tr__mpi_make(MPI_Comm own, tr__comm_mpi **out)
{
  int level = MPI_THREAD_SINGLE;
  *out = calloc(1, sizeof **out);
  TR_CHECK(*out != NULL, TR_ENOMEM, "no memory for a communicator");
  tr__comm_mpi *comm = *out;
  MPI_Comm_set_errhandler(own, MPI_ERRORS_RETURN);
  MPI_Comm_rank(own, &comm->base.rank);
  MPI_Comm_size(own, &comm->base.size);
  MPI_Query_thread(&level);
  comm->base.type = &tr__comm_mpi_type;
  comm->base.tr__int_limit = INT_MAX;
  comm->base.may_change_thread = level >= MPI_THREAD_SERIALIZED;
  comm->chunk = TR__CHUNK_BYTES;
  comm->comm = own;
  comm->node = MPI_COMM_NULL;
  if (!get_memory(comm)) {
    comm->comm = MPI_COMM_NULL; /* stays the caller's */
    mpi_destroy(&comm->base);
    *out = NULL;
    return TR_FAIL(TR_ENOMEM, "no memory for a communicator");
  }
  return TR_OK;
}

/* A rank without memory must not leave the others in the next MPI call. */
static tr_status make_on_all(MPI_Comm own, tr__comm_mpi **out)
{
  tr_status status = tr__mpi_make(own, out);
  int is_made = status == TR_OK;
  TR_TRY_MPI(MPI_Allreduce(MPI_IN_PLACE, &is_made, 1, MPI_INT, MPI_MIN, own));
  if (is_made) {
    return TR_OK;
  }
  if (status == TR_OK) {
    (*out)->comm = MPI_COMM_NULL;
    mpi_destroy(&(*out)->base);
    status =
        TR_FAIL(TR_ENOMEM, "another rank has no memory for a communicator");
  }
  *out = NULL;
  return status;
}

tr_status tr__comm_mpi_create(int handle, tr__comm **out)
{
  *out = NULL;
  MPI_Comm own = MPI_COMM_NULL;
  tr__comm_mpi *comm;
  TR_TRY(duplicate(handle, &own));
  tr_status status = make_on_all(own, &comm);
  if (status != TR_OK) {
    MPI_Comm_free(&own);
    return tr_error_push(status, __FILE__, __LINE__);
  }
  status = tr__nodes_create(comm);
  if (status == TR_OK) {
    status = tr__node_status_create(comm, &comm->base.board);
  }
  if (status != TR_OK) {
    mpi_destroy(&comm->base);
    return tr_error_push(status, __FILE__, __LINE__);
  }
  *out = &comm->base;
  return TR_OK;
}

tr_status tr__comm_create(int handle, tr__comm **out)
{
  *out = NULL;
  MPI_Comm comm =
      tr__mpi_is_active() ? MPI_Comm_f2c((MPI_Fint)handle) : MPI_COMM_NULL;
  int size = 0, is_inter = 0;
  if (comm != MPI_COMM_NULL) {
    TR_TRY_MPI(MPI_Comm_size(comm, &size));
    TR_TRY_MPI(MPI_Comm_test_inter(comm, &is_inter));
  }
  return size == 1 && !is_inter ? tr__comm_self_create(out)
                                : tr__comm_mpi_create(handle, out);
}
