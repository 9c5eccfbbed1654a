/* Tied weights: one parameter, whose gradient is the sum over all layers that
 * use it. */
#include "layer_helper.h"

#include <hdf5.h>

enum { ROWS = 3, CLASSES = 4, MAX_COUNT = 256 };

/* Small against the inputs, large against rounding. */
static const double step = 0x1p-13;

/* Of central differences with that step, times the largest gradient. */
static const double difference_tolerance = 1e-6;

/* A net with a layer "b" that is tied to a layer "a", or has values of its
 * own. */
typedef struct tied_net {
  const char *name;
  tr_node (*build)(tr_model *net, bool is_tied);
} tied_net;

static tr_node
dense(tr_model *net, tr_node x, int64_t out, bool no_bias, const char *name)
{
  return tr_linear(
      net, x, &(tr_linear_opts){.out = out, .no_bias = no_bias, .name = name});
}

static tr_node tie(tr_model *net, tr_node b, tr_node a, bool is_tied)
{
  if (is_tied) {
    tr_model_tie(net, b, a);
  }
  return b;
}

static tr_node vector(tr_model *net, int64_t extent)
{
  return tr_input(net, (tr_shape){1, {extent}});
}

static tr_node embed(tr_model *net, const char *name)
{
  return tr_embedding(
      net, tr_input_ids(net, (tr_shape){1, {5}}),
      &(tr_embedding_opts){.num = CLASSES, .out = 6, .name = name});
}

/* The head of a language model; its bias is its own. */
static tr_node build_head(tr_model *net, bool is_tied)
{
  tr_node a = embed(net, "a");
  tr_node x = tr_tanh(net, dense(net, a, 6, false, "mid"));
  return tie(net, dense(net, x, CLASSES, false, "b"), a, is_tied);
}

static tr_node build_linears(tr_model *net, bool is_tied)
{
  tr_node a = dense(net, vector(net, 5), 5, true, "a");
  tr_node b = dense(net, tr_tanh(net, a), 5, false, "b");
  return dense(net, tie(net, b, a, is_tied), CLASSES, false, "out");
}

/* Strides and biases are each one's own. */
static tr_node build_convs(tr_model *net, bool is_tied)
{
  tr_conv2d_opts conv = {.out = 2, .kernel = 3, .padding = 1, .name = "a"};
  tr_node a = tr_conv2d(net, tr_input(net, (tr_shape){3, {2, 5, 6}}), &conv);
  conv.name = "b";
  conv.stride = 2;
  tr_node b = tr_conv2d(net, tr_tanh(net, a), &conv);
  b = tr_flatten(net, tie(net, b, a, is_tied));
  return dense(net, b, CLASSES, false, "out");
}

static tr_node build_embeddings(tr_model *net, bool is_tied)
{
  tr_node a = embed(net, "a");
  tr_node b = tie(net, embed(net, "b"), a, is_tied);
  tr_node x = tr_flatten(net, tr_mul(net, a, b));
  return dense(net, x, CLASSES, false, "out");
}

static tr_node build_norms(tr_model *net, bool is_tied)
{
  tr_node a =
      tr_layernorm(net, vector(net, 7), &(tr_layernorm_opts){.name = "a"});
  tr_node b =
      tr_layernorm(net, tr_tanh(net, a), &(tr_layernorm_opts){.name = "b"});
  return dense(net, tie(net, b, a, is_tied), CLASSES, false, "out");
}

/* Neither lies behind the other. */
static tr_node build_branches(tr_model *net, bool is_tied)
{
  tr_node x = vector(net, 5);
  tr_node a = tr_tanh(net, dense(net, x, CLASSES, false, "a"));
  tr_node b = dense(net, x, CLASSES, false, "b");
  tie(net, b, (tr_node){a.index - 1}, is_tied);
  return tr_add(net, a, tr_relu(net, b));
}

static const tied_net nets[] = {
    {"head", build_head},   {"linears", build_linears},
    {"convs", build_convs}, {"embeddings", build_embeddings},
    {"norms", build_norms}, {"branches", build_branches},
};

enum { NUM_NETS = sizeof nets / sizeof nets[0] };

typedef struct run {
  tr_context *ctx;
  tr_model *model;
  tr_node logits;
  tr_batch batch;
} run;

