/* All-reduce, reduce-scatter and all-gather by every algorithm: sums follow the
 * fixed tree, whichever rank is late. */
#include "base/random_impl.h"
#include "comm/mpi/algorithm_table_impl.h"
#include "comm/mpi/mpi_impl.h"
#include "core/comm_impl.h"
#include "mpi_test.h"

#include <time.h>

static const char *const algorithms[] = {"auto",    "doubling",    "ring",
                                         "mpi",     "shm",         "direct",
                                         "halving", "hierarchical"};
enum { NUM_ALGORITHMS = sizeof algorithms / sizeof algorithms[0] };

static const int64_t sizes[] = {0,    1,     2,     3,     5,    17,
                                31,   257,   2047,  2048,  2049, 8193,
                                9973, 40000, 65537, 300007};
enum { NUM_SIZES = sizeof sizes / sizeof sizes[0], MAX_SHARDS = 64 };

static tr__comm *create(void)
{
  tr__comm *comm;
  ASSERT_OK(tr__comm_mpi_create(tr__mpi_world(), &comm));
  return comm;
}

/* Random numbers over 40 binary orders of magnitude: their sums depend on the
 * order. */
static double number(int64_t shard, int64_t i, int round)
{
  const tr__random random = {.seed = test_seed(),
                             .sample = shard,
                             .step = round,
                             .stream = tr__random_stream(TR__PURPOSE_TEST, 3)};
  double unit = tr__random_u32(&random, i) * 0x1p-32;
  return ldexp(unit - 0.5, (int)(i * 7 % 40) - 20);
}

/* Rounds to the type of the transfer, as the library does after each sum. */
static double rounded(tr_dtype dtype, double value)
{
  return dtype == TR_F64 ? value : (double)(float)value;
}

static double get(const void *values, tr_dtype dtype, int64_t i)
{
  return dtype == TR_F64 ? ((const double *)values)[i]
                         : (double)((const float *)values)[i];
}

static void put(void *values, tr_dtype dtype, int64_t i, double value)
{
  if (dtype == TR_F64) {
    ((double *)values)[i] = value;
  } else {
    ((float *)values)[i] = (float)value;
  }
}

typedef struct job {
  tr__comm *comm;
  tr__collective kind;
  tr_dtype dtype;
  int64_t count, offset; /* elements of the buffer, and before it in memory */
  int round;
  int64_t first[MAX_SHARDS + 1]; /* first shard of each rank; without virtual
                                    shards every rank is one shard */
  char *memory;                  /* NULL: run() allocates private memory */
} job;

/* Element i of the node over shards lo..hi-1, by definition. */
static double node(const job *j, int64_t lo, int64_t hi, int64_t i)
{
  if (hi - lo == 1) {
    return rounded(j->dtype, number(lo, i, j->round));
  }
  int64_t power = 1;
  while (2 * power < hi - lo) {
    power *= 2;
  }
  return rounded(j->dtype,
                 node(j, lo, lo + power, i) + node(j, lo + power, hi, i));
}

/* Element i of what a rank contributes. */
static double part(const job *j, int rank, int64_t i)
{
  return node(j, j->first[rank], j->first[rank + 1], i);
}

/* Element i after a transfer, on each rank that gets it. */
static double expected(const job *j, int64_t i)
{
  int size = j->comm->size;
  if (j->kind == TR__ALLGATHER) {
    int owner = 0;
    while (tr__comm_slice(j->comm, j->count, j->dtype, owner + 1) <= i) {
      owner++;
    }
    return part(j, owner, i);
  }
  return node(j, 0, j->first[size], i);
}

static void dawdle(const job *j, int at)
{
  const tr__random random = {.seed = test_seed(),
                             .sample = j->comm->rank,
                             .stream = tr__random_stream(TR__PURPOSE_TEST, 9)};
  uint32_t draw = tr__random_u32(&random, 2 * j->round + at);
  if (draw % 4 == 0) {
    nanosleep(&(struct timespec){.tv_nsec = draw % 500000}, NULL);
  }
}

static bool
is_same(const job *j, int64_t i, double a, double b, double tolerance)
{
  double largest = ldexp(1, (int)(i * 7 % 40) - 20) * j->comm->size;
  return tolerance > 0 ? fabs(a - b) <= tolerance * largest
                       : memcmp(&a, &b, sizeof a) == 0;
}

static void check_values(const job *j, const char *values, double tolerance)
{
  int64_t begin = 0, end = j->count;
  if (j->kind == TR__REDUCE_SCATTER) {
    begin = tr__comm_slice(j->comm, j->count, j->dtype, j->comm->rank);
    end = tr__comm_slice(j->comm, j->count, j->dtype, j->comm->rank + 1);
  }
  /* A chunk is thousands of elements long, so some elements of it are enough.
   */
  int64_t stride = j->count < 10000 ? 1 : 13;
  for (int64_t i = begin; i < end; i += stride) {
    double a = get(values, j->dtype, i), b = expected(j, i);
    if (!is_same(j, i, a, b, tolerance)) {
      test_fail(__FILE__, __LINE__,
                "%s, kind %d, %lld %s, round %d, rank %d: element %lld is "
                "%.17g, expected %.17g",
                tr__comm_algorithm_name(j->comm, j->count * 4), (int)j->kind,
                (long long)j->count, j->dtype == TR_F64 ? "doubles" : "floats",
                j->round, j->comm->rank, (long long)i, a, b);
    }
  }
}

