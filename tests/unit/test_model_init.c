/* Initialisers: the formulas of torch.nn.init, and values that follow them. */
#include "layer_helper.h"

/* torch.nn.init of PyTorch 2.15: the standard deviation of kaiming_normal_ for
 * each nonlinearity, fan_in and fan_out, and of xavier_normal_ with gain 1.7.
 */
static const struct {
  tr_shape shape;
  double leaky[2], leaky5[2], tanh[2], sigmoid[2], selu[2], xavier;
} torch[] = {
    {{2, {300, 200}},
     {0.1, 0.0816496580927726},
     {0.0408248290463863, 0.033333333333333326},
     {0.11785113019775792, 0.09622504486493762},
     {0.07071067811865475, 0.05773502691896257},
     {0.053033008588991064, 0.043301270189221926},
     0.1075174404457249},
    {{4, {40, 30, 3, 3}},
     {0.08606629658238706, 0.07453559924999299},
     {0.03513641844631533, 0.030429030972509225},
     {0.10143010324169743, 0.08784104611578832},
     {0.06085806194501846, 0.05270462766947299},
     {0.045643546458763846, 0.03952847075210474},
     0.09578414886923188},
    {{3, {7, 5, 2}},
     {0.4472135954999579, 0.37796447300922725},
     {0.18257418583505536, 0.1543033499620919},
     {0.5270462766947299, 0.445435403187374},
     {0.31622776601683794, 0.2672612419124244},
     {0.23717082451262844, 0.2004459314343183},
     0.49074772881118184},
};

static void check_kaiming(const tr_shape *shape,
                          const char *nonlinearity,
                          double slope,
                          const double expected[2])
{
  static const char *const modes[] = {NULL, "fan_out"};
  for (int i = 0; i < 2; i++) {
    tr_init_opts opts = {.kind = "kaiming_normal",
                         .mode = modes[i],
                         .nonlinearity = nonlinearity,
                         .slope = slope};
    tr__init init;
    ASSERT_OK(tr__init_of(&opts, "w", shape, &init));
    ASSERT_EQ(init.kind, TR__INIT_NORMAL);
    ASSERT_NEAR(init.b / expected[i], 1, 1e-14);
    opts.kind = "kaiming_uniform";
    ASSERT_OK(tr__init_of(&opts, "w", shape, &init));
    ASSERT_EQ(init.kind, TR__INIT_UNIFORM);
    ASSERT_NEAR(init.b / expected[i], sqrt(3), 1e-14);
    ASSERT(init.a == -init.b);
  }
}

static void test_scales_are_those_of_pytorch(void)
{
  for (int i = 0; i < 3; i++) {
    const tr_shape *shape = &torch[i].shape;
    check_kaiming(shape, NULL, 0, torch[i].leaky);
    check_kaiming(shape, "leaky_relu", sqrt(5), torch[i].leaky5);
    check_kaiming(shape, "relu", 0.3, torch[i].leaky);
    check_kaiming(shape, "tanh", 0, torch[i].tanh);
    check_kaiming(shape, "sigmoid", 0, torch[i].sigmoid);
    check_kaiming(shape, "linear", 0, torch[i].sigmoid);
    check_kaiming(shape, "selu", 0, torch[i].selu);
    tr__init init;
    tr_init_opts opts = {.kind = "xavier_normal", .gain = 1.7};
    ASSERT_OK(tr__init_of(&opts, "w", shape, &init));
    ASSERT_NEAR(init.b / torch[i].xavier, 1, 1e-14);
    opts.kind = "xavier_uniform";
    ASSERT_OK(tr__init_of(&opts, "w", shape, &init));
    ASSERT_NEAR(init.b / torch[i].xavier, sqrt(3), 1e-14);
  }
}

/* The values of an initialiser; freed by the caller. */
static double *draw(const tr_init_opts *opts, const tr_shape *shape)
{
  const tr__random random = case_random(0, 9);
  tr__init init;
  double *values = malloc((size_t)tr_shape_count(shape) * sizeof *values);
  ASSERT_OK(tr__init_of(opts, "w", shape, &init));
  ASSERT_OK(tr__init_fill(&init, shape, &random, values));
  return values;
}

static double normal_density(double x)
{
  return exp(-x * x / 2) / sqrt(2 * acos(-1));
}

static double normal_share(double x)
{
  return 0.5 * erfc(-x / sqrt(2));
}

/* What is known of a distribution: its ends, mean, standard deviation. */
typedef struct moments {
  double low, high, mean, std;
} moments;

/* Within six standard errors; a normal variable's fourth moment is the
 * largest of those here. */
