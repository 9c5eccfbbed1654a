/* NaN and Inf on 1-4 ranks: the effect of each policy, mainly of the roll-back
 * to a checkpoint. */
#include "mpi_test.h"
#include "own_data.h"
#include "shared_dir.h"

#include "checkpoint/checkpoint_impl.h"
#include "core/dataset_impl.h"
#include "model/model_impl.h"

#include <limits.h>
#include <train/mpi.h>
#include <train/train.h>

/* 100 samples in order, 20 per step: step 3 is the first that reads sample 45.
 */
enum { SAMPLES = 100, FEATURES = 16, CLASSES = 10, BATCH = 20, BAD = 45 };

/* The bad sample, and how many more times the rank that reads it gets NaN. */
typedef struct blobs {
  int64_t bad;
  atomic_int times;
} blobs;

static void put(tr_dtype dtype, void *x, int64_t i, double value)
{
  if (dtype == TR_F64) {
    ((double *)x)[i] = value;
  } else {
    ((float *)x)[i] = (float)value;
  }
}

static tr_status read_blobs(
    const tr_dataset *data, const int64_t *ids, int64_t count, void *x, void *y)
{
  blobs *state = data->state;
  for (int64_t i = 0; i < count; i++) {
    const tr__random random = {.seed = 1,
                               .sample = ids[i],
                               .stream =
                                   tr__random_stream(TR__PURPOSE_TEST, 3)};
    int32_t class = (int32_t)(ids[i] % CLASSES);
    ((int32_t *)y)[i] = class;
    for (int k = 0; k < FEATURES; k++) {
      double value = tr__random_uniform(&random, k) + (k == class);
      put(data->dtype, x, FEATURES * i + k, value);
    }
    if (ids[i] == state->bad && atomic_fetch_sub(&state->times, 1) > 0) {
      put(data->dtype, x, FEATURES * i, NAN);
    }
  }
  return TR_OK;
}

static const tr__dataset_type blobs_type = {
    .name = "blobs", .read = read_blobs, .close = own_data_close};

static tr_dataset *open_blobs(tr_context *ctx, int64_t bad, int times)
{
  const blobs state = {.bad = bad, .times = times};
  const tr_dataset as = {
      .shape = {1, {FEATURES}}, .num_samples = SAMPLES, .num_classes = CLASSES};
  return own_data_open(ctx, &blobs_type, &as, &state, sizeof state);
}

typedef struct job_opts {
  tr_nonfinite policy;
  int64_t bad; /* 0: BAD */
  int times;   /* how often the bad sample is NaN */
  double lr;   /* 0: 0.1 */
  tr_rate_fn rate;
  tr_dtype dtype;
  int threads; /* 0: 1 */
} job_opts;

typedef struct job {
  tr_context *ctx;
  tr_dataset *data;
  tr_loader *loader;
  tr_model *net;
  tr_optimizer *opt;
  tr_checkpoint run;
} job;

static char warnings[2048];

static void keep_line(void *user, tr_log_level level, const char *line)
{
  (void)user;
  if (level == TR_LOG_WARNING) {
    size_t used = strlen(warnings);
    snprintf(warnings + used, sizeof warnings - used, "%s\n", line);
  }
}

static int num_warnings(void)
{
  int count = 0;
  for (const char *c = warnings; *c != '\0'; c++) {
    count += *c == '\n';
  }
  return count;
}

