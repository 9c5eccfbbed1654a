/* Gradients that are not finite, parameter groups, and a schedule by metric
 * over a stop. */
#include "test.h"

#include "optim/optimizer_impl.h"

#include <train/train.h>

static tr_context *ctx;
static tr_model *net;
static tr_optimizer *opt;

static void open_context(const char *device, tr_dtype dtype)
{
  ASSERT_OK(tr_context_create_auto(
      &(tr_context_opts){
          .device = device, .threads = 1, .dtype = dtype, .log = test_no_log},
      &ctx));
  ASSERT_OK(tr_model_create(ctx, &net));
}

static void build_model(const char *device)
{
  open_context(device, TR_F32);
  tr_node x = tr_input(net, (tr_shape){1, {3}});
  x = tr_linear(net, x, &(tr_linear_opts){.out = 4, .name = "fc1"});
  x = tr_linear(net, x, &(tr_linear_opts){.out = 2, .name = "fc2"});
  tr_cross_entropy(net, x);
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 2}));
}

static void open_model(const char *device, const tr_sgd_opts *opts)
{
  build_model(device);
  ASSERT_OK(tr_sgd_create(net, opts, &opt));
}

static void close_model(void)
{
  tr_optimizer_destroy(&opt);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static void gather(float input)
{
  float x[6] = {input, 1, 2, 3, 4, 5};
  int32_t targets[2] = {0, 1};
  tr_batch batch = {
      .count = 2, .global_count = 2, .inputs = {x}, .targets = {targets}};
  ASSERT_OK(tr_model_forward(net, &batch));
  ASSERT_OK(tr_model_backward(net));
}

static tr_status step(float input)
{
  gather(input);
  ASSERT_OK(tr_model_allreduce_grads(net));
  return tr_optimizer_step(opt);
}

static uint64_t hash(void)
{
  uint64_t value;
  ASSERT_OK(tr_model_params_hash(net, &value));
  return value;
}

static const char *const devices[] = {"reference", "cpu", "strict"};

static void test_a_skipped_step_counts_and_changes_nothing(void)
{
  for (int i = 0; i < 3; i++) {
    open_model(devices[i],
               &(tr_sgd_opts){.lr = 0.1,
                              .momentum = 0.9,
                              .update = {.on_nonfinite = TR_NONFINITE_SKIP}});
    double norm;
    int64_t skipped;
    ASSERT_OK(step(1));
    uint64_t before = hash();
    ASSERT_OK(step(INFINITY));
    ASSERT_EQ(hash() == before, 1);
    ASSERT_OK(tr_optimizer_grad_norm(opt, &norm, &skipped));
    ASSERT(!isfinite(norm));
    ASSERT_EQ(skipped, 1);
    ASSERT_OK(step(1));
    ASSERT_EQ(hash() == before, 0);
    ASSERT_OK(tr_optimizer_grad_norm(opt, &norm, &skipped));
    ASSERT(isfinite(norm) && norm > 0);
    ASSERT_EQ(skipped, 1);
    ASSERT_EQ(tr_optimizer_num_steps(opt), 3);
    close_model();
  }
}

static void test_a_stop_changes_nothing_and_the_run_can_go_on(void)
{
  for (int i = 0; i < 3; i++) {
    open_model(devices[i],
               &(tr_sgd_opts){.lr = 0.1,
                              .update = {.on_nonfinite = TR_NONFINITE_STOP}});
    ASSERT_OK(step(1));
    uint64_t before = hash();
    ASSERT_FAILS(step(NAN), TR_ENUMERIC, "the loss of step 2 is nan");
    ASSERT_EQ(hash() == before, 1);
    ASSERT_EQ(tr_optimizer_num_steps(opt), 1);
    ASSERT_OK(step(1));
    ASSERT_EQ(tr_optimizer_num_steps(opt), 2);
    close_model();
  }
}

/* With what counts its steps; stops: a bad batch before step number stops. */
static uint64_t hash_with_stop(const char *device, bool is_adam, int stops)
{
  const tr_update_opts update = {.on_nonfinite = TR_NONFINITE_STOP};
  tr_adam_opts adam = tr_adam_defaults();
  adam.update = update;
  build_model(device);
  if (is_adam) {
    ASSERT_OK(tr_adam_create(net, &adam, &opt));
  } else {
    ASSERT_OK(tr_sgd_create(
        net, &(tr_sgd_opts){.lr = 0.1, .momentum = 0.9, .update = update},
        &opt));
  }
  for (int i = 1; i <= 4; i++) {
    if (i == stops) {
      ASSERT_FAILS(step(NAN), TR_ENUMERIC, "nan");
    }
    ASSERT_OK(step((float)i));
  }
  uint64_t value = hash();
  close_model();
  return value;
}

static void test_a_stop_leaves_no_trace_in_the_optimizer(void)
{
  for (int i = 0; i < 3; i++) {
    for (int is_adam = 0; is_adam < 2; is_adam++) {
      uint64_t undisturbed = hash_with_stop(devices[i], is_adam, 0);
      for (int stops = 1; stops <= 4; stops++) {
        ASSERT_EQ(hash_with_stop(devices[i], is_adam, stops), undisturbed);
      }
    }
  }
}

/* A squared error that overflows, with a gradient that does not. */
static void open_squares(const char *device, tr_dtype dtype, tr_nonfinite what)
{
  open_context(device, dtype);
  tr_node x = tr_input(net, (tr_shape){1, {1}});
  tr_mse(net, tr_linear(net, x, &(tr_linear_opts){.out = 1, .no_bias = 1}),
         NULL);
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 1}));
  ASSERT_OK(tr_sgd_create(
      net, &(tr_sgd_opts){.lr = 0.1, .update = {.on_nonfinite = what}}, &opt));
}

