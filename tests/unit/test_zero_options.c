/* TR_ZERO is the number 0 where an option's 0 is its default. */
#include "layer_helper.h"

static tr_context *ctx;
static tr_model *net;

enum { WIDTH = 3 };

static tr_node open_model(void)
{
  ctx = make_context("cpu", TR_F64);
  ASSERT_OK(tr_model_create(ctx, &net));
  return tr_input(net, (tr_shape){1, {WIDTH}});
}

static void close_model(void)
{
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static void forward(const double *x, const double *t0, const double *t1)
{
  const tr_batch batch = {
      .count = 1, .global_count = 1, .inputs = {x}, .targets = {t0, t1}};
  ASSERT_OK(tr_model_forward(net, &batch));
}

static void build(void)
{
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 1}));
}

static void test_a_slope_of_zero_is_relu(void)
{
  const double x[WIDTH] = {-2, 0, 3};
  double y[WIDTH];
  tr_node in = open_model();
  tr_node node = tr_leaky_relu(net, in, &(tr_leaky_relu_opts){TR_ZERO});
  build();
  forward(x, NULL, NULL);
  ASSERT_OK(tr_model_get_output(net, node, y));
  ASSERT(y[0] == 0 && y[1] == 0 && y[2] == 3);
  close_model();
}

static void test_running_values_stay_without_momentum(void)
{
  const double x[WIDTH] = {4, 5, 6};
  double mean[WIDTH];
  tr_node in = open_model();
  tr_batchnorm(net, in,
               &(tr_batchnorm_opts){.momentum = TR_ZERO, .name = "bn"});
  build();
  forward(x, NULL, NULL);
  ASSERT_OK(tr_model_get_param(net, "bn.running_mean", mean));
  ASSERT(mean[0] == 0 && mean[1] == 0 && mean[2] == 0);
  close_model();
}

/* The variance of -1, 0, 1 is 2/3, the mean of squares likewise. */
static void test_norms_may_have_no_eps(void)
{
  const double x[WIDTH] = {-1, 0, 1};
  double y[3][WIDTH];
  tr_node in = open_model(), nodes[3];
  nodes[0] = tr_layernorm(net, in, &(tr_layernorm_opts){.eps = TR_ZERO});
  nodes[1] = tr_rmsnorm(net, in, &(tr_rmsnorm_opts){.eps = TR_ZERO});
  nodes[2] =
      tr_groupnorm(net, in, &(tr_groupnorm_opts){.groups = 1, .eps = TR_ZERO});
  build();
  /* A second build reads the same options. */
  ASSERT_OK(tr_model_freeze(net, "*", 1));
  ASSERT_OK(tr_model_build(net, NULL));
  forward(x, NULL, NULL);
  for (int i = 0; i < 3; i++) {
    ASSERT_OK(tr_model_get_output(net, nodes[i], y[i]));
    ASSERT_NEAR(y[i][2], sqrt(1.5), 1e-15);
  }
  close_model();
}

static void test_a_loss_without_weight_adds_nothing(void)
{
  const double x[WIDTH] = {1, 2, 3}, t[WIDTH] = {0, 0, NAN};
  const double own[WIDTH] = {1, 2, 5};
  double loss, grad[WIDTH];
  tr_node in = open_model();
  in = tr_position(net, in, &(tr_position_opts){.std = TR_ZERO, .name = "at"});
  tr_mae(net, in, &(tr_loss_opts){.weight = TR_ZERO});
  tr_mse(net, in, NULL);
  build();
  forward(x, t, own);
  ASSERT_OK(tr_model_backward(net));
  ASSERT_OK(tr_model_loss(net, &loss));
  ASSERT_OK(tr_model_get_grad(net, "at.weight", grad));
  ASSERT_NEAR(loss, 4.0 / 3, 1e-15);
  ASSERT_NEAR(grad[2], -4.0 / 3, 1e-15);
  ASSERT(grad[0] == 0);
  close_model();
}

static void test_first_values_without_deviation_are_equal(void)
{
  double w[WIDTH];
  tr_node in = open_model();
  tr_linear(net, in, &(tr_linear_opts){.out = 1, .no_bias = 1, .name = "fc"});
  build();
  const tr_init_opts flat = {.kind = "normal", .mean = 2, .std = TR_ZERO};
  const tr_init_opts none = {.kind = "xavier_normal", .gain = TR_ZERO};
  ASSERT_OK(tr_model_init_param(net, "*", &flat));
  ASSERT_OK(tr_model_get_param(net, "fc.weight", w));
  ASSERT(w[0] == 2 && w[1] == 2 && w[2] == 2);
  ASSERT_OK(tr_model_init_param(net, "*", &none));
  ASSERT_OK(tr_model_get_param(net, "fc.weight", w));
  ASSERT(w[0] == 0 && w[1] == 0 && w[2] == 0);
  close_model();
}

/* One step with decay: the group moves neither by its gradient nor by decay. */
static void test_a_group_of_rate_zero_stays(void)
{
  const double x[WIDTH] = {1, 2, 3}, t = 1;
  double before[WIDTH], after[WIDTH], bias[2];
  tr_optimizer *opt;
  tr_node in = open_model();
  tr_mse(net, tr_linear(net, in, &(tr_linear_opts){.out = 1, .name = "fc"}),
         NULL);
  build();
  const tr_param_group group = {.pattern = "*.weight", .lr_scale = TR_ZERO};
  ASSERT_OK(tr_sgd_create(
      net,
      &(tr_sgd_opts){.lr = 0.1,
                     .weight_decay = 0.1,
                     .update = {.groups = &group, .num_groups = 1}},
      &opt));
  ASSERT_OK(tr_model_get_param(net, "fc.weight", before));
  ASSERT_OK(tr_model_get_param(net, "fc.bias", &bias[0]));
  forward(x, &t, NULL);
  ASSERT_OK(tr_model_backward(net));
  ASSERT_OK(tr_optimizer_step(opt));
  ASSERT_OK(tr_model_get_param(net, "fc.weight", after));
  ASSERT_OK(tr_model_get_param(net, "fc.bias", &bias[1]));
  ASSERT(memcmp(before, after, sizeof before) == 0);
  ASSERT(bias[0] != bias[1]);
  tr_optimizer_destroy(&opt);
  close_model();
}

static const tr_test tests[] = {
    TEST(test_a_slope_of_zero_is_relu),
    TEST(test_running_values_stay_without_momentum),
    TEST(test_norms_may_have_no_eps),
    TEST(test_a_loss_without_weight_adds_nothing),
    TEST(test_first_values_without_deviation_are_equal),
    TEST(test_a_group_of_rate_zero_stays),
};
TEST_MAIN(tests)
