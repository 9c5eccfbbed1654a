/* Transfers with slices that the caller chooses, and with 16-bit numbers in
 * messages. */
#include "base/half_impl.h"
#include "base/random_impl.h"
#include "comm/mpi/algorithm_table_impl.h"
#include "comm/mpi/comm_mpi_impl.h"
#include "test.h"

#include <math.h>
#include <mpi.h>

enum { MOST_RANKS = 16 };

/* Few elements, more than a stage holds, and odd counts. */
static const int64_t counts[] = {1, 100, 2049, 70001, 600011};
enum { NUM_COUNTS = sizeof counts / sizeof counts[0] };

static tr__comm *create(void)
{
  tr__comm *comm;
  ASSERT_OK(tr__comm_mpi_create(tr__mpi_world(), &comm));
  ASSERT(comm->size <= MOST_RANKS);
  return comm;
}

static uint32_t draw(int64_t at, int what)
{
  const tr__random random = {.seed = test_seed(),
                             .sample = what,
                             .stream = tr__random_stream(TR__PURPOSE_TEST, 4)};
  return tr__random_u32(&random, at);
}

/* Random slices; some are empty. */
static void cut(const tr__comm *comm, int64_t count, tr__range *slices)
{
  int64_t begin = 0;
  for (int r = 0; r < comm->size; r++) {
    int64_t left = count - begin, most = 2 * left / (comm->size - r);
    int64_t length = draw(100 + r, (int)count) % 5 == 0
                         ? 0
                         : tr__min(left, draw(r, 77) % (most + 1));
    length = r == comm->size - 1 ? left : length;
    slices[r] = (tr__range){begin, begin + length};
    begin += length;
  }
}

enum { NUM_NUMBERS = 5003 };

/* A random number in [-1, 1), from one table per rank. */
static float number(int rank, int64_t i)
{
  static float *tables[MOST_RANKS];
  const tr__random random = {.seed = test_seed(),
                             .sample = rank,
                             .stream = tr__random_stream(TR__PURPOSE_TEST, 5)};
  if (tables[rank] == NULL) {
    tables[rank] = malloc(NUM_NUMBERS * sizeof *tables[rank]);
    ASSERT(tables[rank] != NULL);
    for (int k = 0; k < NUM_NUMBERS; k++) {
      tables[rank][k] = (float)(2 * tr__random_uniform(&random, k) - 1);
    }
  }
  return tables[rank][i % NUM_NUMBERS];
}

/* This rank's numbers, of different signs and sizes. */
static void fill(const tr__comm *comm, float *values, int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    values[i] = number(comm->rank, i) * (float)(1 + i % 7);
  }
}

/* Whole numbers: their sums are exact in any order. */
static void fill_exact(const tr__comm *comm, float *values, int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    values[i] = floorf(1000 * number(comm->rank, i));
  }
}

static double exact_sum(const tr__comm *comm, int64_t i, double *magnitudes)
{
  double sum = 0;
  *magnitudes = 0;
  for (int r = 0; r < comm->size; r++) {
    float x = number(r, i) * (float)(1 + i % 7);
    sum += (double)x;
    *magnitudes += fabs((double)x);
  }
  return sum;
}

static void run(tr__comm *comm, const tr__transfer *transfer)
{
  tr__request *request;
  ASSERT_OK(comm->type->start(comm, transfer, &request));
  ASSERT_OK(tr__comm_wait(comm, &request));
}

/* A check that runs in the communicator's memory, where it has any, and in the
 * caller's. */
typedef void (*body)(tr__comm *comm, float *values, int64_t count);

static void for_every_memory(tr__comm *comm, body fn)
{
  for (int k = 0; k < NUM_COUNTS; k++) {
    void *shared;
    size_t bytes = (size_t)counts[k] * sizeof(float);
    float *own = malloc(bytes);
    ASSERT(own != NULL);
    fn(comm, own, counts[k]);
    ASSERT_OK(comm->type->alloc(comm, bytes, &shared));
    if (shared != NULL) {
      fn(comm, shared, counts[k]);
      ASSERT_OK(comm->type->barrier(comm));
      comm->type->free(comm, shared);
    }
    free(own);
  }
}

static void for_every_algorithm(body fn)
{
  static const char *const names[] = {"auto", "shm",     "direct",  "ring",
                                      "mpi",  "halving", "doubling"};
  tr__comm *comm = create();
  for (int i = 0; i < (int)(sizeof names / sizeof names[0]); i++) {
    if (strcmp(names[i], "shm") == 0 && !comm->has_shm) {
      continue;
    }
    ASSERT_OK(tr__comm_set_algorithm(comm, names[i]));
    for_every_memory(comm, fn);
  }
  comm->type->destroy(comm);
}

/* In shared memory no number is sent, so none is rounded to 16 bits. */
static bool is_wired(const tr__comm *comm)
{
  return comm->size > 1 && strcmp(tr__comm_algorithm_name(comm, 1), "shm") != 0;
}

