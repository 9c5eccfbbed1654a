/* Samples of weight 0 are left out of losses, metrics and gradients, whatever
 * they hold. */
#include "layer_helper.h"

enum { ROWS = 6, INPUTS = 3, CLASSES = 4, TOKENS = 2, MOST = 64 };

/* What a step gives. */
typedef struct result {
  double loss, accuracy, weight_grad[MOST];
} result;

/* A model and the arrays of a batch for it. */
typedef struct sample_set {
  const char *what;
  tr_node (*loss)(tr_model *net, tr_node x);
  int out;       /* of the linear layer */
  bool is_class; /* targets are classes */
} sample_set;

static tr_node plain(tr_model *net, tr_node x)
{
  return tr_cross_entropy(net, x);
}

static const double class_weights[CLASSES] = {1, 0, 2, 0.5};

static tr_node smoothed(tr_model *net, tr_node x)
{
  return tr_cross_entropy_with(
      net, x,
      &(tr_cross_entropy_opts){.label_smoothing = 0.1,
                               .ignores = 1,
                               .ignore_index = -100,
                               .class_weights = class_weights,
                               .num_class_weights = CLASSES});
}

/* Where the class that samples of weight 0 get is the ignored one. */
static tr_node ignoring_zero(tr_model *net, tr_node x)
{
  return tr_cross_entropy_with(net, x, &(tr_cross_entropy_opts){.ignores = 1});
}

static tr_node mse(tr_model *net, tr_node x)
{
  return tr_mse(net, x, NULL);
}

static tr_node mae(tr_model *net, tr_node x)
{
  return tr_mae(net, x, NULL);
}

static tr_node huber(tr_model *net, tr_node x)
{
  return tr_huber(net, x, NULL);
}

static tr_node bce(tr_model *net, tr_node x)
{
  return tr_bce_with_logits(net, x, NULL);
}

static tr_node sequence(tr_model *net, tr_node x)
{
  x = tr_reshape(net, x, (tr_shape){2, {TOKENS, CLASSES}});
  return tr_cross_entropy(net, x);
}

static const sample_set sets[] = {
    {"cross-entropy", plain, CLASSES, true},
    {"rules", smoothed, CLASSES, true},
    {"ignoring 0", ignoring_zero, CLASSES, true},
    {"mse", mse, 2, false},
    {"mae", mae, 2, false},
    {"huber", huber, 2, false},
    {"bce", bce, 2, false},
    {"sequence", sequence, TOKENS *CLASSES, true},
};
enum { NUM_SETS = sizeof sets / sizeof sets[0] };

/* Arrays in a context's type. */
typedef struct arrays {
  double x[ROWS * INPUTS], t[ROWS * 2], w[ROWS];
  int32_t classes[ROWS * TOKENS];
} arrays;

static arrays make_arrays(void)
{
  static const double weights[ROWS] = {1, 0, 2, 0, 0.5, 1};
  arrays a;
  const tr__random random = case_random(0, 5);
  tr__random_fill(&random, 0, 1, ROWS * INPUTS, a.x);
  tr__random_fill(&random, 0, 1, ROWS * 2, a.t);
  memcpy(a.w, weights, sizeof a.w);
  for (int i = 0; i < ROWS * TOKENS; i++) {
    a.classes[i] = (int32_t)(tr__random_u32(&random, 100 + i) % CLASSES);
  }
  return a;
}

/* The same, but what is left out holds what no sum may meet; so many classes
 * belong to a sample. */
static arrays spoiled(const arrays *from, int classes)
{
  arrays a = *from;
  static const double values[] = {NAN, INFINITY, 1e38};
  for (int i = 0; i < ROWS; i++) {
    for (int k = 0; k < classes && a.w[i] == 0; k++) {
      a.classes[i * classes + k] = k == 0 ? 1 << 30 : -7;
    }
    for (int k = 0; k < 2 && a.w[i] == 0; k++) {
      a.t[i * 2 + k] = values[(i + k) % 3];
    }
  }
  return a;
}

static void narrow(tr_dtype dtype, double *values, int count)
{
  for (int i = 0; i < count && dtype != TR_F64; i++) {
    float value = (float)values[i];
    memcpy((char *)values + (size_t)i * sizeof value, &value, sizeof value);
  }
}

static double number(tr_dtype dtype, const void *values, int i)
{
  return dtype == TR_F64 ? ((const double *)values)[i]
                         : (double)((const float *)values)[i];
}

static void
get_grad(tr_context *ctx, tr_model *net, const char *name, result *r)
{
  double raw[MOST];
  ASSERT_OK(tr_model_get_grad(net, name, raw));
  for (int i = 0; i < MOST; i++) {
    r->weight_grad[i] = 0;
  }
  for (int i = 0; i < INPUTS; i++) {
    r->weight_grad[i] = number(ctx->dtype, raw, i);
  }
}

