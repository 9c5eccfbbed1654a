/* One recorded run of a ResNet: the names of torchvision, and the losses. */
#include "golden.h"
#include "models.h"

enum { CLASSES = 10, MAX_BATCH = 32 };

/* A run's integers in the order of record_resnet.py. */
typedef struct run_numbers {
  int64_t blocks[4], width, is_bottleneck, shape[3], steps;
} run_numbers;

typedef struct resnet {
  const recording *rec;
  const char *run;
  tr_dtype dtype;
  run_numbers n;
  tr_context *ctx;
  tr_model *model;
  const char *names; /* all that there may be */
  int num_names;
} resnet;

static void
fill(const resnet *net, const char *name, int64_t count, double bound, void *x)
{
  golden_numbers numbers = {.name = name, .count = count, .bound = bound};
  golden_fill(&numbers, net->dtype, x);
}

/* Convolutions have the variance of kaiming_normal_, fc that of nn.Linear; 0
 * for what stays as it is built. */
static double bound_of(const resnet *net, const tr_param_info *info)
{
  const int64_t *dims = info->shape.dims;
  if (info->shape.ndim == 4) {
    return sqrt(6 / (double)(tr_shape_count(&info->shape) / dims[1]));
  }
  if (strncmp(info->name, "fc.", 3) != 0) {
    return 0;
  }
  int64_t features = 8 * net->n.width * (net->n.is_bottleneck ? 4 : 1);
  return 1 / sqrt((double)features);
}

static tr_status set_param(void *user, const tr_param_info *info)
{
  resnet *net = user;
  const char *found = strstr(net->names, info->name);
  if (found == NULL) {
    test_fail(__FILE__, __LINE__, "torchvision has no %s", info->name);
  }
  net->num_names++;
  double bound = bound_of(net, info);
  if (bound == 0) {
    return TR_OK;
  }
  int64_t count = tr_shape_count(&info->shape);
  void *values = malloc((size_t)count * sizeof(double));
  fill(net, info->name, count, bound, values);
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

static void build(resnet *net, const char *device, int64_t rows)
{
  const run_numbers *n = &net->n;
  example_resnet_opts opts = {.width = n->width,
                              .is_bottleneck = (int)n->is_bottleneck};
  for (int i = 0; i < 4; i++) {
    opts.blocks[i] = (int)n->blocks[i];
  }
  net->ctx = golden_context(net->dtype, device);
  ASSERT_OK(tr_model_create(net->ctx, &net->model));
  example_resnet(net->model, tr_shape_of(3, n->shape), CLASSES, &opts);
  ASSERT_OK(
      tr_model_build(net->model, &(tr_build_opts){.max_local_batch = rows}));
  net->names = recording_text(net->rec, "%s/names", net->run);
  ASSERT_OK(tr_model_visit(net->model, set_param, net));
  ASSERT_EQ(net->num_names, count_words(net->names));
}

static double one_step(resnet *net, tr_optimizer *opt, int step, int64_t rows)
{
  const int64_t *shape = net->n.shape;
  int64_t count = rows * shape[0] * shape[1] * shape[2];
  void *x = malloc((size_t)count * sizeof(double));
  int32_t y[MAX_BATCH];
  char name[16];
  snprintf(name, sizeof name, "x%d", step);
  fill(net, name, count, 1, x);
  snprintf(name, sizeof name, "y%d", step);
  for (int i = 0; i < rows; i++) {
    y[i] = (int32_t)(golden_bits(name, i) % CLASSES);
  }
  const tr_batch batch = {
      .count = rows, .global_count = rows, .inputs = {x}, .targets = {y}};
  double loss;
  ASSERT_OK(tr_model_forward(net->model, &batch));
  ASSERT_OK(tr_model_backward(net->model));
  ASSERT_OK(tr_model_allreduce_grads(net->model));
  ASSERT_OK(tr_optimizer_step(opt));
  ASSERT_OK(tr_model_loss(net->model, &loss));
  free(x);
  return loss;
}

static void train(resnet *net, const char *device, double *losses)
{
  int64_t num_sizes;
  double *sizes = recording_numbers(net->rec, &num_sizes, "%s/batch", net->run);
  double *sgd = recording_numbers(net->rec, NULL, "%s/sgd", net->run);
  ASSERT(sizes[0] <= MAX_BATCH);
  build(net, device, (int64_t)sizes[0]);
  const tr_sgd_opts opts = {
      .lr = sgd[0], .momentum = sgd[1], .weight_decay = sgd[2]};
  tr_optimizer *opt;
  ASSERT_OK(tr_sgd_create(net->model, &opts, &opt));
  for (int step = 0; step < net->n.steps; step++) {
    losses[step] = one_step(net, opt, step, (int64_t)sizes[step % num_sizes]);
  }
  tr_optimizer_destroy(&opt);
  free(sgd);
  free(sizes);
}

static void read_numbers(resnet *net)
{
  int64_t count;
  double *numbers = recording_numbers(net->rec, &count, "%s/numbers", net->run);
  ASSERT_EQ((size_t)count * sizeof(int64_t), sizeof net->n);
  for (int64_t i = 0; i < count; i++) {
    ((int64_t *)&net->n)[i] = (int64_t)numbers[i];
  }
  ASSERT(net->n.steps <= GOLDEN_STEPS);
  free(numbers);
}

void golden_check_resnet(const char *run,
                         tr_dtype dtype,
                         const char *device,
                         double tolerance)
{
  recording *rec = recording_open("resnet");
  resnet net = {.rec = rec, .run = run, .dtype = dtype};
  double losses[GOLDEN_STEPS];
  read_numbers(&net);
  train(&net, device, losses);
  double *expected = recording_numbers(rec, NULL, "%s/losses", run);
  char what[64];
  snprintf(what, sizeof what, "%s on %s", run, device);
  golden_check_losses(what, losses, expected, net.n.steps, tolerance);
  free(expected);
  tr_model_destroy(&net.model);
  tr_context_destroy(&net.ctx);
  recording_close(&rec);
}
