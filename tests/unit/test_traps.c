/* Training in a host that traps IEEE exceptions: every layer and loss, every
 * optimizer and schedule, also at values that are large or alike. */
#include "backend/backend_table_impl.h"
#include "layer_helper.h"
#include "trap_helper.h"

#include "optim/optimizer_impl.h"

enum { NUM_CASES = 12, NUM_STEPS = 5 };

static const tr_dtype dtypes[] = {TR_F64, TR_F32, TR_BF16, TR_F16};

typedef void (*context_fn)(tr_context *ctx, const char *device, tr_dtype dtype);

/* The worker threads are created with the traps, as in a host. */
static void everywhere(context_fn fn)
{
  traps_on();
  for (int b = 0; tr__backend_table()[b] != NULL; b++) {
    for (int t = 0; t < 4; t++) {
      const char *device = tr__backend_table()[b]->name;
      tr_context *ctx = make_context(device, dtypes[t]);
      fn(ctx, device, dtypes[t]);
      tr_context_destroy(&ctx);
    }
  }
  traps_off();
}

/* Inputs as large as a value of every precision may be. */
static void enlarge(layer_case *c, double factor)
{
  for (int i = 0; i < c->num_inputs; i++) {
    tensor *t = &c->inputs[i];
    for (int64_t k = 0; k < t->count && !t->is_ids; k++) {
      t->values[k] *= factor;
    }
  }
}

static void run_case(tr_context *ctx, const tr__layer_type *type, int number)
{
  static const double sizes[] = {1, 1, 0, 100, 3e4};
  layer_case c;
  outcome out = {.count = 0};
  case_build(&c, ctx, type, number, number % 3);
  enlarge(&c, sizes[number % 5]);
  case_forward(&c);
  case_output(&c, &out);
  case_backward(&c);
  case_gradients(&c, &out);
  outcome_free(&out);
  case_free(&c);
}

static void run_layers(tr_context *ctx, const char *device, tr_dtype dtype)
{
  const tr__layer_type *const *table = tr__layer_table();
  for (int i = 0; table[i] != NULL; i++) {
    /* What overflows in 16 bits is no number in what follows. */
    bool is_wide = dtype == TR_F64 || dtype == TR_F32 || dtype == TR_BF16;
    int cases = table[i]->random_build != NULL ? NUM_CASES : 0;
    for (int k = 0; k < cases; k++) {
      if (is_wide || k % 5 < 3) {
        trap_name(device, dtype, table[i]->name);
        run_case(ctx, table[i], k);
      }
    }
  }
}

static void test_no_layer_traps(void)
{
  everywhere(run_layers);
}

/* One step of a small net with an optimizer. */
static void train(tr_model *net, tr_optimizer *opt, int step)
{
  double inputs[8] = {0.5, -1, 2, 0, 1, 3, -0.25, 1};
  float narrow[8];
  for (int i = 0; i < 8; i++) {
    inputs[i] *= 1 + 0.1 * step;
    narrow[i] = (float)inputs[i];
  }
  int32_t targets[2] = {0, 2};
  double loss;
  bool is_double = net->ctx->dtype == TR_F64;
  const void *x = is_double ? (const void *)inputs : narrow;
  ASSERT_OK(tr_model_forward(net, &(tr_batch){.count = 2,
                                              .global_count = 2,
                                              .inputs = {x},
                                              .targets = {targets}}));
  ASSERT_OK(tr_model_backward(net));
  ASSERT_OK(tr_model_allreduce_grads(net));
  ASSERT_OK(tr_model_loss(net, &loss));
  ASSERT_OK(tr_optimizer_step(opt));
}

static tr_model *small_net(tr_context *ctx)
{
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, (tr_shape){1, {4}});
  x = tr_relu(net, tr_linear(net, x, &(tr_linear_opts){.out = 5}));
  tr_cross_entropy(net, tr_linear(net, x, &(tr_linear_opts){.out = 3}));
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 2}));
  return net;
}

static void run_optimizers(tr_context *ctx, const char *device, tr_dtype dtype)
{
  const tr__optimizer_type *const *table = tr__optimizer_table();
  for (int i = 0; table[i] != NULL; i++) {
    for (int number = 0; number < NUM_CASES; number++) {
      tr_optimizer *opt;
      tr_model *net = small_net(ctx);
      const tr__random random = case_random(number, 0);
      tr_update_opts update = {.clip_norm = number % 2 == 0 ? 0 : 0.5};
      trap_name(device, dtype, table[i]->name);
      ASSERT_OK(table[i]->random_create(net, &random, &update, &opt));
      for (int step = 0; step < NUM_STEPS; step++) {
        train(net, opt, step);
      }
      tr_optimizer_destroy(&opt);
      tr_model_destroy(&net);
    }
  }
}