static tr_model *make_net(tr_context *ctx, const sample_set *set)
{
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, (tr_shape){1, {INPUTS}});
  x = tr_linear(net, x, &(tr_linear_opts){.out = set->out, .name = "fc"});
  set->loss(net, x);
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = ROWS}));
  return net;
}

static result step(tr_context *ctx, const sample_set *set, arrays a)
{
  result r;
  tr_model *net = make_net(ctx, set);
  narrow(ctx->dtype, a.x, ROWS * INPUTS);
  narrow(ctx->dtype, a.t, ROWS * 2);
  narrow(ctx->dtype, a.w, ROWS);
  tr_batch batch = {.count = ROWS,
                    .global_count = ROWS,
                    .inputs = {a.x},
                    .targets = {set->is_class ? (void *)a.classes : a.t},
                    .weights = a.w};
  batch.target_values[0] = !set->is_class ? 0 : set->out / CLASSES;
  ASSERT_OK(tr_model_forward(net, &batch));
  ASSERT_OK(tr_model_backward(net));
  ASSERT_OK(tr_model_allreduce_grads(net));
  ASSERT_OK(tr_model_loss(net, &r.loss));
  ASSERT_OK(tr_model_accuracy(net, &r.accuracy));
  get_grad(ctx, net, "fc.weight", &r);
  tr_model_destroy(&net);
  return r;
}

static void
assert_same(const char *what, const result *got, const result *expected)
{
  if (memcmp(&got->loss, &expected->loss, 2 * sizeof(double)) != 0 ||
      !isfinite(got->loss) || got->loss == 0) {
    test_fail(__FILE__, __LINE__,
              "%s: loss %.17g accuracy %g, expected %.17g %g", what, got->loss,
              got->accuracy, expected->loss, expected->accuracy);
  }
  ASSERT_TENSOR_NEAR(what, TR_F64, got->weight_grad, expected->weight_grad,
                     MOST, 0);
}

typedef void (*with_context)(tr_context *ctx);

static void on_all_devices(with_context run)
{
  static const char *const devices[] = {"reference", "cpu", "strict"};
  static const tr_dtype dtypes[] = {TR_F64, TR_F32, TR_BF16, TR_F16};
  for (int i = 0; i < 12; i++) {
    tr_context *ctx = make_context(devices[i / 4], dtypes[i % 4]);
    run(ctx);
    tr_context_destroy(&ctx);
  }
}

static void spoil_targets(tr_context *ctx)
{
  const arrays good = make_arrays();
  for (int i = 0; i < NUM_SETS; i++) {
    const arrays bad = spoiled(&good, tr__max(1, sets[i].out / CLASSES));
    const result expected = step(ctx, &sets[i], good);
    const result got = step(ctx, &sets[i], bad);
    assert_same(sets[i].what, &got, &expected);
  }
}

static void test_no_target_of_weight_0_reaches_loss_or_gradient(void)
{
  on_all_devices(spoil_targets);
}

static void spoil_inputs(tr_context *ctx)
{
  arrays good = make_arrays();
  for (int i = 0; i < ROWS * INPUTS; i++) {
    good.x[i] = good.w[i / INPUTS] == 0 && i % INPUTS < 2 ? 0 : good.x[i];
  }
  arrays bad = good;
  for (int i = 0; i < ROWS * INPUTS; i++) {
    if (bad.w[i / INPUTS] == 0 && i % INPUTS < 2) {
      bad.x[i] = i % 2 ? NAN : -INFINITY;
    }
  }
  for (int i = 0; i < NUM_SETS; i++) {
    const result expected = step(ctx, &sets[i], good);
    const result got = step(ctx, &sets[i], bad);
    assert_same(sets[i].what, &got, &expected);
  }
}

static void test_inputs_of_weight_0_that_are_not_finite_are_zeros(void)
{
  on_all_devices(spoil_inputs);
}

/* A number that layers in 16 bits cannot hold is not finite there. */
static void test_inputs_of_weight_0_beyond_half_are_zeros(void)
{
  tr_context *ctx = make_context("cpu", TR_F16);
  arrays good = make_arrays(), bad;
  for (int k = 0; k < INPUTS; k++) {
    good.x[INPUTS + k] = 0;
  }
  bad = good;
  bad.x[INPUTS] = 1e5;
  const result expected = step(ctx, &sets[0], good);
  const result got = step(ctx, &sets[0], bad);
  assert_same("float16", &got, &expected);
  tr_context_destroy(&ctx);
}

