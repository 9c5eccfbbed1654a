/* The collectives and the all-reduce algorithms. */
#include "comm/comm_mpi_impl.h"

#include <string.h>

static const tr__comm_type *const table[] = {
    &tr__comm_self_type,
    &tr__comm_mpi_type,
    NULL,
};

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

/* Which algorithm serves up to so many bytes, from bench_allreduce, where the
 * ranks share no memory. */
static const struct {
  int64_t max_bytes;
  tr__algorithm algorithm;
} choices[] = {
    {64 << 10, TR__ALGORITHM_DOUBLING},
    {INT64_MAX, TR__ALGORITHM_RING},
};

const tr__comm_type *const *tr__comm_table(void)
{
  return table;
}

/* Do sums come out as the fixed tree says? */
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
  TR_CHECK(comm->cut.total == 0 || keeps_order(comm, algorithm),
           TR_EUNSUPPORTED,
           "all-reduce algorithm \"%s\" cannot keep the order of sums of %lld "
           "virtual shards on these %d ranks; auto, direct and shm can",
           algorithm_names[algorithm], (long long)comm->cut.total, comm->size);
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

static tr__algorithm by_size(int64_t bytes)
{
  int i = 0;
  while (bytes > choices[i].max_bytes) {
    i++;
  }
  return choices[i].algorithm;
}

tr__algorithm tr__comm_choose(const tr__comm *comm,
                              const tr__transfer *transfer)
{
  if (comm->algorithm != TR__ALGORITHM_AUTO) {
    return comm->algorithm;
  }
  if (comm->has_shm) {
    return TR__ALGORITHM_SHM;
  }
  size_t element = tr_dtype_size(transfer->dtype);
  tr__algorithm choice = comm->has_nodes
                             ? TR__ALGORITHM_HIERARCHICAL
                             : by_size(transfer->count * (int64_t)element);
  bool is_ordered = comm->cut.total > 0 && transfer->kind != TR__ALLGATHER;
  return is_ordered && !keeps_order(comm, choice) ? TR__ALGORITHM_DIRECT
                                                  : choice;
}

const char *tr__comm_algorithm_name(const tr__comm *comm, int64_t bytes)
{
  const tr__transfer sum = {.count = bytes / (int64_t)sizeof(float),
                            .dtype = TR_F32};
  return algorithm_names[tr__comm_choose(comm, &sum)];
}
