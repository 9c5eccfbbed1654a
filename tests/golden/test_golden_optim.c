/* Optimizers, groups, clipping, averages and schedules against PyTorch; the
 * options are those of record_optim.py. */
#include "golden.h"

#include "optim/schedule_impl.h"

enum { STEPS = 10, BATCH = 5 };

static const double decay = 0.9;

/* Of a tensor's largest value. */
static const double tolerance64 = 1e-9, tolerance32 = 1e-5;
static const double rate_tolerance = 1e-14;

/* The first group that fits holds: biases, then fc1's weight. */
static const tr_param_group groups[] = {
    {.max_dims = 1, .no_weight_decay = 1},
    {.pattern = "fc1.*", .lr_scale = 0.5},
};

static tr_optimizer *make_sgd(tr_model *net, tr_sgd_opts opts)
{
  tr_optimizer *opt;
  ASSERT_OK(tr_sgd_create(net, &opts, &opt));
  return opt;
}

static tr_optimizer *make_rmsprop(tr_model *net, tr_rmsprop_opts opts)
{
  tr_optimizer *opt;
  ASSERT_OK(tr_rmsprop_create(net, &opts, &opt));
  return opt;
}

static tr_optimizer *make_adagrad(tr_model *net, tr_adagrad_opts opts)
{
  tr_optimizer *opt;
  ASSERT_OK(tr_adagrad_create(net, &opts, &opt));
  return opt;
}

static tr_optimizer *make_nesterov(tr_model *net)
{
  return make_sgd(net, (tr_sgd_opts){.lr = 0.1,
                                     .momentum = 0.9,
                                     .nesterov = 1,
                                     .weight_decay = 0.01});
}

static tr_optimizer *make_dampening(tr_model *net)
{
  return make_sgd(net,
                  (tr_sgd_opts){.lr = 0.1, .momentum = 0.8, .dampening = 0.3});
}

static tr_optimizer *make_plain_rmsprop(tr_model *net)
{
  tr_rmsprop_opts opts = tr_rmsprop_defaults();
  opts.weight_decay = 0.1;
  return make_rmsprop(net, opts);
}

static tr_optimizer *make_rmsprop_all(tr_model *net)
{
  return make_rmsprop(net, (tr_rmsprop_opts){.lr = 0.01,
                                             .alpha = 0.9,
                                             .eps = 1e-3,
                                             .momentum = 0.7,
                                             .centered = 1});
}

static tr_optimizer *make_rmsprop_centered(tr_model *net)
{
  tr_rmsprop_opts opts = tr_rmsprop_defaults();
  opts.eps = 1e-3;
  opts.centered = 1;
  return make_rmsprop(net, opts);
}

static tr_optimizer *make_plain_adagrad(tr_model *net)
{
  tr_adagrad_opts opts = tr_adagrad_defaults();
  opts.lr = 0.05;
  return make_adagrad(net, opts);
}

static tr_optimizer *make_adagrad_all(tr_model *net)
{
  return make_adagrad(net, (tr_adagrad_opts){.lr = 0.05,
                                             .lr_decay = 0.1,
                                             .weight_decay = 0.1,
                                             .first_sum = 0.2,
                                             .eps = 1e-3});
}

static tr_optimizer *make_groups(tr_model *net)
{
  return make_sgd(net,
                  (tr_sgd_opts){.lr = 0.1,
                                .momentum = 0.5,
                                .weight_decay = 0.3,
                                .update = {.groups = groups, .num_groups = 2}});
}

static tr_optimizer *make_clipped(tr_model *net)
{
  return make_sgd(
      net,
      (tr_sgd_opts){.lr = 0.5, .momentum = 0.9, .update = {.clip_norm = 0.25}});
}

static tr_optimizer *make_adamw_clipped(tr_model *net)
{
  tr_adamw_opts opts = tr_adamw_defaults();
  opts.lr = 0.01;
  opts.eps = 1e-3;
  opts.update.clip_norm = 0.1;
  tr_optimizer *opt;
  ASSERT_OK(tr_adamw_create(net, &opts, &opt));
  return opt;
}

typedef struct opt_case {
  const char *name;
  tr_optimizer *(*make)(tr_model *net);
  bool has_norm;
} opt_case;