static void *draw_input(const run *r, const tr__node *node)
{
  const layer_case c = {.number = 4};
  tensor t = random_tensor(&c, "x", 10 + node->index,
                           ROWS * tr_shape_count(&node->shape));
  t.is_ids = (node->flags & TR__IS_IDS) != 0;
  for (int64_t i = 0; i < t.count && t.is_ids; i++) {
    t.values[i] = floor((t.values[i] + 1) / 2 * CLASSES);
  }
  void *values = narrowed(r->ctx, &t);
  free_tensor(&t);
  return values;
}

static void draw_batch(run *r)
{
  const tr__node *loss = &r->model->nodes[r->model->num_nodes - 1];
  int64_t count = ROWS * tr_shape_count(&loss->shape);
  int32_t *targets = calloc((size_t)count, sizeof *targets);
  for (int64_t i = 0; i < count; i++) {
    targets[i] = (int32_t)(i % CLASSES);
  }
  r->batch = (tr_batch){.count = ROWS,
                        .global_count = ROWS,
                        .targets = {targets},
                        .target_values = {count / ROWS}};
  for (int i = 0; i < r->model->num_nodes; i++) {
    const tr__node *node = &r->model->nodes[i];
    if (node->flags & TR__IS_INPUT) {
      r->batch.inputs[node->ordinal] = draw_input(r, node);
    }
  }
}

static run begin(const tied_net *net, const char *device, bool is_tied)
{
  run r = {.ctx = make_context(device, TR_F64)};
  ASSERT_OK(tr_model_create(r.ctx, &r.model));
  r.logits = net->build(r.model, is_tied);
  tr_cross_entropy(r.model, r.logits);
  ASSERT_OK(tr_model_build(r.model, &(tr_build_opts){.max_local_batch = ROWS}));
  draw_batch(&r);
  return r;
}

static void end(run *r)
{
  for (int i = 0; i < TR_MAX_INPUTS; i++) {
    free((void *)(uintptr_t)r->batch.inputs[i]);
  }
  free((void *)(uintptr_t)r->batch.targets[0]);
  tr_model_destroy(&r->model);
  tr_context_destroy(&r->ctx);
}

static void compute_gradients(run *r)
{
  ASSERT_OK(tr_model_forward(r->model, &r->batch));
  ASSERT_OK(tr_model_backward(r->model));
}

static int64_t get_gradient(run *r, const char *name, double *out)
{
  int64_t count = tr__store_param(&r->model->store, name)->count;
  ASSERT(count <= MAX_COUNT);
  ASSERT_OK(tr_model_get_grad(r->model, name, out));
  return count;
}

/* What backward differentiates: a row counts as a sample does. */
static double objective(run *r)
{
  double loss;
  ASSERT_OK(tr_model_forward(r->model, &r->batch));
  ASSERT_OK(tr_model_loss(r->model, &loss));
  return loss * (double)r->batch.target_values[0];
}

static void check_differences(run *r, const char *net, const char *name)
{
  double values[MAX_COUNT], gradient[MAX_COUNT], slopes[MAX_COUNT];
  char what[256];
  int64_t count = get_gradient(r, name, gradient);
  ASSERT_OK(tr_model_get_param(r->model, name, values));
  for (int64_t i = 0; i < count; i++) {
    double sides[2], kept = values[i];
    for (int side = 0; side < 2; side++) {
      values[i] = kept + (side == 0 ? step : -step);
      ASSERT_OK(tr_model_set_param(r->model, name, values));
      sides[side] = objective(r);
    }
    values[i] = kept;
    ASSERT_OK(tr_model_set_param(r->model, name, values));
    slopes[i] = (sides[0] - sides[1]) / (2 * step);
  }
  snprintf(what, sizeof what, "%s, gradient of %s", net, name);
  ASSERT_TENSOR_NEAR(what, TR_F64, gradient, slopes, count,
                     difference_tolerance);
}

static void test_gradients_match_central_differences(void)
{
  for (int i = 0; i < NUM_NETS; i++) {
    run r = begin(&nets[i], "reference", true);
    compute_gradients(&r);
    for (int k = 0; k < r.model->store.num_params; k++) {
      check_differences(&r, nets[i].name, r.model->store.params[k].name);
    }
    end(&r);
  }
}

