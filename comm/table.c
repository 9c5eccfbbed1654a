/* The collectives and the all-reduce algorithms. */
#include "comm/comm_mpi_impl.h"

#include <string.h>

static const tr__comm_type *const table[] = {
    &tr__comm_self_type,
    &tr__comm_mpi_type,
    NULL,
};

static const char *const algorithm_names[] = {
    [TR__ALGORITHM_AUTO] = "auto",       [TR__ALGORITHM_DOUBLING] = "doubling",
    [TR__ALGORITHM_RING] = "ring",       [TR__ALGORITHM_MPI] = "mpi",
    [TR__ALGORITHM_SHM] = "shm",         [TR__ALGORITHM_DIRECT] = "direct",
    [TR__ALGORITHM_HALVING] = "halving",
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

tr_status tr__comm_check_order(const tr__comm *comm, tr__algorithm algorithm)
{
  bool is_pairs =
      algorithm == TR__ALGORITHM_DOUBLING || algorithm == TR__ALGORITHM_HALVING;
  bool keeps = algorithm == TR__ALGORITHM_AUTO ||
               algorithm == TR__ALGORITHM_SHM ||
               algorithm == TR__ALGORITHM_DIRECT ||
               (is_pairs && tr__pairs_keep_order(comm));
  TR_CHECK(keeps, TR_EUNSUPPORTED,
           "all-reduce algorithm \"%s\" cannot keep the order of sums that "
           "virtual shards ask for on %d ranks; take auto, "
           "shm, direct, or with 2^k equal ranks halving or doubling",
           algorithm_names[algorithm], comm->size);
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
           "shm, direct, halving",
           name);
  TR_CHECK(i != TR__ALGORITHM_SHM || comm->has_shm, TR_EUNSUPPORTED,
           "all-reduce algorithm \"shm\": the %d ranks share no memory",
           comm->size);
  if (comm->cut.total > 0) {
    TR_TRY(tr__comm_check_order(comm, (tr__algorithm)i));
  }
  comm->algorithm = (tr__algorithm)i;
  return TR_OK;
}

tr__algorithm
tr__comm_choose(const tr__comm *comm, int64_t bytes, bool is_ordered)
{
  if (comm->algorithm != TR__ALGORITHM_AUTO) {
    return comm->algorithm;
  }
  if (comm->has_shm) {
    return TR__ALGORITHM_SHM;
  }
  int i = 0;
  while (bytes > choices[i].max_bytes) {
    i++;
  }
  tr__algorithm choice = choices[i].algorithm;
  if (!is_ordered) {
    return choice;
  }
  bool is_pairs =
      choice == TR__ALGORITHM_DOUBLING || choice == TR__ALGORITHM_HALVING;
  return is_pairs && tr__pairs_keep_order(comm) ? choice : TR__ALGORITHM_DIRECT;
}

const char *tr__comm_algorithm_name(const tr__comm *comm, int64_t bytes)
{
  return algorithm_names[tr__comm_choose(comm, bytes, comm->cut.total > 0)];
}

const char *tr__comm_algorithm_at(int number)
{
  const int count = sizeof algorithm_names / sizeof algorithm_names[0];
  return number < count ? algorithm_names[number] : NULL;
}