static void check_moments(const tr_init_opts *opts, moments expected)
{
  const tr_shape shape = {2, {300, 200}};
  int64_t count = tr_shape_count(&shape);
  double *values = draw(opts, &shape);
  double sum = 0, square = 0, least = INFINITY, most = -INFINITY;
  for (int64_t i = 0; i < count; i++) {
    ASSERT(values[i] >= expected.low && values[i] <= expected.high);
    double from_mean = values[i] - expected.mean;
    sum += from_mean;
    square += from_mean * from_mean;
    least = fmin(least, values[i]);
    most = fmax(most, values[i]);
  }
  double error = 1 / sqrt((double)count);
  ASSERT_NEAR(sum / (double)count / expected.std, 0, 6 * error);
  ASSERT_NEAR(square / (double)count / (expected.std * expected.std), 1,
              6 * sqrt(2) * error);
  /* It reaches to its ends. */
  double reach = expected.high - expected.low;
  if (isfinite(reach)) {
    ASSERT(least < expected.low + 0.01 * reach);
    ASSERT(most > expected.high - 0.01 * reach);
  } else {
    ASSERT(most > expected.mean + 3.5 * expected.std);
    ASSERT(least < expected.mean - 3.5 * expected.std);
  }
  free(values);
}

static moments uniform_moments(double low, double high)
{
  return (moments){low, high, (low + high) / 2, (high - low) / sqrt(12)};
}

static moments normal_moments(double mean, double std)
{
  return (moments){-INFINITY, INFINITY, mean, std};
}

/* Source: the truncated normal distribution, Johnson et al. 1994, sec. 10.1 */
static moments trunc_moments(double mean, double std, double low, double high)
{
  double a = (low - mean) / std, b = (high - mean) / std;
  double whole = normal_share(b) - normal_share(a);
  double shift = (normal_density(a) - normal_density(b)) / whole;
  double variance = 1 +
                    (a * normal_density(a) - b * normal_density(b)) / whole -
                    shift * shift;
  return (moments){low, high, mean + std * shift, std * sqrt(variance)};
}

static void test_values_have_the_distribution_that_was_asked_for(void)
{
  double leaky = torch[0].leaky[0], xavier = torch[0].xavier;
  check_moments(&(tr_init_opts){.kind = "kaiming_uniform"},
                uniform_moments(-sqrt(3) * leaky, sqrt(3) * leaky));
  check_moments(&(tr_init_opts){.kind = "kaiming_normal"},
                normal_moments(0, leaky));
  check_moments(&(tr_init_opts){.kind = "xavier_uniform", .gain = 1.7},
                uniform_moments(-sqrt(3) * xavier, sqrt(3) * xavier));
  check_moments(&(tr_init_opts){.kind = "xavier_normal", .gain = 1.7},
                normal_moments(0, xavier));
  check_moments(&(tr_init_opts){.kind = "uniform"}, uniform_moments(0, 1));
  check_moments(&(tr_init_opts){.kind = "uniform", .low = -3, .high = -1},
                uniform_moments(-3, -1));
  check_moments(&(tr_init_opts){.kind = "normal"}, normal_moments(0, 1));
  check_moments(&(tr_init_opts){.kind = "normal", .mean = 4, .std = 0.02},
                normal_moments(4, 0.02));
  check_moments(&(tr_init_opts){.kind = "trunc_normal"},
                trunc_moments(0, 1, -2, 2));
  check_moments(&(tr_init_opts){.kind = "trunc_normal",
                                .mean = 0.5,
                                .std = 2,
                                .low = -1,
                                .high = 1.5},
                trunc_moments(0.5, 2, -1, 1.5));
}

static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Kolmogorov-Smirnov: the largest distance of the distributions stays below
 * what one sample in 10^7 exceeds. */
static void test_a_truncated_normal_follows_its_distribution(void)
{
  const tr_shape shape = {2, {100, 200}};
  const double bounds[][2] = {{-2, 2}, {-0.5, 3}, {1, 4}, {-6, 6}};
  int64_t count = tr_shape_count(&shape);
  for (int k = 0; k < 4; k++) {
    double low = bounds[k][0], high = bounds[k][1];
    double *values =
        draw(&(tr_init_opts){.kind = "trunc_normal", .low = low, .high = high},
             &shape);
    qsort(values, (size_t)count, sizeof *values, ascending);
    double begin = normal_share(low), whole = normal_share(high) - begin;
    for (int64_t i = 0; i < count; i++) {
      double share = (normal_share(values[i]) - begin) / whole;
      ASSERT_NEAR(share, ((double)i + 0.5) / (double)count,
                  2.9 / sqrt((double)count));
    }
    free(values);
  }
}

