/* First parameters have PyTorch's distribution: the library's own are uniform
 * in
 * +-1/sqrt(fan_in), weights and biases alike; those of ResNets are normal with
 * deviation sqrt(2 / fan_out), as torchvision's. */
#include "golden.h"
#include "models.h"

/* Of n uniform numbers the sums of values and squares stay within this many
 * standard deviations; with these tests' few dozen tensors a right generator
 * fails once in a million seeds, and the seeds are fixed. */
#define DEVIATIONS 6.0

static void check_moments(const char *name,
                          const float *values,
                          int64_t count,
                          double bound)
{
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < count; i++) {
    double value = values[i] / bound;
    ASSERT(fabs(value) <= 1 + 1e-6);
    sum += value;
    squares += value * value;
  }
  double n = (double)count;
  /* Variances of u and u^2 for u uniform in [-1, 1]. */
  double sum_deviation = sqrt(n / 3), squares_deviation = sqrt(n * 4 / 45);
  if (fabs(sum) > DEVIATIONS * sum_deviation ||
      fabs(squares - n / 3) > DEVIATIONS * squares_deviation) {
    test_fail(__FILE__, __LINE__,
              "%s: %lld values over their bound have the sum %g (0 +- %g) and "
              "the squares' sum %g (%g +- %g)",
              name, (long long)count, sum, sum_deviation, squares, n / 3,
              squares_deviation);
  }
}

static void check_init(const char *run, uint64_t seed)
{
  recording *rec = recording_open(run);
  tr_context *ctx;
  tr_context_opts ctx_opts = {.seed = seed, .threads = 1};
  ASSERT_OK(tr_context_create_auto(&ctx_opts, &ctx));
  golden_net net;
  golden_net_opts opts = {
      .text = recording_text(rec, "net"), .rows = 1, .own_init = 1};
  golden_net_create(ctx, &opts, &net);
  ASSERT(net.num_params > 0);
  for (int i = 0; i < net.num_params; i++) {
    const struct golden_param *param = &net.params[i];
    float *values = calloc((size_t)param->count, sizeof *values);
    ASSERT(values != NULL);
    ASSERT_OK(tr_model_get_param(net.model, param->name, values));
    check_moments(param->name, values, param->count,
                  golden_bound(&net, param->name));
    free(values);
  }
  golden_net_destroy(&net);
  tr_context_destroy(&ctx);
  recording_close(&rec);
}

static void test_mlp_starts_from_pytorchs_distribution(void)
{
  check_init("mlp", 0);
  check_init("mlp", test_seed());
}

static void test_convnet_starts_from_pytorchs_distribution(void)
{
  check_init("convnet28", 0);
  check_init("convnet28", test_seed());
}

/* A normal distribution's mean and variance, and its share beyond sqrt(3)
 * deviations, where the uniform one of the same variance has nothing. */
static void check_normal(const char *name,
                         const float *values,
                         int64_t count,
                         double deviation)
{
  const double share = 0.0832645167;
  double sum = 0, squares = 0, beyond = 0;
  for (int64_t i = 0; i < count; i++) {
    double value = values[i] / deviation;
    sum += value;
    squares += value * value;
    beyond += fabs(value) > sqrt(3) ? 1 : 0;
  }
  double n = (double)count;
  if (fabs(sum) > DEVIATIONS * sqrt(n) ||
      fabs(squares - n) > DEVIATIONS * sqrt(2 * n) ||
      fabs(beyond - n * share) > DEVIATIONS * sqrt(n * share * (1 - share))) {
    test_fail(__FILE__, __LINE__,
              "%s: %lld values over %g have mean %g, variance %g and a share "
              "of %g beyond sqrt(3), expected 0, 1 and %g",
              name, (long long)count, deviation, sum / n, squares / n,
              beyond / n, share);
  }
}

/* What a ResNet's parameters are to be, and how many were seen. */
typedef struct resnet_init {
  tr_model *net;
  double features; /* that fc reads */
  int convs, norms, dense;
} resnet_init;

static void
check_resnet_param(resnet_init *r, const tr_param_info *info, float *values)
{
  const char *name = info->name;
  int64_t count = tr_shape_count(&info->shape);
  if (info->shape.ndim == 4) {
    /* (O, I, K, K): fan_out is O K K. */
    double fan_out = (double)count / (double)info->shape.dims[1];
    check_normal(name, values, count, sqrt(2 / fan_out));
    r->convs++;
  } else if (strncmp(name, "fc.", 3) == 0) {
    check_moments(name, values, count, 1 / sqrt(r->features));
    r->dense++;
  } else {
    bool is_one =
        strstr(name, ".weight") != NULL || strstr(name, ".running_var") != NULL;
    for (int64_t i = 0; i < count; i++) {
      ASSERT_EQ(values[i], is_one);
    }
    r->norms++;
  }
}

static tr_status note_resnet_param(void *user, const tr_param_info *info)
{
  resnet_init *r = user;
  size_t count = (size_t)tr_shape_count(&info->shape);
  float *values = calloc(count, sizeof *values);
  ASSERT(values != NULL);
  ASSERT_OK(tr_model_get_param(r->net, info->name, values));
  check_resnet_param(r, info, values);
  free(values);
  return TR_OK;
}

static void check_resnet(const example_resnet_opts *opts, int convs)
{
  tr_context *ctx;
  tr_context_opts ctx_opts = {.seed = test_seed(), .threads = 1};
  ASSERT_OK(tr_context_create_auto(&ctx_opts, &ctx));
  resnet_init r = {.features =
                       (double)opts->width * (opts->is_bottleneck ? 32 : 8)};
  ASSERT_OK(tr_model_create(ctx, &r.net));
  example_resnet(r.net, (tr_shape){3, {3, 32, 32}}, 10, opts);
  ASSERT_OK(tr_model_build(r.net, &(tr_build_opts){.max_local_batch = 1}));
  ASSERT_OK(example_resnet_init(r.net));
  ASSERT_OK(tr_model_visit(r.net, note_resnet_param, &r));
  ASSERT_EQ(r.convs, convs);
  ASSERT_EQ(r.norms, 5 * convs); /* weight, bias and three buffers of each */
  ASSERT_EQ(r.dense, 2);
  tr_model_destroy(&r.net);
  tr_context_destroy(&ctx);
}

static void test_resnets_start_from_torchvisions_distribution(void)
{
  check_resnet(&(example_resnet_opts){.blocks = {2, 2, 2, 2}, .width = 64}, 20);
  check_resnet(&(example_resnet_opts){.blocks = {3, 4, 6, 3},
                                      .width = 16,
                                      .is_bottleneck = 1},
               53);
}

static const tr_test tests[] = {
    TEST(test_mlp_starts_from_pytorchs_distribution),
    TEST(test_convnet_starts_from_pytorchs_distribution),
    TEST(test_resnets_start_from_torchvisions_distribution),
};

TEST_MAIN(tests)