static job begin(const job_opts *opts)
{
  job j = {0};
  warnings[0] = '\0';
  ASSERT_OK(tr_context_create(
      MPI_COMM_WORLD,
      &(tr_context_opts){.threads = opts->threads > 0 ? opts->threads : 1,
                         .dtype = opts->dtype,
                         .seed = 5,
                         .log = keep_line},
      &j.ctx));
  j.data = open_blobs(j.ctx, opts->bad > 0 ? opts->bad : BAD, opts->times);
  ASSERT_OK(tr_loader_create(j.ctx, j.data, &(tr_loader_opts){.batch = BATCH},
                             &j.loader));
  ASSERT_OK(tr_model_create(j.ctx, &j.net));
  tr_node x = tr_input(j.net, tr_dataset_shape(j.data));
  x = tr_linear(j.net, x, &(tr_linear_opts){.out = 32, .name = "fc1"});
  x = tr_relu(j.net, x);
  x = tr_linear(j.net, x, &(tr_linear_opts){.out = CLASSES, .name = "fc2"});
  tr_cross_entropy(j.net, x);
  ASSERT_OK(tr_model_build(j.net, NULL));
  tr_sgd_opts sgd = {.lr = opts->lr > 0 ? opts->lr : 0.1,
                     .momentum = 0.9,
                     .update = {.on_nonfinite = opts->policy}};
  if (opts->rate != NULL) {
    sgd.schedule =
        (tr_schedule){.kind = TR_SCHEDULE_CALLBACK, .rate = opts->rate};
  }
  ASSERT_OK(tr_sgd_create(j.net, &sgd, &j.opt));
  j.run =
      (tr_checkpoint){.model = j.net, .optimizer = j.opt, .loader = j.loader};
  return j;
}

static void end(job *j)
{
  tr_optimizer_destroy(&j->opt);
  tr_model_destroy(&j->net);
  tr_loader_destroy(&j->loader);
  tr_dataset_destroy(&j->data);
  tr_context_destroy(&j->ctx);
}

/* Trains for eight steps and saves after every second one, unless opts says
 * otherwise. */
static tr_trainer *make_trainer(const job *j, tr_trainer_opts opts)
{
  tr_trainer *trainer;
  opts.model = j->net;
  opts.optimizer = j->opt;
  opts.loader = j->loader;
  opts.steps = opts.steps > 0 ? opts.steps : 8;
  opts.save_every = opts.save_every > 0 ? opts.save_every : 2;
  ASSERT_OK(tr_trainer_create(j->ctx, &opts, &trainer));
  return trainer;
}

static tr_status fit(job *j, tr_trainer_opts opts, tr_report *report)
{
  tr_trainer *trainer = make_trainer(j, opts);
  tr_status status = tr_trainer_fit(trainer, report);
  tr_trainer_destroy(&trainer);
  return status;
}

static void choose_path(char path[300])
{
  strcpy(path, shared_dir());
}

