/* Layers and the loss against PyTorch's fp64: outputs of every node, parameter
 * gradients, ten steps, and through the filter in front of it each layer's
 * input gradient. */
#include "golden.h"

/* Of a tensor's largest value. fp64: both sides round sums of up to some
 * hundred products; fp32: the same, as design section 4 states it. */
#define TOLERANCE_F64 1e-9
#define TOLERANCE_F32 1e-5

enum { STEPS = 10 };

typedef struct layer_run {
  const recording *rec;
  const char *name; /* of the case */
  tr_dtype dtype;
  const char *device;
  int keep;
  double tolerance;
} layer_run;

static void check(const layer_run *run, const char *key, const void *values)
{
  int64_t count;
  double *expected =
      recording_numbers(run->rec, &count, "%s/%s", run->name, key);
  double *got = calloc((size_t)count, sizeof *got);
  ASSERT(got != NULL);
  for (int64_t i = 0; i < count; i++) {
    got[i] = golden_double(run->dtype, values, i);
  }
  char what[128];
  snprintf(what, sizeof what, "%s/%s", run->name, key);
  ASSERT_TENSOR_NEAR(what, TR_F64, got, expected, count, run->tolerance);
  free(got);
  free(expected);
}

static void
check_nodes(const layer_run *run, const golden_net *net, int64_t rows)
{
  for (int i = 1; i <= net->num_nodes; i++) {
    char key[32];
    snprintf(key, sizeof key, "node%d", i);
    tr_shape shape = tr_model_shape(net->model, net->nodes[i]);
    int64_t count = rows * tr_shape_count(&shape), recorded;
    free(recording_numbers(run->rec, &recorded, "%s/%s", run->name, key));
    ASSERT_EQ(count, recorded);
    void *values = malloc((size_t)count * tr_dtype_size(run->dtype));
    ASSERT(values != NULL);
    ASSERT_OK(tr_model_get_output(net->model, net->nodes[i], values));
    check(run, key, values);
    free(values);
  }
}

/* get_grad() divides by the number of samples, PyTorch by their weight. */
static double weight_correction(const tr_batch *batch, tr_dtype dtype)
{
  if (batch->weights == NULL) {
    return 1;
  }
  double sum = 0;
  for (int64_t i = 0; i < batch->count; i++) {
    sum += golden_double(dtype, batch->weights, i);
  }
  return (double)batch->global_count / sum;
}

static void check_case(const layer_run *run)
{
  const recording *rec = run->rec;
  int64_t rows = (int64_t)recording_number(rec, "%s/batch", run->name);
  golden_net_opts net_opts = {.text = recording_text(rec, "%s/net", run->name),
                              .rows = rows + 2,
                              .keep = run->keep};
  golden_batch_opts batch_opts = {
      .count = rows,
      .scale = recording_number(rec, "%s/scale", run->name),
      .weighted = recording_number(rec, "%s/weighted", run->name) != 0};
  tr_context *ctx = golden_context(run->dtype, run->device);
  golden_net net;
  golden_net_create(ctx, &net_opts, &net);
  tr_batch batch = golden_batch(&net, &batch_opts);
  ASSERT_OK(tr_model_forward(net.model, &batch));
  if (run->keep) {
    check_nodes(run, &net, rows);
  }
  ASSERT_OK(tr_model_backward(net.model));
  ASSERT_OK(tr_model_allreduce_grads(net.model));
  double loss, correction = weight_correction(&batch, run->dtype);
  ASSERT_OK(tr_model_loss(net.model, &loss));
  float loss32 = (float)loss;
  check(run, "loss", run->dtype == TR_F64 ? (void *)&loss : (void *)&loss32);
  for (int i = 0; i < net.num_params; i++) {
    char key[TR__NAME_BYTES + 8];
    snprintf(key, sizeof key, "grad/%s", net.params[i].name);
    void *grad = golden_net_grad(&net, net.params[i].name, correction);
    check(run, key, grad);
    free(grad);
  }
  golden_net_destroy(&net);
  tr_context_destroy(&ctx);
}

