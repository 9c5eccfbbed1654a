/* Bad samples: when a loss is not finite, all ranks name the same sample that
 * caused it. */
#include "mpi_test.h"
#include "shared_dir.h"

#include "core/context_impl.h"

#include <train/mpi.h>
#include <train/train.h>

enum { COUNT = 24, FEATURES = 3, BATCH = 6 };

/* The loader reads sample i in step i / BATCH + 1. */
typedef struct job {
  tr_context *ctx;
  float x[COUNT][FEATURES], targets[COUNT];
  tr_dataset *data;
  tr_loader *loader;
  tr_model *net;
  tr_optimizer *opt;
  char warnings[8192]; /* of this rank's log */
} job;

static void keep_warnings(void *user, tr_log_level level, const char *line)
{
  job *j = user;
  size_t used = strlen(j->warnings);
  if (level == TR_LOG_WARNING) {
    snprintf(j->warnings + used, sizeof j->warnings - used, "%s\n", line);
  }
}

static void
start_on(job *j, const char *device, tr_dtype dtype, bool is_bounded)
{
  memset(j, 0, sizeof *j);
  ASSERT_OK(tr_context_create(MPI_COMM_WORLD,
                              &(tr_context_opts){.threads = 1,
                                                 .device = device,
                                                 .dtype = dtype,
                                                 .log = keep_warnings,
                                                 .log_user = j},
                              &j->ctx));
  for (int i = 0; i < COUNT; i++) {
    j->targets[i] = (float)sin(i);
    for (int k = 0; k < FEATURES; k++) {
      j->x[i][k] = (float)cos(i + 2 * k);
    }
  }
  ASSERT_OK(tr_model_create(j->ctx, &j->net));
  tr_node x = tr_input(j->net, (tr_shape){1, {FEATURES}});
  x = is_bounded ? tr_tanh(j->net, x) : x;
  x = tr_linear(j->net, x, &(tr_linear_opts){.out = 1});
  tr_mse(j->net, x, NULL);
  ASSERT_OK(tr_model_build(j->net, &(tr_build_opts){.max_local_batch = COUNT}));
}

static void start(job *j, tr_dtype dtype)
{
  start_on(j, NULL, dtype, false);
}

static void open_data(job *j)
{
  const tr_array_opts arrays = {.x = j->x,
                                .targets = j->targets,
                                .num_samples = COUNT,
                                .shape = {1, {FEATURES}},
                                .target_shape = {1, {1}},
                                .single = 1};
  const tr_loader_opts opts = {.batch = BATCH};
  ASSERT_OK(tr_array_open(j->ctx, &arrays, &j->data));
  ASSERT_OK(tr_loader_create(j->ctx, j->data, &opts, &j->loader));
}

static void create_optimizer(job *j, tr_nonfinite policy, double lr)
{
  const tr_sgd_opts sgd = {.lr = lr, .update = {.on_nonfinite = policy}};
  ASSERT_OK(tr_sgd_create(j->net, &sgd, &j->opt));
}

static void stop(job *j)
{
  tr_optimizer_destroy(&j->opt);
  tr_model_destroy(&j->net);
  tr_loader_destroy(&j->loader);
  tr_dataset_destroy(&j->data);
  tr_context_destroy(&j->ctx);
}

static tr_status fit(job *j, const char *dir, tr_loader *test)
{
  tr_trainer *trainer;
  const tr_trainer_opts opts = {.model = j->net,
                                .optimizer = j->opt,
                                .loader = j->loader,
                                .test_loader = test,
                                .checkpoint_dir = dir,
                                .epochs = 1};
  ASSERT_OK(tr_trainer_create(j->ctx, &opts, &trainer));
  tr_status status = tr_trainer_fit(trainer, NULL);
  tr_trainer_destroy(&trainer);
  return status;
}

/* The rank that reads sample i. */
static int reader_of(int i)
{
  for (int r = 0; r < world_size(); r++) {
    if (i % BATCH < BATCH * (r + 1) / world_size()) {
      return r;
    }
  }
  return -1;
}

