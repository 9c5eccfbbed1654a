/* Mixed precision: what is of 16 bits, and that products read the parameters
 * as they are now. */
#include "layer_helper.h"

#include "optim/optimizer_impl.h"

enum { BATCH = 6, CLASSES = 3, FEATURES = 5 };

typedef struct run {
  tr_context *ctx;
  tr_model *net;
  tr_optimizer *opt;
  tr_node logits;
} run;

static const tr_dtype halves[] = {TR_BF16, TR_F16};
static const char *const devices[] = {"reference", "cpu", "strict"};

static run open_run(const char *device, tr_dtype dtype)
{
  run r = {.ctx = make_context(device, dtype)};
  ASSERT_OK(tr_model_create(r.ctx, &r.net));
  tr_node x = tr_input(r.net, (tr_shape){1, {FEATURES}});
  x = tr_linear(r.net, x, &(tr_linear_opts){.out = 7, .name = "fc1"});
  x = tr_relu(r.net, x);
  x = tr_layernorm(r.net, x, NULL);
  r.logits =
      tr_linear(r.net, x, &(tr_linear_opts){.out = CLASSES, .name = "fc2"});
  tr_cross_entropy(r.net, r.logits);
  ASSERT_OK(tr_model_build(r.net, &(tr_build_opts){.max_local_batch = BATCH}));
  tr_adam_opts adam = tr_adam_defaults();
  adam.lr = 1e-2;
  ASSERT_OK(tr_adam_create(r.net, &adam, &r.opt));
  return r;
}

static void close_run(run *r)
{
  tr_optimizer_destroy(&r->opt);
  tr_model_destroy(&r->net);
  tr_context_destroy(&r->ctx);
}

static void forward(run *r, float first)
{
  float x[BATCH * FEATURES];
  int32_t targets[BATCH];
  for (int i = 0; i < BATCH * FEATURES; i++) {
    x[i] = (float)((i * 37) % 11) / 5 - 1;
  }
  x[0] = first;
  for (int i = 0; i < BATCH; i++) {
    targets[i] = i % CLASSES;
  }
  ASSERT_OK(tr_model_forward(r->net, &(tr_batch){.count = BATCH,
                                                 .global_count = BATCH,
                                                 .inputs = {x},
                                                 .targets = {targets}}));
}

static void backward(run *r, float first)
{
  forward(r, first);
  ASSERT_OK(tr_model_backward(r->net));
  ASSERT_OK(tr_model_allreduce_grads(r->net));
}

static void step(run *r, float first)
{
  backward(r, first);
  ASSERT_OK(tr_optimizer_step(r->opt));
}

static uint64_t hash_of(run *r)
{
  uint64_t hash;
  ASSERT_OK(tr_model_params_hash(r->net, &hash));
  return hash;
}

static double scale_of(run *r)
{
  double scale;
  ASSERT_OK(tr_optimizer_loss_scale(r->opt, &scale));
  return scale;
}

static void test_values_between_layers_are_of_16_bits(void)
{
  run wide = open_run("cpu", TR_F32), r = open_run("cpu", TR_BF16);
  for (int i = 0; i < r.net->num_nodes; i++) {
    const tr__node *node = &r.net->nodes[i], *other = &wide.net->nodes[i];
    bool is_loss = (node->flags & TR__IS_LOSS) != 0;
    ASSERT_EQ(node->output.dtype, is_loss ? TR_F32 : TR_BF16);
    ASSERT_EQ(node->output.bytes, other->output.bytes / (is_loss ? 1 : 2));
    ASSERT_EQ(node->gradient.bytes, other->gradient.bytes / 2);
  }
  ASSERT_EQ(r.net->store.value_count, wide.net->store.value_count);
  close_run(&r);
  close_run(&wide);
}

static void read_logits(run *r, float *out)
{
  forward(r, 1);
  ASSERT_OK(tr_model_get_output(r->net, r->logits, out));
}

/* The logits of a model into which the same parameters were put by hand. */
static void expect_logits(run *r, const char *what)
{
  float got[BATCH * CLASSES], expected[BATCH * CLASSES], values[64];
  run fresh = open_run("cpu", r->ctx->compute);
  for (int i = 0; i < r->net->store.num_params; i++) {
    const char *name = r->net->store.params[i].name;
    ASSERT_OK(tr_model_get_param(r->net, name, values));
    ASSERT_OK(tr_model_set_param(fresh.net, name, values));
  }
  read_logits(r, got);
  read_logits(&fresh, expected);
  ASSERT_TENSOR_NEAR(what, TR_F32, got, expected, BATCH * CLASSES, 0);
  close_run(&fresh);
}

