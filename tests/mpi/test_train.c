/* Training on several ranks: the numbers are those of one rank, and all ranks
 * see a failure in the same step. */
#include "broken_device.h"
#include "mpi_test.h"
#include "own_data.h"
#include "shared_dir.h"

#include "core/dataset_impl.h"
#include "model/model_impl.h"

#include <train/mpi.h>
#include <train/train.h>

enum { NUM_STEPS = 20 };

/* The ranks' sums are added in another order than one rank adds all samples. */
static const double rank_tolerance = 1e-5;

typedef struct job_opts {
  MPI_Comm comm;
  int threads;
  int64_t batch;
  tr_dtype dtype;
  int fails_at; /* the number of the read that fails on this rank; 0: none */
  int64_t shards;
  const char *device;
  bool muon; /* instead of SGD */
} job_opts;

typedef struct job {
  tr_context *ctx;
  tr_dataset *data;
  tr_loader *loader;
  tr_model *net;
  tr_optimizer *opt;
} job;

/* A data set of 100 samples of 16 values, of which a rank fails in its read
 * number fails_at. */

typedef struct blobs {
  int fails_at;
  atomic_int reads;
} blobs;

static tr_status read_blobs(const tr_dataset *data,
                            const int64_t *ids,
                            int64_t count,
                            void *x,
                            void *targets)
{
  int32_t *y = targets;
  blobs *state = data->state;
  int number = 1 + atomic_fetch_add(&state->reads, 1);
  TR_CHECK(number != state->fails_at, TR_EIO, "blobs: part %d is damaged",
           number);
  for (int64_t i = 0; i < count; i++) {
    const tr__random random = {.seed = 1,
                               .sample = ids[i],
                               .stream =
                                   tr__random_stream(TR__PURPOSE_TEST, 3)};
    y[i] = (int32_t)(ids[i] % 10);
    for (int k = 0; k < 16; k++) {
      double value = tr__random_uniform(&random, k) + (k == y[i]);
      ((float *)x)[16 * i + k] = (float)value;
    }
  }
  return TR_OK;
}

static const tr__dataset_type blobs_type = {
    .name = "blobs", .read = read_blobs, .close = own_data_close};

static tr_dataset *open_blobs(tr_context *ctx, int fails_at)
{
  const blobs state = {.fails_at = fails_at};
  const tr_dataset as = {
      .shape = {1, {16}}, .num_samples = 100, .num_classes = 10};
  return own_data_open(ctx, &blobs_type, &as, &state, sizeof state);
}

static void start_model(job *j, const job_opts *opts)
{
  ASSERT_OK(tr_model_create(j->ctx, &j->net));
  tr_node x = tr_flatten(j->net, tr_input(j->net, tr_dataset_shape(j->data)));
  x = tr_linear(j->net, x, &(tr_linear_opts){.out = 32, .name = "fc1"});
  x = tr_relu(j->net, x);
  x = tr_linear(j->net, x, &(tr_linear_opts){.out = 10, .name = "fc2"});
  tr_cross_entropy(j->net, x);
  ASSERT_OK(tr_model_build(j->net, NULL));
  if (opts->muon) {
    const tr_param_group last = {.pattern = "fc2.*", .by_adamw = 1};
    tr_muon_opts muon = tr_muon_defaults();
    muon.lr = 0.02;
    muon.update = (tr_update_opts){.groups = &last, .num_groups = 1};
    ASSERT_OK(tr_muon_create(j->net, &muon, &j->opt));
    return;
  }
  tr_sgd_opts sgd = {.lr = 0.1, .momentum = 0.9};
  ASSERT_OK(tr_sgd_create(j->net, &sgd, &j->opt));
}

static void start(job *j, const job_opts *opts, bool has_blobs)
{
  *j = (job){0};
  ASSERT_OK(tr_context_create(opts->comm,
                              &(tr_context_opts){.threads = opts->threads,
                                                 .dtype = opts->dtype,
                                                 .device = opts->device,
                                                 .virtual_shards = opts->shards,
                                                 .seed = 5,
                                                 .log = test_no_log},
                              &j->ctx));
  if (has_blobs) {
    j->data = open_blobs(j->ctx, opts->fails_at);
  } else {
    ASSERT_OK(tr_digits_open(j->ctx, "test", &j->data));
  }
  tr_loader_opts loader = {.batch = opts->batch, .shuffle = 1};
  ASSERT_OK(tr_loader_create(j->ctx, j->data, &loader, &j->loader));
  start_model(j, opts);
}

