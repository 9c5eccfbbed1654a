/* Rates of 50 steps against torch.optim.lr_scheduler behind our warm-up, and
 * accumulation against the whole batch. */
#include "golden.h"

/* PyTorch's cosine is a recurrence, ours a formula. */
#define TOLERANCE_RATE   1e-12
#define TOLERANCE_PARAMS 1e-9

static void check_rates(const char *schedule)
{
  recording *rec = recording_open("schedules");
  tr_context *ctx = golden_context(TR_F64, "reference");
  golden_net net;
  golden_net_create(
      ctx, &(golden_net_opts){.text = "input 2 | linear fc 2", .rows = 1},
      &net);
  tr_optimizer *opt = golden_optimizer(&net, rec, schedule);
  tr_batch batch = golden_batch(&net, &(golden_batch_opts){.count = 1});
  int64_t count;
  double *expected = recording_numbers(rec, &count, "%s/rates", schedule);
  for (int64_t step = 0; step < count; step++) {
    ASSERT_EQ(tr_optimizer_num_steps(opt), step);
    ASSERT_NEAR(tr_optimizer_lr(opt), expected[step], TOLERANCE_RATE);
    ASSERT_OK(tr_model_forward(net.model, &batch));
    ASSERT_OK(tr_model_backward(net.model));
    ASSERT_OK(tr_optimizer_step(opt));
  }
  free(expected);
  tr_optimizer_destroy(&opt);
  golden_net_destroy(&net);
  tr_context_destroy(&ctx);
  recording_close(&rec);
}

static void test_cosine_rates_are_pytorchs(void)
{
  check_rates("cosine");
}

static void test_cosine_rates_after_warmup_are_pytorchs(void)
{
  check_rates("cosine_warmup");
}

static void test_step_rates_are_pytorchs(void)
{
  check_rates("step");
}

static void test_step_rates_after_warmup_are_pytorchs(void)
{
  check_rates("step_warmup");
}

static void test_constant_rates_after_warmup_are_the_given_one(void)
{
  check_rates("constant_warmup");
}

/* Rows first..first+count-1 of a whole batch as a batch of their own. */
static tr_batch part_of(const golden_net *net,
                        const tr_batch *whole,
                        int64_t first,
                        int64_t count)
{
  size_t size = tr_dtype_size(net->dtype);
  size_t extent = (size_t)tr_shape_count(&net->input);
  return (tr_batch){.count = count,
                    .global_count = count,
                    .inputs = {(const char *)whole->inputs[0] +
                               (size_t)first * extent * size},
                    .targets = {(const int32_t *)whole->targets[0] + first}};
}

static void step_in_parts(golden_net *net, tr_optimizer *opt, int step)
{
  static const int64_t parts[] = {3, 1, 2};
  tr_batch whole =
      golden_batch(net, &(golden_batch_opts){.step = step, .count = 6});
  int64_t first = 0;
  for (int i = 0; i < 3; i++) {
    tr_batch part = part_of(net, &whole, first, parts[i]);
    first += parts[i];
    ASSERT_OK(tr_model_forward(net->model, &part));
    ASSERT_OK(tr_model_backward(net->model));
  }
  ASSERT_EQ(first, whole.count);
  ASSERT_OK(tr_model_allreduce_grads(net->model));
  ASSERT_OK(tr_optimizer_step(opt));
}

static void test_accumulated_parts_of_a_batch_train_like_pytorchs_whole(void)
{
  recording *rec = recording_open("tiny");
  tr_context *ctx = golden_context(TR_F64, "reference");
  golden_net net;
  golden_net_create(
      ctx, &(golden_net_opts){.text = recording_text(rec, "net"), .rows = 6},
      &net);
  tr_optimizer *opt = golden_optimizer(&net, rec, "momentum");
  for (int step = 0; step < GOLDEN_STEPS; step++) {
    step_in_parts(&net, opt, step);
  }
  for (int i = 0; i < net.num_params; i++) {
    const struct golden_param *param = &net.params[i];
    char key[TR__NAME_BYTES + 32];
    snprintf(key, sizeof key, "momentum/final/%s", param->name);
    double *values = calloc((size_t)param->count, sizeof *values);
    ASSERT(values != NULL);
    ASSERT_OK(tr_model_get_param(net.model, param->name, values));
    golden_check_sampled(&(golden_sampled){.rec = rec,
                                           .key = key,
                                           .param = param->name,
                                           .tolerance = TOLERANCE_PARAMS},
                         TR_F64, values, param->count);
    free(values);
  }
  tr_optimizer_destroy(&opt);
  golden_net_destroy(&net);
  tr_context_destroy(&ctx);
  recording_close(&rec);
}

static const tr_test tests[] = {
    TEST(test_cosine_rates_are_pytorchs),
    TEST(test_cosine_rates_after_warmup_are_pytorchs),
    TEST(test_step_rates_are_pytorchs),
    TEST(test_step_rates_after_warmup_are_pytorchs),
    TEST(test_constant_rates_after_warmup_are_the_given_one),
    TEST(test_accumulated_parts_of_a_batch_train_like_pytorchs_whole),
};

TEST_MAIN(tests)