static void move(tr__comm *comm, const tr__transfer *transfer)
{
  tr__request *request;
  ASSERT_OK(comm->type->start(comm, transfer, &request));
  ASSERT_OK(tr__comm_wait(comm, &request));
  ASSERT(request == NULL);
}

/* tolerance 0: the bits must be those of the fixed tree. */
static void run(const job *j, double tolerance)
{
  size_t element = tr_dtype_size(j->dtype);
  char *own = j->memory == NULL ? malloc((size_t)j->count * element + 1) : NULL;
  char *values = own != NULL ? own : j->memory + (size_t)j->offset * element;
  for (int64_t i = 0; i < j->count; i++) {
    put(values, j->dtype, i, part(j, j->comm->rank, i));
  }
  dawdle(j, 0);
  move(j->comm, &(tr__transfer){.kind = j->kind,
                                .buf = values,
                                .count = j->count,
                                .dtype = j->dtype});
  dawdle(j, 1);
  check_values(j, values, tolerance);
  free(own);
}

static void ranks_as_shards(job *j)
{
  for (int r = 0; r <= j->comm->size; r++) {
    j->first[r] = r;
  }
}

static bool take(tr__comm *comm, const char *algorithm)
{
  bool is_there = (strcmp(algorithm, "shm") != 0 || comm->has_shm) &&
                  (strcmp(algorithm, "hierarchical") != 0 || comm->has_nodes);
  if (is_there) {
    ASSERT_OK(tr__comm_set_algorithm(comm, algorithm));
  }
  return is_there;
}

static const double few_roundings = 1e-6;

static void test_every_kind_by_every_algorithm_is_right_for_every_size(void)
{
  tr__comm *comm = create();
  job j = {.comm = comm};
  ranks_as_shards(&j);
  for (int a = 0; a < NUM_ALGORITHMS; a++) {
    if (!take(comm, algorithms[a])) {
      continue;
    }
    for (int s = 0; s < 3 * NUM_SIZES; s++) {
      j.kind = (tr__collective)(s % 3);
      j.count = sizes[s / 3];
      j.dtype = s % 2 == 0 ? TR_F32 : TR_F64;
      j.round = s;
      run(&j, j.kind == TR__ALLGATHER ? 0 : few_roundings);
    }
  }
  comm->type->destroy(comm);
}

static void test_every_kind_works_in_chunks_of_any_limit(void)
{
  static const int64_t limits[] = {1, 2, 3, 1000};
  tr__comm *comm = create();
  job j = {.comm = comm};
  ranks_as_shards(&j);
  for (int a = 0; a < NUM_ALGORITHMS; a++) {
    if (!take(comm, algorithms[a])) {
      continue;
    }
    for (int s = 0; s < 12; s++) {
      comm->tr__int_limit = limits[s / 3];
      j.kind = (tr__collective)(s % 3);
      j.count = 1009;
      j.dtype = s % 2 == 0 ? TR_F64 : TR_F32;
      run(&j, j.kind == TR__ALLGATHER ? 0 : few_roundings);
    }
  }
  comm->type->destroy(comm);
}

/* Splits random nodes of the tree over `total` shards until each rank has one
 * node. */
static void cut_at_random(job *j, int64_t total, int64_t draw)
{
  const tr__random random = {.seed = test_seed(),
                             .stream = tr__random_stream(TR__PURPOSE_TEST, 5)};
  int count = 1;
  j->first[0] = 0;
  j->first[1] = total;
  while (count < j->comm->size) {
    int at = (int)(tr__random_u32(&random, draw++) % (uint32_t)count);
    int64_t length = j->first[at + 1] - j->first[at];
    if (length == 1) {
      continue;
    }
    int64_t power = 1;
    while (2 * power < length) {
      power *= 2;
    }
    memmove(&j->first[at + 2], &j->first[at + 1],
            (size_t)(count - at) * sizeof j->first[0]);
    j->first[at + 1] = j->first[at] + power;
    count++;
  }
}

static bool keeps_order(const tr__comm *comm, const char *algorithm)
{
  bool is_pairs =
      strcmp(algorithm, "doubling") == 0 || strcmp(algorithm, "halving") == 0;
  if (strcmp(algorithm, "hierarchical") == 0) {
    return comm->has_nodes && tr__nodes_keep_order(comm);
  }
  return strcmp(algorithm, "ring") != 0 && strcmp(algorithm, "mpi") != 0 &&
         (!is_pairs || tr__pairs_keep_order(comm));
}

