/* The algorithms of transfers: their names, and which one serves which
 * transfer. */
#include "comm/mpi/algorithm_table_impl.h"
#include "comm/mpi/mpi_impl.h"

#include <stdio.h>
#include <string.h>

#define ADDRESS(name) &tr__mpi_##name,
static const tr__mpi_algorithm *const algorithms[] = {
    TR__MPI_ALGORITHMS(ADDRESS)};
#undef ADDRESS
enum { COUNT = sizeof algorithms / sizeof algorithms[0] };

/* The algorithm for at most max_bytes over messages, measured by
 * `bench_allreduce --tune` with 2 ranks, and with 3 and 4. MPI's own all-reduce
 * is not chosen, although it was up to 5 % faster at some sizes: it blocks, so
 * no computation can hide it. */
typedef struct choice {
  int64_t max_bytes;
  const tr__mpi_algorithm *algorithm;
} choice;

static const choice choices_of_two[] = {
    {64 << 10, &tr__mpi_doubling},
    {INT64_MAX, &tr__mpi_halving},
};

static const choice choices[] = {
    {32 << 10, &tr__mpi_doubling},
    {INT64_MAX, &tr__mpi_ring},
};

/* A ring of many ranks sends as many messages one after the other: with slices
 * of fewer bytes than this their latency costs more than their bytes. On a
 * power of two of ranks halving sends no more bytes than a ring, so its range
 * is wider. Source: simulation, tests/bench/scale. */
static int64_t least_ring_slice(int ranks)
{
  bool is_power = (ranks & (ranks - 1)) == 0;
  int64_t with_many = ranks < 32 ? 128 << 10 : 256 << 10;
  return ranks >= 16 && is_power ? with_many : 8 << 10;
}

static bool keeps_order(const tr__comm *comm,
                        const tr__mpi_algorithm *algorithm)
{
  return algorithm->keeps_order == NULL || algorithm->keeps_order(comm);
}

tr_status tr__comm_check_order(const tr__comm *comm,
                               const tr__mpi_algorithm *algorithm)
{
  TR_CHECK(comm->shards.total == 0 || keeps_order(comm, algorithm),
           TR_EUNSUPPORTED,
           "all-reduce algorithm \"%s\" cannot keep the order of sums of %lld "
           "virtual shards on these %d ranks; auto, direct and shm can",
           algorithm->name, (long long)comm->shards.total, comm->size);
  return TR_OK;
}

/* "auto, doubling, ring, ..." */
static const char *all_names(char *out, size_t bytes)
{
  size_t used = (size_t)snprintf(out, bytes, "auto");
  for (int i = 0; i < COUNT && used < bytes; i++) {
    used +=
        (size_t)snprintf(out + used, bytes - used, ", %s", algorithms[i]->name);
  }
  return out;
}

tr_status tr__comm_set_algorithm(tr__comm *comm, const char *name)
{
  int i = 0;
  if (strcmp(name, "auto") == 0) {
    comm->algorithm = NULL;
    return TR_OK;
  }
  while (i < COUNT && strcmp(name, algorithms[i]->name) != 0) {
    i++;
  }
  char names[TR__MESSAGE_BYTES / 2];
  TR_CHECK(i < COUNT, TR_EINVAL, "all-reduce algorithm \"%s\" is none of %s",
           name, all_names(names, sizeof names));
  if (algorithms[i]->check != NULL) {
    TR_TRY(algorithms[i]->check(comm));
  }
  TR_TRY(tr__comm_check_order(comm, algorithms[i]));
  comm->algorithm = algorithms[i];
  return TR_OK;
}

static const tr__mpi_algorithm *by_size(const tr__comm *comm, int64_t bytes)
{
  const choice *c = comm->size == 2 ? choices_of_two : choices;
  while (bytes > c->max_bytes) {
    c++;
  }
  bool is_small = bytes / comm->size < least_ring_slice(comm->size);
  return c->algorithm == &tr__mpi_ring && is_small ? &tr__mpi_halving
                                                   : c->algorithm;
}

const tr__mpi_algorithm *tr__comm_choose(const tr__comm *comm,
                                         const tr__transfer *transfer)
{
  if (comm->algorithm != NULL) {
    return comm->algorithm;
  }
  int64_t element = (int64_t)tr_dtype_size(transfer->dtype);
  const tr__mpi_algorithm *const wishes[] = {
      comm->has_shm     ? &tr__mpi_shm
      : comm->has_nodes ? &tr__mpi_hierarchical
                        : by_size(comm, transfer->count * element),
      &tr__mpi_halving, &tr__mpi_direct};
  bool is_ordered = comm->shards.total > 0 && transfer->kind != TR__ALLGATHER;
  int i = 0;
  while (is_ordered && !keeps_order(comm, wishes[i])) {
    i++; /* the last wish always keeps the order */
  }
  return wishes[i];
}

const char *tr__comm_algorithm_name(const tr__comm *comm, int64_t bytes)
{
  const tr__transfer sum = {.count = bytes / (int64_t)sizeof(float),
                            .dtype = TR_F32};
  return tr__comm_choose(comm, &sum)->name;
}

const char *tr__comm_algorithm_at(int number)
{
  return number == 0       ? "auto"
         : number <= COUNT ? algorithms[number - 1]->name
                           : NULL;
}
