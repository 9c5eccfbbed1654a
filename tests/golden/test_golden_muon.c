/* Muon against PyTorch's, whose Newton-Schulz runs in the precision of the run
 * there; the options are those of record_muon.py. */
#include "golden.h"

enum { STEPS = 20, BATCH = 5 };

/* Of a tensor's largest value. */
static const double tolerance64 = 1e-9, tolerance32 = 1e-5;

static const tr_param_group head[] = {{.pattern = "fc3.*", .by_adamw = 1}};

static tr_muon_opts defaults(void)
{
  return tr_muon_defaults();
}

static tr_muon_opts original(void)
{
  tr_muon_opts opts = tr_muon_defaults();
  opts.lr = 0.01;
  opts.weight_decay = 0.3;
  opts.adamw_lr = 0.003;
  return opts;
}

static tr_muon_opts match_rms(void)
{
  return (tr_muon_opts){.lr = 0.01,
                        .momentum = 0.95,
                        .nesterov = 1,
                        .scale = TR_MUON_SCALE_MATCH_RMS_ADAMW,
                        .weight_decay = 0.2,
                        .adamw_lr = 0.01,
                        .beta1 = 0.8,
                        .beta2 = 0.95,
                        .eps = 1e-3,
                        .adamw_weight_decay = 0.1,
                        .update = {.groups = head, .num_groups = 1}};
}

static tr_muon_opts heavy_ball(void)
{
  tr_muon_opts opts = tr_muon_defaults();
  opts.lr = 0.01;
  opts.momentum = 0.8;
  opts.nesterov = 0;
  opts.weight_decay = 0;
  opts.adamw_lr = 0.002;
  return opts;
}

static const struct {
  const char *name;
  tr_muon_opts (*opts)(void);
} cases[] = {
    {"defaults", defaults},
    {"original", original},
    {"match_rms", match_rms},
    {"heavy_ball", heavy_ball},
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

static void
check_params(const golden_net *net, const recording *rec, const char *name)
{
  for (int i = 0; i < net->num_params; i++) {
    const struct golden_param *param = &net->params[i];
    int64_t count;
    double *wanted = recording_numbers(rec, &count, "%s/final%d/%s", name,
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

static void run_case(tr_dtype dtype, const char *device, int number)
{
  const char *name = cases[number].name;
  recording *rec = recording_open("muon");
  tr_context *ctx = golden_context(dtype, device);
  golden_net net;
  golden_net_create(
      ctx,
      &(golden_net_opts){.text = recording_text(rec, "net"), .rows = BATCH},
      &net);
  tr_muon_opts opts = cases[number].opts();
  tr_optimizer *opt;
  ASSERT_OK(tr_muon_create(net.model, &opts, &opt));
  double *losses =
      recording_numbers(rec, NULL, "%s/loss%d", name, bits_of(&net));
  for (int step = 0; step < STEPS; step++) {
    tr_batch batch =
        golden_batch(&net, &(golden_batch_opts){.step = step, .count = BATCH});
    double loss;
    ASSERT_OK(tr_model_forward(net.model, &batch));
    ASSERT_OK(tr_model_backward(net.model));
    ASSERT_OK(tr_model_allreduce_grads(net.model));
    ASSERT_OK(tr_optimizer_step(opt));
    ASSERT_OK(tr_model_loss(net.model, &loss));
    ASSERT_NEAR(loss, losses[step], tolerance_of(&net) * fabs(losses[step]));
  }
  check_params(&net, rec, name);
  free(losses);
  tr_optimizer_destroy(&opt);
  golden_net_destroy(&net);
  tr_context_destroy(&ctx);
  recording_close(&rec);
}

static void test_twenty_steps_in_double_are_pytorchs(void)
{
  for (int i = 0; i < NUM_CASES; i++) {
    run_case(TR_F64, "reference", i);
  }
}

static void test_twenty_steps_in_single_are_pytorchs(void)
{
  for (int i = 0; i < NUM_CASES; i++) {
    run_case(TR_F32, "cpu", i);
  }
}

static const tr_test tests[] = {
    TEST(test_twenty_steps_in_double_are_pytorchs),
    TEST(test_twenty_steps_in_single_are_pytorchs),
};

TEST_MAIN(tests)
