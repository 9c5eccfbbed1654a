/* Several communicators, contexts and models in one job at the same time. */
#include "base/random_impl.h"
#include "comm/mpi/algorithm_table_impl.h"
#include "comm/mpi/comm_mpi_impl.h"
#include "mpi_test.h"

#include <mpi.h>
#include <train/mpi.h>
#include <train/train.h>

enum { INPUTS = 12, CLASSES = 5, BATCH = 12, NUM_STEPS = 8 };

typedef struct run {
  tr_context *ctx;
  tr_model *net;
  tr_optimizer *opt;
  int seed;
} run;

static run begin(MPI_Comm comm, int seed)
{
  run r = {.seed = seed};
  ASSERT_OK(tr_context_create(
      comm, &(tr_context_opts){.threads = 1, .seed = (uint64_t)seed}, &r.ctx));
  ASSERT_OK(tr_model_create(r.ctx, &r.net));
  tr_node x = tr_input(r.net, (tr_shape){1, {INPUTS}});
  /* Several slices of several cache lines. */
  x = tr_relu(r.net, tr_linear(r.net, x, &(tr_linear_opts){.out = 300}));
  x = tr_linear(r.net, x, &(tr_linear_opts){.out = CLASSES});
  tr_cross_entropy(r.net, x);
  ASSERT_OK(tr_model_build(r.net, &(tr_build_opts){.max_local_batch = BATCH}));
  tr_adamw_opts adamw = tr_adamw_defaults();
  ASSERT_OK(tr_adamw_create(r.net, &adamw, &r.opt));
  return r;
}

static void end(run *r)
{
  tr_optimizer_destroy(&r->opt);
  tr_model_destroy(&r->net);
  tr_context_destroy(&r->ctx);
}

static void differentiate(run *r, int step)
{
  const tr__random random = {.seed = (uint64_t)r->seed,
                             .sample = step,
                             .stream = tr__random_stream(TR__PURPOSE_TEST, 8)};
  float x[BATCH * INPUTS];
  int32_t y[BATCH];
  for (int i = 0; i < BATCH * INPUTS; i++) {
    x[i] = (float)(tr__random_u32(&random, i) * 0x1p-32);
    y[i / INPUTS] = (int32_t)(tr__random_u32(&random, i) % CLASSES);
  }
  int rank = tr_context_rank(r->ctx), size = tr_context_size(r->ctx);
  int first = BATCH * rank / size;
  const tr_batch batch = {.count = BATCH * (rank + 1) / size - first,
                          .first = first,
                          .global_count = BATCH,
                          .inputs = {x + (ptrdiff_t)first * INPUTS},
                          .targets = {y + first}};
  ASSERT_OK(tr_model_forward(r->net, &batch));
  ASSERT_OK(tr_model_backward(r->net));
}

static void update(run *r)
{
  ASSERT_OK(tr_model_allreduce_grads(r->net));
  ASSERT_OK(tr_optimizer_step(r->opt));
}

static uint64_t hash_of(run *r)
{
  uint64_t hash;
  ASSERT_OK(tr_model_params_hash(r->net, &hash));
  return hash;
}

static uint64_t trained_alone(MPI_Comm comm, int seed)
{
  run r = begin(comm, seed);
  for (int step = 0; step < NUM_STEPS; step++) {
    differentiate(&r, step);
    update(&r);
  }
  uint64_t hash = hash_of(&r);
  end(&r);
  return hash;
}

/* Two models on all ranks, and one on each half of them, whose ranks are
 * numbered backwards. One model's all-reduce comes between backward and
 * all-reduce of another. */
static void test_models_on_several_communicators_train_as_if_alone(void)
{
  int rank;
  MPI_Comm half;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_split(MPI_COMM_WORLD, rank % 2, -rank, &half);
  MPI_Comm const comms[3] = {MPI_COMM_WORLD, half, MPI_COMM_WORLD};
  const int seeds[3] = {3, 10 + rank % 2, 4};
  run runs[3];
  for (int i = 0; i < 3; i++) {
    runs[i] = begin(comms[i], seeds[i]);
  }
  for (int step = 0; step < NUM_STEPS; step++) {
    for (int i = 0; i < 3; i++) {
      differentiate(&runs[i], step);
    }
    for (int i = 0; i < 3; i++) {
      update(&runs[(i + step) % 3]);
    }
  }
  for (int i = 0; i < 3; i++) {
    uint64_t hash = hash_of(&runs[i]);
    end(&runs[i]);
    ASSERT(hash == trained_alone(comms[i], seeds[i]));
  }
  MPI_Comm_free(&half);
}

static void fill(const tr__comm *comm, float *values, int64_t count, int round)
{
  for (int64_t i = 0; i < count; i++) {
    values[i] = (float)((comm->rank + 1) * (round + 1) + i % 7);
  }
}

static void
expect_sums(const tr__comm *comm, const float *values, int64_t count, int round)
{
  int ranks = comm->size * (comm->size + 1) / 2;
  for (int64_t i = 0; i < count; i++) {
    ASSERT_EQ(values[i], ranks * (round + 1) + comm->size * (i % 7));
  }
}

/* Two transfers are under way together, and each rank polls them in another
 * order. */
static void move_both(tr__comm *const comms[2],
                      float *const values[2],
                      int64_t count,
                      int round)
{
  tr__request *requests[2];
  bool done[2] = {false, false};
  for (int k = 0; k < 2; k++) {
    fill(comms[k], values[k], count, round + k);
    const tr__transfer sum = {
        .buf = values[k], .count = count, .dtype = TR_F32};
    ASSERT_OK(comms[k]->type->start(comms[k], &sum, &requests[k]));
  }
  for (int64_t poll = 0; !done[0] || !done[1]; poll++) {
    int k = (int)((poll / (1 + comms[0]->rank)) % 2);
    if (!done[k]) {
      ASSERT_OK(comms[k]->type->test(comms[k], &requests[k], &done[k]));
    }
  }
  for (int k = 0; k < 2; k++) {
    expect_sums(comms[k], values[k], count, round + k);
  }
}

static void test_transfers_on_two_communicators_are_under_way_at_once(void)
{
  enum { COUNT = 150000 };
  static const char *const algorithms[] = {"auto", "ring", "halving", "direct",
                                           "doubling"};
  tr__comm *comms[2];
  int rank;
  MPI_Comm half;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_split(MPI_COMM_WORLD, rank % 2, -rank, &half);
  ASSERT_OK(tr__comm_mpi_create(tr__mpi_world(), &comms[0]));
  ASSERT_OK(tr__comm_mpi_create((int)MPI_Comm_c2f(half), &comms[1]));
  MPI_Comm_free(&half);
  float *values[2] = {malloc(COUNT * sizeof(float)),
                      malloc(COUNT * sizeof(float))};
  ASSERT(values[0] != NULL && values[1] != NULL);
  for (int round = 0; round < 50; round++) {
    for (int k = 0; k < 2; k++) {
      ASSERT_OK(tr__comm_set_algorithm(comms[k], algorithms[(round + k) % 5]));
    }
    move_both(comms, values, round % 3 == 0 ? COUNT : 100, round);
  }
  for (int k = 0; k < 2; k++) {
    free(values[k]);
    comms[k]->type->destroy(comms[k]);
  }
}

static const tr_test tests[] = {
    TEST(test_models_on_several_communicators_train_as_if_alone),
    TEST(test_transfers_on_two_communicators_are_under_way_at_once),
};

TEST_MPI_MAIN(tests)
