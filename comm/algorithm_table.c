/* The algorithms of transfers: their names, and which one serves which
 * transfer. */
#include "comm/algorithm_table_impl.h"
#include "comm/mpi/comm_mpi_impl.h"

#include <string.h>

static const char *const algorithm_names[] = {
    [TR__ALGORITHM_AUTO] = "auto",
    [TR__ALGORITHM_DOUBLING] = "doubling",
    [TR__ALGORITHM_RING] = "ring",
    [TR__ALGORITHM_MPI] = "mpi",
    [TR__ALGORITHM_SHM] = "shm",
    [TR__ALGORITHM_DIRECT] = "direct",
    [TR__ALGORITHM_HALVING] = "halving",
    [TR__ALGORITHM_HIERARCHICAL] = "hierarchical",
};

/* The algorithm for at most max_bytes over messages, measured by
 * `bench_allreduce --tune` with 2 ranks, and with 3 and 4. MPI's own all-reduce
 * is not chosen, although it was up to 5 % faster at some sizes: it blocks, so
 * no computation can hide it. */
typedef struct choice {
  int64_t max_bytes;
  tr__algorithm algorithm;
} choice;

static const choice choices_of_two[] = {
    {64 << 10, TR__ALGORITHM_DOUBLING},
    {INT64_MAX, TR__ALGORITHM_HALVING},
};

static const choice choices[] = {
    {32 << 10, TR__ALGORITHM_DOUBLING},
    {INT64_MAX, TR__ALGORITHM_RING},
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

/* Do the algorithm's sums follow the fixed tree? */
static bool keeps_order(const tr__comm *comm, tr__algorithm algorithm)
{
  switch (algorithm) {
  case TR__ALGORITHM_DOUBLING:
  case TR__ALGORITHM_HALVING:
    return tr__pairs_keep_order(comm);
  case TR__ALGORITHM_HIERARCHICAL:
    return tr__nodes_keep_order(comm);
  case TR__ALGORITHM_RING:
  case TR__ALGORITHM_MPI:
    return false;
  default:
    return true;
  }
}

tr_status tr__comm_check_order(const tr__comm *comm, tr__algorithm algorithm)
{
  TR_CHECK(
      comm->shards.total == 0 || keeps_order(comm, algorithm), TR_EUNSUPPORTED,
      "all-reduce algorithm \"%s\" cannot keep the order of sums of %lld "
      "virtual shards on these %d ranks; auto, direct and shm can",
      algorithm_names[algorithm], (long long)comm->shards.total, comm->size);
  return TR_OK;
}

static tr_status check_memory(const tr__comm *comm, tr__algorithm algorithm)
{
  TR_CHECK(algorithm != TR__ALGORITHM_SHM || comm->has_shm, TR_EUNSUPPORTED,
           "all-reduce algorithm \"shm\": the %d ranks share no memory",
           comm->size);
  TR_CHECK(algorithm != TR__ALGORITHM_HIERARCHICAL || comm->has_nodes,
           TR_EUNSUPPORTED,
           "all-reduce algorithm \"hierarchical\": the %d ranks are not on "
           "several nodes that share memory and are numbered node by node",
           comm->size);
  return TR_OK;
}

tr_status tr__comm_set_algorithm(tr__comm *comm, const char *name)
{
  const int count = sizeof algorithm_names / sizeof algorithm_names[0];
  int i = 0;
  while (i < count && strcmp(name, algorithm_names[i]) != 0) {
    i++;
  }
  TR_CHECK(i < count, TR_EINVAL,
           "all-reduce algorithm \"%s\" is none of auto, doubling, ring, mpi, "
           "shm, direct, halving, hierarchical",
           name);
  TR_TRY(check_memory(comm, (tr__algorithm)i));
  TR_TRY(tr__comm_check_order(comm, (tr__algorithm)i));
  comm->algorithm = (tr__algorithm)i;
  return TR_OK;
}

static tr__algorithm by_size(const tr__comm *comm, int64_t bytes)
{
  const choice *c = comm->size == 2 ? choices_of_two : choices;
  while (bytes > c->max_bytes) {
    c++;
  }
  bool is_small = bytes / comm->size < least_ring_slice(comm->size);
  return c->algorithm == TR__ALGORITHM_RING && is_small ? TR__ALGORITHM_HALVING
                                                        : c->algorithm;
}

tr__algorithm tr__comm_choose(const tr__comm *comm,
                              const tr__transfer *transfer)
{
  if (comm->algorithm != TR__ALGORITHM_AUTO) {
    return comm->algorithm;
  }
  int64_t element = (int64_t)tr_dtype_size(transfer->dtype);
  const tr__algorithm wishes[] = {
      comm->has_shm     ? TR__ALGORITHM_SHM
      : comm->has_nodes ? TR__ALGORITHM_HIERARCHICAL
                        : by_size(comm, transfer->count * element),
      TR__ALGORITHM_HALVING, TR__ALGORITHM_DIRECT};
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
  return algorithm_names[tr__comm_choose(comm, &sum)];
}

const char *tr__comm_algorithm_at(int number)
{
  const int count = sizeof algorithm_names / sizeof algorithm_names[0];
  return number < count ? algorithm_names[number] : NULL;
}
