/* The library's own first parameters have PyTorch's distribution: uniform in
 * +-1/sqrt(fan_in), weights and biases alike. */
#include "golden.h"

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

static const tr_test tests[] = {
    TEST(test_mlp_starts_from_pytorchs_distribution),
    TEST(test_convnet_starts_from_pytorchs_distribution),
};

TEST_MAIN(tests)