static void check_slices(tr__comm *comm, float *values, int64_t count)
{
  tr__range slices[MOST_RANKS];
  float *sums = malloc((size_t)count * sizeof *sums);
  cut(comm, count, slices);
  fill_exact(comm, sums, count);
  run(comm, &(tr__transfer){.buf = sums, .count = count, .dtype = TR_F32});
  fill_exact(comm, values, count);
  run(comm, &(tr__transfer){.kind = TR__REDUCE_SCATTER,
                            .buf = values,
                            .count = count,
                            .dtype = TR_F32,
                            .slices = slices});
  const tr__range own = slices[comm->rank];
  for (int64_t i = 0; i < count; i++) {
    bool is_own = i >= own.begin && i < own.end;
    ASSERT(!is_own || values[i] == sums[i]);
    values[i] = is_own ? values[i] : -1e9f;
  }
  run(comm, &(tr__transfer){.kind = TR__ALLGATHER,
                            .buf = values,
                            .count = count,
                            .dtype = TR_F32,
                            .slices = slices});
  ASSERT_EQ(memcmp(values, sums, (size_t)count * sizeof *sums), 0);
  free(sums);
}

static void test_slices_of_the_callers_are_scattered_and_gathered(void)
{
  for_every_algorithm(check_slices);
}

/* Each operand is rounded once, and the sum once more: each time by at most
 * 2^-8 of its size. */
static void check_wire(tr__comm *comm, float *values, int64_t count)
{
  double unit = is_wired(comm) ? 0x1p-8 : 0x1p-22;
  fill(comm, values, count);
  run(comm,
      &(tr__transfer){
          .buf = values, .count = count, .dtype = TR_F32, .wire = TR_BF16});
  for (int64_t i = 0; i < count; i++) {
    double magnitudes, sum = exact_sum(comm, i, &magnitudes);
    float value = values[i];
    double bound = 1.01 * unit * (magnitudes + fabs(sum));
    if (!(fabs((double)value - sum) <= bound)) {
      test_fail(__FILE__, __LINE__, "element %lld is %.9g, expected %.9g",
                (long long)i, (double)value, sum);
    }
    ASSERT(!is_wired(comm) || value == tr__from_bf16(tr__to_bf16(value)));
  }
}

static void test_16_bits_on_the_wire_round_within_their_bound(void)
{
  for_every_algorithm(check_wire);
}

static float *numbers_by_wire;

/* 16-bit numbers always travel by direct exchange, whatever algorithm is set:
 * all algorithms give the same bits on all ranks. Over several nodes the
 * operands are the sums of the nodes. */
static void check_same_bits(tr__comm *comm, float *values, int64_t count)
{
  size_t bytes = (size_t)count * sizeof *values;
  tr__range slices[MOST_RANKS];
  float *whole = malloc(bytes);
  cut(comm, count, slices);
  fill(comm, values, count);
  run(comm,
      &(tr__transfer){
          .buf = values, .count = count, .dtype = TR_F32, .wire = TR_BF16});
  memcpy(whole, values, bytes);
  ASSERT_OK(comm->type->broadcast(comm, whole, bytes, 0));
  ASSERT_EQ(memcmp(values, whole, bytes), 0);
  fill(comm, values, count);
  run(comm, &(tr__transfer){.kind = TR__REDUCE_SCATTER,
                            .buf = values,
                            .count = count,
                            .dtype = TR_F32,
                            .slices = slices,
                            .wire = TR_BF16});
  const tr__range own = slices[comm->rank];
  ASSERT_EQ(memcmp(values + own.begin, whole + own.begin,
                   (size_t)(own.end - own.begin) * sizeof *values),
            0);
  if (count == counts[3] && is_wired(comm) && !comm->has_nodes) {
    if (numbers_by_wire == NULL) {
      numbers_by_wire = malloc(bytes);
      memcpy(numbers_by_wire, whole, bytes);
    }
    ASSERT_EQ(memcmp(numbers_by_wire, whole, bytes), 0);
  }
  free(whole);
}

static void test_16_bits_give_the_same_bits_by_every_algorithm(void)
{
  for_every_algorithm(check_same_bits);
  free(numbers_by_wire);
  numbers_by_wire = NULL;
}

static void test_nan_and_infinity_pass_the_wire(void)
{
  tr__comm *comm = create();
  ASSERT_OK(tr__comm_set_algorithm(comm, "direct"));
  const float sent[4] = {NAN, INFINITY, 3.4e38f, -0.0f};
  float values[4];
  memcpy(values, sent, sizeof values);
  if (comm->rank != 0) {
    memset(values, 0, sizeof values);
  }
  run(comm, &(tr__transfer){
                .buf = values, .count = 4, .dtype = TR_F32, .wire = TR_BF16});
  ASSERT(isnan(values[0]) && values[1] == INFINITY);
  ASSERT(values[2] > 3.38e38f && values[3] == 0);
  comm->type->destroy(comm);
}

static void test_a_wire_that_no_sum_has_is_refused(void)
{
  tr__comm *comm = create();
  tr__request *request;
  double wide[4] = {0};
  ASSERT_FAILS(comm->type->start(comm,
                                 &(tr__transfer){.buf = wide,
                                                 .count = 4,
                                                 .dtype = TR_F64,
                                                 .wire = TR_BF16},
                                 &request),
               TR_EINVAL, "wire bfloat16 for float64");
  comm->type->destroy(comm);
}

static const tr_test tests[] = {
    TEST(test_slices_of_the_callers_are_scattered_and_gathered),
    TEST(test_16_bits_on_the_wire_round_within_their_bound),
    TEST(test_16_bits_give_the_same_bits_by_every_algorithm),
    TEST(test_nan_and_infinity_pass_the_wire),
    TEST(test_a_wire_that_no_sum_has_is_refused),
};

int main(int argc, char **argv)
{
  MPI_Init(&argc, &argv);
  int code =
      test_main(argc, argv, tests, (int)(sizeof tests / sizeof tests[0]));
  MPI_Finalize();
  return code;
}