static void test_no_optimizer_traps(void)
{
  everywhere(run_optimizers);
}

static void steps_of(tr_model *net, tr_optimizer *opt)
{
  for (int step = 0; step < NUM_STEPS; step++) {
    train(net, opt, step);
  }
  tr_optimizer_destroy(&opt);
  tr_model_destroy(&net);
}

/* The padding between parameters has no gradient. */
static void run_without_eps(tr_context *ctx, const char *device, tr_dtype dtype)
{
  tr_optimizer *opt;
  tr_adam_opts adam = tr_adam_defaults();
  tr_rmsprop_opts rmsprop = tr_rmsprop_defaults();
  tr_adagrad_opts adagrad = tr_adagrad_defaults();
  adam.lr = rmsprop.lr = adagrad.lr = 0.01;
  adam.eps = rmsprop.eps = adagrad.eps = 0;
  adagrad.first_sum = 0.1;
  tr_model *net = small_net(ctx);
  trap_name(device, dtype, "adam with eps 0");
  ASSERT_OK(tr_adam_create(net, &adam, &opt));
  steps_of(net, opt);
  net = small_net(ctx);
  trap_name(device, dtype, "rmsprop with eps 0");
  ASSERT_OK(tr_rmsprop_create(net, &rmsprop, &opt));
  steps_of(net, opt);
  net = small_net(ctx);
  trap_name(device, dtype, "adagrad with eps 0");
  ASSERT_OK(tr_adagrad_create(net, &adagrad, &opt));
  steps_of(net, opt);
}

static void test_an_eps_of_0_divides_no_padding_by_0(void)
{
  everywhere(run_without_eps);
}

static double half(void *user, int64_t step)
{
  (void)user;
  (void)step;
  return 0.5;
}

static void run_schedules(tr_context *ctx, const char *device, tr_dtype dtype)
{
  for (int kind = TR_SCHEDULE_CONSTANT; kind <= TR_SCHEDULE_CALLBACK; kind++) {
    for (int number = 0; number < 2; number++) {
      tr_optimizer *opt;
      tr_model *net = small_net(ctx);
      bool wants_total =
          kind == TR_SCHEDULE_COSINE || kind == TR_SCHEDULE_LINEAR ||
          kind == TR_SCHEDULE_POLYNOMIAL || kind == TR_SCHEDULE_ONE_CYCLE;
      tr_sgd_opts sgd = {.lr = 0.1,
                         .schedule = {.kind = (tr_schedule_kind)kind,
                                      .warmup = 2 * number,
                                      .total = wants_total ? 8 : 0,
                                      .every = 1,
                                      .milestones = {1, 2},
                                      .rate = half}};
      snprintf(trap_subject, sizeof trap_subject, "schedule %d, %s, type %d",
               kind, device, (int)dtype);
      ASSERT_OK(tr_sgd_create(net, &sgd, &opt));
      /* Beyond the end, too. */
      for (int step = 0; step < 10; step++) {
        train(net, opt, step);
      }
      tr_optimizer_destroy(&opt);
      tr_model_destroy(&net);
    }
  }
}

static void test_no_schedule_traps(void)
{
  everywhere(run_schedules);
}

/* Several blocks of keys and queries, of which a causal head does not see
 * some. */
static void run_attention(tr_context *ctx, const char *device, tr_dtype dtype)
{
  for (int causal = 0; causal < 2; causal++) {
    tr_model *net;
    ASSERT_OK(tr_model_create(ctx, &net));
    tr_node x = tr_input(net, (tr_shape){2, {300, 24}});
    x = tr_attention(net, x,
                     &(tr_attention_opts){.heads = 2, .causal = causal});
    net->wants_input_gradients = true;
    ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 1}));
    int64_t count = 300 * 24;
    tensor t = {.count = count,
                .values = malloc((size_t)count * sizeof(double))};
    for (int64_t i = 0; i < count; i++) {
      t.values[i] = (double)(i * 7919 % 1000) / 100 - 5;
    }
    void *values = narrowed(ctx, &t);
    trap_name(device, dtype, "long attention");
    ASSERT_OK(tr_model_forward(
        net, &(tr_batch){.count = 1, .global_count = 1, .inputs = {values}}));
    ASSERT_OK(tr__model_backward_from(net, values));
    ASSERT_OK(tr__model_get_node_gradient(net, 0, t.values));
    free(values);
    free_tensor(&t);
    tr_model_destroy(&net);
  }
}

static void test_long_attention_does_not_trap(void)
{
  everywhere(run_attention);
}

static const tr_test tests[] = {
    TEST(test_no_layer_traps),
    TEST(test_no_optimizer_traps),
    TEST(test_an_eps_of_0_divides_no_padding_by_0),
    TEST(test_no_schedule_traps),
    TEST(test_long_attention_does_not_trap),
};
TEST_MAIN(tests)
