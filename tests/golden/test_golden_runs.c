/* The workloads against PyTorch: loss and gradients of the first step, 20
 * losses, and the parameters after them. Design section 4. */
#include "golden.h"
#include "models.h"

/* Both sides round in another order; 20 steps keep that below these. */
#define TOLERANCE_F64 1e-9
#define TOLERANCE_F32 1e-5

static void
check_finals(const recording *rec, const char *optimizer, golden_net *net)
{
  for (int i = 0; i < net->num_params; i++) {
    const struct golden_param *param = &net->params[i];
    char key[TR__NAME_BYTES + 64];
    snprintf(key, sizeof key, "%s/final/%s", optimizer, param->name);
    void *values = malloc((size_t)param->count * tr_dtype_size(net->dtype));
    ASSERT(values != NULL);
    ASSERT_OK(tr_model_get_param(net->model, param->name, values));
    golden_check_sampled(&(golden_sampled){.rec = rec,
                                           .key = key,
                                           .param = param->name,
                                           .tolerance = TOLERANCE_F64},
                         net->dtype, values, param->count);
    free(values);
  }
}

static void check_f64(const char *run, const char *optimizer)
{
  recording *rec = recording_open(run);
  tr_context *ctx = golden_context(TR_F64, "reference");
  golden_net net;
  double losses[GOLDEN_STEPS];
  golden_train(ctx, rec, optimizer, losses, &net);
  double *expected = recording_numbers(rec, NULL, "%s/loss64", optimizer);
  ASSERT_TENSOR_NEAR(run, TR_F64, losses, expected, GOLDEN_STEPS,
                     TOLERANCE_F64);
  check_finals(rec, optimizer, &net);
  free(expected);
  golden_net_destroy(&net);
  tr_context_destroy(&ctx);
  recording_close(&rec);
}

/* PyTorch's fp32 losses hold as far as they stay close to its fp64 ones: the
 * number of such steps. */
static int steps_close(const double *loss32, const double *loss64)
{
  int steps = 0;
  while (steps < GOLDEN_STEPS && fabs(loss32[steps] - loss64[steps]) <=
                                     TOLERANCE_F32 * fabs(loss64[steps])) {
    steps++;
  }
  return steps;
}

static void
check_f32(const char *run, const char *optimizer, const char *device)
{
  recording *rec = recording_open(run);
  tr_context *ctx = golden_context(TR_F32, device);
  golden_net net;
  double losses[GOLDEN_STEPS];
  golden_train(ctx, rec, optimizer, losses, &net);
  double *loss32 = recording_numbers(rec, NULL, "%s/loss32", optimizer);
  double *loss64 = recording_numbers(rec, NULL, "%s/loss64", optimizer);
  /* The design lists these networks and optimizers as close to the end. */
  ASSERT_EQ(steps_close(loss32, loss64), GOLDEN_STEPS);
  char what[96];
  snprintf(what, sizeof what, "%s %s on %s", run, optimizer, device);
  ASSERT_TENSOR_NEAR(what, TR_F64, losses, loss32, GOLDEN_STEPS, TOLERANCE_F32);
  free(loss32);
  free(loss64);
  golden_net_destroy(&net);
  tr_context_destroy(&ctx);
  recording_close(&rec);
}

/* What builds the net: NULL for the recording's text. */
typedef void (*builder)(tr_model *net, tr_shape shape, int64_t classes);

static void check_first_step_of(builder build,
                                const char *run,
                                tr_dtype dtype,
                                const char *device)
{
  int bits = dtype == TR_F64 ? 64 : 32;
  double tolerance = dtype == TR_F64 ? TOLERANCE_F64 : TOLERANCE_F32;
  recording *rec = recording_open(run);
  tr_context *ctx = golden_context(dtype, device);
  int64_t rows = (int64_t)recording_number(rec, "batch");
  golden_net net;
  golden_net_opts opts = {
      .text = recording_text(rec, "net"), .rows = rows, .build = build};
  golden_net_create(ctx, &opts, &net);
  ASSERT(net.num_params > 0);
  tr_batch batch = golden_batch(&net, &(golden_batch_opts){.count = rows});
  double loss;
  ASSERT_OK(tr_model_forward(net.model, &batch));
  ASSERT_OK(tr_model_backward(net.model));
  ASSERT_OK(tr_model_loss(net.model, &loss));
  ASSERT_NEAR(loss, recording_number(rec, "first/loss%d", bits), tolerance);
  for (int i = 0; i < net.num_params; i++) {
    const struct golden_param *param = &net.params[i];
    char key[TR__NAME_BYTES + 32];
    snprintf(key, sizeof key, "first/grad%d/%s", bits, param->name);
    void *grad = golden_net_grad(&net, param->name, 1);
    golden_check_sampled(&(golden_sampled){.rec = rec,
                                           .key = key,
                                           .param = param->name,
                                           .tolerance = tolerance},
                         dtype, grad, param->count);
    free(grad);
  }
  golden_net_destroy(&net);
  tr_context_destroy(&ctx);
  recording_close(&rec);
}

static void
check_first_step(const char *run, tr_dtype dtype, const char *device)
{
  check_first_step_of(NULL, run, dtype, device);
}

static void test_programs_models_are_the_recorded_workloads(void)
{
  check_first_step_of(example_mlp, "mlp", TR_F64, "reference");
  check_first_step_of(example_convnet, "convnet28", TR_F64, "reference");
  check_first_step_of(example_convnet, "convnet_rgb", TR_F64, "reference");
}

