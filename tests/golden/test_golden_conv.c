/* Convolutions and pools of one, two and three extents against PyTorch:
 * output, gradients of input and parameters, and ten steps of training. The
 * cases are described in record_conv.py. */
#include "golden.h"

#include "model/node_impl.h"

/* Of a tensor's largest value. */
#define TOLERANCE_F64 1e-9
#define TOLERANCE_F32 1e-5

enum { ROWS = 3, STEPS = 10, CLASSES = 4 };

/* A case's integers in the order of record_conv.py. */
typedef struct layer_numbers {
  int64_t ndim, channels, in[3], out, kernel[3], stride[3], padding[3],
      dilation[3], output_padding[3], groups, flag;
} layer_numbers;

typedef struct conv_case {
  const recording *rec;
  const char *name;
  layer_numbers n;
  char kind[16];
  tr_context *ctx;
  tr_model *net;
  tr_node input, layer;
  tr_dtype dtype;
} conv_case;

static void read_case(conv_case *c, const recording *rec, const char *name)
{
  int64_t count;
  double *numbers = recording_numbers(rec, &count, "%s/numbers", name);
  ASSERT_EQ((size_t)count * sizeof(int64_t), sizeof c->n);
  for (int64_t i = 0; i < count; i++) {
    ((int64_t *)&c->n)[i] = (int64_t)numbers[i];
  }
  free(numbers);
  c->rec = rec;
  c->name = name;
  snprintf(c->kind, sizeof c->kind, "%s", recording_text(rec, "%s/kind", name));
}

static tr_node conv1d(tr_model *net, tr_node x, const layer_numbers *n)
{
  return tr_conv1d(net, x,
                   &(tr_conv1d_opts){.out = n->out,
                                     .kernel = n->kernel[0],
                                     .stride = n->stride[0],
                                     .padding = n->padding[0],
                                     .dilation = n->dilation[0],
                                     .groups = n->groups,
                                     .no_bias = (int)n->flag,
                                     .name = "middle"});
}

#define PAIR(numbers)                                                          \
  {                                                                            \
    (numbers)[0], (numbers)[1]                                                 \
  }
#define TRIPLE(numbers)                                                        \
  {                                                                            \
    (numbers)[0], (numbers)[1], (numbers)[2]                                   \
  }

static tr_node conv2d(tr_model *net, tr_node x, const layer_numbers *n)
{
  return tr_conv2d(net, x,
                   &(tr_conv2d_opts){.out = n->out,
                                     .kernel_hw = PAIR(n->kernel),
                                     .stride_hw = PAIR(n->stride),
                                     .padding_hw = PAIR(n->padding),
                                     .dilation_hw = PAIR(n->dilation),
                                     .groups = n->groups,
                                     .no_bias = (int)n->flag,
                                     .name = "middle"});
}

static tr_node conv3d(tr_model *net, tr_node x, const layer_numbers *n)
{
  return tr_conv3d(net, x,
                   &(tr_conv3d_opts){.out = n->out,
                                     .kernel_dhw = TRIPLE(n->kernel),
                                     .stride_dhw = TRIPLE(n->stride),
                                     .padding_dhw = TRIPLE(n->padding),
                                     .dilation_dhw = TRIPLE(n->dilation),
                                     .groups = n->groups,
                                     .no_bias = (int)n->flag,
                                     .name = "middle"});
}

static tr_node transpose2d(tr_model *net, tr_node x, const layer_numbers *n)
{
  tr_conv_transpose2d_opts opts = {.out = n->out,
                                   .kernel_hw = PAIR(n->kernel),
                                   .stride_hw = PAIR(n->stride),
                                   .padding_hw = PAIR(n->padding),
                                   .output_padding_hw = PAIR(n->output_padding),
                                   .dilation_hw = PAIR(n->dilation),
                                   .groups = n->groups,
                                   .no_bias = (int)n->flag,
                                   .name = "middle"};
  return tr_conv_transpose2d(net, x, &opts);
}

static tr_node pool(tr_model *net, tr_node x, const conv_case *c)
{
  const layer_numbers *n = &c->n;
  bool is_max = strcmp(c->kind, "max") == 0;
  tr_pool1d_opts one = {.kernel = n->kernel[0],
                        .stride = n->stride[0],
                        .padding = n->padding[0],
                        .exclude_padding = (int)n->flag};
  tr_pool2d_opts two = {.kernel_hw = PAIR(n->kernel),
                        .stride_hw = PAIR(n->stride),
                        .padding_hw = PAIR(n->padding),
                        .exclude_padding = (int)n->flag};
  tr_pool3d_opts three = {.kernel_dhw = TRIPLE(n->kernel),
                          .stride_dhw = TRIPLE(n->stride),
                          .padding_dhw = TRIPLE(n->padding),
                          .exclude_padding = (int)n->flag};
  if (n->ndim == 1) {
    return is_max ? tr_maxpool1d(net, x, &one) : tr_avgpool1d(net, x, &one);
  }
  if (n->ndim == 2) {
    return is_max ? tr_maxpool2d(net, x, &two) : tr_avgpool2d(net, x, &two);
  }
  return is_max ? tr_maxpool3d(net, x, &three) : tr_avgpool3d(net, x, &three);
}