static void end(job *j)
{
  tr_optimizer_destroy(&j->opt);
  tr_model_destroy(&j->net);
  tr_loader_destroy(&j->loader);
  tr_dataset_destroy(&j->data);
  tr_context_destroy(&j->ctx);
}

static bool next_batch(job *j, tr_batch *batch)
{
  return tr_loader_next(j->loader, batch) || tr_loader_next(j->loader, batch);
}

static void train_steps(job *j, double *losses)
{
  for (int step = 0; step < NUM_STEPS; step++) {
    tr_batch batch;
    ASSERT(next_batch(j, &batch));
    ASSERT_OK(tr_model_forward(j->net, &batch));
    ASSERT_OK(tr_model_backward(j->net));
    ASSERT_OK(tr_model_allreduce_grads(j->net));
    ASSERT_OK(tr_model_loss(j->net, &losses[step]));
    ASSERT_OK(tr_optimizer_step(j->opt));
  }
}

/* Trains, and returns the hash of the parameters. losses: of all steps. */
static uint64_t run(const job_opts *opts, bool has_blobs, double *losses)
{
  job j;
  uint64_t hash;
  start(&j, opts, has_blobs);
  train_steps(&j, losses);
  ASSERT_OK(tr_model_params_hash(j.net, &hash));
  end(&j);
  return hash;
}

static void expect_losses_of_one_rank(job_opts opts, bool has_blobs)
{
  double alone[NUM_STEPS], together[NUM_STEPS];
  opts.threads = 1;
  opts.comm = MPI_COMM_SELF;
  run(&opts, has_blobs, alone);
  opts.comm = MPI_COMM_WORLD;
  run(&opts, has_blobs, together);
  for (int i = 0; i < NUM_STEPS; i++) {
    ASSERT_NEAR(together[i], alone[i], rank_tolerance);
  }
  ASSERT(together[NUM_STEPS - 1] < together[0]);
}

static void test_losses_are_those_of_one_rank(void)
{
  expect_losses_of_one_rank((job_opts){.batch = 64}, false);
}

/* 100 samples in batches of 30: the last batch has 10, and ranks have unequal
 * numbers of rows. */
static void test_uneven_batches_have_the_losses_of_one_rank(void)
{
  expect_losses_of_one_rank((job_opts){.batch = 30}, true);
}

/* The last batch has a single sample: most ranks have none. */
static void test_ranks_without_samples_take_part(void)
{
  expect_losses_of_one_rank((job_opts){.batch = 33}, true);
}

static void test_muon_has_the_losses_of_one_rank(void)
{
  expect_losses_of_one_rank((job_opts){.batch = 30, .muon = true}, true);
}

static void test_double_precision_parameters_are_those_of_one_rank(void)
{
  double alone[NUM_STEPS], together[NUM_STEPS];
  run(&(job_opts){.comm = MPI_COMM_SELF, .batch = 50, .dtype = TR_F64}, false,
      alone);
  run(&(job_opts){.comm = MPI_COMM_WORLD, .batch = 50, .dtype = TR_F64}, false,
      together);
  for (int i = 0; i < NUM_STEPS; i++) {
    ASSERT_NEAR(together[i], alone[i], 1e-11);
  }
}

/* A sum near the middle between two numbers may be rounded the other way, and
 * training continues from there. */
static void test_mixed_precision_losses_are_near_those_of_one_rank(void)
{
  static const tr_dtype dtypes[] = {TR_BF16, TR_F16};
  for (int d = 0; d < 2; d++) {
    double alone[NUM_STEPS], together[NUM_STEPS];
    run(&(job_opts){.comm = MPI_COMM_SELF, .batch = 50, .dtype = dtypes[d]},
        false, alone);
    run(&(job_opts){.comm = MPI_COMM_WORLD, .batch = 50, .dtype = dtypes[d]},
        false, together);
    for (int i = 0; i < NUM_STEPS; i++) {
      ASSERT_NEAR(together[i], alone[i], d == 0 ? 4e-3 : 5e-4);
    }
  }
}

