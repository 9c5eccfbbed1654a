/* Collectives on a duplicate of the caller's communicator. */
#include "base/clones_impl.h"
#include "comm/mpi_impl.h"

#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* A wait polls this long before it yields: a medium all-reduce. Yielding to
 * another program costs its whole time slice, 4 ms. */
static const double spin_s = 1e-3;

static tr__comm_mpi *mine(tr__comm *comm)
{
  return (tr__comm_mpi *)comm;
}

static TR__CLONES void
mpi_add_f32(float *restrict sum, const float *restrict part, int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    sum[i] += part[i];
  }
}

static TR__CLONES void
mpi_add_f64(double *restrict sum, const double *restrict part, int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    sum[i] += part[i];
  }
}

void tr__mpi_add(tr_dtype dtype, void *dst, const void *src, int64_t count)
{
  if (dtype == TR_F64) {
    mpi_add_f64(dst, src, count);
  } else {
    mpi_add_f32(dst, src, count);
  }
}

static const tr__mpi_algorithm *const algorithms[] = {
    [TR__ALGORITHM_DOUBLING] = &tr__mpi_doubling,
    [TR__ALGORITHM_RING] = &tr__mpi_ring,
    [TR__ALGORITHM_MPI] = &tr__mpi_library,
    [TR__ALGORITHM_SHM] = &tr__mpi_shm,
    [TR__ALGORITHM_DIRECT] = &tr__mpi_direct,
    [TR__ALGORITHM_HALVING] = &tr__mpi_halving,
};

/* What all ranks ask for alike, so that they choose, or refuse, alike. */
static tr_status choose(const tr__comm_mpi *comm,
                        const tr__request *request,
                        const tr__mpi_algorithm **out)
{
  int64_t bytes = request->count * (int64_t)request->element;
  bool is_ordered = request->kind != TR__ALLGATHER && comm->base.cut.total > 0;
  tr__algorithm algorithm = tr__comm_choose(&comm->base, bytes, is_ordered);
  if (is_ordered) {
    TR_TRY(tr__comm_check_order(&comm->base, algorithm));
  }
  /* Slices in any order, and rounding on the way, are not for all. */
  bool is_plain = request->slices == NULL && request->wire == 0;
  if (!is_plain && algorithm != TR__ALGORITHM_SHM) {
    algorithm = TR__ALGORITHM_DIRECT;
  }
  *out = algorithms[algorithm];
  return TR_OK;
}

int64_t tr__mpi_largest_block(const tr__comm_mpi *comm,
                              const tr__request *request)
{
  int64_t largest = 0;
  for (int r = 0; r < comm->base.size; r++) {
    const tr__block *block = &request->blocks[r];
    largest = tr__max(largest, block->end - block->begin);
  }
  return largest;
}

static void cut_slices(tr__comm_mpi *comm, const tr__transfer *transfer)
{
  for (int r = 0; r < comm->base.size; r++) {
    tr__range range = tr__comm_range(&comm->base, transfer->slices,
                                     transfer->count, transfer->dtype, r);
    comm->blocks[r] = (tr__block){range.begin, range.end};
  }
}

static tr_status
mpi_start(tr__comm *base, const tr__transfer *transfer, tr__request **out)
{
  tr__comm_mpi *comm = mine(base);
  tr__request *request = &comm->request;
  *out = NULL;
  TR_TRY(tr__comm_check(transfer));
  TR_CHECK(request->algorithm == NULL, TR_ESTATE,
           "an all-reduce was started before the last one had finished");
  request->kind = transfer->kind;
  request->buf = transfer->buf;
  request->count = transfer->count;
  request->dtype = transfer->dtype;
  request->is_absent = transfer->is_absent;
  request->slices = transfer->slices;
  request->wire = transfer->wire;
  request->element = tr_dtype_size(transfer->dtype);
  request->type = transfer->dtype == TR_F64 ? MPI_DOUBLE : MPI_FLOAT;
  TR_TRY(choose(comm, request, &request->algorithm));
  cut_slices(comm, transfer);
  request->blocks = comm->blocks;
  *out = request;
  request->is_done = transfer->count == 0 || base->size == 1;
  if (!request->is_done) {
    TR_TRY(request->algorithm->start(comm, request));
    TR_TRY(request->algorithm->advance(comm, request, &request->is_done));
  }
  return TR_OK;
}