/* Of the net whose layers have the same values each for itself: the sum of two
 * gradients, and all others to the bit. */
static void check_twin(run *tied, run *twin)
{
  const tr__store *store = &tied->model->store;
  double weight[MAX_COUNT], got[MAX_COUNT], a[MAX_COUNT], b[MAX_COUNT];
  for (int i = 0; i < store->num_params; i++) {
    ASSERT_OK(tr_model_get_param(tied->model, store->params[i].name, weight));
    ASSERT_OK(tr_model_set_param(twin->model, store->params[i].name, weight));
  }
  ASSERT_OK(tr_model_get_param(tied->model, "a.weight", weight));
  ASSERT_OK(tr_model_set_param(twin->model, "b.weight", weight));
  compute_gradients(tied);
  compute_gradients(twin);
  for (int i = 0; i < store->num_params; i++) {
    const char *name = store->params[i].name;
    int64_t count = get_gradient(tied, name, got);
    get_gradient(twin, name, a);
    if (strcmp(name, "a.weight") != 0) {
      ASSERT(memcmp(got, a, (size_t)count * sizeof *got) == 0);
      continue;
    }
    get_gradient(twin, "b.weight", b);
    for (int64_t k = 0; k < count; k++) {
      a[k] += b[k];
    }
    ASSERT_TENSOR_NEAR(name, TR_F64, got, a, count, 1e-14);
  }
}

static void test_a_gradient_is_the_sum_over_all_uses(void)
{
  static const char *const devices[] = {"reference", "cpu", "strict"};
  for (int i = 0; i < NUM_NETS; i++) {
    for (int d = 0; d < 3; d++) {
      run tied = begin(&nets[i], devices[d], true);
      run twin = begin(&nets[i], devices[d], false);
      check_twin(&tied, &twin);
      end(&tied);
      end(&twin);
    }
  }
}

/* In the next step the gradients of this one are gone, in a second batch of one
 * step they are added to, and an empty one leaves zeros. */
static void check_later_batches(run *r, const char *name)
{
  double once[MAX_COUNT], again[MAX_COUNT];
  r->batch.count = ROWS;
  r->model->step.gradients = TR__GRADIENTS_CLEAR;
  compute_gradients(r);
  int64_t count = get_gradient(r, name, once);
  r->model->step.gradients = TR__GRADIENTS_CLEAR;
  compute_gradients(r);
  get_gradient(r, name, again);
  ASSERT(memcmp(once, again, (size_t)count * sizeof *once) == 0);
  compute_gradients(r);
  get_gradient(r, name, again);
  for (int64_t i = 0; i < count; i++) {
    once[i] *= 2;
  }
  ASSERT_TENSOR_NEAR(name, TR_F64, again, once, count, 1e-14);
  r->model->step.gradients = TR__GRADIENTS_CLEAR;
  r->batch.count = 0;
  compute_gradients(r);
  get_gradient(r, name, again);
  for (int64_t i = 0; i < count; i++) {
    ASSERT(again[i] == 0);
  }
}

static void test_later_batches_set_add_or_clear(void)
{
  for (int i = 0; i < NUM_NETS; i++) {
    run r = begin(&nets[i], "reference", true);
    for (int k = 0; k < r.model->store.num_params; k++) {
      check_later_batches(&r, r.model->store.params[k].name);
    }
    end(&r);
  }
}

/* A layer that is tied to a tied one, in a loop that is unrolled. */
static void test_three_layers_may_share_a_weight(void)
{
  tr_context *ctx = make_context("reference", TR_F64);
  run r = {.ctx = ctx};
  ASSERT_OK(tr_model_create(ctx, &r.model));
  tr_node a = dense(r.model, vector(r.model, CLASSES), CLASSES, false, "a");
  tr_node b = dense(r.model, tr_tanh(r.model, a), CLASSES, true, "b");
  tr_node c = dense(r.model, tr_tanh(r.model, b), CLASSES, false, "c");
  tr_model_tie(r.model, b, a);
  tr_model_tie(r.model, c, b);
  tr_cross_entropy(r.model, c);
  ASSERT_OK(tr_model_build(r.model, &(tr_build_opts){.max_local_batch = ROWS}));
  ASSERT_EQ(tr_model_num_params(r.model), CLASSES * CLASSES + 2 * CLASSES);
  draw_batch(&r);
  compute_gradients(&r);
  for (int i = 0; i < r.model->store.num_params; i++) {
    check_differences(&r, "three", r.model->store.params[i].name);
  }
  end(&r);
}

