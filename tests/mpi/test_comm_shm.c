/* All-reduce in the shared memory of a node: no rank overwrites what another
 * has still to read, whichever rank is late. */
#include "comm/mpi/comm_mpi_impl.h"
#include "model/model_impl.h"
#include "mpi_test.h"

#include <mpi.h>
#include <sys/inotify.h>
#include <time.h>
#include <train/mpi.h>
#include <train/train.h>
#include <unistd.h>

static tr__comm *create(void)
{
  tr__comm *comm;
  ASSERT_OK(tr__comm_mpi_create(tr__mpi_world(), &comm));
  if (!comm->has_shm) {
    comm->type->destroy(comm);
    test_skip("the ranks share no memory here");
  }
  return comm;
}

static float *shared(tr__comm *comm, int64_t count)
{
  void *values;
  ASSERT_OK(comm->type->alloc(comm, (size_t)count * sizeof(float), &values));
  ASSERT(values != NULL);
  return values;
}

/* A small number that tells the rank, element and round. */
static float mark(int rank, int64_t i, int round)
{
  return (float)((rank + 1) * 1000 + (i * 7 + round * 13) % 997);
}

static void fill(tr__comm *comm, float *values, int64_t count, int round)
{
  for (int64_t i = 0; i < count; i++) {
    values[i] = mark(comm->rank, i, round);
  }
}

static void
expect_sums(tr__comm *comm, const float *values, int64_t count, int round)
{
  for (int64_t i = 0; i < count; i++) {
    float sum = 0;
    for (int r = 0; r < comm->size; r++) {
      sum += mark(r, i, round);
    }
    if (values[i] != sum) {
      test_fail(__FILE__, __LINE__, "round %d, element %lld is %g, expected %g",
                round, (long long)i, (double)values[i], (double)sum);
    }
  }
}

static void allreduce(tr__comm *comm, void *values, int64_t count)
{
  tr__request *request;
  ASSERT_OK(comm->type->start(
      comm, &(tr__transfer){.buf = values, .count = count, .dtype = TR_F32},
      &request));
  ASSERT_OK(tr__comm_wait(comm, &request));
}

/* Sleeps for up to a millisecond, often not at all. */
static void dawdle(const tr__comm *comm, int64_t at)
{
  const tr__random random = {.seed = test_seed(),
                             .sample = comm->rank,
                             .stream = tr__random_stream(TR__PURPOSE_TEST, 9)};
  uint32_t draw = tr__random_u32(&random, at);
  if (draw % 3 == 0) {
    nanosleep(&(struct timespec){.tv_nsec = draw % 1000000}, NULL);
  }
}

/* Small, staged and shared transfers in turn. Each of two arenas is overwritten
 * as soon as its sums are read. */
static void test_ranks_that_dawdle_never_see_another_rounds_numbers(void)
{
  enum { ROUNDS = 120, COUNT = 70001, FEW = 100 };
  tr__comm *comm = create();
  float *arenas[2] = {shared(comm, COUNT), shared(comm, COUNT)};
  float *own = malloc(COUNT * sizeof *own);
  for (int round = 0; round < ROUNDS; round++) {
    bool is_staged = round % 5 == 4;
    float *values = is_staged ? own : arenas[round % 2];
    int64_t count = round % 3 == 2 ? FEW : COUNT;
    fill(comm, values, count, round);
    dawdle(comm, 3 * round);
    allreduce(comm, values, count);
    dawdle(comm, 3 * round + 1);
    expect_sums(comm, values, count, round);
  }
  free(own);
  comm->type->free(comm, arenas[0]);
  comm->type->free(comm, arenas[1]);
  comm->type->destroy(comm);
}

/* A range of an arena, of any size and at any place, can be summed alone. */
static void test_parts_of_an_arena_are_summed_alone(void)
{
  enum { COUNT = 50000 };
  static const int64_t parts[][2] = {
      {0, COUNT}, {64, 4096}, {1, 3000}, {17, 40001}, {COUNT - 1, 1}};
  tr__comm *comm = create();
  float *values = shared(comm, COUNT);
  for (int k = 0; k < 5; k++) {
    int64_t first = parts[k][0], count = parts[k][1];
    fill(comm, values, COUNT, 0);
    fill(comm, values + first, count, k);
    allreduce(comm, values + first, count);
    expect_sums(comm, values + first, count, k);
    for (int64_t i = 0; i < first; i++) {
      ASSERT(values[i] == mark(comm->rank, i, 0));
    }
    for (int64_t i = first + count; i < COUNT; i++) {
      ASSERT(values[i] == mark(comm->rank, i, 0));
    }
    /* No rank fills the arena again before all have checked it. */
    ASSERT_OK(comm->type->barrier(comm));
  }
  comm->type->free(comm, values);
  comm->type->destroy(comm);
}

