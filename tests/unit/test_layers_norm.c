/* Claims on dropout and normalisation that are not of every layer. */
#include "layer_helper.h"

enum { WIDTH = 400, ROWS = 50 };

typedef struct chain {
  tr_context *ctx;
  tr_model *net;
  tr_node out;
  double x[ROWS * WIDTH], y[ROWS * WIDTH], dx[ROWS * WIDTH];
} chain;

static chain *open_chain(tr_node (*add)(tr_model *net, tr_node x),
                         tr_shape shape,
                         uint64_t seed)
{
  chain *c = calloc(1, sizeof *c);
  ASSERT(c != NULL);
  tr_context_opts opts = {.dtype = TR_F64, .threads = 2, .seed = seed};
  ASSERT_OK(tr_context_create_auto(&opts, &c->ctx));
  ASSERT_OK(tr_model_create(c->ctx, &c->net));
  c->out = add(c->net, tr_input(c->net, shape));
  c->net->wants_input_gradients = true;
  ASSERT_OK(tr_model_build(c->net, &(tr_build_opts){.max_local_batch = ROWS}));
  return c;
}

static void close_chain(chain *c)
{
  tr_model_destroy(&c->net);
  tr_context_destroy(&c->ctx);
  free(c);
}

/* Rows first .. first + count - 1 of a global batch of ROWS. */
static void forward_part(chain *c, int64_t first, int64_t count)
{
  tr_batch batch = {.count = count, .first = first, .global_count = ROWS};
  batch.inputs[0] = c->x;
  ASSERT_OK(tr_model_forward(c->net, &batch));
  ASSERT_OK(tr_model_get_output(c->net, c->out, c->y));
}

static void forward(chain *c)
{
  forward_part(c, 0, ROWS);
}

static void fill(double *values, int64_t count, double value)
{
  for (int64_t i = 0; i < count; i++) {
    values[i] = value;
  }
}

static tr_node quarter(tr_model *net, tr_node x)
{
  return tr_dropout(net, x, &(tr_dropout_opts){.p = 0.25});
}

static chain *open_dropout(uint64_t seed)
{
  chain *c = open_chain(quarter, (tr_shape){1, {WIDTH}}, seed);
  fill(c->x, ROWS * WIDTH, 3);
  return c;
}

static void test_dropout_keeps_three_quarters_and_scales_them_exactly(void)
{
  chain *c = open_dropout(test_seed());
  forward(c);
  int64_t kept = 0;
  for (int64_t i = 0; i < ROWS * WIDTH; i++) {
    ASSERT(c->y[i] == 0 || c->y[i] == 3 * (1 / 0.75));
    kept += c->y[i] != 0;
  }
  /* 20,000 draws: six standard deviations are 0.018. */
  ASSERT_NEAR((double)kept / (ROWS * WIDTH), 0.75, 0.02);
  close_chain(c);
}

static void test_dropout_gives_gradients_the_same_mask(void)
{
  chain *c = open_dropout(5);
  forward(c);
  double *dy = malloc(sizeof c->y);
  ASSERT(dy != NULL);
  fill(dy, ROWS * WIDTH, 3);
  ASSERT_OK(tr__model_backward_from(c->net, dy));
  ASSERT_OK(tr__model_get_node_gradient(c->net, 0, c->dx));
  ASSERT(memcmp(c->dx, c->y, sizeof c->y) == 0);
  free(dy);
  close_chain(c);
}

static void test_dropout_masks_follow_seed_step_and_place(void)
{
  chain *c = open_dropout(5), *other = open_dropout(6);
  forward(c);
  forward(other);
  ASSERT(memcmp(c->y, other->y, sizeof c->y) != 0);
  double *first = malloc(sizeof c->y);
  ASSERT(first != NULL);
  memcpy(first, c->y, sizeof c->y);
  /* The same rows as another rank's part of the same forward. */
  c->net->step.num_forwards = 0;
  forward_part(c, 20, 7);
  ASSERT(memcmp(c->y, first + 20 * WIDTH, 7 * WIDTH * sizeof *first) == 0);
  ASSERT(memcmp(c->y, first, 7 * WIDTH * sizeof *first) != 0);
  c->net->step.num_steps++;
  forward(c);
  ASSERT(memcmp(c->y, first, sizeof c->y) != 0);
  free(first);
  close_chain(other);
  close_chain(c);
}

enum { DRAWS = 64 };

/* Whether each of DRAWS elements of one sample is kept in the forward i behind
 * step `step`, as train/norm.h's counters say. */
