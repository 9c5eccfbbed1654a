/* Learning-rate schedules against their closed formulas, and what optimizers
 * refuse. */
#include "test.h"

#include "base/random_impl.h"
#include "optim/schedule_impl.h"

#include <train/train.h>

static const double pi = 3.14159265358979323846;

static double plain_rate(const tr_schedule *s, double lr, int64_t step)
{
  if (step < s->warmup) {
    return lr * (double)(step + 1) / (double)s->warmup;
  }
  double t = (double)(step - s->warmup);
  if (s->kind == TR_SCHEDULE_COSINE) {
    double total = (double)(s->total - s->warmup);
    return t >= total ? 0 : lr * (1 + cos(pi * t / total)) / 2;
  }
  if (s->kind == TR_SCHEDULE_STEP) {
    double gamma = s->gamma == 0 ? 0.1 : s->gamma;
    return lr * pow(gamma, floor(t / (double)s->every));
  }
  return lr;
}

static void test_rates_follow_the_formulas(void)
{
  for (int number = 0; number < 200; number++) {
    const tr__random random = {.seed = test_seed(),
                               .sample = number,
                               .stream =
                                   tr__random_stream(TR__PURPOSE_TEST, 0)};
    tr_schedule s = {.kind = (tr_schedule_kind)(number % 3),
                     .warmup = tr__random_u32(&random, 0) % 2 == 0
                                   ? 0
                                   : tr__random_u32(&random, 1) % 20,
                     .every = 1 + tr__random_u32(&random, 2) % 9,
                     .gamma =
                         number % 2 == 0 ? 0 : tr__random_uniform(&random, 3)};
    s.total = s.warmup + 1 + tr__random_u32(&random, 4) % 50;
    ASSERT_OK(tr__schedule_check(&s));
    for (int64_t step = 0; step < s.total + 10; step++) {
      ASSERT_NEAR(tr__schedule_lr(&s, 0.3, step), plain_rate(&s, 0.3, step),
                  1e-15);
    }
  }
}

static void test_warmup_ends_at_the_full_rate(void)
{
  tr_schedule s = {.kind = TR_SCHEDULE_COSINE, .warmup = 4, .total = 14};
  ASSERT_NEAR(tr__schedule_lr(&s, 1, 0), 0.25, 0);
  ASSERT_NEAR(tr__schedule_lr(&s, 1, 3), 1, 0);
  ASSERT_NEAR(tr__schedule_lr(&s, 1, 4), 1, 0);
  ASSERT_NEAR(tr__schedule_lr(&s, 1, 9), 0.5, 1e-15);
  ASSERT_NEAR(tr__schedule_lr(&s, 1, 14), 0, 1e-15);
  ASSERT_NEAR(tr__schedule_lr(&s, 1, 1000), 0, 1e-15);
}

static tr_context *ctx;
static tr_model *net;

static void open_model(void)
{
  ASSERT_OK(tr_context_create_auto(&(tr_context_opts){.threads = 1}, &ctx));
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, (tr_shape){1, {2}});
  tr_cross_entropy(net, tr_linear(net, x, &(tr_linear_opts){.out = 2}));
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 1}));
}