static tr_status mpi_test(tr__comm *base, tr__request **handle, bool *done)
{
  tr__request *request = *handle;
  *done = request == NULL || request->is_done;
  if (!*done) {
    TR_TRY(request->algorithm->advance(mine(base), request, done));
  }
  if (*done && request != NULL) {
    request->algorithm = NULL;
    *handle = NULL;
  }
  return TR_OK;
}

static bool mpi_sleep(tr__comm *base, tr__request *request)
{
  const tr__mpi_algorithm *algorithm = request->algorithm;
  return algorithm->sleep != NULL && !request->is_done &&
         algorithm->sleep(mine(base), request);
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
    TR_TRY_MPI(MPI_Bcast((char *)buf + done, tr__int(count), MPI_BYTE, root,
                         comm->comm));
    done += count;
  }
  return TR_OK;
}

static tr_status
mpi_reduce_i64(tr__comm *base, int64_t *values, int count, tr__reduce how)
{
  MPI_Op op = how == TR__SUM ? MPI_SUM : how == TR__MIN ? MPI_MIN : MPI_MAX;
  TR_TRY_MPI(MPI_Allreduce(MPI_IN_PLACE, values, count, MPI_INT64_T, op,
                           mine(base)->comm));
  return TR_OK;
}

static tr_status mpi_sum_f64(tr__comm *base, double *values, int count)
{
  tr__comm_mpi *comm = mine(base);
  int64_t needed = (int64_t)count * base->size;
  if (needed > comm->num_sums) {
    double *grown = realloc(comm->sums, (size_t)needed * sizeof *grown);
    TR_CHECK(grown != NULL, TR_ENOMEM, "no memory for %lld sums",
             (long long)needed);
    comm->sums = grown;
    comm->num_sums = needed;
  }
  TR_TRY_MPI(MPI_Allgather(values, count, MPI_DOUBLE, comm->sums, count,
                           MPI_DOUBLE, comm->comm));
  for (int i = 0; i < count; i++) {
    double sum = 0;
    for (int rank = 0; rank < base->size; rank++) {
      sum += comm->sums[(int64_t)rank * count + i];
    }
    values[i] = sum;
  }
  return TR_OK;
}

static tr_status mpi_barrier(tr__comm *base)
{
  TR_TRY_MPI(MPI_Barrier(mine(base)->comm));
  return TR_OK;
}

static void mpi_destroy(tr__comm *base)
{
  tr__comm_mpi *comm = mine(base);
  tr__shm_destroy(comm);
  if (comm->node != MPI_COMM_NULL && tr__mpi_is_active()) {
    MPI_Comm_free(&comm->node);
  }
  if (comm->comm != MPI_COMM_NULL && tr__mpi_is_active()) {
    MPI_Comm_free(&comm->comm);
  }
  free(base->staging);
  free(comm->blocks);
  free(comm->scratch);
  free(comm->requests);
  free(comm->ints);
  free(comm->sums);
  free(comm->parts);
  free(base->cut.first);
  free(comm);
}

const tr__comm_type tr__comm_mpi_type = {
    .name = "mpi",
    .destroy = mpi_destroy,
    .start = mpi_start,
    .test = mpi_test,
    .sleep = mpi_sleep,
    .broadcast = mpi_broadcast,
    .reduce_i64 = mpi_reduce_i64,
    .sum_f64 = mpi_sum_f64,
    .barrier = mpi_barrier,
    .alloc = tr__shm_alloc,
    .free = tr__shm_free,
};