static uint64_t wanted_mask(uint64_t seed, int64_t step, int64_t i)
{
  uint64_t mask = 0;
  const tr__random random = {.seed = seed,
                             .step = step * 256 + i,
                             .stream =
                                 tr__random_stream(TR__PURPOSE_DROPOUT, 1)};
  for (int k = 0; k < DRAWS; k++) {
    mask |= (uint64_t)(tr__random_uniform(&random, k) >= 0.25) << k;
  }
  return mask;
}

static uint64_t next_mask(tr_model *net, tr_node out, bool learns)
{
  double x[DRAWS], y[DRAWS], t = 0;
  uint64_t mask = 0;
  fill(x, DRAWS, 1);
  const tr_batch batch = {
      .count = 1, .global_count = 1, .inputs = {x}, .targets = {&t}};
  ASSERT_OK(tr_model_forward(net, &batch));
  ASSERT_OK(tr_model_get_output(net, out, y));
  for (int k = 0; k < DRAWS; k++) {
    mask |= (uint64_t)(y[k] != 0) << k;
  }
  if (learns) {
    ASSERT_OK(tr_model_backward(net));
  }
  return mask;
}

static bool is_new(const uint64_t *masks, int count)
{
  for (int i = 0; i < count; i++) {
    if (masks[i] == masks[count]) {
      return false;
    }
  }
  return true;
}

/* Two steps, each of more forwards than 256; `learns`: each with a backward. */
static void check_masks(const char *device, bool learns)
{
  enum { FORWARDS = 520 };
  static uint64_t masks[2 * FORWARDS];
  tr_model *net;
  tr_optimizer *opt;
  tr_context *ctx = make_context(device, TR_F64);
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node y = quarter(net, tr_input(net, (tr_shape){1, {DRAWS}}));
  tr_model_keep(net, y);
  tr_mse(net, tr_linear(net, y, &(tr_linear_opts){.out = 1}), NULL);
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 1}));
  ASSERT_OK(tr_sgd_create(net, &(tr_sgd_opts){.lr = 0.1}, &opt));
  for (int i = 0; i < 2 * FORWARDS; i++) {
    masks[i] = next_mask(net, y, learns || i == FORWARDS - 1);
    ASSERT(is_new(masks, i));
    if (i % FORWARDS < 256) {
      ASSERT(masks[i] == wanted_mask(11, i / FORWARDS, i % FORWARDS));
    }
    if (i == FORWARDS - 1) {
      ASSERT_OK(tr_optimizer_step(opt));
    }
  }
  tr_optimizer_destroy(&opt);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static void test_dropout_draws_another_mask_in_every_forward(void)
{
  static const char *const devices[] = {"reference", "cpu", "strict"};
  for (int i = 0; i < 3; i++) {
    check_masks(devices[i], false);
    check_masks(devices[i], true);
  }
}

/* An evaluation between two batches changes no mask. */
static void test_dropout_does_not_count_evaluations(void)
{
  chain *c = open_dropout(5);
  forward(c);
  forward(c);
  double *second = malloc(sizeof c->y);
  ASSERT(second != NULL);
  memcpy(second, c->y, sizeof c->y);
  c->net->step.num_forwards = 0;
  forward(c);
  tr_model_set_training(c->net, 0);
  forward(c);
  tr_model_set_training(c->net, 1);
  forward(c);
  ASSERT(memcmp(c->y, second, sizeof c->y) == 0);
  free(second);
  close_chain(c);
}

static void test_dropout_is_the_identity_in_evaluation(void)
{
  chain *c = open_dropout(5);
  tr_model_set_training(c->net, 0);
  forward(c);
  ASSERT(memcmp(c->y, c->x, sizeof c->y) == 0);
  close_chain(c);
}

static tr_node plain_batchnorm(tr_model *net, tr_node x)
{
  return tr_batchnorm(net, x, &(tr_batchnorm_opts){.name = "norm"});
}