static tr_status step_squares(double target)
{
  bool is_double = ctx->dtype == TR_F64;
  double x = 1 / target, t = target;
  float narrow_x = (float)x, narrow_t = (float)t;
  tr_batch batch = {.count = 1,
                    .global_count = 1,
                    .inputs = {is_double ? (void *)&x : &narrow_x},
                    .targets = {is_double ? (void *)&t : &narrow_t}};
  ASSERT_OK(tr_model_forward(net, &batch));
  ASSERT_OK(tr_model_backward(net));
  ASSERT_OK(tr_model_allreduce_grads(net));
  return tr_optimizer_step(opt);
}

static void test_a_bad_loss_counts_where_the_gradient_is_finite(void)
{
  for (int i = 0; i < 6; i++) {
    tr_dtype dtype = i % 2 == 0 ? TR_F32 : TR_F64;
    double large = dtype == TR_F32 ? 1e25 : 1e200, norm;
    int64_t skipped;
    open_squares(devices[i / 2], dtype, TR_NONFINITE_SKIP);
    uint64_t before = hash();
    ASSERT_OK(step_squares(large));
    ASSERT_OK(tr_optimizer_grad_norm(opt, &norm, &skipped));
    ASSERT(isfinite(norm) && norm > 0);
    ASSERT_EQ(skipped, 1);
    ASSERT_EQ(hash() == before, 1);
    ASSERT_OK(step_squares(1));
    ASSERT_EQ(hash() == before, 0);
    close_model();
    open_squares(devices[i / 2], dtype, TR_NONFINITE_STOP);
    ASSERT_FAILS(step_squares(large), TR_ENUMERIC, "the loss of step 1 is inf");
    ASSERT_EQ(hash() == before, 1);
    ASSERT_OK(step_squares(1));
    close_model();
  }
}

static void test_one_bad_batch_of_several_spoils_their_step(void)
{
  for (int i = 0; i < 3; i++) {
    for (int bad = 0; bad < 3; bad++) {
      open_model(devices[i],
                 &(tr_sgd_opts){.lr = 0.1,
                                .update = {.on_nonfinite = TR_NONFINITE_STOP}});
      uint64_t before = hash();
      for (int k = 0; k < 3; k++) {
        gather(k == bad ? NAN : 1);
      }
      ASSERT_OK(tr_model_allreduce_grads(net));
      ASSERT_FAILS(tr_optimizer_step(opt), TR_ENUMERIC, "step 1 is nan");
      ASSERT_EQ(hash() == before, 1);
      gather(1);
      gather(2);
      ASSERT_OK(tr_model_allreduce_grads(net));
      ASSERT_OK(tr_optimizer_step(opt));
      ASSERT_EQ(hash() == before, 0);
      close_model();
    }
  }
}