static void check_training(const layer_run *run)
{
  const recording *rec = run->rec;
  int64_t rows = (int64_t)recording_number(rec, "%s/batch", run->name);
  double scale = recording_number(rec, "%s/scale", run->name);
  golden_net_opts net_opts = {.text = recording_text(rec, "%s/net", run->name),
                              .rows = rows};
  golden_batch_opts opts = {
      .scale = scale,
      .weighted = recording_number(rec, "%s/weighted", run->name) != 0};
  tr_context *ctx = golden_context(run->dtype, run->device);
  golden_net net;
  golden_net_create(ctx, &net_opts, &net);
  tr_optimizer *opt;
  const tr_sgd_opts sgd = {.lr = 0.1 / (scale * scale)};
  ASSERT_OK(tr_sgd_create(net.model, &sgd, &opt));
  double losses[STEPS];
  for (opts.step = 0; opts.step < STEPS; opts.step++) {
    opts.count = opts.step % 3 == 2 ? (rows + 1) / 2 : rows;
    tr_batch batch = golden_batch(&net, &opts);
    ASSERT_OK(tr_model_forward(net.model, &batch));
    ASSERT_OK(tr_model_backward(net.model));
    ASSERT_OK(tr_model_allreduce_grads(net.model));
    ASSERT_OK(tr_optimizer_step(opt));
    ASSERT_OK(tr_model_loss(net.model, &losses[opts.step]));
  }
  double *expected = recording_numbers(rec, NULL, "%s/losses", run->name);
  ASSERT_TENSOR_NEAR(run->name, TR_F64, losses, expected, STEPS,
                     run->tolerance);
  free(expected);
  tr_optimizer_destroy(&opt);
  golden_net_destroy(&net);
  tr_context_destroy(&ctx);
}

/* Nodes that are kept are not fused with their neighbours, so each case runs
 * both ways. */
static void
check_cases_as(const char *prefix, const char *device, tr_dtype dtype)
{
  recording *rec = recording_open("layers");
  char *cases = strdup(recording_text(rec, "cases"));
  char *rest = NULL;
  int found = 0;
  for (char *name = strtok_r(cases, " ", &rest); name != NULL;
       name = strtok_r(NULL, " ", &rest)) {
    if (strncmp(name, prefix, strlen(prefix)) != 0) {
      continue;
    }
    layer_run run = {.rec = rec,
                     .name = name,
                     .dtype = dtype,
                     .device = device,
                     .tolerance =
                         dtype == TR_F64 ? TOLERANCE_F64 : TOLERANCE_F32};
    check_case(&run);
    check_training(&run);
    run.keep = 1;
    check_case(&run);
    found++;
  }
  ASSERT(found > 0);
  free(cases);
  recording_close(&rec);
}

static void check_cases(const char *prefix)
{
  check_cases_as(prefix, "reference", TR_F64);
  check_cases_as(prefix, "reference", TR_F32);
  check_cases_as(prefix, "cpu", TR_F32);
}

static void test_linear_matches_pytorch(void)
{
  check_cases("linear");
}

static void test_relu_matches_pytorch(void)
{
  check_cases("relu");
}

static void test_conv2d_matches_pytorch_with_every_stride_and_padding(void)
{
  check_cases("conv_");
}

static void test_maxpool2d_matches_pytorch_with_every_stride_and_padding(void)
{
  check_cases("maxpool_");
}

static void test_global_avgpool2d_matches_pytorch(void)
{
  check_cases("gap");
}

static void test_flatten_matches_pytorch(void)
{
  check_cases("flatten");
}

static void test_cross_entropy_matches_pytorch_with_and_without_weights(void)
{
  check_cases("cross_entropy");
}

static const tr_test tests[] = {
    TEST(test_linear_matches_pytorch),
    TEST(test_relu_matches_pytorch),
    TEST(test_conv2d_matches_pytorch_with_every_stride_and_padding),
    TEST(test_maxpool2d_matches_pytorch_with_every_stride_and_padding),
    TEST(test_global_avgpool2d_matches_pytorch),
    TEST(test_flatten_matches_pytorch),
    TEST(test_cross_entropy_matches_pytorch_with_and_without_weights),
};

TEST_MAIN(tests)
