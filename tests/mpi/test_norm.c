/* BatchNorm over ranks, and dropout: several ranks compute the numbers that one
 * rank computes from the same global batch. */
#include "mpi_test.h"

#include "model/model_impl.h"

#include <train/mpi.h>
#include <train/train.h>

enum { STEPS = 12, CHANNELS = 5, PLACES = 6, CLASSES = 3, MOST_ROWS = 9 };

/* The ranks' sums have another order, in double precision. */
static const double tolerance = 1e-12;

typedef struct outcome {
  double losses[STEPS], evaluation;
  double mean[CHANNELS], var[CHANNELS], batches;
  uint64_t hash;
} outcome;

typedef struct job_opts {
  MPI_Comm comm;
  int sync;
  double dropout;
  int64_t most_rows;
  double mean; /* added to the inputs */
} job_opts;

typedef struct job {
  tr_context *ctx;
  tr_model *net;
  tr_optimizer *opt;
  double x[MOST_ROWS * CHANNELS * PLACES];
  int32_t y[MOST_ROWS];
  double mean;
} job;

static void start(job *j, const job_opts *opts)
{
  tr_context_opts numbers = {.threads = 1, .dtype = TR_F64, .seed = 7};
  ASSERT_OK(tr_context_create(opts->comm, &numbers, &j->ctx));
  ASSERT_OK(tr_model_create(j->ctx, &j->net));
  tr_node x = tr_input(j->net, (tr_shape){3, {CHANNELS, 2, PLACES / 2}});
  tr_batchnorm_opts norm = {.sync = opts->sync, .name = "norm1"};
  x = tr_relu(j->net, tr_batchnorm(j->net, x, &norm));
  x = tr_dropout(j->net, x, &(tr_dropout_opts){.p = opts->dropout});
  x = tr_linear(j->net, tr_flatten(j->net, x), &(tr_linear_opts){.out = 7});
  norm.name = "norm2";
  x = tr_gelu(j->net, tr_batchnorm(j->net, x, &norm), NULL);
  x = tr_dropout(j->net, x, &(tr_dropout_opts){.p = opts->dropout});
  tr_cross_entropy(j->net,
                   tr_linear(j->net, x, &(tr_linear_opts){.out = CLASSES}));
  ASSERT_OK(
      tr_model_build(j->net, &(tr_build_opts){.max_local_batch = MOST_ROWS}));
  ASSERT_OK(tr_sgd_create(j->net, &(tr_sgd_opts){.lr = 0.1}, &j->opt));
}

static void end(job *j)
{
  tr_optimizer_destroy(&j->opt);
  tr_model_destroy(&j->net);
  tr_context_destroy(&j->ctx);
}

/* Runs forward on this rank's rows of a global batch. */
static void forward(job *j, int step, int64_t rows)
{
  const int64_t row = CHANNELS * PLACES;
  int rank = j->ctx->comm->rank, size = j->ctx->comm->size;
  tr_batch batch = {.first = tr__even_split(rows, rank, size),
                    .global_count = rows};
  batch.count = tr__even_split(rows, rank + 1, size) - batch.first;
  for (int64_t n = 0; n < batch.count; n++) {
    const tr__random random = {.seed = test_seed(),
                               .sample = batch.first + n,
                               .step = step,
                               .stream =
                                   tr__random_stream(TR__PURPOSE_TEST, 9)};
    tr__random_fill(&random, j->mean - 1, j->mean + 3, row, j->x + n * row);
    j->y[n] = (int32_t)(tr__random_u32(&random, row) % CLASSES);
  }
  batch.inputs[0] = j->x;
  batch.targets[0] = j->y;
  ASSERT_OK(tr_model_forward(j->net, &batch));
}