static void test_a_skipped_step_leaves_no_trace_in_running_statistics(void)
{
  for (int i = 0; i < 3; i++) {
    float values[3];
    open_context(devices[i], TR_F32);
    tr_node x = tr_input(net, (tr_shape){1, {3}});
    x = tr_batchnorm(net, x, &(tr_batchnorm_opts){.name = "norm"});
    tr_cross_entropy(net, tr_linear(net, x, &(tr_linear_opts){.out = 2}));
    ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 2}));
    ASSERT_OK(tr_sgd_create(
        net,
        &(tr_sgd_opts){.lr = 0.1,
                       .update = {.on_nonfinite = TR_NONFINITE_SKIP}},
        &opt));
    static const float bad[] = {NAN, INFINITY, -INFINITY, 1e30f};
    for (int k = 0; k < 4; k++) {
      ASSERT_OK(step(bad[k]));
      ASSERT_OK(tr_model_get_param(net, "norm.running_mean", values));
      ASSERT(isfinite(values[0]) && values[0] == 0);
      ASSERT(values[1] > 0);
      ASSERT_OK(tr_model_get_param(net, "norm.running_var", values));
      ASSERT(values[0] == 1 && values[1] > 1);
    }
    close_model();
  }
}

static void test_the_norm_is_there_where_it_was_asked_for(void)
{
  double norm;
  open_model("cpu", &(tr_sgd_opts){.lr = 0.1});
  ASSERT_OK(step(1));
  ASSERT_FAILS(tr_optimizer_grad_norm(opt, &norm, NULL), TR_ESTATE,
               "clip_norm");
  close_model();
}

static void test_groups_become_slices_that_cover_the_arena(void)
{
  const tr_param_group groups[] = {
      {.pattern = "fc1.*", .lr_scale = 2, .decay_scale = 0.5},
      {.max_dims = 1, .no_weight_decay = 1},
  };
  open_model("cpu",
             &(tr_sgd_opts){.lr = 0.1,
                            .weight_decay = 0.2,
                            .update = {.groups = groups, .num_groups = 2}});
  /* fc2.weight, fc2.bias, then both of fc1 in one. */
  ASSERT_EQ(opt->num_slices, 3);
  int64_t end = 0;
  for (int i = 0; i < 3; i++) {
    ASSERT_EQ(opt->slices[i].offset, end);
    end += opt->slices[i].count;
  }
  ASSERT_EQ(end, opt->store->count);
  const tr__slice *last = &opt->slices[2];
  ASSERT_NEAR(last->lr_scale, 2, 0);
  ASSERT_NEAR(last->weight_decay, 0.1, 1e-15);
  const tr__param *bias = tr__store_param(opt->store, "fc2.bias");
  for (int i = 0; i < 2; i++) {
    const tr__slice *slice = &opt->slices[i];
    ASSERT_NEAR(slice->weight_decay, slice->offset == bias->offset ? 0 : 0.2,
                0);
  }
  close_model();
}

static void test_a_schedule_by_metric_survives_a_stop(void)
{
  const tr_sgd_opts opts = {
      .lr = 0.1,
      .schedule = {.kind = TR_SCHEDULE_PLATEAU, .patience = 1, .gamma = 0.5}};
  char dir[] = "/tmp/plateau.XXXXXX";
  ASSERT(mkdtemp(dir) != NULL);
  open_model("cpu", &opts);
  ASSERT_OK(step(1));
  for (int i = 0; i < 4; i++) {
    ASSERT_OK(tr_optimizer_report(opt, 1));
  }
  /* The third report in a row cut the rate; the fourth is borne. */
  ASSERT_NEAR(tr_optimizer_lr(opt), 0.05, 1e-16);
  ASSERT_FAILS(tr_optimizer_report(opt, NAN), TR_EINVAL, "NaN");
  ASSERT_OK(tr_checkpoint_save(
      ctx, dir, &(tr_checkpoint){.model = net, .optimizer = opt}));
  close_model();
  open_model("cpu", &opts);
  ASSERT_OK(tr_checkpoint_resume(
      ctx, dir, &(tr_checkpoint){.model = net, .optimizer = opt}));
  ASSERT_NEAR(tr_optimizer_lr(opt), 0.05, 1e-16);
  ASSERT_OK(tr_optimizer_report(opt, 1));
  ASSERT_NEAR(tr_optimizer_lr(opt), 0.025, 1e-16);
  close_model();
  open_model("cpu", &(tr_sgd_opts){.lr = 0.1});
  ASSERT_FAILS(tr_optimizer_report(opt, 1), TR_ESTATE, "TR_SCHEDULE_PLATEAU");
  close_model();
  char command[64];
  snprintf(command, sizeof command, "rm -r %s", dir);
  ASSERT_EQ(system(command), 0);
}

