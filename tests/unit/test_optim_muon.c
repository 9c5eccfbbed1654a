/* What Muon does that no other optimizer does: which parameters are matrices,
 * singular values, a gradient of zeros, and what it refuses. */
#include "layer_helper.h"

#include "optim/optimizer_impl.h"

enum { ROWS = 2, MAX_ELEMENTS = 4096 };

static const char *const devices[] = {"reference", "cpu", "strict"};

static tr_context *ctx;
static tr_model *net;
static tr_optimizer *opt;

/* Of 2 x 4 x 4: a convolution, and two linear layers: wide and tall. */
static void open_model(const char *device, tr_dtype dtype)
{
  ctx = make_context(device, dtype);
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, (tr_shape){3, {2, 4, 4}});
  x = tr_conv2d(net, x,
                &(tr_conv2d_opts){.out = 3, .kernel = 2, .name = "conv"});
  x = tr_flatten(net, x);
  x = tr_linear(net, x, &(tr_linear_opts){.out = 5, .name = "wide"});
  x = tr_linear(net, x, &(tr_linear_opts){.out = 9, .name = "tall"});
  tr_cross_entropy(net, x);
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = ROWS}));
}

static void close_model(void)
{
  tr_optimizer_destroy(&opt);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

/* A step on inputs of one value; in single precision. */
static tr_status step(float input, float weight)
{
  float x[ROWS * 32], weights[ROWS] = {weight, weight};
  int32_t targets[ROWS] = {0, 4};
  for (int i = 0; i < ROWS * 32; i++) {
    x[i] = input * (float)(i % 5 - 2);
  }
  tr_batch batch = {.count = ROWS,
                    .global_count = ROWS,
                    .inputs = {x},
                    .targets = {targets},
                    .weights = weights};
  ASSERT_OK(tr_model_forward(net, &batch));
  ASSERT_OK(tr_model_backward(net));
  ASSERT_OK(tr_model_allreduce_grads(net));
  return tr_optimizer_step(opt);
}

static uint64_t hash(void)
{
  uint64_t value;
  ASSERT_OK(tr_model_params_hash(net, &value));
  return value;
}

static const tr__slice *slice_of(const char *name)
{
  const tr__param *param = tr__store_param(opt->store, name);
  for (int i = 0; i < opt->num_slices; i++) {
    if (opt->slices[i].offset == param->offset) {
      return &opt->slices[i];
    }
  }
  test_fail(__FILE__, __LINE__, "no slice begins with %s", name);
}

static void
expect_slice(const char *name, int64_t rows, int64_t columns, double lr_scale)
{
  const tr__slice *slice = slice_of(name);
  ASSERT_EQ(slice->rows, rows);
  ASSERT_EQ(slice->columns, columns);
  ASSERT_NEAR(slice->lr_scale, lr_scale, 1e-15);
  ASSERT_NEAR(slice->weight_decay, rows > 0 ? 0.2 : 0.05, 0);
}

static void test_each_matrix_is_a_slice_and_the_rest_is_adamws(void)
{
  const tr_param_group groups[] = {{.pattern = "tall.*", .by_adamw = 1},
                                   {.pattern = "conv.*", .lr_scale = 0.5}};
  tr_muon_opts opts = tr_muon_defaults();
  opts.lr = 0.01;
  opts.adamw_lr = 0.002;
  opts.weight_decay = 0.2;
  opts.adamw_weight_decay = 0.05;
  opts.update = (tr_update_opts){.groups = groups, .num_groups = 2};
  open_model("cpu", TR_F32);
  ASSERT_OK(tr_muon_create(net, &opts, &opt));
  ASSERT_EQ(opt->num_slices, 6);
  expect_slice("conv.weight", 3, 8, 0.5);
  expect_slice("conv.bias", 0, 0, 0.1);
  expect_slice("wide.weight", 5, 27, 1);
  expect_slice("wide.bias", 0, 0, 0.2);
  expect_slice("tall.weight", 0, 0, 0.2);
  expect_slice("tall.bias", 0, 0, 0.2);
  int64_t end = 0;
  for (int i = 0; i < opt->num_slices; i++) {
    ASSERT_EQ(opt->slices[i].offset, end);
    end += opt->slices[i].count;
  }
  ASSERT_EQ(end, opt->store->count);
  close_model();
}

static void test_numbers_that_ranks_must_share_are_in_the_text(void)
{
  tr_muon_opts opts = tr_muon_defaults();
  opts.adamw_lr = 0.5;
  opts.adamw_weight_decay = 0.25;
  opts.scale = TR_MUON_SCALE_MATCH_RMS_ADAMW;
  open_model("cpu", TR_F32);
  ASSERT_OK(tr_muon_create(net, &opts, &opt));
  char *text = tr__optimizer_text(opt);
  ASSERT(strstr(text, "optimizer muon\n") != NULL);
  ASSERT(strstr(text, "scale 1 adamw_lr 0.5 adamw_weight_decay 0.25") != NULL);
  ASSERT(strstr(text, " matrix 3 8\n") != NULL);
  free(text);
  close_model();
}

/* The polynomial of Newton-Schulz, of one singular value. */
static double iterated(double x)
{
  for (int i = 0; i < 5; i++) {
    x = 3.4445 * x - 4.7750 * pow(x, 3) + 2.0315 * pow(x, 5);
  }
  return x;
}

/* Gradients whose only elements lie on the matrix's diagonal: 1, 2, 3, .. */
static void set_diagonal(const char *name)
{
  double values[MAX_ELEMENTS] = {0};
  const tr__slice *slice = slice_of(name);
  ASSERT(opt->store->count <= MAX_ELEMENTS && ctx->dtype == TR_F64);
  for (int64_t i = 0; i < tr__min(slice->rows, slice->columns); i++) {
    values[slice->offset + i * slice->columns + i] = (double)(i + 1);
  }
  tr__backend *backend = ctx->backend;
  backend->type->upload(&backend->stream, opt->store->grads, values,
                        (size_t)opt->store->count * sizeof(double));
}

static void expect_singular_values(const char *name, double scale)
{
  double before[MAX_ELEMENTS], after[MAX_ELEMENTS], norm = 0;
  double x[ROWS * 32] = {0};
  int32_t targets[ROWS] = {0};
  const tr_batch batch = {
      .count = ROWS, .global_count = ROWS, .inputs = {x}, .targets = {targets}};
  const tr__slice *slice = slice_of(name);
  ASSERT_OK(tr_model_forward(net, &batch));
  ASSERT_OK(tr_model_backward(net));
  set_diagonal(name);
  ASSERT_OK(tr_model_get_param(net, name, before));
  ASSERT_OK(tr_optimizer_step(opt));
  ASSERT_OK(tr_model_get_param(net, name, after));
  int64_t n = tr__min(slice->rows, slice->columns);
  for (int64_t i = 1; i <= n; i++) {
    norm += (double)(i * i);
  }
  for (int64_t k = 0; k < slice->rows * slice->columns; k++) {
    int64_t i = k / slice->columns;
    double got = (before[k] - after[k]) / (opt->hyper.lr * scale);
    double value = iterated((double)(i + 1) / sqrt(norm));
    ASSERT_NEAR(got, k % slice->columns == i ? value : 0, 1e-13);
    ASSERT(k % slice->columns != i || (got > 0.68 && got < 1.21));
  }
}

static void test_singular_values_go_through_the_polynomial(void)
{
  for (int i = 0; i < 2; i++) {
    tr_muon_opts opts = tr_muon_defaults();
    opts.lr = 0.5;
    opts.weight_decay = 0;
    opts.scale = (tr_muon_scale)i;
    for (int k = 0; k < 3; k++) {
      static const char *const names[] = {"conv.weight", "wide.weight",
                                          "tall.weight"};
      const double scales[2][3] = {{1, 1, sqrt(9.0 / 5)},
                                   {0.2 * sqrt(8), 0.2 * sqrt(27), 0.2 * 3}};
      open_model("cpu", TR_F64);
      ASSERT_OK(tr_muon_create(net, &opts, &opt));
      expect_singular_values(names[k], scales[i][k]);
      close_model();
    }
  }
}

static void test_a_gradient_of_zeros_changes_nothing(void)
{
  tr_muon_opts opts = tr_muon_defaults();
  opts.weight_decay = opts.adamw_weight_decay = 0;
  for (int i = 0; i < 3; i++) {
    open_model(devices[i], TR_F32);
    ASSERT_OK(tr_muon_create(net, &opts, &opt));
    uint64_t before = hash();
    ASSERT_OK(step(1, 0));
    ASSERT(hash() == before);
    ASSERT_OK(step(1, 1));
    ASSERT(hash() != before);
    close_model();
  }
}

static void test_a_step_that_is_not_finite_is_skipped_or_stops(void)
{
  for (int i = 0; i < 6; i++) {
    tr_muon_opts opts = tr_muon_defaults();
    opts.update.on_nonfinite =
        i % 2 == 0 ? TR_NONFINITE_SKIP : TR_NONFINITE_STOP;
    open_model(devices[i / 2], TR_F32);
    ASSERT_OK(tr_muon_create(net, &opts, &opt));
    ASSERT_OK(step(1, 1));
    uint64_t before = hash();
    if (i % 2 == 0) {
      ASSERT_OK(step(INFINITY, 1));
    } else {
      ASSERT_FAILS(step(NAN, 1), TR_ENUMERIC, "step 2 is nan");
    }
    ASSERT(hash() == before);
    ASSERT_OK(step(1, 1));
    ASSERT(hash() != before);
    close_model();
  }
}

static void test_bad_options_are_refused(void)
{
  tr_muon_opts bad[12];
  static const char *const texts[] = {
      "muon: lr is 0",
      "muon: momentum is 1, expected 0 <= momentum < 1",
      "muon: momentum is -0.5",
      "muon: momentum is nan",
      "muon: scale is 2, expected 0 or 1",
      "muon: weight_decay is -1",
      "muon: adamw_lr is 0, expected more than 0; start from tr_muon_defaults",
      "muon: adamw_lr is inf",
      "muon: betas are 0.9 and 1",
      "muon: eps is -1",
      "muon: adamw_weight_decay is nan",
      "muon: clip_norm is -1",
  };
  for (int i = 0; i < 12; i++) {
    bad[i] = tr_muon_defaults();
  }
  bad[0].lr = 0;
  bad[1].momentum = 1;
  bad[2].momentum = -0.5;
  bad[3].momentum = NAN;
  bad[4].scale = (tr_muon_scale)2;
  bad[5].weight_decay = -1;
  bad[6].adamw_lr = 0;
  bad[7].adamw_lr = INFINITY;
  bad[8].beta2 = 1;
  bad[9].eps = -1;
  bad[10].adamw_weight_decay = NAN;
  bad[11].update.clip_norm = -1;
  open_model("cpu", TR_F32);
  for (int i = 0; i < 12; i++) {
    opt = (tr_optimizer *)&net;
    ASSERT_FAILS(tr_muon_create(net, &bad[i], &opt), TR_EINVAL, texts[i]);
    ASSERT(opt == NULL);
  }
  close_model();
}

/* Nesterov's step without momentum is the plain one. */
static void test_without_momentum_nesterov_changes_nothing(void)
{
  uint64_t hashes[2];
  for (int i = 0; i < 6; i++) {
    tr_muon_opts opts = tr_muon_defaults();
    opts.momentum = 0;
    opts.nesterov = i % 2;
    open_model(devices[i / 2], TR_F32);
    ASSERT_OK(tr_muon_create(net, &opts, &opt));
    ASSERT_OK(step(1, 1));
    ASSERT_OK(step(1, 1));
    hashes[i % 2] = hash();
    ASSERT(i % 2 == 0 || hashes[0] == hashes[1]);
    close_model();
  }
}

static void test_groups_that_fit_nothing_or_are_not_muons_are_refused(void)
{
  const tr_param_group other = {.pattern = "embedding.*", .by_adamw = 1};
  const tr_param_group tall = {.pattern = "tall.*", .by_adamw = 1};
  tr_muon_opts opts = tr_muon_defaults();
  opts.update = (tr_update_opts){.groups = &other, .num_groups = 1};
  const tr_sgd_opts sgd = {.lr = 1,
                           .update = {.groups = &tall, .num_groups = 1}};
  open_model("cpu", TR_F32);
  ASSERT_FAILS(tr_muon_create(net, &opts, &opt), TR_EINVAL,
               "no trained parameter fits \"embedding.*\"");
  ASSERT_FAILS(tr_sgd_create(net, &sgd, &opt), TR_EINVAL,
               "by_adamw is of tr_muon_create(), this is sgd");
  close_model();
}

static void test_defaults_are_those_of_pytorch(void)
{
  tr_muon_opts muon = tr_muon_defaults();
  tr_adamw_opts adamw = tr_adamw_defaults();
  ASSERT(muon.lr == 1e-3 && muon.momentum == 0.95 && muon.nesterov == 1);
  ASSERT(muon.weight_decay == 0.1 && muon.scale == TR_MUON_SCALE_ORIGINAL);
  ASSERT(muon.adamw_lr == adamw.lr && muon.eps == adamw.eps);
  ASSERT(muon.beta1 == adamw.beta1 && muon.beta2 == adamw.beta2);
  ASSERT_NEAR(muon.adamw_weight_decay, adamw.weight_decay, 0);
}

static const tr_test tests[] = {
    TEST(test_each_matrix_is_a_slice_and_the_rest_is_adamws),
    TEST(test_numbers_that_ranks_must_share_are_in_the_text),
    TEST(test_singular_values_go_through_the_polynomial),
    TEST(test_a_gradient_of_zeros_changes_nothing),
    TEST(test_a_step_that_is_not_finite_is_skipped_or_stops),
    TEST(test_bad_options_are_refused),
    TEST(test_without_momentum_nesterov_changes_nothing),
    TEST(test_groups_that_fit_nothing_or_are_not_muons_are_refused),
    TEST(test_defaults_are_those_of_pytorch),
};

TEST_MAIN(tests)
