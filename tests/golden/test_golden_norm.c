/* Activations, normalisation and the layers of sequences and shapes against
 * PyTorch's fp64: record_norm.py says what a case is. */
#include "golden.h"
#include "model/model_impl.h"

/* Of a tensor's largest value, or of LEAST where that is smaller: gradients
 * can vanish. */
#define TOLERANCE_F64 1e-9
#define TOLERANCE_F32 1e-5
#define LEAST         1e-3

enum { STEPS = 10, CLASSES = 4, MAX_VALUES = 512 };

typedef struct norm_case {
  const recording *rec;
  const char *name;
  tr_context *ctx;
  double tolerance;
  tr_model *net;
  tr_node norm;
  int64_t rows, count; /* samples; values of all their inputs */
  double x[MAX_VALUES];
  int32_t y[MAX_VALUES];
} norm_case;

/* Two inputs that depend on the one: x and tanh(x), or with `a` twice x. */
static tr_node add_pair(tr_model *net, tr_node x, const char *kind, double a)
{
  if (strcmp(kind, "concat") == 0) {
    const tr_node both[] = {x, tr_tanh(net, x)};
    return tr_concat(net, both, 2, (int)a);
  }
  tr_node second = a != 0 ? x : tr_tanh(net, x);
  return strcmp(kind, "add") == 0 ? tr_add(net, x, second)
                                  : tr_mul(net, x, second);
}

static bool is_one_of(const char *kind, const char *const kinds[3])
{
  return strcmp(kind, kinds[0]) == 0 || strcmp(kind, kinds[1]) == 0 ||
         strcmp(kind, kinds[2]) == 0;
}

/* Layers of sequences and shapes; {-1} where it is none of them. */
static tr_node
add_shape(tr_model *net, tr_node x, const char *kind, const double n[3])
{
  if (is_one_of(kind, (const char *const[]){"add", "mul", "concat"})) {
    return add_pair(net, x, kind, n[0]);
  }
  if (strcmp(kind, "attention") == 0) {
    return tr_attention(
        net, x,
        &(tr_attention_opts){.heads = (int64_t)n[0], .causal = n[1] != 0});
  }
  if (strcmp(kind, "position") == 0) {
    return tr_position(net, x, &(tr_position_opts){.name = "norm"});
  }
  if (strcmp(kind, "linear") == 0) {
    return tr_linear(net, x,
                     &(tr_linear_opts){.out = (int64_t)n[0], .name = "norm"});
  }
  if (strcmp(kind, "upsample2d") == 0) {
    return tr_upsample2d(net, x, (int64_t)n[0]);
  }
  if (strcmp(kind, "transpose") == 0) {
    return tr_transpose(
        net, x, &(tr_transpose_opts){{(int)n[0], (int)n[1], (int)n[2]}});
  }
  if (strcmp(kind, "reshape") == 0) {
    return tr_reshape(net, x, (tr_shape){2, {(int64_t)n[0], -1}});
  }
  return (tr_node){-1};
}

static tr_node add_norm(tr_model *net, tr_node x, const char *text)
{
  char kind[32];
  double a = 0, b = 0, c = 0;
  ASSERT(sscanf(text, "%31s %lf %lf %lf", kind, &a, &b, &c) >= 1);
  tr_node shaped = add_shape(net, x, kind, (const double[]){a, b, c});
  if (shaped.index >= 0) {
    return shaped;
  }
  if (strcmp(kind, "leaky_relu") == 0) {
    return tr_leaky_relu(net, x, &(tr_leaky_relu_opts){.negative_slope = a});
  }
  if (strcmp(kind, "gelu") == 0) {
    return tr_gelu(net, x, &(tr_gelu_opts){.tanh = a != 0});
  }
  if (strcmp(kind, "layernorm") == 0) {
    return tr_layernorm(
        net, x,
        &(tr_layernorm_opts){
            .eps = a, .no_bias = b != 0, .no_affine = c != 0, .name = "norm"});
  }
  if (strcmp(kind, "rmsnorm") == 0) {
    return tr_rmsnorm(
        net, x,
        &(tr_rmsnorm_opts){.eps = a, .no_affine = b != 0, .name = "norm"});
  }
  if (strcmp(kind, "groupnorm") == 0) {
    return tr_groupnorm(net, x,
                        &(tr_groupnorm_opts){.groups = (int64_t)a,
                                             .eps = b,
                                             .no_affine = c != 0,
                                             .name = "norm"});
  }
  if (strcmp(kind, "batchnorm") == 0) {
    return tr_batchnorm(
        net, x,
        &(tr_batchnorm_opts){
            .eps = a, .momentum = b, .no_affine = c != 0, .name = "norm"});
  }
  static const struct {
    const char *name;
    tr_node (*add)(tr_model *net, tr_node x);
  } plain[] = {{"silu", tr_silu},
               {"sigmoid", tr_sigmoid},
               {"tanh", tr_tanh},
               {"softmax", tr_softmax}};
  for (int i = 0; i < 4; i++) {
    if (strcmp(kind, plain[i].name) == 0) {
      return plain[i].add(net, x);
    }
  }
  test_fail(__FILE__, __LINE__, "no layer is called %s", kind);
}

