/* Activations and losses of what is infinite, no number or huge, as
 * PyTorch 2.15 computes them in double precision. Other precisions agree, but
 * for GELU's slopes at 1e30, which overflow there in single precision. */
#include "chain_helper.h"

enum { VALUES = 8, TIMES = 5, ROWS = 8, CLASSES = 3 };

#define HUGE_ 0x1p100

/* The last two are infinite in float16. */
static const double inputs[VALUES] = {INFINITY, -INFINITY, NAN,   8192,
                                      -8192,    0,         HUGE_, -HUGE_};

typedef struct limits {
  const char *name;
  layer_fn add;
  double y[VALUES], dx[VALUES];
} limits;

static tr_node leaky(tr_model *net, tr_node x)
{
  return tr_leaky_relu(net, x, &(tr_leaky_relu_opts){.negative_slope = 0.25});
}

static tr_node gelu(tr_model *net, tr_node x)
{
  return tr_gelu(net, x, NULL);
}

static tr_node gelu_tanh(tr_model *net, tr_node x)
{
  return tr_gelu(net, x, &(tr_gelu_opts){.tanh = 1});
}

static const limits activations[] = {
    {"leaky",
     leaky,
     {INFINITY, -INFINITY, NAN, 8192, -2048, 0, HUGE_, -HUGE_ / 4},
     {1, 0.25, 0.25, 1, 0.25, 0.25, 1, 0.25}},
    {"gelu",
     gelu,
     {INFINITY, NAN, NAN, 8192, 0, 0, HUGE_, 0},
     {NAN, NAN, NAN, 1, 0, 0.5, 1, 0}},
    {"gelu by tanh",
     gelu_tanh,
     {INFINITY, NAN, NAN, 8192, 0, 0, HUGE_, 0},
     {NAN, NAN, NAN, 1, 0, 0.5, 1, 0}},
    {"silu",
     tr_silu,
     {INFINITY, NAN, NAN, 8192, 0, 0, HUGE_, 0},
     {NAN, NAN, NAN, 1, 0, 0.5, 1, 0}},
    {"sigmoid",
     tr_sigmoid,
     {1, 0, NAN, 1, 0, 0.5, 1, 0},
     {0, 0, NAN, 0, 0, 0.25, 0, 0}},
    {"tanh",
     tr_tanh,
     {1, -1, NAN, 1, -1, 0, 1, -1},
     {0, 0, NAN, 0, 0, 1, 0, 0}},
};

/* Often enough for the widest vector and what is left over. */
static void repeat(double *out, const double *values, int64_t count)
{
  for (int64_t i = 0; i < count * TIMES; i++) {
    out[i] = values[i % count];
  }
}

static void check_activation(chain *c, const limits *of)
{
  int64_t count = c->compute == TR_F16 ? VALUES - 2 : VALUES;
  double x[VALUES * TIMES], y[VALUES * TIMES], ones[VALUES * TIMES];
  size_t length = strlen(c->what);
  snprintf(c->what + length, sizeof c->what - length, ", %s", of->name);
  open_chain(c, of->add, (tr_shape){1, {count * TIMES}}, 1);
  repeat(x, inputs, count);
  repeat(y, of->y, count);
  repeat(ones, (double[VALUES]){1, 1, 1, 1, 1, 1, 1, 1}, count);
  forward(c, x);
  expect_output(c, y);
  repeat(y, of->dx, count);
  backward(c, ones);
  expect_input_gradient(c, y);
  tr_model_destroy(&c->net);
  c->what[length] = '\0';
}

static void check_activations(chain *c)
{
  for (size_t i = 0; i < sizeof activations / sizeof *activations; i++) {
    check_activation(c, &activations[i]);
  }
}

static void test_activations_at_their_limits_are_those_of_pytorch(void)
{
  everywhere(check_activations);
}

/* Rows of three logits. */
static const double logits[ROWS * CLASSES] = {
    8192,      0, -8192, 8192,      0,         -8192,
    -INFINITY, 0, 0,     -INFINITY, 0,         -INFINITY,
    INFINITY,  0, 1,     -INFINITY, -INFINITY, -INFINITY,
    NAN,       0, 1,     32768,     0,         -32768};

static void check_softmax(chain *c)
{
  static const double y[ROWS * CLASSES] = {
      1,   0,   0,   1,   0,   0,   0,   0.5, 0.5, 0, 1, 0,
      NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, 1, 0, 0};
  open_chain(c, tr_softmax, (tr_shape){1, {CLASSES}}, ROWS);
  forward(c, logits);
  expect_output(c, y);
}

static void test_softmax_at_its_limits_is_that_of_pytorch(void)
{
  everywhere(check_softmax);
}

