/* Ties that a model refuses, with which words. */
#include "layer_helper.h"

static tr_node vector(tr_model *net, int64_t extent)
{
  return tr_input(net, (tr_shape){1, {extent}});
}

static tr_node dense(tr_model *net, tr_node x, int64_t out)
{
  return tr_linear(net, x, &(tr_linear_opts){.out = out});
}

static void to_no_node(tr_model *net)
{
  tr_model_tie(net, dense(net, vector(net, 3), 3), (tr_node){2});
}

static void no_node(tr_model *net)
{
  tr_model_tie(net, (tr_node){-1}, dense(net, vector(net, 3), 3));
}

static void to_itself(tr_model *net)
{
  tr_node x = dense(net, vector(net, 3), 3);
  tr_model_tie(net, x, x);
}

static void to_a_later_one(tr_model *net)
{
  tr_node x = dense(net, vector(net, 3), 3);
  tr_model_tie(net, x, dense(net, x, 3));
}

static void twice(tr_model *net)
{
  tr_node a = dense(net, vector(net, 3), 3), b = dense(net, a, 3);
  tr_node c = dense(net, b, 3);
  tr_model_tie(net, c, a);
  tr_model_tie(net, c, b);
}

static void without_weight(tr_model *net)
{
  tr_node x = dense(net, vector(net, 3), 3);
  tr_model_tie(net, tr_relu(net, x), x);
}

static void to_none_with_weight(tr_model *net)
{
  tr_node x = tr_relu(net, vector(net, 3));
  tr_model_tie(net, dense(net, x, 3), x);
}

/* A buffer that is called weight. */
static void to_class_weights(tr_model *net)
{
  tr_node x = vector(net, 2);
  tr_node loss = tr_cross_entropy_with(
      net, x,
      &(tr_cross_entropy_opts){.class_weights = (double[]){1, 2},
                               .num_class_weights = 2});
  tr_model_tie(net, tr_layernorm(net, x, NULL), loss);
}

static void to_another_shape(tr_model *net)
{
  tr_node tok = tr_embedding(net, tr_input_ids(net, (tr_shape){1, {4}}),
                             &(tr_embedding_opts){.num = 7, .out = 5});
  tr_model_tie(net, dense(net, tok, 6), tok);
}

static const struct {
  void (*add)(tr_model *net);
  tr_status status;
  const char *texts[2];
} bad_ties[] = {
    {to_no_node, TR_EINVAL, {"tr_model_tie", "got 1 and 2 of 2"}},
    {no_node, TR_EINVAL, {"tr_model_tie", "got -1 and 1 of 2"}},
    {to_itself, TR_EINVAL, {"linear \"linear_1\"", "declared before it"}},
    {to_a_later_one,
     TR_EINVAL,
     {"linear \"linear_1\"",
      "the linear \"linear_2\", expected a layer declared before it"}},
    {twice,
     TR_EINVAL,
     {"linear \"linear_3\"", "\"linear_2\", and to \"linear_1\" already"}},
    {without_weight,
     TR_EINVAL,
     {"relu \"relu_1\"", "tied to \"linear_1\", but it has no weight"}},
    {to_none_with_weight,
     TR_EINVAL,
     {"linear \"linear_1\"", "the relu \"relu_1\", which has no weight"}},
    {to_class_weights,
     TR_EINVAL,
     {"layernorm_1", "\"cross_entropy_1\", which has no weight"}},
    {to_another_shape,
     TR_ESHAPE,
     {"linear \"linear_1\"",
      "its weight is (6, 5), expected the (7, 5) of the embedding"}},
};

static void test_bad_ties_are_refused_by_name(void)
{
  tr_context *ctx = make_context("cpu", TR_F32);
  for (size_t i = 0; i < sizeof bad_ties / sizeof bad_ties[0]; i++) {
    tr_model *net;
    ASSERT_OK(tr_model_create(ctx, &net));
    bad_ties[i].add(net);
    for (int attempt = 0; attempt < 2; attempt++) {
      for (int k = 0; k < 2; k++) {
        ASSERT_FAILS(
            tr_model_build(net, &(tr_build_opts){.max_local_batch = 3}),
            bad_ties[i].status, bad_ties[i].texts[k]);
      }
    }
    tr_model_destroy(&net);
  }
  tr_context_destroy(&ctx);
}

static void test_a_built_model_cannot_be_tied(void)
{
  tr_context *ctx = make_context("cpu", TR_F32);
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node a = dense(net, vector(net, 3), 3), b = dense(net, a, 3);
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 3}));
  tr_model_tie(net, b, a);
  ASSERT_EQ(tr_model_num_params(net), 24);
  ASSERT_OK(tr_model_freeze(net, "*bias", 1));
  ASSERT_FAILS(tr_model_build(net, NULL), TR_EINVAL, "that is being built");
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static const tr_test tests[] = {
    TEST(test_bad_ties_are_refused_by_name),
    TEST(test_a_built_model_cannot_be_tied),
};

TEST_MAIN(tests)
