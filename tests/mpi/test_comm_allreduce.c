/* All-reduce on 1-4 ranks: correct sums, the same bits on all ranks, and calls
 * that never wait. */
#include "comm/mpi/algorithm_table_impl.h"
#include "comm/mpi/comm_mpi_impl.h"
#include "core/comm_impl.h"
#include "mpi_test.h"

#include <mpi.h>

static const int64_t sizes[] = {0,    1,    2,     3,      5,
                                7,    31,   257,   8191,   8192,
                                8193, 9973, 65537, 100003, (1 << 20) + 7};
enum { NUM_SIZES = sizeof sizes / sizeof sizes[0] };

static const char *const algorithms[] = {
    "auto", "doubling", "ring", "direct", "halving", "shm", "mpi"};
enum { NUM_ALGORITHMS = sizeof algorithms / sizeof algorithms[0] };

static tr__comm *create(void)
{
  tr__comm *comm;
  ASSERT_OK(tr__comm_mpi_create(tr__mpi_world(), &comm));
  return comm;
}

static bool take(tr__comm *comm, const char *algorithm)
{
  bool is_there = strcmp(algorithm, "shm") != 0 || comm->has_shm;
  if (is_there) {
    ASSERT_OK(tr__comm_set_algorithm(comm, algorithm));
  }
  return is_there;
}