static uint64_t hash_of(const job *j)
{
  uint64_t hash, first;
  ASSERT_OK(tr_model_params_hash(j->net, &hash));
  first = hash;
  MPI_Bcast(&first, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
  ASSERT(first == hash);
  return hash;
}

static bool is_values(const tr__sealed_entry *entry)
{
  return strncmp(entry->name, "/params/", 8) == 0 ||
         strncmp(entry->name, "/optim/", 7) == 0;
}

/* user: the number of files checked so far. */
static tr_status check_file(void *user, const char *dir, const char *name)
{
  char path[700];
  unsigned char *bytes;
  size_t length;
  tr__sealed sealed;
  if (tr__step_of_name(name, ".h5") < 0) {
    return TR_OK;
  }
  snprintf(path, sizeof path, "%s/%s", dir, name);
  TR_TRY(tr__read_file(tr__file_ops_system(), path, 1 << 30, &bytes, &length));
  TR_TRY(tr__seal_verify(path, bytes, length, &sealed));
  for (int i = 0; i < sealed.num_entries; i++) {
    const tr__sealed_entry *entry = &sealed.entries[i];
    float values[FEATURES * 32];
    ASSERT(!is_values(entry) || entry->bytes <= sizeof values);
    if (is_values(entry)) {
      memcpy(values, entry->data, entry->bytes);
      int64_t count = (int64_t)(entry->bytes / sizeof *values);
      ASSERT_EQ(tr__first_not_finite(TR_F32, values, count), -1);
    }
  }
  ++*(int *)user;
  tr__sealed_release(&sealed);
  free(bytes);
  return TR_OK;
}

/* Checks every file of a directory, whether it is committed or not. */
static void check_files(const char *dir)
{
  int count = 0;
  MPI_Barrier(MPI_COMM_WORLD);
  if (world_rank() == 0) {
    ASSERT_OK(tr__run_dir_each(dir, check_file, &count));
    ASSERT(count > 0);
  }
  MPI_Barrier(MPI_COMM_WORLD);
}

/* Checks the newest checkpoint that another process would find. */
static void check_newest(const char *dir, int64_t step, double scale)
{
  job j = begin(&(job_opts){.policy = TR_NONFINITE_ROLLBACK});
  ASSERT_OK(tr_checkpoint_resume(j.ctx, dir, &j.run));
  ASSERT_EQ(tr_optimizer_num_steps(j.opt), step);
  ASSERT_NEAR(tr_optimizer_lr_scale(j.opt), scale, 0);
  end(&j);
}

static void train(job *j, int steps)
{
  while (steps > 0) {
    tr_batch batch;
    if (!tr_loader_next(j->loader, &batch)) {
      ASSERT_OK(tr_loader_status(j->loader));
      continue;
    }
    ASSERT_OK(tr_model_forward(j->net, &batch));
    ASSERT_OK(tr_model_backward(j->net));
    ASSERT_OK(tr_model_allreduce_grads(j->net));
    ASSERT_OK(tr_optimizer_step(j->opt));
    steps--;
  }
}

/* Trains two steps, then six at half the learning rate. */
static uint64_t hash_by_hand(tr_dtype dtype)
{
  job j = begin(&(job_opts){.dtype = dtype});
  train(&j, 2);
  ASSERT_OK(tr_optimizer_set_lr_scale(j.opt, 0.5));
  train(&j, 6);
  uint64_t hash = hash_of(&j);
  end(&j);
  return hash;
}

static uint64_t hash_of_rolled_back(tr_dtype dtype, int threads)
{
  char dir[300];
  tr_report report;
  choose_path(dir);
  job j = begin(&(job_opts){.policy = TR_NONFINITE_ROLLBACK,
                            .times = 1,
                            .dtype = dtype,
                            .threads = threads});
  ASSERT_OK(fit(&j, (tr_trainer_opts){.checkpoint_dir = dir}, &report));
  ASSERT_EQ(report.steps, 8);
  ASSERT_EQ(report.rollbacks, 1);
  ASSERT(isfinite(report.train_loss));
  ASSERT_EQ(num_warnings(), world_rank() == 0);
  ASSERT(world_rank() != 0 ||
         strstr(warnings, "the loss of step 3 is nan (lr is 0.1): blobs: "
                          "sample 45, element 0 of x is nan; going back reads "
                          "it again: back to the checkpoint of step 2 with 0.5 "
                          "of the rate, 1 of at most 3 times") != NULL);
  uint64_t hash = hash_of(&j);
  end(&j);
  if (dtype == TR_F32) {
    check_files(dir);
    check_newest(dir, 8, 0.5);
  }
  return hash;
}

static void test_a_bad_sample_takes_all_ranks_back_at_half_the_rate(void)
{
  ASSERT_EQ(hash_of_rolled_back(TR_F32, 1), hash_by_hand(TR_F32));
  ASSERT_EQ(hash_of_rolled_back(TR_F64, 1), hash_by_hand(TR_F64));
}

static void test_runs_that_roll_back_repeat_the_same_bits(void)
{
  uint64_t hash = hash_of_rolled_back(TR_F32, 1);
  ASSERT_EQ(hash_of_rolled_back(TR_F32, 1), hash);
  ASSERT_EQ(hash_of_rolled_back(TR_F32, 3), hash);
}

/* Single precision cannot hold the learning rate: the first update overflows.
 */
static void test_there_is_a_checkpoint_of_step_0_to_go_back_to(void)
{
  char dir[300];
  tr_report report;
  choose_path(dir);
  job j = begin(&(job_opts){.policy = TR_NONFINITE_ROLLBACK, .lr = 1e39});
  tr_trainer_opts opts = {.checkpoint_dir = dir,
                          .steps = 10,
                          .save_every = 100,
                          .rollback_factor = 1e-40};
  ASSERT_OK(fit(&j, opts, &report));
  ASSERT_EQ(report.rollbacks, 1);
  ASSERT_EQ(report.steps, 10);
  ASSERT(world_rank() != 0 ||
         strstr(warnings, "the checkpoint of step 0") != NULL);
  hash_of(&j);
  end(&j);
  check_files(dir);
  check_newest(dir, 10, 1e-40);
}

static void test_the_limit_ends_all_ranks_and_keeps_the_checkpoint(void)
{
  char dir[300];
  choose_path(dir);
  job j = begin(&(job_opts){.policy = TR_NONFINITE_ROLLBACK, .times = INT_MAX});
  tr_trainer_opts opts = {.checkpoint_dir = dir, .max_rollbacks = 2};
  ASSERT_FAILS(fit(&j, opts, NULL), TR_ENUMERIC,
               "going back reads it again, after 2 roll-backs to the "
               "checkpoint of step 2, which stays in ");
  ASSERT(tr__error_origin()->agreed);
  ASSERT_EQ(tr_optimizer_num_steps(j.opt), 2);
  ASSERT_EQ(num_warnings(), world_rank() == 0 ? 2 : 0);
  end(&j);
  check_files(dir);
  check_newest(dir, 2, 1);
}

/* max_rollbacks is 1 per checkpoint: two roll-backs pass where a newer
 * checkpoint was saved between them. */
static void test_a_newer_checkpoint_is_progress(void)
{
  char dir[300];
  tr_report report;
  choose_path(dir);
  job j = begin(&(job_opts){.policy = TR_NONFINITE_ROLLBACK, .times = 1});
  blobs *state = j.data->state;
  tr_trainer_opts opts = {
      .checkpoint_dir = dir, .steps = 4, .max_rollbacks = 1};
  ASSERT_OK(fit(&j, opts, &report));
  ASSERT_EQ(report.rollbacks, 1);
  atomic_store(&state->times, 1);
  /* Discards what the loader has read ahead, so that it reads the sample again.
   */
  tr__loader_state place = tr__loader_get_state(j.loader);
  ASSERT_OK(tr__loader_set_state(j.loader, &place));
  opts.steps = 12;
  ASSERT_OK(fit(&j, opts, &report));
  ASSERT_EQ(report.rollbacks, 2);
  ASSERT_NEAR(tr_optimizer_lr_scale(j.opt), 0.25, 0);
  end(&j);
  check_files(dir);
}

static void test_without_a_directory_it_stops(void)
{
  job j = begin(&(job_opts){.policy = TR_NONFINITE_ROLLBACK, .times = 1});
  job other = begin(&(job_opts){.times = 0});
  train(&other, 2);
  ASSERT_FAILS(fit(&j, (tr_trainer_opts){.steps = 8}, NULL), TR_ENUMERIC,
               "the loss of step 3 is nan (lr is 0.1): blobs: sample 45");
  ASSERT(strstr(tr_error_message(), "no checkpoints are kept") != NULL);
  ASSERT(tr__error_origin()->agreed);
  ASSERT_EQ(tr_optimizer_num_steps(j.opt), 2);
  ASSERT_EQ(hash_of(&j), hash_of(&other));
  end(&other);
  end(&j);
}

static void test_another_runs_checkpoint_is_not_gone_back_to(void)
{
  char dir[300];
  choose_path(dir);
  job old = begin(&(job_opts){.times = 0});
  train(&old, 1);
  ASSERT_OK(tr_checkpoint_save(old.ctx, dir, &old.run));
  end(&old);
  job j = begin(&(job_opts){.policy = TR_NONFINITE_ROLLBACK, .times = 2});
  tr_trainer *trainer =
      make_trainer(&j, (tr_trainer_opts){.checkpoint_dir = dir});
  tr_batch batch;
  for (int i = 0; i < 2; i++) {
    ASSERT(tr_loader_next(j.loader, &batch));
    ASSERT_OK(tr_trainer_step(trainer, &batch));
  }
  uint64_t hash = hash_of(&j);
  ASSERT(tr_loader_next(j.loader, &batch));
  ASSERT_FAILS(tr_trainer_step(trainer, &batch), TR_ENUMERIC,
               "has no checkpoint of this run");
  ASSERT_EQ(tr_optimizer_num_steps(j.opt), 2);
  ASSERT_EQ(hash_of(&j), hash);
  /* A checkpoint of the same step, but behind the bad sample. */
  ASSERT_OK(tr_checkpoint_save(j.ctx, dir, &j.run));
  while (tr_loader_next(j.loader, &batch)) {
    ASSERT_OK(tr_trainer_step(trainer, &batch));
  }
  for (int i = 0; i < 3; i++) {
    ASSERT(tr_loader_next(j.loader, &batch));
    ASSERT_OK(tr_trainer_step(trainer, &batch));
  }
  ASSERT_EQ(tr_optimizer_num_steps(j.opt), 2);
  ASSERT_EQ(tr__loader_get_state(j.loader).done, 3 * BATCH);
  ASSERT_EQ(hash_of(&j), hash);
  tr_trainer_destroy(&trainer);
  end(&j);
  check_files(dir);
}

/* The fourth update overflows although its gradients are finite. */
static double rate_with_a_peak(void *user, int64_t t)
{
  (void)user;
  return t == 3 ? 1e45 : 1;
}

static void test_a_state_that_cannot_be_saved_is_gone_back_from(void)
{
  for (int is_last = 0; is_last < 2; is_last++) {
    char dir[300];
    tr_report report;
    choose_path(dir);
    job j = begin(
        &(job_opts){.policy = TR_NONFINITE_ROLLBACK, .rate = rate_with_a_peak});
    tr_trainer_opts opts = {.checkpoint_dir = dir,
                            .steps = is_last ? 4 : 8,
                            .save_every = is_last ? 100 : 2,
                            .rollback_factor = 1e-45};
    ASSERT_OK(fit(&j, opts, &report));
    ASSERT_EQ(report.rollbacks, 1);
    ASSERT_EQ(report.steps, opts.steps);
    ASSERT(world_rank() != 0 ||
           strstr(warnings, is_last ? "step 0" : "step 2"));
    ASSERT(world_rank() != 0 ||
           strstr(warnings, "the state after step 4 is not finite") != NULL);
    end(&j);
    check_files(dir);
    check_newest(dir, opts.steps, 1e-45);
  }
}

static void test_a_stop_request_in_a_bad_step_is_heard(void)
{
  char dir[300];
  choose_path(dir);
  job j =
      begin(&(job_opts){.policy = TR_NONFINITE_ROLLBACK, .bad = 5, .times = 1});
  tr_context_request_stop(j.ctx);
  ASSERT_FAILS(fit(&j, (tr_trainer_opts){.checkpoint_dir = dir}, NULL),
               TR_ESTOPPED, "after step 0; a checkpoint is saved");
  end(&j);
  check_newest(dir, 0, 1);
}

static void test_the_log_shows_the_way_back(void)
{
  char dir[300], log[310], line[4000];
  static const char *const begins[] = {
      "{\"start\":true,",
      "{\"step\":1,",
      "{\"step\":2,",
      "{\"rollback\":true,\"from_step\":3,\"to_step\":2,\"loss\":null,"
      "\"lr_scale\":0.5}",
      "{\"step\":3,",
      "{\"step\":4,",
      "{\"final\":true,\"steps\":4,",
  };
  choose_path(dir);
  snprintf(log, sizeof log, "%s.jsonl", dir);
  job j = begin(&(job_opts){.policy = TR_NONFINITE_ROLLBACK, .times = 1});
  tr_trainer_opts opts = {.checkpoint_dir = dir, .log_path = log, .steps = 4};
  ASSERT_OK(fit(&j, opts, NULL));
  end(&j);
  FILE *file = world_rank() == 0 ? fopen(log, "r") : NULL;
  ASSERT(world_rank() != 0 || file != NULL);
  for (int i = 0; world_rank() == 0 && i < 7; i++) {
    ASSERT(fgets(line, sizeof line, file) != NULL);
    ASSERT(strncmp(line, begins[i], strlen(begins[i])) == 0);
  }
  ASSERT(world_rank() != 0 || strstr(line, ",\"rollbacks\":1}") != NULL);
  if (file != NULL) {
    fclose(file);
  }
}

/* The loop that train/optim.h documents. */
static void test_a_loop_of_ones_own_goes_back_by_two_calls(void)
{
  char dir[300];
  int rollbacks = 0;
  choose_path(dir);
  job j = begin(&(job_opts){.policy = TR_NONFINITE_ROLLBACK, .times = 1});
  ASSERT_OK(tr_checkpoint_save(j.ctx, dir, &j.run));
  while (tr_optimizer_num_steps(j.opt) < 8) {
    tr_batch batch;
    if (!tr_loader_next(j.loader, &batch)) {
      continue;
    }
    ASSERT_OK(tr_model_forward(j.net, &batch));
    ASSERT_OK(tr_model_backward(j.net));
    ASSERT_OK(tr_model_allreduce_grads(j.net));
    uint64_t hash = hash_of(&j);
    tr_status status = tr_optimizer_step(j.opt);
    if (status == TR_ENUMERIC && rollbacks++ < 3) {
      ASSERT(tr__error_origin()->agreed);
      ASSERT_EQ(hash_of(&j), hash);
      double scale = 0.5 * tr_optimizer_lr_scale(j.opt);
      ASSERT_OK(tr_checkpoint_resume(j.ctx, dir, &j.run));
      ASSERT_OK(tr_optimizer_set_lr_scale(j.opt, scale));
      continue;
    }
    ASSERT_OK(status);
    if (tr_optimizer_num_steps(j.opt) % 2 == 0) {
      ASSERT_OK(tr_checkpoint_save(j.ctx, dir, &j.run));
    }
  }
  ASSERT_EQ(rollbacks, 1);
  ASSERT_EQ(hash_of(&j), hash_by_hand(TR_F32));
  end(&j);
  check_files(dir);
  check_newest(dir, 8, 0.5);
}

static void test_after_a_step_that_failed_the_trainer_can_go_on(void)
{
  static const tr_nonfinite policies[] = {
      TR_NONFINITE_IGNORE, TR_NONFINITE_STOP, TR_NONFINITE_ROLLBACK};
  for (int i = 0; i < 3; i++) {
    job j = begin(&(job_opts){.policy = policies[i], .times = 1});
    tr_trainer *trainer = make_trainer(&j, (tr_trainer_opts){0});
    ASSERT_FAILS(tr_trainer_fit(trainer, NULL), TR_ENUMERIC,
                 "the loss of step 3 is nan");
    ASSERT(tr__error_origin()->agreed);
    ASSERT_EQ(tr_optimizer_num_steps(j.opt), 2);
    ASSERT_OK(tr_trainer_fit(trainer, NULL));
    ASSERT_EQ(tr_optimizer_num_steps(j.opt), 8);
    tr_trainer_destroy(&trainer);
    end(&j);
  }
}

static void test_skipped_steps_are_counted_over_a_resume(void)
{
  char dir[300];
  tr_report report;
  double norm;
  int64_t skipped;
  choose_path(dir);
  job j = begin(&(job_opts){.policy = TR_NONFINITE_SKIP, .times = INT_MAX});
  ASSERT_OK(fit(&j, (tr_trainer_opts){.checkpoint_dir = dir}, &report));
  ASSERT_EQ(report.steps, 8);
  ASSERT_EQ(report.skipped, 2);
  hash_of(&j);
  end(&j);
  check_files(dir);
  j = begin(&(job_opts){.policy = TR_NONFINITE_SKIP, .times = 0});
  ASSERT_OK(tr_checkpoint_resume(j.ctx, dir, &j.run));
  train(&j, 2);
  ASSERT_OK(tr_optimizer_grad_norm(j.opt, &norm, &skipped));
  ASSERT_EQ(skipped, 2);
  end(&j);
}

static void refuses(const job *j, tr_trainer_opts opts, const char *text)
{
  tr_trainer *trainer = (tr_trainer *)&opts;
  opts.model = j->net;
  opts.optimizer = j->opt;
  opts.loader = j->loader;
  opts.steps = 1;
  ASSERT_FAILS(tr_trainer_create(j->ctx, &opts, &trainer), TR_EINVAL, text);
  ASSERT(trainer == NULL);
}

static void test_bad_options_are_refused(void)
{
  job j = begin(&(job_opts){.policy = TR_NONFINITE_ROLLBACK});
  static const double factors[] = {1, 2, -0.5, NAN, INFINITY, TR_ZERO};
  for (int i = 0; i < 6; i++) {
    refuses(&j, (tr_trainer_opts){.rollback_factor = factors[i]},
            "expected more than 0 and less than 1");
  }
  refuses(&j, (tr_trainer_opts){.max_rollbacks = -1}, "max_rollbacks is -1");
  static const double scales[] = {0, -1, NAN, INFINITY};
  for (int i = 0; i < 4; i++) {
    ASSERT_FAILS(tr_optimizer_set_lr_scale(j.opt, scales[i]), TR_EINVAL,
                 "expected more than 0");
  }
  ASSERT_NEAR(tr_optimizer_lr_scale(j.opt), 1, 0);
  end(&j);
  j = begin(&(job_opts){.policy = TR_NONFINITE_STOP});
  refuses(&j, (tr_trainer_opts){.max_rollbacks = 3},
          "on_nonfinite is not TR_NONFINITE_ROLLBACK");
  refuses(&j, (tr_trainer_opts){.rollback_factor = 0.5},
          "on_nonfinite is not TR_NONFINITE_ROLLBACK");
  end(&j);
}

static const tr_test tests[] = {
    TEST(test_a_bad_sample_takes_all_ranks_back_at_half_the_rate),
    TEST(test_runs_that_roll_back_repeat_the_same_bits),
    TEST(test_there_is_a_checkpoint_of_step_0_to_go_back_to),
    TEST(test_the_limit_ends_all_ranks_and_keeps_the_checkpoint),
    TEST(test_a_newer_checkpoint_is_progress),
    TEST(test_without_a_directory_it_stops),
    TEST(test_another_runs_checkpoint_is_not_gone_back_to),
    TEST(test_a_state_that_cannot_be_saved_is_gone_back_from),
    TEST(test_a_stop_request_in_a_bad_step_is_heard),
    TEST(test_the_log_shows_the_way_back),
    TEST(test_a_loop_of_ones_own_goes_back_by_two_calls),
    TEST(test_after_a_step_that_failed_the_trainer_can_go_on),
    TEST(test_skipped_steps_are_counted_over_a_resume),
    TEST(test_bad_options_are_refused),
};

TEST_MPI_MAIN(tests)