static void test_scale_and_skipped_steps_survive_a_stop(void)
{
  const tr_sgd_opts opts = {.lr = 0.1,
                            .update = {.on_nonfinite = TR_NONFINITE_SKIP}};
  char dir[] = "/tmp/scale.XXXXXX";
  ASSERT(mkdtemp(dir) != NULL);
  for (int i = 0; i < 3; i++) {
    double norm;
    int64_t skipped;
    open_model(devices[i], &opts);
    for (int k = 0; k < 3; k++) {
      ASSERT_OK(step(k == 1 ? 1 : NAN));
    }
    ASSERT_OK(tr_optimizer_set_lr_scale(opt, 0.25));
    ASSERT_NEAR(tr_optimizer_lr(opt), 0.025, 1e-16);
    tr_checkpoint run = {.model = net, .optimizer = opt};
    ASSERT_OK(tr_checkpoint_save(ctx, dir, &run));
    close_model();
    open_model(devices[i], &opts);
    run = (tr_checkpoint){.model = net, .optimizer = opt};
    ASSERT_OK(tr_checkpoint_resume(ctx, dir, &run));
    ASSERT_NEAR(tr_optimizer_lr_scale(opt), 0.25, 0);
    ASSERT_NEAR(tr_optimizer_lr(opt), 0.025, 1e-16);
    ASSERT_OK(step(NAN));
    ASSERT_OK(tr_optimizer_grad_norm(opt, &norm, &skipped));
    ASSERT_EQ(skipped, 3);
    close_model();
  }
  char command[64];
  snprintf(command, sizeof command, "rm -r %s", dir);
  ASSERT_EQ(system(command), 0);
}

static void test_a_resume_forgets_what_came_after_the_save(void)
{
  char dir[] = "/tmp/forgets.XXXXXX";
  ASSERT(mkdtemp(dir) != NULL);
  open_model("cpu", &(tr_sgd_opts){.lr = 0.1,
                                   .schedule = {.kind = TR_SCHEDULE_PLATEAU,
                                                .gamma = 0.5}});
  const tr_checkpoint run = {.model = net, .optimizer = opt};
  ASSERT_OK(step(1));
  ASSERT_OK(tr_checkpoint_save(ctx, dir, &run));
  for (int i = 0; i < 2; i++) {
    ASSERT_OK(tr_optimizer_report(opt, 1));
  }
  ASSERT_NEAR(tr_optimizer_lr(opt), 0.05, 1e-16);
  /* Half a step: its number is part of the random numbers of dropout. */
  gather(1);
  ASSERT_OK(tr_checkpoint_resume(ctx, dir, &run));
  ASSERT_NEAR(tr_optimizer_lr(opt), 0.1, 1e-16);
  ASSERT_EQ(opt->step->num_forwards, 0);
  ASSERT_EQ(opt->step->gradients, TR__GRADIENTS_CLEAR);
  close_model();
  char command[64];
  snprintf(command, sizeof command, "rm -r %s", dir);
  ASSERT_EQ(system(command), 0);
}

static void test_averages_refuse_a_bad_decay(void)
{
  tr_ema *ema = (tr_ema *)&net;
  open_model("cpu", &(tr_sgd_opts){.lr = 0.1});
  ASSERT_FAILS(tr_ema_create(net, 1, &ema), TR_EINVAL, "decay is 1");
  ASSERT(ema == NULL);
  ASSERT_FAILS(tr_ema_create(net, NAN, &ema), TR_EINVAL, "decay is nan");
  close_model();
}