static void expect_same_on_all_ranks(uint64_t hash)
{
  uint64_t first = hash;
  MPI_Bcast(&first, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
  ASSERT(first == hash);
}

static void expect_the_same_bits(job_opts opts)
{
  static const int threads[] = {1, 1, 3};
  uint64_t hashes[3];
  double losses[3][NUM_STEPS];
  opts.comm = MPI_COMM_WORLD;
  for (int i = 0; i < 3; i++) {
    opts.threads = threads[i];
    hashes[i] = run(&opts, false, losses[i]);
    expect_same_on_all_ranks(hashes[i]);
    ASSERT(hashes[i] == hashes[0]);
    ASSERT(memcmp(losses[i], losses[0], sizeof losses[0]) == 0);
  }
}

static void test_runs_and_threads_repeat_the_same_bits(void)
{
  expect_the_same_bits((job_opts){.batch = 37});
  expect_the_same_bits((job_opts){.batch = 37, .muon = true});
  expect_the_same_bits((job_opts){.batch = 37, .dtype = TR_BF16});
  expect_the_same_bits((job_opts){.batch = 37, .dtype = TR_F16});
}

/* Failures of one rank. */

static void expect_damage(tr_status status)
{
  ASSERT_EQ(status, TR_EIO);
  ASSERT_STR_EQ(tr_error_message(), "blobs: part 3 is damaged");
  ASSERT(tr__error_origin()->agreed);
  ASSERT_EQ(tr__error_is_elsewhere(), world_rank() != world_size() - 1);
}

static job_opts damaged_opts(void)
{
  return (job_opts){.comm = MPI_COMM_WORLD,
                    .threads = 1,
                    .batch = 20,
                    .fails_at = world_rank() == world_size() - 1 ? 3 : 0};
}

static void check_failed_read(tr_dtype dtype, int64_t shards, int threads)
{
  job j;
  job_opts opts = damaged_opts();
  opts.dtype = dtype;
  opts.shards = shards;
  opts.threads = threads;
  start(&j, &opts, true);
  for (int step = 1; step <= 3; step++) {
    tr_batch batch;
    ASSERT(tr_loader_next(j.loader, &batch));
    ASSERT_OK(tr_model_forward(j.net, &batch));
    ASSERT_OK(tr_model_backward(j.net));
    tr_status status = tr_model_allreduce_grads(j.net);
    if (step == 3) {
      expect_damage(status);
      break;
    }
    ASSERT_OK(status);
    ASSERT_OK(tr_optimizer_step(j.opt));
  }
  ASSERT_EQ(tr_optimizer_num_steps(j.opt), 2);
  end(&j);
}

static void test_a_failed_read_reaches_all_ranks_in_the_same_step(void)
{
  check_failed_read(TR_F32, 0, 1);
  check_failed_read(TR_F32, 8, 2);
  check_failed_read(TR_BF16, 8, 1);
  check_failed_read(TR_F16, 12, 2);
}

static tr_trainer *make_trainer(job *j)
{
  tr_trainer *trainer;
  tr_trainer_opts opts = {
      .model = j->net, .optimizer = j->opt, .loader = j->loader, .epochs = 3};
  ASSERT_OK(tr_trainer_create(j->ctx, &opts, &trainer));
  return trainer;
}

static void test_a_failed_read_ends_fit_on_all_ranks(void)
{
  job j;
  job_opts opts = damaged_opts();
  start(&j, &opts, true);
  tr_trainer *trainer = make_trainer(&j);
  expect_damage(tr_trainer_fit(trainer, NULL));
  ASSERT_EQ(tr_optimizer_num_steps(j.opt), 2);
  /* The failed step has lost samples, so the state is not saved. */
  const tr_checkpoint run = {
      .model = j.net, .optimizer = j.opt, .loader = j.loader};
  ASSERT_FAILS(tr_checkpoint_save(j.ctx, shared_dir(), &run), TR_ESTATE,
               "failed");
  expect_damage(tr_trainer_fit(trainer, NULL));
  tr_trainer_destroy(&trainer);
  end(&j);
}

static void test_a_failed_read_ends_evaluation_on_all_ranks(void)
{
  job j;
  job_opts opts = damaged_opts();
  double loss, accuracy;
  start(&j, &opts, true);
  tr_trainer *trainer = make_trainer(&j);
  expect_damage(tr_trainer_evaluate(trainer, j.loader, &loss, &accuracy));
  /* The failure does not affect a step on samples that can be read. */
  tr_loader *loader;
  tr_batch batch;
  ASSERT_OK(
      tr_loader_create(j.ctx, j.data, &(tr_loader_opts){.batch = 20}, &loader));
  ASSERT(tr_loader_next(loader, &batch));
  ASSERT_OK(tr_trainer_step(trainer, &batch));
  tr_loader_destroy(&loader);
  tr_trainer_destroy(&trainer);
  end(&j);
}

/* Batches of 5 and 4 samples; the model has room for 2 on each rank. */
static void test_an_evaluation_begins_on_all_ranks_alike_after_a_failure(void)
{
  if (world_size() != 2) {
    test_not_here("needs two ranks");
  }
  job j;
  const job_opts opts = {.comm = MPI_COMM_WORLD, .threads = 1, .batch = 4};
  const tr_dataset as = {
      .shape = {1, {16}}, .num_samples = 9, .num_classes = 10};
  const blobs state = {.fails_at = 0};
  double loss, accuracy;
  start(&j, &opts, true);
  tr_trainer *trainer = make_trainer(&j);
  tr_dataset *data =
      own_data_open(j.ctx, &blobs_type, &as, &state, sizeof state);
  tr_loader *loader;
  ASSERT_OK(
      tr_loader_create(j.ctx, data, &(tr_loader_opts){.batch = 5}, &loader));
  for (int i = 0; i < 2; i++) {
    ASSERT_FAILS(tr_trainer_evaluate(trainer, loader, &loss, &accuracy),
                 TR_EINVAL, "3");
  }
  tr_loader_destroy(&loader);
  tr_dataset_destroy(&data);
  tr_trainer_destroy(&trainer);
  end(&j);
}

static void test_a_run_resumes_in_the_same_process_after_a_failed_read(void)
{
  job j;
  job_opts opts = damaged_opts();
  start(&j, &opts, true);
  const tr_checkpoint run = {
      .model = j.net, .optimizer = j.opt, .loader = j.loader};
  const char *dir = shared_dir();
  ASSERT_OK(tr_checkpoint_save(j.ctx, dir, &run));
  tr_trainer *trainer = make_trainer(&j);
  expect_damage(tr_trainer_fit(trainer, NULL));
  tr_trainer_destroy(&trainer);
  ASSERT_OK(tr_checkpoint_resume(j.ctx, dir, &run));
  ASSERT_EQ(tr_optimizer_num_steps(j.opt), 0);
  trainer = make_trainer(&j);
  ASSERT_OK(tr_trainer_fit(trainer, NULL));
  ASSERT_EQ(tr_optimizer_num_steps(j.opt), 15);
  tr_trainer_destroy(&trainer);
  end(&j);
}

static void check_failed_device(const char *device, bool overlaps)
{
  job j;
  const job_opts opts = {
      .comm = MPI_COMM_WORLD, .threads = 1, .batch = 20, .device = device};
  start(&j, &opts, true);
  tr_trainer *trainer = make_trainer(&j);
  tr_batch batch;
  ASSERT(tr_loader_next(j.loader, &batch));
  ASSERT_OK(tr_model_forward(j.net, &batch));
  ASSERT_OK(tr_model_backward(j.net));
  const tr__backend_type *type = NULL;
  if (overlaps) {
    tr__step_clear(&j.net->step);
    type = break_last_device(j.ctx);
    ASSERT_FAILS(tr_trainer_step(trainer, &batch), TR_EDEVICE,
                 "the device is gone");
  } else {
    type = break_last_device(j.ctx);
    ASSERT_FAILS(tr_model_allreduce_grads(j.net), TR_EDEVICE,
                 "the device is gone");
  }
  ASSERT(world_size() == 1 || tr__error_origin()->agreed);
  mend_device(j.ctx, type);
  tr_trainer_destroy(&trainer);
  end(&j);
}

static void test_a_failed_device_reaches_all_ranks_in_the_same_step(void)
{
  for (int overlaps = 0; overlaps < 2; overlaps++) {
    check_failed_device("cpu", overlaps);
    check_failed_device("strict", overlaps);
  }
}

/* 12 samples (i / 12, 1) with the target i / 12 + 2: exact weights exist. */
static void test_a_regression_is_fitted_and_has_no_accuracy(void)
{
  enum { COUNT = 12 };
  float x[COUNT][2], y[COUNT];
  for (int i = 0; i < COUNT; i++) {
    x[i][0] = (float)i / COUNT;
    x[i][1] = 1;
    y[i] = x[i][0] + 2;
  }
  job j = {.ctx = NULL};
  ASSERT_OK(tr_context_create(MPI_COMM_WORLD, NULL, &j.ctx));
  const tr_array_opts arrays = {
      .x = x, .targets = y, .num_samples = COUNT, .shape = {1, {2}}};
  ASSERT_OK(tr_array_open(j.ctx, &arrays, &j.data));
  const tr_loader_opts batches = {.batch = 5, .shuffle = 1};
  tr_loader *test_loader;
  ASSERT_OK(tr_loader_create(j.ctx, j.data, &batches, &j.loader));
  ASSERT_OK(tr_loader_create(j.ctx, j.data, &batches, &test_loader));
  ASSERT_OK(tr_model_create(j.ctx, &j.net));
  tr_node in = tr_input(j.net, tr_dataset_shape(j.data));
  tr_mse(j.net, tr_linear(j.net, in, &(tr_linear_opts){.out = 1}), NULL);
  ASSERT_OK(tr_model_build(j.net, NULL));
  const tr_sgd_opts sgd = {.lr = 0.3, .momentum = 0.5};
  ASSERT_OK(tr_sgd_create(j.net, &sgd, &j.opt));
  const tr_trainer_opts opts = {.model = j.net,
                                .optimizer = j.opt,
                                .loader = j.loader,
                                .test_loader = test_loader,
                                .steps = 600};
  tr_trainer *trainer;
  tr_report report;
  ASSERT_OK(tr_trainer_create(j.ctx, &opts, &trainer));
  ASSERT_OK(tr_trainer_fit(trainer, &report));
  ASSERT_NEAR(report.test_loss, 0, 1e-6);
  ASSERT(isnan(report.test_accuracy));
  tr_trainer_destroy(&trainer);
  tr_loader_destroy(&test_loader);
  end(&j);
}

static void test_targets_of_another_kind_are_refused(void)
{
  job j;
  start(&j, &(job_opts){.comm = MPI_COMM_WORLD, .batch = 8}, true);
  tr_optimizer_destroy(&j.opt);
  tr_model_destroy(&j.net);
  ASSERT_OK(tr_model_create(j.ctx, &j.net));
  tr_node in = tr_input(j.net, tr_dataset_shape(j.data));
  tr_mse(j.net, tr_linear(j.net, in, &(tr_linear_opts){.out = 1}), NULL);
  ASSERT_OK(tr_model_build(j.net, NULL));
  ASSERT_OK(tr_sgd_create(j.net, &(tr_sgd_opts){.lr = 0.1}, &j.opt));
  const tr_trainer_opts opts = {
      .model = j.net, .optimizer = j.opt, .loader = j.loader, .steps = 1};
  tr_trainer *trainer;
  ASSERT_FAILS(tr_trainer_create(j.ctx, &opts, &trainer), TR_ESHAPE,
               "targets are classes, the loss \"mse_1\" wants numbers");
  end(&j);
}

static void test_one_loader_cannot_train_and_test(void)
{
  job j;
  start(&j, &(job_opts){.comm = MPI_COMM_WORLD, .batch = 8}, true);
  const tr_trainer_opts opts = {.model = j.net,
                                .optimizer = j.opt,
                                .loader = j.loader,
                                .test_loader = j.loader,
                                .steps = 1};
  tr_trainer *trainer;
  ASSERT_FAILS(tr_trainer_create(j.ctx, &opts, &trainer), TR_EINVAL,
               "loader and test_loader are one loader");
  ASSERT(trainer == NULL);
  end(&j);
}

static void test_a_stop_request_ends_all_ranks_at_the_same_step(void)
{
  job j;
  start(&j, &(job_opts){.comm = MPI_COMM_WORLD, .threads = 1, .batch = 20},
        true);
  tr_trainer *trainer = make_trainer(&j);
  tr_batch batch;
  for (int i = 0; i < 2; i++) {
    ASSERT(tr_loader_next(j.loader, &batch));
    ASSERT_OK(tr_trainer_step(trainer, &batch));
    ASSERT(!j.ctx->stop_agreed);
  }
  if (world_rank() == world_size() / 2) {
    tr_context_request_stop(j.ctx);
  }
  ASSERT_FAILS(tr_trainer_fit(trainer, NULL), TR_ESTOPPED, "after step 3");
  ASSERT_EQ(tr_optimizer_num_steps(j.opt), 3);
  tr_trainer_destroy(&trainer);
  end(&j);
}

static void take_explicit_step(const job *j, const tr_batch *batch)
{
  ASSERT_OK(tr_model_forward(j->net, batch));
  ASSERT_OK(tr_model_backward(j->net));
  ASSERT_OK(tr_model_allreduce_grads(j->net));
  ASSERT_OK(tr_optimizer_step(j->opt));
}

static void test_a_stop_request_ends_the_explicit_loop_on_all_ranks(void)
{
  for (int64_t last = 1; last <= 5; last++) { /* 5: the epoch's last step */
    job j;
    start(&j, &(job_opts){.comm = MPI_COMM_WORLD, .threads = 1, .batch = 20},
          true);
    tr_batch batch;
    while (tr_loader_next(j.loader, &batch)) {
      ASSERT(!tr_context_stop_agreed(j.ctx));
      bool asks = tr_optimizer_num_steps(j.opt) + 1 == last;
      if (asks && world_rank() == world_size() / 2) {
        tr_context_request_stop(j.ctx);
      }
      take_explicit_step(&j, &batch);
    }
    ASSERT_FAILS(tr_loader_status(j.loader), TR_ESTOPPED, "stopped on request");
    ASSERT(tr__error_origin()->agreed);
    ASSERT_EQ(tr__error_is_elsewhere(), world_rank() != 0);
    ASSERT(tr_context_stop_agreed(j.ctx));
    ASSERT_EQ(tr_optimizer_num_steps(j.opt), last);
    ASSERT_EQ(tr_loader_epoch(j.loader), 0);
    ASSERT(!tr_loader_next(j.loader, &batch));
    end(&j);
  }
}

static void test_a_loader_that_begins_after_a_stop_goes_on(void)
{
  job j;
  start(&j, &(job_opts){.comm = MPI_COMM_WORLD, .threads = 1, .batch = 20},
        true);
  tr_loader *other;
  tr_batch batch;
  ASSERT_OK(
      tr_loader_create(j.ctx, j.data, &(tr_loader_opts){.batch = 30}, &other));
  while (tr_loader_next(other, &batch)) {
  }
  ASSERT(tr_loader_next(j.loader, &batch));
  tr_context_request_stop(j.ctx);
  take_explicit_step(&j, &batch);
  ASSERT(!tr_loader_next(j.loader, &batch));
  int batches = 0;
  while (tr_loader_next(other, &batch)) {
    batches++;
  }
  ASSERT_OK(tr_loader_status(other));
  ASSERT_EQ(batches, 4);
  ASSERT_EQ(tr_loader_epoch(other), 2);
  tr_loader_destroy(&other);
  end(&j);
}

static void test_ranks_at_different_steps_are_found(void)
{
  job j;
  start(&j, &(job_opts){.comm = MPI_COMM_WORLD, .threads = 1, .batch = 20},
        true);
  for (int64_t ahead = 1; ahead < 16 && world_size() > 1; ahead += 7) {
    tr_batch batch;
    j.net->step.num_steps =
        256 + (world_rank() == world_size() - 1 ? ahead : 0);
    ASSERT(next_batch(&j, &batch));
    ASSERT_OK(tr_model_forward(j.net, &batch));
    ASSERT_OK(tr_model_backward(j.net));
    ASSERT_FAILS(tr_model_allreduce_grads(j.net), TR_EMISMATCH,
                 "ranks are at different steps; rank 0 is at step 256");
    ASSERT(tr__error_origin()->agreed);
    j.net->step.gradients = TR__GRADIENTS_CLEAR;
  }
  end(&j);
}

static void test_different_models_are_refused_with_both_sides(void)
{
  tr_context *ctx;
  tr_model *net;
  ASSERT_OK(tr_context_create(MPI_COMM_WORLD, NULL, &ctx));
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, (tr_shape){1, {4}});
  bool is_other = world_size() > 1 && world_rank() == world_size() - 1;
  tr_linear(net, x, &(tr_linear_opts){.out = is_other ? 3 : 2, .name = "fc"});
  for (int attempt = 0; attempt < 2 && world_size() > 1; attempt++) {
    tr_status status =
        tr_model_build(net, &(tr_build_opts){.max_local_batch = 1});
    ASSERT_EQ(status, TR_EMISMATCH);
    ASSERT(strstr(tr_error_message(), "gives (2)") != NULL);
    ASSERT(strstr(tr_error_message(), "gives (3)") != NULL);
  }
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static void test_different_optimizers_are_refused_with_both_sides(void)
{
  job j;
  start(&j, &(job_opts){.comm = MPI_COMM_WORLD, .batch = 20, .muon = true},
        true);
  tr_optimizer_destroy(&j.opt);
  const tr_param_group all = {.by_adamw = 1};
  bool is_other = world_rank() == world_size() - 1;
  tr_muon_opts opts[3] = {tr_muon_defaults(), tr_muon_defaults(),
                          tr_muon_defaults()};
  opts[0].adamw_lr = is_other ? 0.5 : 0.25;
  opts[1].scale =
      is_other ? TR_MUON_SCALE_MATCH_RMS_ADAMW : TR_MUON_SCALE_ORIGINAL;
  opts[2].update = (tr_update_opts){.groups = &all, .num_groups = is_other};
  static const char *const texts[3][2] = {
      {"adamw_lr 0.25", "adamw_lr 0.5"},
      {"scale 0", "scale 1"},
      {"matrix 10 32", "weight_decay 0.01"}};
  for (int i = 0; i < 3 && world_size() > 1; i++) {
    ASSERT_EQ(tr_muon_create(j.net, &opts[i], &j.opt), TR_EMISMATCH);
    ASSERT(strstr(tr_error_message(), texts[i][0]) != NULL);
    ASSERT(strstr(tr_error_message(), texts[i][1]) != NULL);
  }
  end(&j);
}

static void test_one_ranks_bad_model_is_refused_on_all(void)
{
  tr_context *ctx;
  tr_model *net;
  ASSERT_OK(tr_context_create(MPI_COMM_WORLD, NULL, &ctx));
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, (tr_shape){1, {4}});
  int64_t out = world_rank() == world_size() - 1 ? -1 : 2;
  tr_linear(net, x, &(tr_linear_opts){.out = out, .name = "fc"});
  for (int attempt = 0; attempt < 2; attempt++) {
    ASSERT_FAILS(tr_model_build(net, &(tr_build_opts){.max_local_batch = 1}),
                 TR_EINVAL, "linear \"fc\": out is -1");
  }
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static const tr_test tests[] = {
    TEST(test_losses_are_those_of_one_rank),
    TEST(test_uneven_batches_have_the_losses_of_one_rank),
    TEST(test_ranks_without_samples_take_part),
    TEST(test_muon_has_the_losses_of_one_rank),
    TEST(test_double_precision_parameters_are_those_of_one_rank),
    TEST(test_mixed_precision_losses_are_near_those_of_one_rank),
    TEST(test_runs_and_threads_repeat_the_same_bits),
    TEST(test_a_failed_read_reaches_all_ranks_in_the_same_step),
    TEST(test_a_failed_read_ends_fit_on_all_ranks),
    TEST(test_a_failed_read_ends_evaluation_on_all_ranks),
    TEST(test_an_evaluation_begins_on_all_ranks_alike_after_a_failure),
    TEST(test_a_run_resumes_in_the_same_process_after_a_failed_read),
    TEST(test_a_failed_device_reaches_all_ranks_in_the_same_step),
    TEST(test_a_regression_is_fitted_and_has_no_accuracy),
    TEST(test_targets_of_another_kind_are_refused),
    TEST(test_one_loader_cannot_train_and_test),
    TEST(test_a_stop_request_ends_all_ranks_at_the_same_step),
    TEST(test_a_stop_request_ends_the_explicit_loop_on_all_ranks),
    TEST(test_a_loader_that_begins_after_a_stop_goes_on),
    TEST(test_ranks_at_different_steps_are_found),
    TEST(test_different_models_are_refused_with_both_sides),
    TEST(test_different_optimizers_are_refused_with_both_sides),
    TEST(test_one_ranks_bad_model_is_refused_on_all),
};

TEST_MPI_MAIN(tests)