/* A host array in the type of the context. */
static void *in_type(const norm_case *c, const double *values, int64_t count)
{
  void *out = malloc((size_t)count * sizeof(double));
  ASSERT(out != NULL);
  for (int64_t i = 0; i < count; i++) {
    if (c->ctx->dtype == TR_F64) {
      ((double *)out)[i] = values[i];
    } else {
      ((float *)out)[i] = (float)values[i];
    }
  }
  return out;
}

static void set_values(norm_case *c)
{
  const tr__store *store = &c->net->store;
  for (int i = 0; i < store->num_trained; i++) {
    const tr__param *param = &store->params[i];
    double first = strcmp(param->name, "norm.weight") == 0 ? 1 : 0;
    double values[MAX_VALUES];
    ASSERT(param->count <= MAX_VALUES);
    for (int64_t k = 0; k < param->count; k++) {
      values[k] = (float)(golden_value(param->name, k) * 0.5 + first);
    }
    void *typed = in_type(c, values, param->count);
    ASSERT_OK(tr_model_set_param(c->net, param->name, typed));
    free(typed);
  }
  for (int64_t i = 0; i < c->count; i++) {
    c->x[i] = (float)(golden_value("x", i) * 2);
  }
  for (int64_t i = 0; i < c->rows; i++) {
    c->y[i] = (int32_t)(golden_bits("y", i) % CLASSES);
  }
}

static void build(norm_case *c, bool keeps)
{
  int64_t ndim;
  double *dims = recording_numbers(c->rec, &ndim, "%s/shape", c->name);
  tr_shape shape = {.ndim = (int)ndim};
  for (int i = 0; i < shape.ndim; i++) {
    shape.dims[i] = (int64_t)dims[i];
  }
  free(dims);
  c->rows = (int64_t)recording_number(c->rec, "%s/batch", c->name);
  c->count = c->rows * tr_shape_count(&shape);
  ASSERT(c->count <= MAX_VALUES);
  ASSERT_OK(tr_model_create(c->ctx, &c->net));
  c->norm = add_norm(c->net, tr_input(c->net, shape),
                     recording_text(c->rec, "%s/layer", c->name));
  if (keeps) {
    tr_model_keep(c->net, c->norm);
  }
  tr_node x = tr_flatten(c->net, c->norm);
  tr_linear_opts back = {.out = CLASSES, .name = "back"};
  tr_cross_entropy(c->net, tr_linear(c->net, x, &back));
  c->net->wants_input_gradients = true;
  ASSERT_OK(
      tr_model_build(c->net, &(tr_build_opts){.max_local_batch = c->rows + 1}));
  set_values(c);
}

static void check(const norm_case *c, const char *key, const void *values)
{
  int64_t count;
  double *wanted = recording_numbers(c->rec, &count, "%s/%s", c->name, key);
  double *got = calloc((size_t)count + 1, sizeof *got);
  double *expected = calloc((size_t)count + 1, sizeof *expected);
  ASSERT(got != NULL && expected != NULL);
  got[count] = expected[count] = LEAST;
  for (int64_t i = 0; i < count; i++) {
    got[i] = golden_double(c->ctx->dtype, values, i);
    expected[i] = wanted[i];
  }
  char what[128];
  snprintf(what, sizeof what, "%s/%s", c->name, key);
  ASSERT_TENSOR_NEAR(what, TR_F64, got, expected, count + 1, c->tolerance);
  free(expected);
  free(got);
  free(wanted);
}

