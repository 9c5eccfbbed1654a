/* Tied weights with virtual shards: layers that share a weight have gradients
 * of their own until these are summed. */
#include "test.h"

#include "model/model_impl.h"

#include <train/train.h>

enum { ROWS = 6, WIDTH = 5, CLASSES = 3 };

static tr_context *ctx;
static tr_model *net;

static tr_node dense(tr_node x, const char *name)
{
  return tr_linear(net, x,
                   &(tr_linear_opts){.out = WIDTH, .no_bias = 1, .name = name});
}

/* a, and b behind it, which is tied to it. */
static tr_node chain(tr_node x)
{
  tr_node a = dense(x, "a");
  tr_node b = dense(tr_tanh(net, a), "b");
  tr_model_tie(net, b, a);
  return b;
}

/* a leads nowhere. */
static tr_node branch(tr_node x)
{
  tr_node a = dense(x, "a"), b = dense(x, "b");
  tr_model_keep(net, a);
  tr_model_tie(net, b, a);
  return b;
}

static void open_model(tr_node (*build)(tr_node x))
{
  ASSERT_OK(tr_context_create_auto(
      &(tr_context_opts){.threads = 1, .dtype = TR_F64, .virtual_shards = 4},
      &ctx));
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = build(tr_input(net, (tr_shape){1, {WIDTH}}));
  tr_cross_entropy(net, tr_linear(net, x, &(tr_linear_opts){.out = CLASSES}));
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = ROWS}));
}

static void close_model(void)
{
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static void gather(int number)
{
  double x[ROWS * WIDTH];
  int32_t y[ROWS];
  for (int i = 0; i < ROWS * WIDTH; i++) {
    x[i] = (double)((i * 7 + number * 3) % 11) / 11 - 0.5;
  }
  for (int i = 0; i < ROWS; i++) {
    y[i] = (i + number) % CLASSES;
  }
  const tr_batch batch = {
      .count = ROWS, .global_count = ROWS, .inputs = {x}, .targets = {y}};
  ASSERT_OK(tr_model_forward(net, &batch));
  ASSERT_OK(tr_model_backward(net));
}

static uint64_t hash_after(bool sums, int batches)
{
  tr_optimizer *opt;
  uint64_t hash;
  open_model(chain);
  ASSERT_OK(tr_sgd_create(
      net,
      &(tr_sgd_opts){.lr = 0.1, .momentum = 0.9, .update = {.clip_norm = 0.01}},
      &opt));
  for (int step = 0; step < 3; step++) {
    for (int i = 0; i < batches; i++) {
      gather(step * batches + i);
    }
    if (sums) {
      ASSERT_OK(tr_model_allreduce_grads(net));
    }
    ASSERT_OK(tr_optimizer_step(opt));
  }
  ASSERT_OK(tr_model_params_hash(net, &hash));
  tr_optimizer_destroy(&opt);
  close_model();
  return hash;
}

static void test_one_rank_may_leave_out_the_sum_over_ranks(void)
{
  for (int batches = 1; batches <= 2; batches++) {
    ASSERT_EQ(hash_after(false, batches), hash_after(true, batches));
  }
}

static void test_a_gradient_is_that_of_all_uses_before_and_after(void)
{
  double before[WIDTH * WIDTH], after[WIDTH * WIDTH];
  open_model(chain);
  gather(0);
  gather(1);
  ASSERT_OK(tr_model_get_grad(net, "a.weight", before));
  ASSERT_OK(tr_model_allreduce_grads(net));
  ASSERT_OK(tr_model_get_grad(net, "a.weight", after));
  ASSERT_EQ(memcmp(before, after, sizeof before), 0);
  close_model();
}

static void test_a_weight_whose_own_layer_has_no_loss_begins_anew(void)
{
  double first[WIDTH * WIDTH], later[WIDTH * WIDTH];
  open_model(branch);
  for (int step = 0; step < 3; step++) {
    gather(0);
    ASSERT_OK(tr_model_allreduce_grads(net));
    ASSERT_OK(tr_model_get_grad(net, "a.weight", step == 0 ? first : later));
    ASSERT(step == 0 || memcmp(first, later, sizeof first) == 0);
    tr__step_clear(&net->step);
  }
  close_model();
}

static const tr_test tests[] = {
    TEST(test_one_rank_may_leave_out_the_sum_over_ranks),
    TEST(test_a_gradient_is_that_of_all_uses_before_and_after),
    TEST(test_a_weight_whose_own_layer_has_no_loss_begins_anew),
};

TEST_MAIN(tests)