static void test_orthogonal_rows_or_columns_are_orthonormal(void)
{
  const tr_shape shapes[] = {{2, {30, 50}},  {2, {50, 30}}, {2, {20, 20}},
                             {2, {1, 7}},    {2, {7, 1}},   {4, {6, 2, 3, 3}},
                             {3, {40, 3, 4}}};
  for (int k = 0; k < 7; k++) {
    double *w =
        draw(&(tr_init_opts){.kind = "orthogonal", .gain = 1.5}, &shapes[k]);
    int64_t rows = shapes[k].dims[0];
    int64_t columns = tr_shape_count(&shapes[k]) / rows;
    bool is_wide = rows <= columns;
    int64_t num = is_wide ? rows : columns, length = is_wide ? columns : rows;
    for (int64_t i = 0; i < num; i++) {
      for (int64_t j = 0; j <= i; j++) {
        double sum = 0;
        for (int64_t d = 0; d < length; d++) {
          sum += is_wide ? w[i * columns + d] * w[j * columns + d]
                         : w[d * columns + i] * w[d * columns + j];
        }
        ASSERT_NEAR(sum, i == j ? 2.25 : 0, 1e-13);
      }
    }
    free(w);
  }
}

static tr_model *make_net(tr_context *ctx)
{
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, tr_shape_of(3, (int64_t[]){2, 6, 6}));
  x = tr_conv2d(net, x,
                &(tr_conv2d_opts){.out = 3, .kernel = 3, .name = "conv"});
  x = tr_linear(net, tr_flatten(net, x),
                &(tr_linear_opts){.out = 4, .name = "fc"});
  tr_cross_entropy(net, x);
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 2}));
  return net;
}

/* The default of linear and convolution layers is this one. */
static void check_model(const char *device, tr_dtype dtype)
{
  tr_context *ctx = make_context(device, dtype);
  tr_model *net = make_net(ctx);
  tensor before = {.count = 3 * 2 * 9}, after = before;
  before.values = calloc(3 * 2 * 9, sizeof(double));
  after.values = calloc(3 * 2 * 9, sizeof(double));
  ASSERT_OK(tr_model_get_param(net, "conv.weight", before.values));
  ASSERT_OK(tr_model_init_param(
      net, "*.weight",
      &(tr_init_opts){.kind = "kaiming_uniform", .slope = sqrt(5)}));
  ASSERT_OK(tr_model_init_param(
      net, "*.bias", &(tr_init_opts){.kind = "constant", .value = 0.25}));
  ASSERT_OK(tr_model_get_param(net, "conv.weight", after.values));
  widen(ctx, &before);
  widen(ctx, &after);
  ASSERT_TENSOR_NEAR("default values", TR_F64, after.values, before.values,
                     before.count, 1e-6);
  ASSERT_OK(tr_model_get_param(net, "fc.bias", after.values));
  after.count = 4;
  widen(ctx, &after);
  for (int i = 0; i < 4; i++) {
    ASSERT_NEAR(after.values[i], 0.25, 0);
  }
  free_tensor(&before);
  free_tensor(&after);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static void test_a_models_parameters_are_set_by_pattern(void)
{
  check_model("cpu", TR_F32);
  check_model("reference", TR_F64);
  check_model("strict", TR_F32);
}

static void test_impossible_initialisers_are_refused(void)
{
  tr_context *ctx = make_context("cpu", TR_F32);
  tr_model *net = make_net(ctx);
  uint64_t before, after;
  ASSERT_OK(tr_model_params_hash(net, &before));
  const struct {
    const char *pattern;
    tr_init_opts opts;
    tr_status status;
    const char *text;
  } bad[] = {
      {"*", {.kind = "kaiming_normal"}, TR_ESHAPE, "fc.bias has extents (4)"},
      {"*", {.kind = "orthogonal"}, TR_ESHAPE, "needs at least two"},
      {"bn*", {.kind = "ones"}, TR_EINVAL, "no parameter matches \"bn*\""},
      {"*", {.kind = NULL}, TR_EINVAL, "kind is \"(null)\""},
      {"*", {.kind = "he"}, TR_EINVAL, "expected kaiming_uniform"},
      {"*", {.kind = "normal", .std = -1}, TR_EINVAL, "std is -1"},
      {"*", {.kind = "uniform", .low = 2, .high = 1}, TR_EINVAL, "low < high"},
      {"*", {.kind = "constant", .value = NAN}, TR_EINVAL, "finite"},
      {"*.weight",
       {.kind = "kaiming_normal", .mode = "fan"},
       TR_EINVAL,
       "mode is \"fan\""},
      {"*.weight",
       {.kind = "kaiming_normal", .nonlinearity = "gelu"},
       TR_EINVAL,
       "nonlinearity is \"gelu\""},
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    ASSERT_FAILS(tr_model_init_param(net, bad[i].pattern, &bad[i].opts),
                 bad[i].status, bad[i].text);
  }
  ASSERT_OK(tr_model_params_hash(net, &after));
  ASSERT(before == after);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static const tr_test tests[] = {
    TEST(test_scales_are_those_of_pytorch),
    TEST(test_values_have_the_distribution_that_was_asked_for),
    TEST(test_a_truncated_normal_follows_its_distribution),
    TEST(test_orthogonal_rows_or_columns_are_orthonormal),
    TEST(test_a_models_parameters_are_set_by_pattern),
    TEST(test_impossible_initialisers_are_refused),
};

TEST_MAIN(tests)