/* A small counter-based generator: the value follows from (seed, rank, i). */
static uint64_t mixed(uint64_t rank, uint64_t i)
{
  uint64_t x = test_seed() + (rank + 1) * 0x9e3779b97f4a7c15u + i;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

static double whole(int rank, int64_t i)
{
  return (double)(mixed((uint64_t)rank, (uint64_t)i) % 2001) - 1000;
}

static double real(int rank, int64_t i)
{
  double unit = (double)(mixed((uint64_t)rank, (uint64_t)i) >> 11) * 0x1p-53;
  return ldexp(unit - 0.5, (int)(i % 40) - 20);
}

static void put(void *values, tr_dtype dtype, int64_t i, double value)
{
  if (dtype == TR_F64) {
    ((double *)values)[i] = value;
  } else {
    ((float *)values)[i] = (float)value;
  }
}

static void *fill(int64_t count,
                  tr_dtype dtype,
                  int rank,
                  double (*value)(int rank, int64_t i))
{
  void *values = malloc((size_t)count * tr_dtype_size(dtype) + 1);
  ASSERT(values != NULL);
  for (int64_t i = 0; i < count; i++) {
    put(values, dtype, i, value(rank, i));
  }
  return values;
}

static void allreduce(tr__comm *comm, void *buf, int64_t count, tr_dtype dtype)
{
  tr__request *request;
  ASSERT_OK(comm->type->start(
      comm, &(tr__transfer){.buf = buf, .count = count, .dtype = dtype},
      &request));
  ASSERT_OK(tr__comm_wait(comm, &request));
  ASSERT(request == NULL);
}

static void check_exact(tr__comm *comm, int64_t count, tr_dtype dtype)
{
  void *values = fill(count, dtype, comm->rank, whole);
  void *expected = fill(count, dtype, 0, whole);
  for (int64_t i = 0; i < count; i++) {
    double sum = 0;
    for (int rank = 0; rank < comm->size; rank++) {
      sum += whole(rank, i);
    }
    put(expected, dtype, i, sum);
  }
  allreduce(comm, values, count, dtype);
  ASSERT_TENSOR_NEAR("sum", dtype, values, expected, count, 0);
  free(values);
  free(expected);
}

static void test_allreduce_sums_every_size_exactly(void)
{
  tr__comm *comm = create();
  for (int a = 0; a < NUM_ALGORITHMS; a++) {
    if (!take(comm, algorithms[a])) {
      continue;
    }
    for (int i = 0; i < NUM_SIZES; i++) {
      check_exact(comm, sizes[i], TR_F32);
      check_exact(comm, sizes[i], TR_F64);
    }
    for (uint64_t i = 0; i < 20 && take(comm, algorithms[a]); i++) {
      check_exact(comm, (int64_t)(mixed(99, i) % 50000), TR_F32);
    }
  }
  comm->type->destroy(comm);
}

static void test_allreduce_in_small_chunks_sums_exactly(void)
{
  static const int64_t limits[] = {1, 2, 3, 1000};
  tr__comm *comm = create();
  for (int a = 0; a < NUM_ALGORITHMS; a++) {
    if (!take(comm, algorithms[a])) {
      continue;
    }
    for (int i = 0; i < 4; i++) {
      comm->tr__int_limit = limits[i];
      check_exact(comm, 1, TR_F32);
      check_exact(comm, 1009, TR_F64);
    }
  }
  comm->type->destroy(comm);
}

/* Compares with the bytes of rank 0 on all ranks. */
static void check_same_on_all(tr__comm *comm, const void *values, size_t bytes)
{
  char *first = malloc(bytes + 1);
  ASSERT(first != NULL);
  memcpy(first, values, bytes);
  ASSERT_OK(comm->type->broadcast(comm, first, bytes, 0));
  ASSERT(memcmp(first, values, bytes) == 0);
  free(first);
}

static void check_bits(tr__comm *comm, int64_t count, tr_dtype dtype)
{
  size_t bytes = (size_t)count * tr_dtype_size(dtype);
  void *once = fill(count, dtype, comm->rank, real);
  void *again = fill(count, dtype, comm->rank, real);
  allreduce(comm, once, count, dtype);
  check_same_on_all(comm, once, bytes);
  allreduce(comm, again, count, dtype);
  ASSERT(memcmp(once, again, bytes) == 0);
  free(once);
  free(again);
}

static void test_allreduce_gives_the_same_bits_on_all_ranks_every_time(void)
{
  tr__comm *comm = create();
  for (int a = 0; a < NUM_ALGORITHMS - 1; a++) { /* not "mpi": MPI does not
                                                    promise the same bits */
    if (!take(comm, algorithms[a])) {
      continue;
    }
    for (int i = 0; i < NUM_SIZES; i++) {
      check_bits(comm, sizes[i], TR_F32);
      check_bits(comm, sizes[i], TR_F64);
    }
  }
  comm->type->destroy(comm);
}

/* Rank 0 begins late: until then start and test of the others must return. */
static void test_allreduce_start_and_test_do_not_wait_for_others(void)
{
  static const int64_t counts[] = {10, 300000};
  tr__comm *comm = create();
  for (int i = 0; i < 2; i++) {
    void *values = fill(counts[i], TR_F32, comm->rank, whole);
    tr__request *request = NULL;
    bool done = false;
    if (comm->rank > 0) {
      ASSERT_OK(comm->type->start(
          comm,
          &(tr__transfer){.buf = values, .count = counts[i], .dtype = TR_F32},
          &request));
      for (int poll = 0; poll < 100; poll++) {
        ASSERT_OK(comm->type->test(comm, &request, &done));
        ASSERT(!done);
      }
    }
    ASSERT_OK(comm->type->barrier(comm));
    if (comm->rank == 0) {
      ASSERT_OK(comm->type->start(
          comm,
          &(tr__transfer){.buf = values, .count = counts[i], .dtype = TR_F32},
          &request));
    }
    ASSERT_OK(tr__comm_wait(comm, &request));
    ASSERT_OK(comm->type->barrier(comm));
    free(values);
  }
  comm->type->destroy(comm);
}

static void test_a_second_allreduce_must_wait_for_the_first(void)
{
  tr__comm *comm = create();
  float a[2] = {1, 2}, b[2] = {3, 4};
  tr__request *first, *second;
  ASSERT_OK(comm->type->start(
      comm, &(tr__transfer){.buf = a, .count = 2, .dtype = TR_F32}, &first));
  ASSERT_FAILS(comm->type->start(
                   comm, &(tr__transfer){.buf = b, .count = 2, .dtype = TR_F32},
                   &second),
               TR_ESTATE, "before the last one had finished");
  ASSERT_OK(tr__comm_wait(comm, &first));
  allreduce(comm, b, 2, TR_F32);
  ASSERT(a[0] == 1.f * (float)comm->size && b[1] == 4.f * (float)comm->size);
  comm->type->destroy(comm);
}

static void test_allreduce_refuses_integers(void)
{
  tr__comm *comm = create();
  int32_t values[1] = {1};
  tr__request *request;
  ASSERT_FAILS(comm->type->start(
                   comm,
                   &(tr__transfer){.buf = values, .count = 1, .dtype = TR_I32},
                   &request),
               TR_EINVAL, "expected float32 or float64");
  comm->type->destroy(comm);
}

static void test_broadcast_reaches_all_ranks_in_chunks(void)
{
  tr__comm *comm = create();
  for (int root = 0; root < comm->size; root++) {
    comm->tr__int_limit = root % 2 ? 1000 : 7;
    void *values = fill(5003, TR_F64, comm->rank, real);
    void *expected = fill(5003, TR_F64, root, real);
    ASSERT_OK(comm->type->broadcast(comm, values, 5003 * 8, root));
    ASSERT(memcmp(values, expected, 5003 * 8) == 0);
    free(values);
    free(expected);
  }
  ASSERT_FAILS(comm->type->broadcast(comm, NULL, 0, comm->size), TR_EINVAL,
               "broadcast from rank");
  comm->type->destroy(comm);
}

static void test_reductions_of_a_few_numbers_are_right(void)
{
  tr__comm *comm = create();
  int64_t rank = comm->rank, size = comm->size;
  int64_t sum[2] = {rank, 1}, least[1] = {rank - 5}, most[1] = {rank * rank};
  ASSERT_OK(comm->type->reduce_i64(comm, sum, 2, TR__SUM));
  ASSERT_OK(comm->type->reduce_i64(comm, least, 1, TR__MIN));
  ASSERT_OK(comm->type->reduce_i64(comm, most, 1, TR__MAX));
  ASSERT_EQ(sum[0], size * (size - 1) / 2);
  ASSERT_EQ(sum[1], size);
  ASSERT_EQ(least[0], -5);
  ASSERT_EQ(most[0], (size - 1) * (size - 1));
  comm->type->destroy(comm);
}

static void test_sum_f64_is_in_rank_order(void)
{
  tr__comm *comm = create();
  double values[3];
  for (int i = 0; i < 3; i++) {
    values[i] = real(comm->rank, i);
  }
  ASSERT_OK(comm->type->sum_f64(comm, values, 3));
  for (int i = 0; i < 3; i++) {
    double sum = 0;
    for (int rank = 0; rank < comm->size; rank++) {
      sum += real(rank, i);
    }
    ASSERT(memcmp(&sum, &values[i], sizeof sum) == 0);
  }
  comm->type->destroy(comm);
}

static const tr_test tests[] = {
    TEST(test_allreduce_sums_every_size_exactly),
    TEST(test_allreduce_in_small_chunks_sums_exactly),
    TEST(test_allreduce_gives_the_same_bits_on_all_ranks_every_time),
    TEST(test_allreduce_start_and_test_do_not_wait_for_others),
    TEST(test_a_second_allreduce_must_wait_for_the_first),
    TEST(test_allreduce_refuses_integers),
    TEST(test_broadcast_reaches_all_ranks_in_chunks),
    TEST(test_reductions_of_a_few_numbers_are_right),
    TEST(test_sum_f64_is_in_rank_order),
};

TEST_MPI_MAIN(tests)