static void test_products_read_the_parameters_as_they_are(void)
{
  char dir[512];
  snprintf(dir, sizeof dir, "%s/mixed", test_scratch());
  float values[64] = {0};
  run r = open_run("cpu", TR_BF16);
  tr_ema *ema;
  expect_logits(&r, "first values");
  ASSERT_OK(tr_ema_create(r.net, 0.5, &ema));
  step(&r, 1);
  expect_logits(&r, "after a step");
  tr_ema_swap(ema);
  expect_logits(&r, "averages");
  tr_ema_swap(ema);
  expect_logits(&r, "no averages");
  tr_ema_destroy(&ema);
  const tr_checkpoint all = {.model = r.net, .optimizer = r.opt};
  ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &all));
  ASSERT_OK(tr_model_set_param(r.net, "fc1.weight", values));
  expect_logits(&r, "after a call of set_param");
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &all));
  expect_logits(&r, "resumed");
  ASSERT_OK(tr_model_freeze(r.net, "fc1.*", 1));
  tr_optimizer_destroy(&r.opt);
  ASSERT_OK(tr_model_build(r.net, NULL));
  expect_logits(&r, "built again");
  close_run(&r);
}

static void test_inference_reads_the_parameters_as_they_are(void)
{
  for (int i = 0; i < 3; i++) {
    run r = open_run(devices[i], TR_BF16);
    float got[BATCH * CLASSES], expected[BATCH * CLASSES];
    float x[BATCH * FEATURES] = {1, 2, 3, -1};
    const tr_batch batch = {
        .count = BATCH, .global_count = BATCH, .inputs = {x}};
    tr_inference *plan;
    ASSERT_OK(tr_inference_create(r.net, NULL, &plan));
    for (int k = 0; k < 3; k++) {
      ASSERT_OK(tr_inference_forward(plan, &batch));
      ASSERT_OK(tr_inference_get_output(plan, r.logits, got));
      int32_t targets[BATCH] = {0};
      ASSERT_OK(tr_model_forward(r.net, &(tr_batch){.count = BATCH,
                                                    .global_count = BATCH,
                                                    .inputs = {x},
                                                    .targets = {targets}}));
      ASSERT_OK(tr_model_get_output(r.net, r.logits, expected));
      ASSERT_TENSOR_NEAR("logits", TR_F32, got, expected, BATCH * CLASSES, 0);
      step(&r, 1);
    }
    tr_inference_destroy(&plan);
    close_run(&r);
  }
}

static void test_gradients_are_shown_without_the_loss_scale(void)
{
  run wide = open_run("cpu", TR_F32), r = open_run("cpu", TR_F16);
  float got[64], expected[64];
  backward(&wide, 1);
  backward(&r, 1);
  ASSERT(scale_of(&r) == 65536 && scale_of(&wide) == 1);
  ASSERT_OK(tr_model_get_grad(r.net, "fc1.weight", got));
  ASSERT_OK(tr_model_get_grad(wide.net, "fc1.weight", expected));
  ASSERT_TENSOR_NEAR("fc1.weight", TR_F32, got, expected, 35, 4e-3);
  close_run(&r);
  close_run(&wide);
}

/* As if it had happened in backward. */
static void overflow(run *r)
{
  backward(r, 1);
  const float infinity = INFINITY;
  tr__backend *backend = r->ctx->backend;
  backend->type->upload(&backend->stream, r->net->store.grads, &infinity,
                        sizeof infinity);
}

static void test_an_overflow_halves_the_scale_and_changes_nothing_else(void)
{
  for (int i = 0; i < 3; i++) {
    run r = open_run(devices[i], TR_F16);
    step(&r, 1);
    overflow(&r);
    uint64_t before = hash_of(&r);
    ASSERT_OK(tr_optimizer_step(r.opt));
    ASSERT(scale_of(&r) == 32768);
    ASSERT_EQ(hash_of(&r) == before, 1);
    int64_t skipped;
    double norm;
    ASSERT_OK(tr_optimizer_grad_norm(r.opt, &norm, &skipped));
    ASSERT_EQ(skipped, 1);
    step(&r, 1);
    ASSERT_EQ(hash_of(&r) == before, 0);
    ASSERT(scale_of(&r) == 32768);
    close_run(&r);
  }
}

static void set_scale(run *r, double scale)
{
  tr__scaler scaler;
  ASSERT_OK(tr__optimizer_get_scaler(r->opt, &scaler));
  scaler.loss_scale = scale;
  tr__optimizer_set_scaler(r->opt, &scaler);
}

/* Powers of two do not change what is computed, as long as nothing overflows
 * or vanishes: so a run that had to find its scale first ends with the same
 * parameters. */
static void test_skipped_steps_leave_no_trace(void)
{
  run r = open_run("cpu", TR_F16), smooth = open_run("cpu", TR_F16);
  set_scale(&r, 0x1p30);
  set_scale(&smooth, 256);
  int64_t skipped = 0;
  double norm;
  for (int i = 0; i < 40; i++) {
    step(&r, 1);
  }
  ASSERT_OK(tr_optimizer_grad_norm(r.opt, &norm, &skipped));
  ASSERT(skipped > 5 && skipped < 30 && isfinite(norm));
  for (int64_t i = 0; i < 40 - skipped; i++) {
    step(&smooth, 1);
  }
  float got[64], expected[64];
  ASSERT_OK(tr_model_get_param(r.net, "fc1.weight", got));
  ASSERT_OK(tr_model_get_param(smooth.net, "fc1.weight", expected));
  ASSERT_TENSOR_NEAR("fc1.weight", TR_F32, got, expected, 35, 2e-3);
  close_run(&r);
  close_run(&smooth);
}