static tr_status append_name(void *user, const tr_param_info *info)
{
  strcat(strcat(user, info->name), " ");
  return TR_OK;
}

static void test_a_tied_weight_is_there_once(void)
{
  run r = begin(&nets[0], "reference", true);
  char names[256] = "", text[4096] = "";
  ASSERT_OK(tr_model_visit(r.model, append_name, names));
  ASSERT_STR_EQ(names, "a.weight b.bias mid.bias mid.weight ");
  ASSERT_EQ(tr_model_num_params(r.model), 24 + CLASSES + 6 + 36);
  double unused[MAX_COUNT];
  ASSERT_FAILS(tr_model_get_param(r.model, "b.weight", unused), TR_EINVAL,
               "there are a.weight b.bias");
  FILE *out = fmemopen(text, sizeof text, "w");
  ASSERT_OK(tr_model_print(r.model, out));
  fclose(out);
  const char *line = strstr(text, "\nb  ");
  const char *note = strstr(text, "  with a.weight\n");
  long long params;
  ASSERT(line != NULL && note == strchr(line + 1, '\n') - 15);
  ASSERT_EQ(sscanf(line, " b linear (5, 4) %lld", &params), 1);
  ASSERT_EQ(params, CLASSES);
  ASSERT(strstr(text, "parameters: 70 trained") != NULL);
  end(&r);
}

/* Gradients lie in the order in which backward finishes them. */
static void test_a_tied_gradient_lies_with_the_use_that_is_last(void)
{
  run r = begin(&nets[1], "reference", true);
  static const char *const expected[] = {"out.weight", "out.bias", "b.bias",
                                         "a.weight"};
  ASSERT_EQ(r.model->store.num_params, 4);
  for (int i = 0; i < 4; i++) {
    ASSERT_STR_EQ(r.model->store.params[i].name, expected[i]);
    ASSERT_EQ(r.model->store.params[i].num_uses, i == 3 ? 2 : 1);
  }
  end(&r);
}

/* What lies before "b" starts as in the net without ties. */
static void test_first_values_are_those_of_the_first_layer(void)
{
  run tied = begin(&nets[0], "reference", true);
  run twin = begin(&nets[0], "reference", false);
  static const char *const names[] = {"a.weight", "mid.weight", "mid.bias"};
  for (int i = 0; i < 3; i++) {
    double a[MAX_COUNT], b[MAX_COUNT];
    int64_t count = tr__store_param(&tied.model->store, names[i])->count;
    ASSERT_OK(tr_model_get_param(tied.model, names[i], a));
    ASSERT_OK(tr_model_get_param(twin.model, names[i], b));
    ASSERT(memcmp(a, b, (size_t)count * sizeof *a) == 0);
  }
  end(&tied);
  end(&twin);
}

static void test_freezing_the_name_freezes_all_uses(void)
{
  for (int i = 0; i < NUM_NETS; i++) {
    run r = begin(&nets[i], "reference", true);
    double before[MAX_COUNT], after[MAX_COUNT];
    compute_gradients(&r);
    int64_t count = get_gradient(&r, "a.weight", before);
    int64_t num_params = tr_model_num_params(r.model);
    ASSERT_OK(tr_model_freeze(r.model, "a.weight", 1));
    ASSERT_OK(tr_model_build(r.model, NULL));
    ASSERT_EQ(tr_model_num_params(r.model), num_params - count);
    compute_gradients(&r);
    ASSERT_FAILS(tr_model_get_grad(r.model, "a.weight", after), TR_EINVAL,
                 "is not trained");
    ASSERT_OK(tr_model_freeze(r.model, "a.weight", 0));
    ASSERT_OK(tr_model_build(r.model, NULL));
    compute_gradients(&r);
    get_gradient(&r, "a.weight", after);
    ASSERT(memcmp(before, after, (size_t)count * sizeof *before) == 0);
    end(&r);
  }
}