static void close_model(void)
{
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

typedef struct bad_sgd {
  tr_sgd_opts opts;
  const char *texts[2];
} bad_sgd;

static void test_sgd_refuses_bad_options(void)
{
  const bad_sgd bad[] = {
      {{.lr = 0}, {"sgd: lr is 0", "more than 0"}},
      {{.lr = -1}, {"lr is -1", "more than 0"}},
      {{.lr = NAN}, {"lr is nan", "more than 0"}},
      {{.lr = INFINITY}, {"lr is inf", "more than 0"}},
      {{.lr = 1, .momentum = -0.5}, {"momentum is -0.5", "at least 0"}},
      {{.lr = 1, .momentum = NAN}, {"momentum is nan", "at least 0"}},
      {{.lr = 1, .weight_decay = -1}, {"weight_decay is -1", "at least 0"}},
      {{.lr = 1, .schedule = {.warmup = -1}}, {"warmup is -1", "at least 0"}},
      {{.lr = 1, .schedule = {.kind = TR_SCHEDULE_COSINE}},
       {"total is 0", "more than the 0"}},
      {{.lr = 1,
        .schedule = {.kind = TR_SCHEDULE_COSINE, .warmup = 5, .total = 5}},
       {"total is 5", "more than the 5"}},
      {{.lr = 1, .schedule = {.kind = TR_SCHEDULE_STEP}},
       {"every is 0", "at least 1"}},
      {{.lr = 1,
        .schedule = {.kind = TR_SCHEDULE_STEP, .every = 1, .gamma = -1}},
       {"gamma -1", "at least 1"}},
      {{.lr = 1,
        .schedule = {.kind = TR_SCHEDULE_STEP, .every = 1, .gamma = INFINITY}},
       {"gamma inf", "at least 1"}},
      {{.lr = 1, .schedule = {.kind = (tr_schedule_kind)10}},
       {"kind is 10", "0 to 9"}},
      {{.lr = 1, .schedule = {.kind = TR_SCHEDULE_LINEAR}},
       {"total is 0", "more than the 0"}},
      {{.lr = 1, .schedule = {.kind = TR_SCHEDULE_ONE_CYCLE, .total = 3}},
       {"rise is 0.3 of 3 steps", "more than 1 step"}},
      {{.lr = 1, .schedule = {.kind = TR_SCHEDULE_MULTISTEP}},
       {"milestones[0] is 0", "at least 1"}},
      {{.lr = 1,
        .schedule = {.kind = TR_SCHEDULE_MULTISTEP, .milestones = {4, 4}}},
       {"milestones[1] is 4", "more than 4"}},
      {{.lr = 1, .schedule = {.kind = TR_SCHEDULE_PLATEAU, .gamma = 1}},
       {"gamma is 1", "less than 1"}},
      {{.lr = 1, .schedule = {.kind = TR_SCHEDULE_PLATEAU, .patience = -1}},
       {"patience is -1", "at least 0"}},
      {{.lr = 1, .schedule = {.kind = TR_SCHEDULE_CALLBACK}},
       {"rate is NULL", "NULL"}},
      {{.lr = 1, .schedule = {.end = NAN}}, {"end nan", "at least 0"}},
      {{.lr = 1, .momentum = 0.9, .dampening = 2},
       {"dampening is 2", "0 to 1"}},
      {{.lr = 1, .nesterov = 1}, {"nesterov with momentum 0", "more than 0"}},
      {{.lr = 1, .update = {.clip_norm = -1}}, {"clip_norm is -1", "at least"}},
      {{.lr = 1, .update = {.on_nonfinite = (tr_nonfinite)4}},
       {"on_nonfinite is 4", "0 to 3"}},
      {{.lr = 1,
        .update = {.groups = &(tr_param_group){.pattern = "*.biass"},
                   .num_groups = 1}},
       {"no trained parameter fits \"*.biass\"", "group 0"}},
      {{.lr = 1, .update = {.num_groups = 1}}, {"groups is NULL", "is 1"}},
  };
  open_model();
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    tr_optimizer *opt = (tr_optimizer *)&bad;
    ASSERT_FAILS(tr_sgd_create(net, &bad[i].opts, &opt), TR_EINVAL,
                 bad[i].texts[0]);
    ASSERT(strstr(tr_error_message(), bad[i].texts[1]) != NULL);
    ASSERT(opt == NULL);
  }
  close_model();
}

static void test_adam_refuses_bad_options(void)
{
  static const char *const texts[] = {"start from tr_adamw_defaults()",
                                      "betas are 0.9 and 1",
                                      "betas are -0.1",
                                      "betas are nan",
                                      "eps is -1",
                                      "eps is inf",
                                      "weight_decay is nan",
                                      "lr is 0"};
  open_model();
  for (int i = 0; i < 8; i++) {
    tr_adamw_opts opts = tr_adamw_defaults();
    double *const numbers[] = {&opts.beta1,        &opts.beta2, &opts.beta1,
                               &opts.beta1,        &opts.eps,   &opts.eps,
                               &opts.weight_decay, &opts.lr};
    const double values[] = {1, 1, -0.1, NAN, -1, INFINITY, NAN, 0};
    *numbers[i] = values[i];
    tr_optimizer *opt;
    ASSERT_FAILS(tr_adamw_create(net, &opts, &opt), TR_EINVAL, texts[i]);
    ASSERT(opt == NULL);
  }
  close_model();
}

static void test_defaults_are_those_of_pytorch(void)
{
  tr_adam_opts adam = tr_adam_defaults();
  tr_adamw_opts adamw = tr_adamw_defaults();
  ASSERT_NEAR(adam.lr, 1e-3, 0);
  ASSERT_NEAR(adam.beta1, 0.9, 0);
  ASSERT_NEAR(adam.beta2, 0.999, 0);
  ASSERT(adam.eps == 1e-8 && adam.weight_decay == 0);
  ASSERT_NEAR(adamw.weight_decay, 0.01, 0);
  ASSERT(adamw.eps == adam.eps && adamw.lr == adam.lr);
}

/* The rate after these metrics, ended by 0; patience 0. */
static double after(const double *metrics, int maximise)
{
  const tr_schedule s = {.kind = TR_SCHEDULE_PLATEAU,
                         .threshold = 0.1,
                         .gamma = 0.5,
                         .maximise = maximise};
  tr__plateau plateau = {.scale = 1};
  while (*metrics != 0) {
    tr__plateau_report(&s, &plateau, *metrics++);
  }
  return plateau.scale;
}