static void test_averages_belong_to_one_build(void)
{
  tr_ema *ema;
  open_model("cpu", &(tr_sgd_opts){.lr = 0.1});
  ASSERT_OK(tr_model_freeze(net, "fc1.*", 1));
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 2}));
  ASSERT_OK(tr_ema_create(net, 0.9, &ema));
  ASSERT_OK(tr_model_freeze(net, "fc1.*", 0));
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 2}));
  uint64_t before = hash();
  ASSERT_FAILS(tr_ema_update(ema), TR_ESTATE, "built again");
  tr_ema_swap(ema);
  ASSERT_EQ(hash() == before, 1);
  const tr_checkpoint run = {.model = net, .ema = ema};
  ASSERT_FAILS(tr_checkpoint_save(ctx, "nowhere", &run), TR_ESTATE, "");
  tr_ema_destroy(&ema);
  close_model();
}

static uint64_t hash_of_averages(tr_ema *ema)
{
  tr_ema_swap(ema);
  uint64_t value = hash();
  tr_ema_swap(ema);
  return value;
}

static void test_averages_survive_a_stop(void)
{
  const tr_sgd_opts opts = {.lr = 0.1, .momentum = 0.9};
  tr_ema *ema;
  char dir[] = "/tmp/averages.XXXXXX";
  ASSERT(mkdtemp(dir) != NULL);
  open_model("cpu", &opts);
  ASSERT_OK(tr_ema_create(net, 0.9, &ema));
  for (int i = 0; i < 3; i++) {
    ASSERT_OK(step((float)i));
    ASSERT_OK(tr_ema_update(ema));
  }
  tr_checkpoint run = {.model = net, .optimizer = opt, .ema = ema};
  tr_ema_swap(ema);
  ASSERT_FAILS(tr_checkpoint_save(ctx, dir, &run), TR_ESTATE, "tr_ema_swap()");
  tr_ema_swap(ema);
  ASSERT_OK(tr_checkpoint_save(ctx, dir, &run));
  uint64_t params = hash(), averages = hash_of_averages(ema);
  ASSERT(params != averages);
  tr_ema_destroy(&ema);
  close_model();

  open_model("cpu", &opts);
  ASSERT_OK(tr_ema_create(net, 0.9, &ema));
  run = (tr_checkpoint){.model = net, .optimizer = opt, .ema = ema};
  ASSERT_OK(tr_checkpoint_resume(ctx, dir, &run));
  ASSERT(hash() == params && hash_of_averages(ema) == averages);
  /* Without averages the rest can be used. */
  run.ema = NULL;
  ASSERT_OK(tr_checkpoint_resume(ctx, dir, &run));
  ASSERT_OK(tr_checkpoint_save(ctx, dir, &run));
  run.ema = ema;
  ASSERT_FAILS(tr_checkpoint_resume(ctx, dir, &run), TR_EMISMATCH, "/ema");
  tr_ema_destroy(&ema);
  close_model();
  char command[64];
  snprintf(command, sizeof command, "rm -r %s", dir);
  ASSERT_EQ(system(command), 0);
}

static const tr_test tests[] = {
    TEST(test_a_skipped_step_counts_and_changes_nothing),
    TEST(test_a_stop_changes_nothing_and_the_run_can_go_on),
    TEST(test_a_stop_leaves_no_trace_in_the_optimizer),
    TEST(test_a_bad_loss_counts_where_the_gradient_is_finite),
    TEST(test_one_bad_batch_of_several_spoils_their_step),
    TEST(test_a_skipped_step_leaves_no_trace_in_running_statistics),
    TEST(test_the_norm_is_there_where_it_was_asked_for),
    TEST(test_groups_become_slices_that_cover_the_arena),
    TEST(test_a_schedule_by_metric_survives_a_stop),
    TEST(test_scale_and_skipped_steps_survive_a_stop),
    TEST(test_a_resume_forgets_what_came_after_the_save),
    TEST(test_averages_refuse_a_bad_decay),
    TEST(test_averages_belong_to_one_build),
    TEST(test_averages_survive_a_stop),
};

TEST_MAIN(tests)