/* Compare the CPUs of the ranks of this node. */
static tr_status count_sharers(tr__comm *base, MPI_Comm node, cpu_set_t *sets)
{
  cpu_set_t own;
  CPU_ZERO(&own);
  sched_getaffinity(0, sizeof own, &own);
  TR_TRY_MPI(MPI_Allgather(&own, sizeof own, MPI_BYTE, sets, sizeof own,
                           MPI_BYTE, node));
  base->cpu_sharers = 0;
  for (int i = 0; i < base->local_size; i++) {
    cpu_set_t common;
    CPU_AND(&common, &own, &sets[i]);
    base->cpu_sharers += CPU_COUNT(&common) > 0;
  }
  base->cpu_sharers = base->cpu_sharers > 0 ? base->cpu_sharers : 1;
  /* With more ranks than CPUs a poll keeps the awaited rank from running. */
  base->spin_s = base->cpu_sharers > CPU_COUNT(&own) ? 0 : spin_s;
  return TR_OK;
}

static tr_status look_at_node(tr__comm_mpi *comm)
{
  TR_TRY_MPI(MPI_Comm_split_type(comm->comm, MPI_COMM_TYPE_SHARED, 0,
                                 MPI_INFO_NULL, &comm->node));
  TR_TRY_MPI(MPI_Comm_set_errhandler(comm->node, MPI_ERRORS_RETURN));
  MPI_Comm_size(comm->node, &comm->base.local_size);
  cpu_set_t *sets = calloc((size_t)comm->base.local_size, sizeof *sets);
  tr_status status = TR_OK;
  if (sets == NULL) {
    status = TR_FAIL(TR_ENOMEM, "no memory for the CPU sets of %d ranks",
                     comm->base.local_size);
  }
  TR_TRY_GOTO(tr__agree(&comm->base, status), done);
  TR_TRY_GOTO(count_sharers(&comm->base, comm->node, sets), done);

done:
  free(sets);
  return status;
}

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
  TR_TRY_MPI(MPI_Comm_set_errhandler(*out, MPI_ERRORS_RETURN));
  return TR_OK;
}

static size_t scratch_bytes(int size)
{
  size_t direct = (size_t)size * tr__direct_segment_bytes(size);
  return TR__DEPTH * (direct > TR__SEGMENT_BYTES ? direct : TR__SEGMENT_BYTES);
}

/* NULL: no memory. */
static tr__comm_mpi *make(MPI_Comm own)
{
  tr__comm_mpi *comm = calloc(1, sizeof *comm);
  if (comm == NULL) {
    return NULL;
  }
  MPI_Comm_rank(own, &comm->base.rank);
  MPI_Comm_size(own, &comm->base.size);
  size_t size = (size_t)comm->base.size;
  comm->base.type = &tr__comm_mpi_type;
  comm->base.tr__int_limit = INT_MAX;
  int level = MPI_THREAD_SINGLE;
  MPI_Query_thread(&level);
  comm->base.may_change_thread = level >= MPI_THREAD_SERIALIZED;
  comm->comm = own;
  comm->node = MPI_COMM_NULL;
  comm->blocks = calloc(size, sizeof *comm->blocks);
  comm->scratch = malloc(scratch_bytes(comm->base.size));
  comm->requests = calloc(4 * TR__DEPTH * size, sizeof *comm->requests);
  comm->ints = calloc(2 * size, sizeof *comm->ints);
  comm->parts = calloc(size, sizeof *comm->parts);
  if (comm->blocks == NULL || comm->scratch == NULL || comm->requests == NULL ||
      comm->ints == NULL || comm->parts == NULL) {
    mpi_destroy(&comm->base);
    return NULL;
  }
  return comm;
}

tr_status tr__comm_mpi_create(int handle, tr__comm **out)
{
  *out = NULL;
  MPI_Comm own = MPI_COMM_NULL;
  TR_TRY(duplicate(handle, &own));
  tr__comm_mpi *comm = make(own);
  TR_CHECK(comm != NULL, TR_ENOMEM, "no memory for a communicator");
  tr_status status = look_at_node(comm);
  if (status == TR_OK) {
    status = tr__shm_create(comm);
    comm->base.has_shm = comm->shared.base != NULL;
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