static void check_one_use(const char *device, const char *name)
{
  run r = {.ctx = make_context(device, TR_F64)};
  ASSERT_OK(tr_model_create(r.ctx, &r.model));
  r.logits = build_branches(r.model, true);
  tr_cross_entropy(r.model, r.logits);
  tr_node node = {0};
  while (strcmp(r.model->nodes[node.index].name, name) != 0) {
    node.index++;
  }
  tr_model_keep(r.model, node);
  ASSERT_OK(tr_model_build(r.model, &(tr_build_opts){.max_local_batch = ROWS}));
  draw_batch(&r);
  ASSERT_OK(tr_model_forward(r.model, &r.batch));
  double expected[ROWS * CLASSES], got[ROWS * CLASSES];
  ASSERT_OK(tr_model_get_output(r.model, node, expected));
  tr_inference *plan;
  ASSERT_OK(tr_inference_create(
      r.model, &(tr_inference_opts){.outputs = &node, .num_outputs = 1},
      &plan));
  ASSERT_OK(tr_inference_forward(plan, &r.batch));
  ASSERT_OK(tr_inference_get_output(plan, node, got));
  ASSERT(memcmp(got, expected, sizeof got) == 0);
  tr_inference_destroy(&plan);
  end(&r);
}

static void test_a_workspace_may_have_one_of_the_uses(void)
{
  check_one_use("reference", "a");
  check_one_use("reference", "b");
  check_one_use("cpu", "b");
  check_one_use("strict", "b");
}

/* /params/<name> of these extents, all values the same. */
static void
write_param(hid_t file, const char *name, const tr_shape *shape, double value)
{
  hsize_t dims[TR_MAX_DIMS];
  double values[MAX_COUNT];
  char path[128];
  for (int i = 0; i < shape->ndim; i++) {
    dims[i] = (hsize_t)shape->dims[i];
  }
  for (int i = 0; i < MAX_COUNT; i++) {
    values[i] = value;
  }
  snprintf(path, sizeof path, "/params/%s", name);
  hid_t space = H5Screate_simple(shape->ndim, dims, NULL);
  hid_t set = H5Dcreate2(file, path, H5T_IEEE_F64LE, space, H5P_DEFAULT,
                         H5P_DEFAULT, H5P_DEFAULT);
  ASSERT(H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                  values) >= 0);
  H5Dclose(set);
  H5Sclose(space);
}

/* As PyTorch's state dicts are. */
static void test_a_file_may_have_the_weight_under_both_names(void)
{
  run r = begin(&nets[0], "reference", true);
  char path[300];
  double values[MAX_COUNT];
  int num_loaded;
  snprintf(path, sizeof path, "%s/both.h5", test_scratch());
  hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  hid_t group =
      H5Gcreate2(file, "/params", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  for (int i = 0; i < r.model->store.num_params; i++) {
    const tr__param *param = &r.model->store.params[i];
    write_param(file, param->name, &param->shape, 0.5);
  }
  write_param(file, "b.weight", &(tr_shape){2, {CLASSES, 6}}, 0.5);
  H5Gclose(group);
  H5Fclose(file);
  ASSERT_OK(tr_model_load(r.model, path));
  ASSERT_OK(tr_model_load_matching(r.model, path, NULL, &num_loaded));
  ASSERT_EQ(num_loaded, 4);
  ASSERT_OK(tr_model_get_param(r.model, "a.weight", values));
  ASSERT_NEAR(values[7], 0.5, 0);
  end(&r);
}

static const tr_test tests[] = {
    TEST(test_gradients_match_central_differences),
    TEST(test_a_gradient_is_the_sum_over_all_uses),
    TEST(test_later_batches_set_add_or_clear),
    TEST(test_three_layers_may_share_a_weight),
    TEST(test_a_tied_weight_is_there_once),
    TEST(test_a_tied_gradient_lies_with_the_use_that_is_last),
    TEST(test_first_values_are_those_of_the_first_layer),
    TEST(test_freezing_the_name_freezes_all_uses),
    TEST(test_a_workspace_may_have_one_of_the_uses),
    TEST(test_a_file_may_have_the_weight_under_both_names),
};

TEST_MAIN(tests)