static const char bad_element[] = "array: sample 10, element 2 of x is nan";

/* Sample 10 belongs to step 2, so the loss of step 2 is bad. */
static void test_the_trainer_names_the_bad_sample(void)
{
  static const tr_nonfinite policies[] = {TR_NONFINITE_IGNORE,
                                          TR_NONFINITE_STOP};
  for (int i = 0; i < 2; i++) {
    job j;
    start(&j, TR_F32);
    j.x[10][2] = NAN;
    open_data(&j);
    create_optimizer(&j, policies[i], 0.1);
    ASSERT_FAILS(fit(&j, NULL, NULL), TR_ENUMERIC, "the loss of step 2 is nan");
    ASSERT(strstr(tr_error_message(), bad_element) != NULL);
    ASSERT(strstr(tr_error_message(), "rate") == NULL);
    ASSERT_EQ(tr__error_origin()->rank, reader_of(10));
    ASSERT_EQ(tr__error_is_elsewhere(), world_rank() != reader_of(10));
    ASSERT_STR_EQ(j.warnings, "");
    stop(&j);
  }
}

/* The tanh in this network keeps the loss finite for any input. */
static void test_what_the_loss_does_not_show_is_warned_of(void)
{
  static const char *const devices[] = {"cpu", "strict"};
  static const struct {
    float value;
    const char *text;
  } bad[] = {{9.96921e36f, "NetCDF's fill value; the loss does not show it"},
             {1e32f, "whose square float32 cannot hold; the loss does not"}};
  for (int i = 0; i < 4; i++) {
    job j;
    start_on(&j, devices[i / 2], TR_F32, true);
    j.x[10][2] = bad[i % 2].value;
    open_data(&j);
    create_optimizer(&j, TR_NONFINITE_IGNORE, 1e-4);
    ASSERT_OK(fit(&j, NULL, NULL));
    bool is_mine = world_rank() == reader_of(10);
    ASSERT_EQ(is_mine, strstr(j.warnings, "step 2: array: sample 10, element "
                                          "2 of x is ") != NULL);
    ASSERT_EQ(is_mine, strstr(j.warnings, bad[i % 2].text) != NULL);
    stop(&j);
  }
}

/* Double precision can hold the squares of these numbers. */
static void test_large_numbers_in_double_are_no_fault(void)
{
  job j;
  start_on(&j, NULL, TR_F64, true);
  for (int i = 0; i < COUNT; i++) {
    j.x[i][1] = 2e25f;
  }
  open_data(&j);
  create_optimizer(&j, TR_NONFINITE_IGNORE, 1e-4);
  ASSERT_OK(fit(&j, NULL, NULL));
  ASSERT_STR_EQ(j.warnings, "");
  stop(&j);
}

/* Values from solvers: too large for single precision, or their square is; and
 * fill values that files hold for missing numbers. */
static void test_numbers_that_have_no_square_and_fill_values_are_named(void)
{
  static const struct {
    float value;
    const char *text;
  } bad[] = {{9.96921e36f, "is 9.96921e+36, NetCDF's fill value"},
             {-2e25f, "is -2e+25, whose square float32 cannot hold"},
             {INFINITY, "is inf"}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    job j;
    start(&j, TR_F32);
    j.x[3][1] = bad[i].value;
    open_data(&j);
    create_optimizer(&j, TR_NONFINITE_IGNORE, 0.1);
    ASSERT_FAILS(fit(&j, NULL, NULL), TR_ENUMERIC, "the loss of step 1 is ");
    ASSERT(strstr(tr_error_message(), "sample 3, element 1 of x") != NULL);
    ASSERT(strstr(tr_error_message(), bad[i].text) != NULL);
    stop(&j);
  }
}

static void test_float16_names_what_it_cannot_hold(void)
{
  job j;
  start(&j, TR_F16);
  j.x[3][1] = 70000;
  open_data(&j);
  create_optimizer(&j, TR_NONFINITE_IGNORE, 0.1);
  ASSERT_FAILS(fit(&j, NULL, NULL), TR_ENUMERIC,
               "is 70000, more than float16 holds (65504)");
  stop(&j);
}