/* Losses are double in either type. */
static void check_doubles(const norm_case *c, const char *key, double *values)
{
  int64_t count;
  free(recording_numbers(c->rec, &count, "%s/%s", c->name, key));
  void *typed = in_type(c, values, count);
  check(c, key, typed);
  free(typed);
}

static void forward(norm_case *c, int64_t rows)
{
  void *x = in_type(c, c->x, c->count);
  tr_batch batch = {.count = rows, .global_count = rows};
  batch.inputs[0] = x;
  batch.targets[0] = c->y;
  ASSERT_OK(tr_model_forward(c->net, &batch));
  free(x);
}

static void check_first_step(norm_case *c, bool keeps)
{
  double values[MAX_VALUES];
  forward(c, c->rows);
  if (keeps) {
    ASSERT_OK(tr_model_get_output(c->net, c->norm, values));
    check(c, "out", values);
  }
  ASSERT_OK(tr_model_backward(c->net));
  ASSERT_OK(tr__model_get_node_gradient(c->net, 0, values));
  check(c, "dx", values);
  const tr__store *store = &c->net->store;
  for (int i = 0; i < store->num_trained; i++) {
    char key[TR__NAME_BYTES + 8];
    snprintf(key, sizeof key, "grad/%s", store->params[i].name);
    ASSERT_OK(tr_model_get_grad(c->net, store->params[i].name, values));
    check(c, key, values);
  }
}

static void check_training(norm_case *c)
{
  double losses[STEPS], evaluation, values[MAX_VALUES];
  tr_optimizer *opt;
  ASSERT_OK(tr_sgd_create(c->net, &(tr_sgd_opts){.lr = 0.1}, &opt));
  for (int step = 0; step < STEPS; step++) {
    forward(c, step % 3 == 2 ? (c->rows + 1) / 2 : c->rows);
    ASSERT_OK(tr_model_backward(c->net));
    ASSERT_OK(tr_model_allreduce_grads(c->net));
    ASSERT_OK(tr_model_loss(c->net, &losses[step]));
    ASSERT_OK(tr_optimizer_step(opt));
  }
  check_doubles(c, "losses", losses);
  const tr__store *store = &c->net->store;
  for (int i = 0; i < store->num_params; i++) {
    char key[TR__NAME_BYTES + 8];
    snprintf(key, sizeof key, "final/%s", store->params[i].name);
    ASSERT_OK(tr_model_get_param(c->net, store->params[i].name, values));
    check(c, key, values);
  }
  tr_model_set_training(c->net, 0);
  forward(c, c->rows);
  ASSERT_OK(tr_model_loss(c->net, &evaluation));
  check_doubles(c, "evaluation", &evaluation);
  tr_optimizer_destroy(&opt);
}

/* Once with the layer's output kept, once with it computed in place. */
static void check_case(norm_case *c)
{
  for (int keeps = 0; keeps < 2; keeps++) {
    build(c, keeps);
    check_first_step(c, keeps);
    tr_model_destroy(&c->net);
  }
  build(c, false);
  check_training(c);
  tr_model_destroy(&c->net);
}

static void check_cases_as(const char *device, tr_dtype dtype)
{
  recording *rec = recording_open("norm");
  char *cases = strdup(recording_text(rec, "cases"));
  char *rest = NULL;
  for (char *name = strtok_r(cases, " ", &rest); name != NULL;
       name = strtok_r(NULL, " ", &rest)) {
    norm_case c = {.rec = rec,
                   .name = name,
                   .ctx = golden_context(dtype, device),
                   .tolerance =
                       dtype == TR_F64 ? TOLERANCE_F64 : TOLERANCE_F32};
    check_case(&c);
    tr_context_destroy(&c.ctx);
  }
  free(cases);
  recording_close(&rec);
}

static void test_double_precision_trains_as_pytorch_does(void)
{
  check_cases_as("reference", TR_F64);
}

static void test_single_precision_trains_as_pytorch_does(void)
{
  check_cases_as("reference", TR_F32);
  check_cases_as("cpu", TR_F32);
}

static const tr_test tests[] = {
    TEST(test_double_precision_trains_as_pytorch_does),
    TEST(test_single_precision_trains_as_pytorch_does),
};

TEST_MAIN(tests)