static tr_node plain_entropy(tr_model *net, tr_node x)
{
  tr_cross_entropy(net, x);
  return (tr_node){x.index + 1};
}

/* The same by the op that has options. */
static tr_node ruled_entropy(tr_model *net, tr_node x)
{
  tr_cross_entropy_with(
      net, x, &(tr_cross_entropy_opts){.ignores = 1, .ignore_index = -7});
  return (tr_node){x.index + 1};
}

static void check_entropy(chain *c)
{
  static const int32_t targets[ROWS] = {0, 1, 0, 1, 1, 0, 0, 1};
  static const double loss[ROWS] = {0, 8192, INFINITY, 0, NAN, NAN, NAN, 32768};
  static const double dx[ROWS * CLASSES] = {
      0,   0,   0,   1,   -1,  0,   -1,  0.5, 0.5, 0, 0,  0,
      NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, 1, -1, 0};
  const layer_fn kinds[] = {plain_entropy, ruled_entropy};
  for (int k = 0; k < 2; k++) {
    open_chain(c, kinds[k], (tr_shape){1, {CLASSES}}, ROWS);
    c->targets = targets;
    forward(c, logits);
    expect_output(c, loss);
    ASSERT_OK(tr_model_backward(c->net));
    expect_mean_gradient(c, dx);
    tr_model_destroy(&c->net);
  }
}

static void test_cross_entropy_at_its_limits_is_that_of_pytorch(void)
{
  everywhere(check_entropy);
}

typedef struct regression_limits {
  const char *name;
  layer_fn add;
  double x[ROWS], target[ROWS], loss[ROWS], dx[ROWS];
} regression_limits;

static tr_node mse(tr_model *net, tr_node x)
{
  tr_mse(net, x, NULL);
  return (tr_node){x.index + 1};
}

static tr_node mae(tr_model *net, tr_node x)
{
  tr_mae(net, x, NULL);
  return (tr_node){x.index + 1};
}

static tr_node huber(tr_model *net, tr_node x)
{
  tr_huber(net, x, NULL);
  return (tr_node){x.index + 1};
}

static tr_node bce(tr_model *net, tr_node x)
{
  tr_bce_with_logits(net, x, NULL);
  return (tr_node){x.index + 1};
}

static const regression_limits regressions[] = {
    {"mse",
     mse,
     {8192, -8192, INFINITY, -INFINITY, NAN, 1, 0, 4},
     {0, 0, 0, 0, 0, 1, 0, 0},
     {67108864, 67108864, INFINITY, INFINITY, NAN, 0, 0, 16},
     {16384, -16384, INFINITY, -INFINITY, NAN, 0, 0, 8}},
    {"mae",
     mae,
     {8192, -8192, INFINITY, -INFINITY, NAN, 1, 0, 4},
     {0, 0, 0, 0, 0, 1, 0, 0},
     {8192, 8192, INFINITY, INFINITY, NAN, 0, 0, 4},
     {1, -1, 1, -1, 0, 0, 0, 1}},
    {"huber",
     huber,
     {8192, -8192, INFINITY, -INFINITY, NAN, 1, 0, 4},
     {0, 0, 0, 0, 0, 1, 0, 0},
     {8191.5, 8191.5, INFINITY, INFINITY, NAN, 0, 0, 3.5},
     {1, -1, 1, -1, NAN, 0, 0, 1}},
    {"bce",
     bce,
     {8192, 8192, -8192, -8192, INFINITY, INFINITY, -INFINITY, NAN},
     {0, 1, 1, 0.5, 0, 1, 0, 1},
     {8192, 0, 8192, 4096, INFINITY, NAN, NAN, NAN},
     {1, 0, -1, -0.5, 1, 0, 0, NAN}},
};

static void check_regressions(chain *c)
{
  for (size_t i = 0; i < sizeof regressions / sizeof *regressions; i++) {
    const regression_limits *of = &regressions[i];
    double room[ROWS];
    open_chain(c, of->add, (tr_shape){1, {1}}, ROWS);
    c->targets = to_host(c, room, of->target, ROWS);
    forward(c, of->x);
    expect_output(c, of->loss);
    ASSERT_OK(tr_model_backward(c->net));
    expect_mean_gradient(c, of->dx);
    tr_model_destroy(&c->net);
  }
}

static void test_regressions_at_their_limits_are_those_of_pytorch(void)
{
  everywhere(check_regressions);
}

static const tr_test tests[] = {
    TEST(test_activations_at_their_limits_are_those_of_pytorch),
    TEST(test_softmax_at_its_limits_is_that_of_pytorch),
    TEST(test_cross_entropy_at_its_limits_is_that_of_pytorch),
    TEST(test_regressions_at_their_limits_are_those_of_pytorch),
};
TEST_MAIN(tests)
