/* ResNets against PyTorch: the names of torchvision, and the losses of a run in
 * fp64. */
#include "golden.h"
#include "models.h"

/* Of the largest loss. */
#define TOLERANCE 1e-9

enum { CLASSES = 10, MAX_STEPS = 20 };

/* A run's integers in the order of record_resnet.py. */
typedef struct run_numbers {
  int64_t blocks[4], width, is_bottleneck, shape[3], batch, steps;
} run_numbers;

typedef struct resnet {
  tr_context *ctx;
  tr_model *model;
  const char *names; /* all that there may be */
  int num_names;
} resnet;

static void fill(const char *name, int64_t count, double bound, double *out)
{
  golden_numbers numbers = {.name = name, .count = count, .bound = bound};
  golden_fill(&numbers, TR_F64, out);
}

static tr_status set_param(void *user, const tr_param_info *info)
{
  resnet *net = user;
  const char *found = strstr(net->names, info->name);
  if (found == NULL) {
    test_fail(__FILE__, __LINE__, "torchvision has no %s", info->name);
  }
  net->num_names++;
  bool is_bias = strcmp(info->name, "fc.bias") == 0;
  if (info->shape.ndim < 2 && !is_bias) {
    return TR_OK;
  }
  int64_t count = tr_shape_count(&info->shape);
  double fan_in = (double)(count / info->shape.dims[0]);
  double *values = malloc((size_t)count * sizeof *values);
  fill(info->name, count, is_bias ? 0.1 : 1 / sqrt(fan_in), values);
  ASSERT_OK(tr_model_set_param(net->model, info->name, values));
  free(values);
  return TR_OK;
}

static int count_words(const char *text)
{
  int count = 1;
  for (; *text != '\0'; text++) {
    count += *text == ' ';
  }
  return count;
}

static void build(resnet *net, const run_numbers *n)
{
  example_resnet_opts opts = {.width = n->width,
                              .is_bottleneck = (int)n->is_bottleneck};
  for (int i = 0; i < 4; i++) {
    opts.blocks[i] = (int)n->blocks[i];
  }
  net->ctx = golden_context(TR_F64, "reference");
  ASSERT_OK(tr_model_create(net->ctx, &net->model));
  example_resnet(net->model, tr_shape_of(3, n->shape), CLASSES, &opts);
  ASSERT_OK(tr_model_build(net->model, &(tr_build_opts){.batch = n->batch}));
  ASSERT_OK(tr_model_visit(net->model, set_param, net));
  ASSERT_EQ(net->num_names, count_words(net->names));
}

static void train(resnet *net, const run_numbers *n, double *losses)
{
  tr_optimizer *opt;
  const tr_sgd_opts sgd = {.lr = 0.1, .momentum = 0.9};
  ASSERT_OK(tr_sgd_create(net->model, &sgd, &opt));
  int64_t count = n->batch * n->shape[0] * n->shape[1] * n->shape[2];
  double *x = malloc((size_t)count * sizeof *x);
  int32_t y[8];
  for (int step = 0; step < n->steps; step++) {
    char name[16];
    snprintf(name, sizeof name, "x%d", step);
    fill(name, count, 1, x);
    snprintf(name, sizeof name, "y%d", step);
    for (int i = 0; i < n->batch; i++) {
      y[i] = (int32_t)(golden_bits(name, i) % CLASSES);
    }
    const tr_batch batch = {.count = n->batch,
                            .global_count = n->batch,
                            .inputs = {x},
                            .targets = {y}};
    ASSERT_OK(tr_model_forward(net->model, &batch));
    ASSERT_OK(tr_model_backward(net->model));
    ASSERT_OK(tr_model_allreduce_grads(net->model));
    ASSERT_OK(tr_optimizer_step(opt));
    ASSERT_OK(tr_model_loss(net->model, &losses[step]));
  }
  free(x);
  tr_optimizer_destroy(&opt);
}

static void check_run(const char *name)
{
  recording *rec = recording_open("resnet");
  run_numbers n;
  int64_t count;
  double *numbers = recording_numbers(rec, &count, "%s/numbers", name);
  ASSERT_EQ((size_t)count * sizeof(int64_t), sizeof n);
  for (int64_t i = 0; i < count; i++) {
    ((int64_t *)&n)[i] = (int64_t)numbers[i];
  }
  double losses[MAX_STEPS];
  ASSERT(n.steps <= MAX_STEPS && n.batch <= 8);
  resnet net = {.names = recording_text(rec, "%s/names", name)};
  build(&net, &n);
  train(&net, &n, losses);
  double *expected = recording_numbers(rec, NULL, "%s/losses", name);
  ASSERT_TENSOR_NEAR(name, TR_F64, losses, expected, n.steps, TOLERANCE);
  free(expected);
  free(numbers);
  tr_model_destroy(&net.model);
  tr_context_destroy(&net.ctx);
  recording_close(&rec);
}

static void test_20_losses_of_a_narrow_resnet18_match_pytorch(void)
{
  check_run("small18");
}

static void test_resnet18_of_full_width_matches_pytorch(void)
{
  check_run("full18");
}

static void test_losses_of_a_narrow_resnet50_match_pytorch(void)
{
  check_run("small50");
}

static const tr_test tests[] = {
    TEST(test_20_losses_of_a_narrow_resnet18_match_pytorch),
    TEST(test_resnet18_of_full_width_matches_pytorch),
    TEST(test_losses_of_a_narrow_resnet50_match_pytorch),
};

TEST_MAIN(tests)