static void run(const job_opts *opts, outcome *out)
{
  job j = {.mean = opts->mean};
  start(&j, opts);
  for (int step = 0; step < STEPS; step++) {
    /* Every fourth step has two micro-batches. */
    for (int part = 0; part < 1 + (step % 4 == 3); part++) {
      forward(&j, 2 * step + part, 1 + (5 * step + 3) % opts->most_rows);
      ASSERT_OK(tr_model_backward(j.net));
    }
    ASSERT_OK(tr_model_allreduce_grads(j.net));
    ASSERT_OK(tr_model_loss(j.net, &out->losses[step]));
    ASSERT_OK(tr_optimizer_step(j.opt));
  }
  ASSERT_OK(tr_model_get_param(j.net, "norm1.running_mean", out->mean));
  ASSERT_OK(tr_model_get_param(j.net, "norm1.running_var", out->var));
  ASSERT_OK(
      tr_model_get_param(j.net, "norm1.num_batches_tracked", &out->batches));
  tr_model_set_training(j.net, 0);
  forward(&j, 2 * STEPS, MOST_ROWS);
  ASSERT_OK(tr_model_loss(j.net, &out->evaluation));
  ASSERT_OK(tr_model_params_hash(j.net, &out->hash));
  end(&j);
}

static void expect_same_on_all_ranks(uint64_t hash)
{
  uint64_t first = hash;
  MPI_Bcast(&first, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
  ASSERT(first == hash);
}

static void expect_numbers_of_one_rank(job_opts opts)
{
  outcome alone, together;
  opts.comm = MPI_COMM_SELF;
  run(&opts, &alone);
  opts.comm = MPI_COMM_WORLD;
  run(&opts, &together);
  for (int i = 0; i < STEPS; i++) {
    ASSERT_NEAR(together.losses[i], alone.losses[i], tolerance);
  }
  for (int c = 0; c < CHANNELS; c++) {
    ASSERT_NEAR(together.mean[c], alone.mean[c], tolerance);
    ASSERT_NEAR(together.var[c], alone.var[c], tolerance);
  }
  ASSERT_NEAR(together.evaluation, alone.evaluation, tolerance);
  ASSERT(together.batches == alone.batches);
  expect_same_on_all_ranks(together.hash);
}

static void test_sync_batchnorm_has_the_numbers_of_one_rank(void)
{
  expect_numbers_of_one_rank((job_opts){.sync = 1, .most_rows = MOST_ROWS});
}

static void test_sync_batchnorm_works_on_ranks_without_samples(void)
{
  expect_numbers_of_one_rank((job_opts){.sync = 1, .most_rows = 3});
}

/* The normalisation removes what is added to all inputs, except for the
 * rounding of inputs near 1e6, which the first layer multiplies. */
static void test_sync_batchnorm_keeps_small_deviations_from_large_means(void)
{
  outcome small, large;
  job_opts opts = {.comm = MPI_COMM_WORLD, .sync = 1, .most_rows = MOST_ROWS};
  run(&opts, &small);
  opts.mean = 1e6;
  run(&opts, &large);
  for (int i = 0; i < STEPS; i++) {
    ASSERT_NEAR(large.losses[i], small.losses[i], 1e-8);
  }
  for (int c = 0; c < CHANNELS; c++) {
    /* The running variance begins at 1, so an absolute bound will do. */
    ASSERT_NEAR(large.var[c], small.var[c], 1e-8);
  }
}

static void test_dropout_masks_are_those_of_one_rank(void)
{
  expect_numbers_of_one_rank(
      (job_opts){.sync = 1, .dropout = 0.4, .most_rows = MOST_ROWS});
}

static void test_local_batchnorm_gives_all_ranks_rank_0s_buffers(void)
{
  outcome out;
  run(&(job_opts){.comm = MPI_COMM_WORLD, .most_rows = MOST_ROWS}, &out);
  expect_same_on_all_ranks(out.hash);
  ASSERT(out.batches > 0 && out.batches <= STEPS + STEPS / 4);
  /* Inputs have mean 1 and variance 4 / 3; sums over ranks would lie outside
   * the bounds. */
  for (int c = 0; c < CHANNELS; c++) {
    ASSERT(out.mean[c] > 0.3 && out.mean[c] < 1.3);
    ASSERT(out.var[c] > 0.7 && out.var[c] < 2);
  }
}

static const tr_test tests[] = {
    TEST(test_sync_batchnorm_has_the_numbers_of_one_rank),
    TEST(test_sync_batchnorm_works_on_ranks_without_samples),
    TEST(test_sync_batchnorm_keeps_small_deviations_from_large_means),
    TEST(test_dropout_masks_are_those_of_one_rank),
    TEST(test_local_batchnorm_gives_all_ranks_rank_0s_buffers),
};
TEST_MPI_MAIN(tests)