static tr_node middle(tr_model *net, tr_node x, const conv_case *c)
{
  const layer_numbers *n = &c->n;
  if (strcmp(c->kind, "conv") == 0) {
    return n->ndim == 1   ? conv1d(net, x, n)
           : n->ndim == 2 ? conv2d(net, x, n)
                          : conv3d(net, x, n);
  }
  if (strcmp(c->kind, "transpose") == 0) {
    return transpose2d(net, x, n);
  }
  if (strcmp(c->kind, "adaptive") == 0) {
    tr_adaptive_pool_opts opts = {.out_each = TRIPLE(n->kernel)};
    return tr_adaptive_avgpool(net, x, &opts);
  }
  if (strcmp(c->kind, "global_max") == 0) {
    return tr_global_maxpool2d(net, x);
  }
  return pool(net, x, c);
}

/* A convolution that mixes channels and keeps places. */
static tr_node front(tr_model *net, tr_node x, const conv_case *c)
{
  int64_t out = c->n.channels;
  if (c->n.ndim == 1) {
    tr_conv1d_opts opts = {.out = out, .kernel = 1, .name = "front"};
    return tr_conv1d(net, x, &opts);
  }
  if (c->n.ndim == 2) {
    tr_conv2d_opts opts = {.out = out, .kernel = 1, .name = "front"};
    return tr_conv2d(net, x, &opts);
  }
  tr_conv3d_opts opts = {.out = out, .kernel = 1, .name = "front"};
  return tr_conv3d(net, x, &opts);
}

static tr_status set_param(void *user, const tr_param_info *info)
{
  conv_case *c = user;
  golden_numbers numbers = {
      .name = info->name, .count = tr_shape_count(&info->shape), .bound = 0.5};
  void *values = malloc((size_t)numbers.count * sizeof(double));
  golden_fill(&numbers, c->dtype, values);
  ASSERT_OK(tr_model_set_param(c->net, info->name, values));
  free(values);
  return TR_OK;
}

static void open_case(conv_case *c, const char *device, bool is_training)
{
  c->ctx = golden_context(c->dtype, device);
  ASSERT_OK(tr_model_create(c->ctx, &c->net));
  tr_shape shape = {(int)c->n.ndim + 1, {c->n.channels}};
  for (int i = 0; i < c->n.ndim; i++) {
    shape.dims[1 + i] = c->n.in[i];
  }
  tr_node x = c->input = tr_input(c->net, shape);
  if (is_training) {
    x = front(c->net, x, c);
  }
  c->layer = x = middle(c->net, x, c);
  if (is_training) {
    x = tr_flatten(c->net, x);
    x = tr_linear(c->net, x, &(tr_linear_opts){CLASSES, .name = "back"});
    tr_cross_entropy(c->net, x);
  }
  c->net->wants_input_gradients = !is_training;
  ASSERT_OK(
      tr_model_build(c->net, &(tr_build_opts){.max_local_batch = ROWS + 1}));
  ASSERT_OK(tr_model_visit(c->net, set_param, c));
}

static void close_case(conv_case *c)
{
  tr_model_destroy(&c->net);
  tr_context_destroy(&c->ctx);
}

static void *filled(const conv_case *c, const char *name, tr_node node)
{
  tr_shape shape = tr_model_shape(c->net, node);
  golden_numbers numbers = {
      .name = name, .count = ROWS * tr_shape_count(&shape), .bound = 1};
  void *values = malloc((size_t)(numbers.count + 1) * sizeof(double));
  golden_fill(&numbers, c->dtype, values);
  return values;
}

/* Takes the values. */
static void check(const conv_case *c, const char *key, void *values)
{
  int64_t count;
  double *expected = recording_numbers(c->rec, &count, "%s/%s", c->name, key);
  double *got = malloc((size_t)count * sizeof *got);
  for (int64_t i = 0; i < count; i++) {
    got[i] = golden_double(c->dtype, values, i);
  }
  char what[128];
  snprintf(what, sizeof what, "%s/%s", c->name, key);
  ASSERT_TENSOR_NEAR(what, TR_F64, got, expected, count,
                     c->dtype == TR_F64 ? TOLERANCE_F64 : TOLERANCE_F32);
  free(expected);
  free(got);
  free(values);
}

static void *room(const conv_case *c, const char *key)
{
  int64_t count;
  free(recording_numbers(c->rec, &count, "%s/%s", c->name, key));
  return malloc((size_t)count * sizeof(double));
}