static const opt_case cases[] = {
    {"nesterov", make_nesterov, false},
    {"dampening", make_dampening, false},
    {"rmsprop", make_plain_rmsprop, false},
    {"rmsprop_all", make_rmsprop_all, false},
    {"rmsprop_centered", make_rmsprop_centered, false},
    {"adagrad", make_plain_adagrad, false},
    {"adagrad_all", make_adagrad_all, false},
    {"groups", make_groups, false},
    {"clipped", make_clipped, true},
    {"adamw_clipped", make_adamw_clipped, true},
};

enum { NUM_CASES = sizeof cases / sizeof cases[0] };

static int bits_of(const golden_net *net)
{
  return net->dtype == TR_F64 ? 64 : 32;
}

static double tolerance_of(const golden_net *net)
{
  return net->dtype == TR_F64 ? tolerance64 : tolerance32;
}

static void check_params(const golden_net *net,
                         const recording *rec,
                         const char *name,
                         const char *what)
{
  for (int i = 0; i < net->num_params; i++) {
    const struct golden_param *param = &net->params[i];
    int64_t count;
    double *wanted = recording_numbers(rec, &count, "%s/%s%d/%s", name, what,
                                       bits_of(net), param->name);
    ASSERT_EQ(count, param->count);
    double *got = calloc((size_t)count, sizeof *got);
    double *wide = calloc((size_t)count, sizeof *wide);
    ASSERT_OK(tr_model_get_param(net->model, param->name, got));
    for (int64_t k = 0; k < count; k++) {
      wide[k] = golden_double(net->dtype, got, k);
    }
    ASSERT_TENSOR_NEAR(param->name, TR_F64, wide, wanted, count,
                       tolerance_of(net));
    free(got);
    free(wide);
    free(wanted);
  }
}

static void run_case(tr_dtype dtype, const char *device, const opt_case *c)
{
  recording *rec = recording_open("optim");
  tr_context *ctx = golden_context(dtype, device);
  golden_net net;
  golden_net_create(
      ctx,
      &(golden_net_opts){.text = recording_text(rec, "net"), .rows = BATCH},
      &net);
  tr_optimizer *opt = c->make(net.model);
  tr_ema *ema;
  ASSERT_OK(tr_ema_create(net.model, decay, &ema));
  double *losses =
      recording_numbers(rec, NULL, "%s/loss%d", c->name, bits_of(&net));
  double *norms = c->has_norm ? recording_numbers(rec, NULL, "%s/norm%d",
                                                  c->name, bits_of(&net))
                              : NULL;
  for (int step = 0; step < STEPS; step++) {
    tr_batch batch =
        golden_batch(&net, &(golden_batch_opts){.step = step, .count = BATCH});
    double loss, norm;
    ASSERT_OK(tr_model_forward(net.model, &batch));
    ASSERT_OK(tr_model_backward(net.model));
    ASSERT_OK(tr_model_allreduce_grads(net.model));
    ASSERT_OK(tr_optimizer_step(opt));
    ASSERT_OK(tr_ema_update(ema));
    ASSERT_OK(tr_model_loss(net.model, &loss));
    ASSERT_NEAR(loss, losses[step], tolerance_of(&net) * fabs(losses[step]));
    if (norms != NULL) {
      ASSERT_OK(tr_optimizer_grad_norm(opt, &norm, NULL));
      ASSERT_NEAR(norm, norms[step], tolerance_of(&net) * norms[step]);
    }
  }
  check_params(&net, rec, c->name, "final");
  if (strcmp(c->name, "nesterov") == 0) {
    tr_ema_swap(ema);
    ASSERT_FAILS(tr_ema_update(ema), TR_ESTATE, "tr_ema_swap()");
    check_params(&net, rec, c->name, "ema");
    tr_ema_swap(ema);
    check_params(&net, rec, c->name, "final");
  }
  free(losses);
  free(norms);
  tr_ema_destroy(&ema);
  tr_optimizer_destroy(&opt);
  golden_net_destroy(&net);
  tr_context_destroy(&ctx);
  recording_close(&rec);
}

static void test_ten_steps_in_double_are_pytorchs(void)
{
  for (int i = 0; i < NUM_CASES; i++) {
    run_case(TR_F64, "reference", &cases[i]);
  }
}

static void test_ten_steps_in_single_are_pytorchs(void)
{
  for (int i = 0; i < NUM_CASES; i++) {
    run_case(TR_F32, "cpu", &cases[i]);
  }
}