/* The caller's array is double: the message shows the large number unchanged.
 */
static void test_doubles_beyond_float_are_named_as_they_were(void)
{
  job j;
  double x[COUNT][FEATURES];
  start(&j, TR_F32);
  for (int i = 0; i < COUNT; i++) {
    for (int k = 0; k < FEATURES; k++) {
      x[i][k] = i == 7 && k == 0 ? -1.5e39 : (double)j.x[i][k];
    }
  }
  const tr_array_opts arrays = {.x = x,
                                .y = (int32_t[COUNT]){0},
                                .num_samples = COUNT,
                                .num_classes = 2,
                                .shape = {1, {FEATURES}},
                                .dtype = TR_F64};
  tr_model_destroy(&j.net);
  ASSERT_OK(tr_model_create(j.ctx, &j.net));
  tr_node in = tr_input(j.net, (tr_shape){1, {FEATURES}});
  tr_cross_entropy(j.net, tr_linear(j.net, in, &(tr_linear_opts){.out = 2}));
  ASSERT_OK(tr_model_build(j.net, &(tr_build_opts){.max_local_batch = COUNT}));
  ASSERT_OK(tr_array_open(j.ctx, &arrays, &j.data));
  ASSERT_OK(tr_loader_create(j.ctx, j.data, &(tr_loader_opts){.batch = BATCH},
                             &j.loader));
  create_optimizer(&j, TR_NONFINITE_IGNORE, 0.1);
  ASSERT_FAILS(fit(&j, NULL, NULL), TR_ENUMERIC,
               "sample 7, element 0 of x is -1.5e+39, more than float32 holds");
  stop(&j);
}

/* Before the first update the learning rate cannot be the cause. */
static void test_clean_data_blame_the_rate_only_after_an_update(void)
{
  job j;
  start(&j, TR_F32);
  for (int i = 0; i < COUNT; i++) {
    j.x[i][0] = 1e19f * (1 + (float)i / COUNT); /* squares of losses overflow */
    j.x[i][1] = j.x[i][2] = j.x[i][0] * 0.9f;
  }
  const float large[FEATURES] = {300, 300, 300};
  ASSERT_OK(tr_model_set_param(j.net, "linear_1.weight", large));
  open_data(&j);
  create_optimizer(&j, TR_NONFINITE_IGNORE, 0.1);
  ASSERT_FAILS(fit(&j, NULL, NULL), TR_ENUMERIC, "step 1 is inf");
  ASSERT(strstr(tr_error_message(), "it is not the rate") != NULL);
  ASSERT(strstr(tr_error_message(), "sample") == NULL);
  stop(&j);
  start(&j, TR_F32);
  open_data(&j);
  create_optimizer(&j, TR_NONFINITE_IGNORE, 1e30);
  ASSERT_FAILS(fit(&j, NULL, NULL), TR_ENUMERIC,
               "; lower the rate (lr is 1e+30)");
  stop(&j);
}

static void test_skipping_warns_on_the_rank_that_has_the_sample(void)
{
  job j;
  start(&j, TR_F32);
  j.x[10][2] = NAN;
  open_data(&j);
  create_optimizer(&j, TR_NONFINITE_SKIP, 0.1);
  ASSERT_OK(fit(&j, NULL, NULL));
  bool is_told = strstr(j.warnings, bad_element) != NULL;
  ASSERT_EQ(is_told, world_rank() == reader_of(10));
  ASSERT(!is_told || strstr(j.warnings, "step 2: ") != NULL);
  stop(&j);
}

static void test_rolling_back_says_that_it_does_not_help(void)
{
  job j;
  start(&j, TR_F32);
  j.x[10][2] = NAN;
  open_data(&j);
  create_optimizer(&j, TR_NONFINITE_ROLLBACK, 0.1);
  ASSERT_FAILS(fit(&j, shared_dir(), NULL), TR_ENUMERIC, "mend the data");
  ASSERT(strstr(tr_error_message(), bad_element) != NULL);
  ASSERT_EQ(strstr(j.warnings, "going back reads it again") != NULL,
            world_rank() == 0);
  stop(&j);
}