/* A tenth of the size of the best is what counts, whatever its sign. */
static void test_a_plateau_of_negative_metrics_has_its_bar_on_their_side(void)
{
  static const double rises[] = {-10, -9.5, 0}, falls[] = {-10, -10.5, 0},
                      falls_far[] = {-10, -11.5, 0},
                      rises_far[] = {-10, -8.5, 0};
  ASSERT_NEAR(after(rises, 0), 0.5, 0);
  ASSERT_NEAR(after(falls, 0), 0.5, 0);
  ASSERT_NEAR(after(falls_far, 0), 1, 0);
  ASSERT_NEAR(after(rises, 1), 0.5, 0);
  ASSERT_NEAR(after(falls, 1), 0.5, 0);
  ASSERT_NEAR(after(rises_far, 1), 1, 0);
}

static void test_an_infinite_metric_is_no_improvement(void)
{
  static const double first[] = {INFINITY, 5, 4, 0},
                      best[] = {-INFINITY, 5, 4, 0},
                      later[] = {5, -INFINITY, 4, 0},
                      only[] = {INFINITY, INFINITY, 0};
  ASSERT_NEAR(after(first, 0), 0.5, 0);
  ASSERT_NEAR(after(best, 0), 0.5, 0);
  ASSERT_NEAR(after(later, 0), 0.5, 0);
  ASSERT_NEAR(after(only, 0), 0.25, 0);
}

static double share(tr_schedule s, int64_t step)
{
  ASSERT_OK(tr__schedule_check(&s));
  return tr__schedule_lr(&s, 1, step);
}

static void test_tr_zero_is_no_default_of_a_schedule(void)
{
  const tr_schedule
      linear = {.kind = TR_SCHEDULE_LINEAR,
                .total = 10,
                .start = TR_ZERO,
                .end = 1},
      cycle = {.kind = TR_SCHEDULE_ONE_CYCLE,
               .total = 10,
               .start = TR_ZERO,
               .end = TR_ZERO},
      steps = {.kind = TR_SCHEDULE_STEP, .every = 3, .gamma = TR_ZERO},
      flat = {.kind = TR_SCHEDULE_POLYNOMIAL, .total = 10, .power = TR_ZERO},
      plateau = {.kind = TR_SCHEDULE_PLATEAU, .threshold = TR_ZERO};
  ASSERT_NEAR(share(linear, 0), 0, 0);
  ASSERT_NEAR(share(linear, 5), 0.5, 1e-15);
  ASSERT_NEAR(share(cycle, 0), 0, 0);
  ASSERT_NEAR(share(cycle, 20), 0, 0);
  ASSERT_NEAR(share(steps, 2), 1, 0);
  ASSERT_NEAR(share(steps, 3), 0, 0);
  ASSERT_NEAR(share(flat, 9), 1, 0);
  tr__plateau state = {.scale = 1};
  tr__plateau_report(&plateau, &state, 1);
  tr__plateau_report(&plateau, &state, 1 - 1e-9);
  ASSERT_NEAR(state.scale, 1, 0);
}

static void test_structs_of_zeros_name_their_defaults(void)
{
  tr_optimizer *opt;
  open_model();
  ASSERT_FAILS(tr_adam_create(net, &(tr_adam_opts){.lr = 1e-2}, &opt),
               TR_EINVAL, "use tr_adam_defaults()");
  ASSERT_FAILS(tr_adamw_create(net, &(tr_adamw_opts){.lr = 1e-2}, &opt),
               TR_EINVAL, "use tr_adamw_defaults()");
  ASSERT_FAILS(tr_rmsprop_create(net, &(tr_rmsprop_opts){.lr = 1e-2}, &opt),
               TR_EINVAL, "use tr_rmsprop_defaults()");
  ASSERT_FAILS(tr_adagrad_create(net, &(tr_adagrad_opts){.lr = 1e-2}, &opt),
               TR_EINVAL, "use tr_adagrad_defaults()");
  ASSERT_FAILS(
      tr_muon_create(net, &(tr_muon_opts){.lr = 1e-2, .adamw_lr = 1e-2}, &opt),
      TR_EINVAL, "use tr_muon_defaults()");
  close_model();
}

static const tr_test tests[] = {
    TEST(test_a_plateau_of_negative_metrics_has_its_bar_on_their_side),
    TEST(test_an_infinite_metric_is_no_improvement),
    TEST(test_tr_zero_is_no_default_of_a_schedule),
    TEST(test_structs_of_zeros_name_their_defaults),
    TEST(test_rates_follow_the_formulas),
    TEST(test_warmup_ends_at_the_full_rate),
    TEST(test_sgd_refuses_bad_options),
    TEST(test_adam_refuses_bad_options),
    TEST(test_defaults_are_those_of_pytorch),
};

TEST_MAIN(tests)
