/* Reproducible mode: which shards each rank holds, and small sums along their
 * tree. */
#include "core/comm_impl.h"

#include <stdlib.h>

/* Assign the shards first..end-1, one node of the tree, to the ranks
 * begin..last-1. Both halves get ranks in proportion to their shards; each rank
 * ends with a node of its own. */
static void
deal(int64_t *to, int64_t first, int64_t end, int64_t begin, int64_t last)
{
  to[begin] = first;
  if (last - begin == 1) {
    return;
  }
  int64_t left = tr__tree_half(end - first);
  int64_t mine = tr__tree_left(end - first, last - begin);
  deal(to, first, first + left, begin, begin + mine);
  deal(to, first + left, end, begin + mine, last);
}

tr_status tr__comm_set_shards(tr__comm *comm, int64_t shards)
{
  if (shards == 0) {
    return TR_OK;
  }
  TR_CHECK(shards >= comm->size, TR_EINVAL,
           "virtual_shards is %lld, expected at least the number of ranks, %d",
           (long long)shards, comm->size);
  int64_t *first = calloc((size_t)comm->size + 1, sizeof *first);
  TR_CHECK(first != NULL, TR_ENOMEM, "no memory for the shards of %d ranks",
           comm->size);
  deal(first, 0, shards, 0, comm->size);
  first[comm->size] = shards;
  free(comm->shards.first);
  comm->shards = (tr__shard_map){.total = shards, .first = first};
  return TR_OK;
}

int64_t tr__comm_num_shards(const tr__comm *comm)
{
  return comm->shards.total > 0 ? comm->shards.total : comm->size;
}

int64_t tr__comm_first_shard(const tr__comm *comm, int rank)
{
  return comm->shards.total > 0 ? comm->shards.first[rank] : rank;
}

int64_t tr__comm_first_row(const tr__comm *comm, int64_t rows, int rank)
{
  return tr__even_split(rows, tr__comm_first_shard(comm, rank),
                        tr__comm_num_shards(comm));
}

int64_t tr__comm_most_shards(const tr__comm *comm)
{
  int64_t most = 0;
  for (int r = 0; r < comm->size; r++) {
    most = tr__max(most, tr__comm_first_shard(comm, r + 1) -
                             tr__comm_first_shard(comm, r));
  }
  return most;
}

static void to_numbers(tr_dtype dtype, void *to, const double *from, int count)
{
  for (int i = 0; i < count; i++) {
    if (dtype == TR_F64) {
      ((double *)to)[i] = from[i];
    } else {
      ((float *)to)[i] = (float)from[i];
    }
  }
}

static void to_doubles(tr_dtype dtype, double *to, const void *from, int count)
{
  for (int i = 0; i < count; i++) {
    to[i] = dtype == TR_F64 ? ((const double *)from)[i]
                            : (double)((const float *)from)[i];
  }
}

tr_status
tr__comm_sum(tr__comm *comm, tr_dtype dtype, double *values, int count)
{
  if (comm->shards.total == 0) {
    return comm->type->sum_f64(comm, values, count);
  }
  size_t bytes = (size_t)count * tr_dtype_size(dtype);
  void *numbers = malloc(bytes);
  tr_status status = numbers != NULL || count == 0
                         ? TR_OK
                         : TR_FAIL(TR_ENOMEM, "no memory for %d sums", count);
  TR_TRY_GOTO(tr__agree(comm, status), done);
  to_numbers(dtype, numbers, values, count);
  const tr__transfer sum = {.buf = numbers, .count = count, .dtype = dtype};
  tr__request *request;
  TR_TRY_GOTO(comm->type->start(comm, &sum, &request), done);
  TR_TRY_GOTO(tr__comm_wait(comm, &request), done);
  to_doubles(dtype, values, numbers, count);

done:
  free(numbers);
  return status;
}