static void test_batchnorm_in_evaluation_uses_and_keeps_running_values(void)
{
  chain *c = open_chain(plain_batchnorm, (tr_shape){1, {2}}, 1);
  const double mean[2] = {1, -2}, var[2] = {4, 0.25};
  ASSERT_OK(tr_model_set_param(c->net, "norm.running_mean", mean));
  ASSERT_OK(tr_model_set_param(c->net, "norm.running_var", var));
  fill(c->x, 2 * ROWS, 3);
  tr_model_set_training(c->net, 0);
  forward(c);
  double r[2] = {1 / sqrt(4 + 1e-5), 1 / sqrt(0.25 + 1e-5)};
  ASSERT_NEAR(c->y[0], 2 * r[0], 1e-14);
  ASSERT_NEAR(c->y[1], 5 * r[1], 1e-14);
  double dy[2 * ROWS], kept[2];
  fill(dy, 2 * ROWS, 1);
  ASSERT_OK(tr__model_backward_from(c->net, dy));
  ASSERT_OK(tr__model_get_node_gradient(c->net, 0, c->dx));
  ASSERT_NEAR(c->dx[0], r[0], 1e-14);
  ASSERT_NEAR(c->dx[1], r[1], 1e-14);
  ASSERT_OK(tr_model_get_param(c->net, "norm.running_mean", kept));
  ASSERT(kept[0] == 1 && kept[1] == -2);
  ASSERT_OK(tr_model_get_param(c->net, "norm.num_batches_tracked", kept));
  ASSERT(kept[0] == 0);
  close_chain(c);
}

/* Far from 0 the sum of squares cancels, but not in double precision. */
static void test_batchnorm_is_right_far_from_zero(void)
{
  chain *c = open_chain(plain_batchnorm, (tr_shape){1, {1}}, 1);
  for (int i = 0; i < ROWS; i++) {
    c->x[i] = 1000 + (i % 2 == 0 ? 1 : -1);
  }
  forward(c);
  ASSERT_NEAR(c->y[0], 1 / sqrt(1 + 1e-5), 1e-6);
  close_chain(c);
}

static tr_status build_with(tr_node (*add)(tr_model *net, tr_node x))
{
  tr_context *ctx = make_context("reference", TR_F32);
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  add(net, tr_input(net, (tr_shape){1, {6}}));
  tr_status status =
      tr_model_build(net, &(tr_build_opts){.max_local_batch = 2});
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
  return status;
}

static tr_node bad_dropout(tr_model *net, tr_node x)
{
  return tr_dropout(net, x, &(tr_dropout_opts){.p = 1.5});
}

static tr_node bad_groups(tr_model *net, tr_node x)
{
  return tr_groupnorm(net, x, &(tr_groupnorm_opts){.groups = 4});
}

static tr_node no_groups(tr_model *net, tr_node x)
{
  return tr_groupnorm(net, x, &(tr_groupnorm_opts){0});
}

static tr_node bad_eps(tr_model *net, tr_node x)
{
  return tr_layernorm(net, x, &(tr_layernorm_opts){.eps = -1});
}

static tr_node bad_momentum(tr_model *net, tr_node x)
{
  return tr_batchnorm(net, x, &(tr_batchnorm_opts){.momentum = 2});
}

static tr_node bad_slope(tr_model *net, tr_node x)
{
  return tr_leaky_relu(net, x, &(tr_leaky_relu_opts){.negative_slope = -1});
}

static void test_impossible_options_are_refused_with_what_was_expected(void)
{
  ASSERT_FAILS(build_with(bad_dropout), TR_EINVAL,
               "\"dropout_1\": p is 1.5, expected 0 to 1");
  ASSERT_FAILS(build_with(bad_groups), TR_ESHAPE,
               "input has 6 channels, expected a multiple of 4 groups");
  ASSERT_FAILS(build_with(no_groups), TR_EINVAL,
               "groups is 0, expected at least 1");
  ASSERT_FAILS(build_with(bad_eps), TR_EINVAL,
               "eps is -1, expected at least 0");
  ASSERT_FAILS(build_with(bad_momentum), TR_EINVAL, "momentum is 2");
  ASSERT_FAILS(build_with(bad_slope), TR_EINVAL,
               "negative_slope is -1, expected 0 to 1");
}

static const tr_test tests[] = {
    TEST(test_dropout_keeps_three_quarters_and_scales_them_exactly),
    TEST(test_dropout_gives_gradients_the_same_mask),
    TEST(test_dropout_masks_follow_seed_step_and_place),
    TEST(test_dropout_draws_another_mask_in_every_forward),
    TEST(test_dropout_does_not_count_evaluations),
    TEST(test_dropout_is_the_identity_in_evaluation),
    TEST(test_batchnorm_in_evaluation_uses_and_keeps_running_values),
    TEST(test_batchnorm_is_right_far_from_zero),
    TEST(test_impossible_options_are_refused_with_what_was_expected),
};

TEST_MAIN(tests)