/* Two inputs, one of them ids, and two losses. */
static result step_two(tr_context *ctx, const int32_t *ids, arrays a)
{
  result r;
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, (tr_shape){1, {INPUTS}});
  tr_node e = tr_input_ids(net, (tr_shape){1, {1}});
  e = tr_embedding(net, e, &(tr_embedding_opts){.num = 5, .out = INPUTS});
  x = tr_add(net, x, tr_reshape(net, e, (tr_shape){1, {INPUTS}}));
  tr_node y = tr_linear(net, x, &(tr_linear_opts){.out = 2, .name = "fc"});
  tr_mse(net, y, &(tr_loss_opts){.weight = 0.5});
  tr_cross_entropy(
      net, tr_linear(net, x, &(tr_linear_opts){.out = CLASSES, .name = "c"}));
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = ROWS}));
  narrow(ctx->dtype, a.x, ROWS * INPUTS);
  narrow(ctx->dtype, a.t, ROWS * 2);
  narrow(ctx->dtype, a.w, ROWS);
  int32_t classes[ROWS];
  for (int i = 0; i < ROWS; i++) {
    classes[i] = a.classes[i * TOKENS];
  }
  tr_batch batch = {.count = ROWS,
                    .global_count = ROWS,
                    .inputs = {a.x, ids},
                    .targets = {a.t, classes},
                    .weights = a.w};
  ASSERT_OK(tr_model_forward(net, &batch));
  ASSERT_OK(tr_model_backward(net));
  ASSERT_OK(tr_model_allreduce_grads(net));
  ASSERT_OK(tr_model_loss(net, &r.loss));
  r.accuracy = 0;
  get_grad(ctx, net, "embedding_1.weight", &r);
  tr_model_destroy(&net);
  return r;
}

static void spoil_two(tr_context *ctx)
{
  static const int32_t good_ids[ROWS] = {4, 0, 3, 0, 1, 0};
  static const int32_t bad_ids[ROWS] = {4, -1, 3, 5, 1, 0};
  const arrays good = make_arrays(), bad = spoiled(&good, TOKENS);
  const result expected = step_two(ctx, good_ids, good);
  const result got = step_two(ctx, bad_ids, bad);
  assert_same("two losses", &got, &expected);
}

static void test_ids_of_weight_0_name_any_row(void)
{
  on_all_devices(spoil_two);
}

/* Finite inputs of a sample of weight 0 stay, for statistics count it. */
static double running_mean(tr_context *ctx, const double *weights, double x1)
{
  tr_model *net;
  double x[2] = {1, x1}, t[2] = {0, NAN}, mean;
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node y = tr_batchnorm(net, tr_input(net, (tr_shape){1, {1}}),
                           &(tr_batchnorm_opts){.momentum = 1, .name = "bn"});
  tr_mse(net, y, NULL);
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 2}));
  const tr_batch batch = {.count = 2,
                          .global_count = 2,
                          .inputs = {x},
                          .targets = {t},
                          .weights = weights};
  ASSERT_OK(tr_model_forward(net, &batch));
  ASSERT_OK(tr_model_get_param(net, "bn.running_mean", &mean));
  tr_model_destroy(&net);
  return mean;
}

static void test_statistics_count_samples_of_weight_0(void)
{
  static const double weights[] = {1, 0};
  tr_context *ctx = make_context("cpu", TR_F64);
  ASSERT_NEAR(running_mean(ctx, weights, 5), 3, 1e-15);
  ASSERT_NEAR(running_mean(ctx, weights, NAN), 0.5, 1e-15);
  tr_context_destroy(&ctx);
}

/* Without weights every sample counts, and a NaN is one. */
static void test_without_weights_nothing_is_left_out(void)
{
  static const double ones[] = {1, 1};
  tr_context *ctx = make_context("cpu", TR_F64);
  ASSERT(isnan(running_mean(ctx, NULL, NAN)) ||
         running_mean(ctx, NULL, NAN) == 0);
  ASSERT_NEAR(running_mean(ctx, ones, NAN), running_mean(ctx, NULL, NAN), 0);
  tr_context_destroy(&ctx);
}

static const tr_test tests[] = {
    TEST(test_no_target_of_weight_0_reaches_loss_or_gradient),
    TEST(test_inputs_of_weight_0_that_are_not_finite_are_zeros),
    TEST(test_inputs_of_weight_0_beyond_half_are_zeros),
    TEST(test_ids_of_weight_0_name_any_row),
    TEST(test_statistics_count_samples_of_weight_0),
    TEST(test_without_weights_nothing_is_left_out),
};
TEST_MAIN(tests)