static double half(void *user, int64_t t)
{
  ++*(int *)user;
  return t < 5 ? 1 : 0.5;
}

static void test_rates_are_pytorchs(void)
{
  const struct {
    const char *name;
    tr_schedule schedule;
  } all[] = {
      {"multistep",
       {.kind = TR_SCHEDULE_MULTISTEP,
        .milestones = {3, 9, 10, 30},
        .gamma = 0.5}},
      {"exponential", {.kind = TR_SCHEDULE_EXPONENTIAL, .gamma = 0.9}},
      {"linear",
       {.kind = TR_SCHEDULE_LINEAR, .start = 1.0 / 3, .end = 1, .total = 12}},
      {"linear_down", {.kind = TR_SCHEDULE_LINEAR, .total = 25}},
      {"polynomial", {.kind = TR_SCHEDULE_POLYNOMIAL, .total = 30, .power = 2}},
      {"cosine_end", {.kind = TR_SCHEDULE_COSINE, .total = 40, .end = 0.2}},
      {"one_cycle", {.kind = TR_SCHEDULE_ONE_CYCLE, .total = 40}},
      {"one_cycle_all",
       {.kind = TR_SCHEDULE_ONE_CYCLE,
        .total = 40,
        .rise = 0.25,
        .start = 0.1,
        .end = 0.001}},
  };
  recording *rec = recording_open("optim");
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    int64_t count;
    double *rates = recording_numbers(rec, &count, "%s/rates", all[i].name);
    ASSERT_OK(tr__schedule_check(&all[i].schedule));
    /* PyTorch's are recurrences, ours formulas: 40 steps of rounding. */
    for (int64_t step = 0; step < count; step++) {
      ASSERT_NEAR(tr__schedule_lr(&all[i].schedule, 0.1, step), rates[step],
                  rate_tolerance);
    }
    /* A warm-up in front moves the formula and makes the run longer. */
    tr_schedule late = all[i].schedule;
    late.warmup = 4;
    late.total += 4;
    ASSERT_NEAR(tr__schedule_lr(&late, 0.1, 0), 0.025, rate_tolerance);
    for (int64_t step = 0; step < count; step++) {
      ASSERT_NEAR(tr__schedule_lr(&late, 0.1, step + 4), rates[step],
                  rate_tolerance);
    }
    free(rates);
  }
  recording_close(&rec);
  int calls = 0;
  tr_schedule own = {
      .kind = TR_SCHEDULE_CALLBACK, .rate = half, .user = &calls};
  ASSERT_NEAR(tr__schedule_lr(&own, 2, 4), 2, 0);
  ASSERT_NEAR(tr__schedule_lr(&own, 2, 5), 1, 0);
  ASSERT_EQ(calls, 2);
}

static void check_plateau(const char *name, const tr_schedule *s, double sign)
{
  recording *rec = recording_open("optim");
  int64_t count;
  double *metrics = recording_numbers(rec, &count, "plateau/metrics");
  double *rates = recording_numbers(rec, NULL, "%s/rates", name);
  tr__plateau plateau = {.scale = 1};
  ASSERT_OK(tr__schedule_check(s));
  for (int64_t i = 0; i < count; i++) {
    tr__plateau_report(s, &plateau, sign > 0 ? metrics[i] : 2 - metrics[i]);
    ASSERT_NEAR(0.1 * plateau.scale, rates[i], rate_tolerance);
  }
  ASSERT(plateau.scale < 1);
  free(metrics);
  free(rates);
  recording_close(&rec);
}

static void test_rates_on_a_plateau_are_pytorchs(void)
{
  check_plateau(
      "plateau",
      &(tr_schedule){.kind = TR_SCHEDULE_PLATEAU, .gamma = 0.3, .patience = 2},
      1);
  check_plateau("plateau_all",
                &(tr_schedule){.kind = TR_SCHEDULE_PLATEAU,
                               .gamma = 0.5,
                               .cooldown = 2,
                               .threshold = 0.01,
                               .end = 0.2,
                               .maximise = 1},
                -1);
}

static const tr_test tests[] = {
    TEST(test_ten_steps_in_double_are_pytorchs),
    TEST(test_ten_steps_in_single_are_pytorchs),
    TEST(test_rates_are_pytorchs),
    TEST(test_rates_on_a_plateau_are_pytorchs),
};

TEST_MAIN(tests)