static tr_status check_grad(void *user, const tr_param_info *info)
{
  conv_case *c = user;
  char key[64];
  snprintf(key, sizeof key, "d%s", strchr(info->name, '.') + 1);
  void *values = room(c, key);
  ASSERT_OK(tr_model_get_grad(c->net, info->name, values));
  check(c, key, values);
  return TR_OK;
}

static void check_layer(conv_case *c, const char *device)
{
  open_case(c, device, false);
  void *x = filled(c, "x0", c->input), *dy = filled(c, "dy", c->layer);
  tr_batch batch = {.count = ROWS, .global_count = ROWS, .inputs = {x}};
  ASSERT_OK(tr_model_forward(c->net, &batch));
  void *y = room(c, "y");
  ASSERT_OK(tr_model_get_output(c->net, c->layer, y));
  check(c, "y", y);
  ASSERT_OK(tr__model_backward_from(c->net, dy));
  void *dx = room(c, "dx");
  ASSERT_OK(tr__model_get_node_gradient(c->net, c->input.index, dx));
  check(c, "dx", dx);
  ASSERT_OK(tr_model_visit(c->net, check_grad, c));
  free(x);
  free(dy);
  close_case(c);
}

static void train(conv_case *c, const char *device, double losses[STEPS])
{
  open_case(c, device, true);
  tr_optimizer *opt;
  ASSERT_OK(
      tr_sgd_create(c->net, &(tr_sgd_opts){.lr = 0.02, .momentum = 0.9}, &opt));
  for (int step = 0; step < STEPS; step++) {
    char name[16];
    int32_t y[ROWS];
    snprintf(name, sizeof name, "y%d", step);
    for (int i = 0; i < ROWS; i++) {
      y[i] = (int32_t)(golden_bits(name, i) % CLASSES);
    }
    snprintf(name, sizeof name, "x%d", step);
    void *x = filled(c, name, c->input);
    int64_t rows = step % 3 == 2 ? 1 : ROWS;
    tr_batch batch = {
        .count = rows, .global_count = rows, .inputs = {x}, .targets = {y}};
    ASSERT_OK(tr_model_forward(c->net, &batch));
    ASSERT_OK(tr_model_backward(c->net));
    ASSERT_OK(tr_model_allreduce_grads(c->net));
    ASSERT_OK(tr_optimizer_step(opt));
    ASSERT_OK(tr_model_loss(c->net, &losses[step]));
    free(x);
  }
  tr_optimizer_destroy(&opt);
  close_case(c);
}

typedef void (*case_fn)(conv_case *c, const char *device);

static void check_training(conv_case *c, const char *device)
{
  double losses[STEPS];
  train(c, device, losses);
  double *expected = recording_numbers(c->rec, NULL, "%s/losses", c->name);
  ASSERT_TENSOR_NEAR(c->name, TR_F64, losses, expected, STEPS,
                     c->dtype == TR_F64 ? TOLERANCE_F64 : TOLERANCE_F32);
  free(expected);
}

static void
for_every_case(const char *kind, case_fn fn, const char *device, tr_dtype dtype)
{
  recording *rec = recording_open("conv");
  char *cases = strdup(recording_text(rec, "cases"));
  char *rest = NULL;
  int found = 0;
  for (char *name = strtok_r(cases, " ", &rest); name != NULL;
       name = strtok_r(NULL, " ", &rest)) {
    conv_case c = {.dtype = dtype};
    read_case(&c, rec, name);
    if (strcmp(c.kind, kind) == 0) {
      fn(&c, device);
      found++;
    }
  }
  ASSERT(found > 0);
  free(cases);
  recording_close(&rec);
}

static void check_kind(const char *kind)
{
  for_every_case(kind, check_layer, "reference", TR_F64);
  for_every_case(kind, check_layer, "reference", TR_F32);
  for_every_case(kind, check_layer, "cpu", TR_F32);
  for_every_case(kind, check_training, "reference", TR_F64);
  for_every_case(kind, check_training, "reference", TR_F32);
  for_every_case(kind, check_training, "cpu", TR_F32);
}

static void test_conv_of_1_2_and_3_extents_matches_pytorch(void)
{
  check_kind("conv");
}

static void test_conv_transpose2d_matches_pytorch(void)
{
  check_kind("transpose");
}

static void test_maxpool_of_1_2_and_3_extents_matches_pytorch(void)
{
  check_kind("max");
  check_kind("global_max");
}

static void test_avgpool_of_1_2_and_3_extents_matches_pytorch(void)
{
  check_kind("avg");
}

static void test_adaptive_avgpool_matches_pytorch(void)
{
  check_kind("adaptive");
}

static const tr_test tests[] = {
    TEST(test_conv_of_1_2_and_3_extents_matches_pytorch),
    TEST(test_conv_transpose2d_matches_pytorch),
    TEST(test_maxpool_of_1_2_and_3_extents_matches_pytorch),
    TEST(test_avgpool_of_1_2_and_3_extents_matches_pytorch),
    TEST(test_adaptive_avgpool_matches_pytorch),
};

TEST_MAIN(tests)