/* The bad sample is in the loader of the evaluation: training is saved all the
 * same. */
static void test_evaluations_name_the_bad_sample_and_the_run_is_saved(void)
{
  job j;
  tr_dataset *data;
  tr_loader *test;
  float x[COUNT][FEATURES] = {{0}}, targets[COUNT] = {0};
  const char *dir = shared_dir();
  start(&j, TR_F32);
  open_data(&j);
  create_optimizer(&j, TR_NONFINITE_IGNORE, 0.1);
  x[5][1] = NAN;
  const tr_array_opts arrays = {.x = x,
                                .targets = targets,
                                .num_samples = COUNT,
                                .shape = {1, {FEATURES}},
                                .target_shape = {1, {1}}};
  ASSERT_OK(tr_array_open(j.ctx, &arrays, &data));
  ASSERT_OK(
      tr_loader_create(j.ctx, data, &(tr_loader_opts){.batch = BATCH}, &test));
  ASSERT_FAILS(fit(&j, dir, test), TR_EDATA,
               "the loss of the evaluation is nan: array: sample 5, element 1 "
               "of x is nan");
  const tr_checkpoint run = {
      .model = j.net, .optimizer = j.opt, .loader = j.loader};
  ASSERT_OK(tr_checkpoint_resume(j.ctx, dir, &run));
  ASSERT_EQ(tr_optimizer_num_steps(j.opt), COUNT / BATCH);
  tr_loader_destroy(&test);
  tr_dataset_destroy(&data);
  stop(&j);
}

/* The program makes its own batches, in its own loop. */
static void test_own_batches_name_rank_and_place(void)
{
  job j;
  char text[96];
  double loss;
  int rank = world_size() - 1;
  float y[2] = {0}, x[2][FEATURES] = {{0}}, weights[2] = {0, 1};
  start(&j, TR_F32);
  create_optimizer(&j, TR_NONFINITE_STOP, 0.1);
  y[1] = world_rank() == rank ? NAN : 0;
  x[0][0] = NAN; /* a sample of weight 0 */
  const tr_batch batch = {.count = 2,
                          .first = 2 * world_rank(),
                          .global_count = 2 * world_size(),
                          .inputs = {x},
                          .targets = {y},
                          .weights = weights};
  ASSERT_OK(tr_model_forward(j.net, &batch));
  ASSERT_OK(tr_model_backward(j.net));
  ASSERT_OK(tr_model_allreduce_grads(j.net));
  ASSERT_OK(tr_model_loss(j.net, &loss));
  snprintf(text, sizeof text,
           "sample 1 of rank %d's part of the batch, element 0 of targets[0] "
           "is nan",
           rank);
  ASSERT_EQ(strstr(j.warnings, text) != NULL, world_rank() == rank);
  ASSERT_FAILS(tr_optimizer_step(j.opt), TR_ENUMERIC, text);
  ASSERT(strstr(tr_error_message(), "nothing was changed") != NULL);
  stop(&j);
}

static const tr_test tests[] = {
    TEST(test_the_trainer_names_the_bad_sample),
    TEST(test_what_the_loss_does_not_show_is_warned_of),
    TEST(test_large_numbers_in_double_are_no_fault),
    TEST(test_numbers_that_have_no_square_and_fill_values_are_named),
    TEST(test_float16_names_what_it_cannot_hold),
    TEST(test_doubles_beyond_float_are_named_as_they_were),
    TEST(test_clean_data_blame_the_rate_only_after_an_update),
    TEST(test_skipping_warns_on_the_rank_that_has_the_sample),
    TEST(test_rolling_back_says_that_it_does_not_help),
    TEST(test_evaluations_name_the_bad_sample_and_the_run_is_saved),
    TEST(test_own_batches_name_rank_and_place),
};

TEST_MPI_MAIN(tests)