static void test_good_steps_double_the_scale(void)
{
  run r = open_run("cpu", TR_F16);
  set_scale(&r, 8);
  r.opt->growth_interval = 3;
  static const double expected[] = {8, 8, 16, 16, 16, 32, 32};
  for (int i = 0; i < 7; i++) {
    step(&r, 1);
    ASSERT(scale_of(&r) == expected[i]);
  }
  close_run(&r);
}

/* A gradient that no scale makes finite is what the policy is about. */
static void test_a_stop_waits_until_no_scale_helps(void)
{
  run r = open_run("cpu", TR_F16);
  r.opt->on_nonfinite = TR_NONFINITE_STOP;
  set_scale(&r, 4);
  for (int i = 0; i < 2; i++) {
    overflow(&r);
    ASSERT_OK(tr_optimizer_step(r.opt));
  }
  ASSERT(scale_of(&r) == 1);
  overflow(&r);
  ASSERT_FAILS(tr_optimizer_step(r.opt), TR_ENUMERIC, "not finite");
  backward(&r, NAN);
  ASSERT_FAILS(tr_optimizer_step(r.opt), TR_ENUMERIC, "loss of step 3 is nan");
  close_run(&r);
}

static void test_a_resumed_run_keeps_its_scale(void)
{
  char dir[512];
  snprintf(dir, sizeof dir, "%s/scale", test_scratch());
  run r = open_run("cpu", TR_F16);
  set_scale(&r, 0x1p30);
  for (int i = 0; i < 20; i++) {
    step(&r, 1);
  }
  const tr_checkpoint run_of = {.model = r.net, .optimizer = r.opt};
  ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &run_of));
  double scale = scale_of(&r);
  for (int i = 0; i < 20; i++) {
    step(&r, 1);
  }
  uint64_t whole = hash_of(&r);
  close_run(&r);
  r = open_run("cpu", TR_F16);
  const tr_checkpoint again = {.model = r.net, .optimizer = r.opt};
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &again));
  ASSERT(scale_of(&r) == scale && scale < 0x1p30);
  for (int i = 0; i < 20; i++) {
    step(&r, 1);
  }
  ASSERT_EQ(hash_of(&r) == whole, 1);
  close_run(&r);
}

/* Parameters are float in all of them, so a run may go on in another one. */
static void test_checkpoints_are_free_of_the_precision(void)
{
  char dir[512];
  snprintf(dir, sizeof dir, "%s/precision", test_scratch());
  run r = open_run("cpu", TR_F16);
  step(&r, 1);
  const tr_checkpoint from = {.model = r.net, .optimizer = r.opt};
  ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &from));
  uint64_t hash = hash_of(&r);
  close_run(&r);
  for (int i = 0; i < 2; i++) {
    r = open_run("cpu", i == 0 ? TR_F32 : TR_BF16);
    const tr_checkpoint to = {.model = r.net, .optimizer = r.opt};
    ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &to));
    ASSERT_EQ(hash_of(&r) == hash, 1);
    ASSERT(scale_of(&r) == 1);
    close_run(&r);
  }
}

static void test_losses_stay_near_those_of_float(void)
{
  for (int d = 0; d < 2; d++) {
    run wide = open_run("cpu", TR_F32), r = open_run("cpu", halves[d]);
    for (int i = 0; i < 30; i++) {
      double loss, expected;
      step(&wide, 1);
      step(&r, 1);
      ASSERT_OK(tr_model_loss(wide.net, &expected));
      ASSERT_OK(tr_model_loss(r.net, &loss));
      ASSERT_NEAR(loss, expected, d == 0 ? 2e-2 : 4e-3);
    }
    close_run(&r);
    close_run(&wide);
  }
}

static const tr_test tests[] = {
    TEST(test_values_between_layers_are_of_16_bits),
    TEST(test_products_read_the_parameters_as_they_are),
    TEST(test_inference_reads_the_parameters_as_they_are),
    TEST(test_gradients_are_shown_without_the_loss_scale),
    TEST(test_an_overflow_halves_the_scale_and_changes_nothing_else),
    TEST(test_skipped_steps_leave_no_trace),
    TEST(test_good_steps_double_the_scale),
    TEST(test_a_stop_waits_until_no_scale_helps),
    TEST(test_a_resumed_run_keeps_its_scale),
    TEST(test_checkpoints_are_free_of_the_precision),
    TEST(test_losses_stay_near_those_of_float),
};

TEST_MAIN(tests)
