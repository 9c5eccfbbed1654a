/* The collectives and the all-reduce algorithms. */
#include "comm/comm_mpi_impl.h"

#include <string.h>

static const tr__comm_type *const table[] = {
    &tr__comm_self_type,
    &tr__comm_mpi_type,
    NULL,
};

static const char *const algorithm_names[] = {
    [TR__ALGORITHM_AUTO] = "auto", [TR__ALGORITHM_DOUBLING] = "doubling",
    [TR__ALGORITHM_RING] = "ring", [TR__ALGORITHM_MPI] = "mpi",
    [TR__ALGORITHM_SHM] = "shm",   NULL, /* the end */
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

const char *const *tr__comm_algorithm_names(void)
{
  return algorithm_names;
}

tr_status tr__comm_set_algorithm(tr__comm *comm, const char *name)
{
  for (int i = 0; algorithm_names[i] != NULL; i++) {
    if (strcmp(name, algorithm_names[i]) == 0) {
      TR_CHECK(i != TR__ALGORITHM_SHM || comm->has_shm, TR_EUNSUPPORTED,
               "all-reduce algorithm \"shm\": the %d ranks share no memory",
               comm->size);
      comm->algorithm = (tr__algorithm)i;
      return TR_OK;
    }
  }
  return TR_FAIL(TR_EINVAL,
                 "all-reduce algorithm \"%s\" is none of auto, doubling, "
                 "ring, mpi, shm",
                 name);
}

tr__algorithm tr__comm_choose(const tr__comm *comm, int64_t bytes)
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
  return choices[i].algorithm;
}

const char *tr__comm_algorithm_name(const tr__comm *comm, int64_t bytes)
{
  return algorithm_names[tr__comm_choose(comm, bytes)];
}