static void test_first_step_in_fp64_gives_pytorchs_loss_and_gradients(void)
{
  check_first_step("mlp", TR_F64, "reference");
  check_first_step("convnet12", TR_F64, "reference");
  check_first_step("convnet_rgb", TR_F64, "reference");
  check_first_step("convnet28", TR_F64, "reference");
}

static void test_first_step_in_fp32_gives_pytorchs_loss_and_gradients(void)
{
  check_first_step("mlp", TR_F32, "cpu");
  check_first_step("convnet12", TR_F32, "cpu");
  check_first_step("convnet28", TR_F32, "cpu");
  check_first_step("convnet_rgb", TR_F32, "cpu");
  check_first_step("mlp", TR_F32, "reference");
  check_first_step("convnet12", TR_F32, "reference");
}

static void test_mlp_sgd_gives_pytorchs_losses_in_fp64(void)
{
  check_f64("mlp", "sgd");
}

static void test_mlp_momentum_gives_pytorchs_losses_in_fp64(void)
{
  check_f64("mlp", "momentum");
}

static void test_mlp_adam_gives_pytorchs_losses_in_fp64(void)
{
  check_f64("mlp", "adam");
}

static void test_mlp_adamw_gives_pytorchs_losses_in_fp64(void)
{
  check_f64("mlp", "adamw");
}

static void test_convnet_sgd_gives_pytorchs_losses_in_fp64(void)
{
  check_f64("convnet12", "sgd");
}

static void test_convnet_momentum_gives_pytorchs_losses_in_fp64(void)
{
  check_f64("convnet12", "momentum");
}

static void test_convnet_adam_gives_pytorchs_losses_in_fp64(void)
{
  check_f64("convnet12", "adam");
}

static void test_convnet_adamw_gives_pytorchs_losses_in_fp64(void)
{
  check_f64("convnet12", "adamw");
}

static void test_convnet_of_full_size_gives_pytorchs_losses_in_fp64(void)
{
  check_f64("convnet28", "adamw");
}

static void test_convnet_on_colours_gives_pytorchs_losses_in_fp64(void)
{
  check_f64("convnet_rgb", "adamw");
}

static void test_mlp_gives_pytorchs_losses_in_fp32(void)
{
  check_f32("mlp", "sgd", "cpu");
  check_f32("mlp", "momentum", "cpu");
  check_f32("mlp", "adam", "cpu");
  check_f32("mlp", "adamw", "cpu");
  check_f32("mlp", "adam", "reference");
}

static void test_convnet_gives_pytorchs_losses_in_fp32(void)
{
  check_f32("convnet28", "sgd", "cpu");
  check_f32("convnet28", "momentum", "cpu");
  check_f32("convnet28", "adam", "cpu");
  check_f32("convnet28", "adamw", "cpu");
  check_f32("convnet_rgb", "adamw", "cpu");
  check_f32("convnet12", "adamw", "reference");
}

static void test_uneven_batches_give_pytorchs_losses(void)
{
  check_f64("mlp_uneven", "momentum");
  check_f64("mlp_uneven", "adamw");
  check_f32("mlp_uneven", "momentum", "cpu");
  check_f32("mlp_uneven", "adamw", "cpu");
}

static void test_weighted_samples_give_pytorchs_losses(void)
{
  check_f64("tiny_weighted", "momentum");
  check_f64("tiny_weighted", "adam");
  check_f32("tiny_weighted", "momentum", "cpu");
  check_f32("tiny_weighted", "adam", "cpu");
}

static void test_other_optimizer_options_give_pytorchs_losses(void)
{
  static const char *const optimizers[] = {
      "sgd",        "momentum",    "adam",   "adamw", "sgd_decay",
      "adam_decay", "adamw_decay", "cosine", "step"};
  for (size_t i = 0; i < sizeof optimizers / sizeof optimizers[0]; i++) {
    check_f64("tiny", optimizers[i]);
    check_f32("tiny", optimizers[i], "cpu");
    check_f32("tiny", optimizers[i], "reference");
    check_f32("tiny", optimizers[i], "strict");
  }
}

static const tr_test tests[] = {
    TEST(test_programs_models_are_the_recorded_workloads),
    TEST(test_first_step_in_fp64_gives_pytorchs_loss_and_gradients),
    TEST(test_first_step_in_fp32_gives_pytorchs_loss_and_gradients),
    TEST(test_mlp_sgd_gives_pytorchs_losses_in_fp64),
    TEST(test_mlp_momentum_gives_pytorchs_losses_in_fp64),
    TEST(test_mlp_adam_gives_pytorchs_losses_in_fp64),
    TEST(test_mlp_adamw_gives_pytorchs_losses_in_fp64),
    TEST(test_convnet_sgd_gives_pytorchs_losses_in_fp64),
    TEST(test_convnet_momentum_gives_pytorchs_losses_in_fp64),
    TEST(test_convnet_adam_gives_pytorchs_losses_in_fp64),
    TEST(test_convnet_adamw_gives_pytorchs_losses_in_fp64),
    TEST(test_convnet_of_full_size_gives_pytorchs_losses_in_fp64),
    TEST(test_convnet_on_colours_gives_pytorchs_losses_in_fp64),
    TEST(test_mlp_gives_pytorchs_losses_in_fp32),
    TEST(test_convnet_gives_pytorchs_losses_in_fp32),
    TEST(test_uneven_batches_give_pytorchs_losses),
    TEST(test_weighted_samples_give_pytorchs_losses),
    TEST(test_other_optimizer_options_give_pytorchs_losses),
};

TEST_MAIN(tests)