static void test_the_order_of_sums_is_that_of_the_ranks_for_any_size(void)
{
  enum { COUNT = 9000 };
  tr__comm *comm = create();
  float *values = shared(comm, COUNT), few[COUNT];
  for (int64_t i = 0; i < COUNT; i++) {
    values[i] = few[i] = 1.0f / (float)(1 + comm->rank + 7 * i);
  }
  allreduce(comm, values, COUNT);
  for (int64_t i = 0; i < COUNT; i += 100) {
    allreduce(comm, few + i, 100);
  }
  ASSERT_EQ(memcmp(values, few, sizeof few), 0);
  ASSERT_OK(comm->type->barrier(comm));
  comm->type->free(comm, values);
  comm->type->destroy(comm);
}

static void test_more_memory_than_there_is_is_no_failure(void)
{
  tr__comm *comm = create();
  void *values = comm;
  ASSERT_OK(comm->type->alloc(comm, (size_t)1 << 46, &values));
  ASSERT(values == NULL);
  comm->type->free(comm, NULL);
  comm->type->destroy(comm);
}

/* The address where an arena ends may be the beginning of another one. */
static void test_an_arena_is_freed_by_its_own_address_only(void)
{
  enum { COUNT = 4096 };
  tr__comm *comm = create();
  float *values = shared(comm, COUNT);
  comm->type->free(comm, values + COUNT);
  fill(comm, values, COUNT, 0);
  allreduce(comm, values, COUNT);
  expect_sums(comm, values, COUNT, 0);
  ASSERT_OK(comm->type->barrier(comm));
  comm->type->free(comm, values);
  comm->type->destroy(comm);
}

static void test_gradients_lie_in_shared_memory(void)
{
  tr_context *ctx;
  ASSERT_OK(tr_context_create(MPI_COMM_WORLD, &(tr_context_opts){.threads = 1},
                              &ctx));
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, (tr_shape){1, {40}});
  tr_cross_entropy(net, tr_linear(net, x, &(tr_linear_opts){.out = 10}));
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 4}));
  const tr__comm *comm = ctx->comm;
  bool expected = comm->size > 1 && (comm->has_shm || comm->has_nodes);
  ASSERT_EQ(net->store.grads_are_shared, expected);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

/* A name would remain if a rank ended before all have opened the memory. */
static void test_shared_memory_never_has_a_name(void)
{
  int watch = inotify_init1(IN_NONBLOCK);
  if (watch < 0 || inotify_add_watch(watch, "/dev/shm", IN_CREATE) < 0) {
    test_skip("nothing tells of new files in /dev/shm");
  }
  tr__comm *comm = create();
  float *values = shared(comm, 1 << 20);
  _Alignas(struct inotify_event) char events[1 << 16];
  ssize_t bytes = read(watch, events, sizeof events);
  for (ssize_t at = 0; at < bytes;) {
    const struct inotify_event *event = (const void *)(events + at);
    ASSERT(strstr(event->name, "libtrain-") == NULL);
    at += (ssize_t)sizeof *event + event->len;
  }
  comm->type->free(comm, values);
  comm->type->destroy(comm);
  close(watch);
}

static const tr_test tests[] = {
    TEST(test_shared_memory_never_has_a_name),
    TEST(test_ranks_that_dawdle_never_see_another_rounds_numbers),
    TEST(test_parts_of_an_arena_are_summed_alone),
    TEST(test_the_order_of_sums_is_that_of_the_ranks_for_any_size),
    TEST(test_more_memory_than_there_is_is_no_failure),
    TEST(test_an_arena_is_freed_by_its_own_address_only),
    TEST(test_gradients_lie_in_shared_memory),
};

TEST_MPI_MAIN(tests)