static void check_cut(job *j, int64_t total)
{
  tr__comm *comm = j->comm;
  comm->shards = (tr__shard_map){total, j->first};
  for (int a = 0; a < NUM_ALGORITHMS; a++) {
    if (!keeps_order(comm, algorithms[a]) || !take(comm, algorithms[a])) {
      continue;
    }
    for (int s = 0; s < 8; s++) {
      j->kind = s % 2 == 0 ? TR__ALLREDUCE : TR__REDUCE_SCATTER;
      j->dtype = s % 3 == 0 ? TR_F64 : TR_F32;
      j->count = s < 4 ? 300 + s : 20001 + s;
      run(j, 0);
    }
  }
  comm->shards = (tr__shard_map){0, NULL};
}

static void test_a_cut_gives_the_bits_of_one_tree_over_all_shards(void)
{
  tr__comm *comm = create();
  job j = {.comm = comm};
  static const int64_t totals[] = {6, 8, 13, 32};
  for (int t = 0; t < 4; t++) {
    j.round = t;
    cut_at_random(&j, totals[t], 100 * t);
    check_cut(&j, totals[t]);
  }
  comm->type->destroy(comm);
}

/* Three ranks hold shards 0-3, 4-5 and 6-7: nodes of the tree, split in halves.
 */
static void test_eight_shards_on_two_to_four_ranks_give_the_same_bits(void)
{
  static const int64_t cuts[][5] = {
      {0}, {0, 8}, {0, 4, 8}, {0, 4, 6, 8}, {0, 2, 4, 6, 8}};
  tr__comm *comm = create();
  job j = {.comm = comm};
  if (comm->size <= 4) {
    memcpy(j.first, cuts[comm->size],
           (size_t)(comm->size + 1) * sizeof j.first[0]);
    check_cut(&j, 8);
  }
  comm->type->destroy(comm);
}

static void test_an_algorithm_that_mixes_the_order_is_refused(void)
{
  tr__comm *comm = create();
  job j = {.comm = comm};
  float value = 1;
  tr__request *request;
  const tr__transfer sum = {.buf = &value, .count = 1, .dtype = TR_F32};
  for (int a = 2; a < 4; a++) {
    ASSERT_OK(tr__comm_set_algorithm(comm, algorithms[a]));
    cut_at_random(&j, 16, 0);
    comm->shards = (tr__shard_map){16, j.first};
    ASSERT_FAILS(comm->type->start(comm, &sum, &request), TR_EUNSUPPORTED,
                 "cannot keep the order of sums");
    ASSERT_FAILS(tr__comm_set_algorithm(comm, algorithms[a]), TR_EUNSUPPORTED,
                 algorithms[a]);
    comm->shards = (tr__shard_map){0, NULL};
  }
  ASSERT_OK(tr__comm_set_algorithm(comm, "direct"));
  move(comm, &sum);
  ASSERT_EQ(value, comm->size);
  comm->type->destroy(comm);
}

/* Transfers of random kind, size, algorithm and memory. The test fails where a
 * rank overwrites what another has still to read, or takes the message of one
 * transfer for that of another. */
static void test_ranks_that_dawdle_get_their_own_transfers_numbers(void)
{
  enum { ROUNDS = 150, COUNT = 50000 };
  tr__comm *comm = create();
  job j = {.comm = comm};
  ranks_as_shards(&j);
  void *arenas[2] = {NULL, NULL};
  for (int k = 0; k < 2 && (comm->has_shm || comm->has_nodes); k++) {
    ASSERT_OK(
        comm->type->alloc(comm, (COUNT + 32) * sizeof(double), &arenas[k]));
  }
  for (int round = 0; round < ROUNDS; round++) {
    const tr__random random = {.seed = test_seed(),
                               .step = round,
                               .stream =
                                   tr__random_stream(TR__PURPOSE_TEST, 4)};
    const char *algorithm =
        algorithms[tr__random_u32(&random, 0) % NUM_ALGORITHMS];
    j.kind = (tr__collective)(tr__random_u32(&random, 1) % 3);
    j.dtype = tr__random_u32(&random, 2) % 2 ? TR_F64 : TR_F32;
    j.count = tr__random_u32(&random, 3) % (round % 3 ? COUNT : 3000);
    j.offset = tr__random_u32(&random, 4) % 32;
    j.memory = round % 4 < 2 ? arenas[round % 2] : NULL;
    j.round = round;
    if (take(comm, algorithm)) {
      run(&j, j.kind == TR__ALLGATHER ? 0 : few_roundings);
    }
  }
  comm->type->free(comm, arenas[0]);
  comm->type->free(comm, arenas[1]);
  comm->type->destroy(comm);
}

static const tr_test tests[] = {
    TEST(test_every_kind_by_every_algorithm_is_right_for_every_size),
    TEST(test_every_kind_works_in_chunks_of_any_limit),
    TEST(test_a_cut_gives_the_bits_of_one_tree_over_all_shards),
    TEST(test_eight_shards_on_two_to_four_ranks_give_the_same_bits),
    TEST(test_an_algorithm_that_mixes_the_order_is_refused),
    TEST(test_ranks_that_dawdle_get_their_own_transfers_numbers),
};

TEST_MPI_MAIN(tests)
