/* tr_model_print(): shapes, parameters and FLOPs of every layer. */
#include "layer_helper.h"

enum { TEXT_BYTES = 4096 };

static void print(const tr_model *net, char *text)
{
  FILE *out = fmemopen(text, TEXT_BYTES, "w");
  ASSERT(out != NULL);
  ASSERT_OK(tr_model_print(net, out));
  fclose(out);
}

static const char *find_line(const char *text, const char *name)
{
  const char *at = strstr(text, name);
  ASSERT(at != NULL && (at == text || at[-1] == '\n'));
  return at;
}

static tr_model *build_net(tr_context *ctx)
{
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, tr_shape_of(3, (int64_t[]){3, 10, 8}));
  x = tr_conv2d(net, x,
                &(tr_conv2d_opts){.out = 4, .kernel = 3, .name = "first"});
  x = tr_flatten(net, tr_relu(net, x));
  x = tr_linear(net, x, &(tr_linear_opts){.out = 5, .name = "last"});
  tr_cross_entropy(net, x);
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 7}));
  return net;
}

/* first: (4, 8, 6) from 3 channels of 3 x 3: 192 * 27 multiply-adds, and as
 * many for its weight's gradient. last: 5 * 192, and as many for each of two
 * gradients. */
static void test_layers_are_printed_with_shape_parameters_and_flops(void)
{
  tr_context *ctx = make_context("reference", TR_F32);
  tr_model *net = build_net(ctx);
  char text[TEXT_BYTES];
  print(net, text);
  char type[32], shape[32], forward[32], backward[32];
  long long params;
  ASSERT_EQ(sscanf(find_line(text, "first"),
                   "first %31s %31[^)]) %lld %31[0-9.k ] %31[0-9.k ]", type,
                   shape, &params, forward, backward),
            4);
  ASSERT_STR_EQ(type, "conv2d");
  ASSERT_STR_EQ(shape, "(4, 8, 6");
  ASSERT_EQ(params, 4 * 27 + 4);
  ASSERT(strstr(forward, "10.4 k     10.4 k") != NULL);
  ASSERT(strstr(find_line(text, "last"), "1.92 k     3.84 k") != NULL);
  ASSERT(strstr(text, "parameters: 1077 trained, 0 frozen, 0 in buffers, 0.0 "
                      "MiB as float32\n") != NULL);
  ASSERT(strstr(text, "FLOPs: 12.3 k forward, 14.2 k backward per sample; 185 "
                      "k in a step of 7 samples\n") != NULL);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static void test_printing_before_the_build_is_refused(void)
{
  tr_context *ctx = make_context("reference", TR_F32);
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  ASSERT_FAILS(tr_model_print(net, stdout), TR_ESTATE, "before");
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

/* Multiply-adds of one sample by the layers' formulas. Each input comes from a
 * layer with parameters, so backward has its gradient to compute. */

typedef struct counted {
  const char *name;
  tr_node (*add)(tr_model *net);
  double forward, backward;
} counted;

/* (channels, ...) from something that is trained. */
static tr_node trained(tr_model *net, int ndim, const int64_t *dims)
{
  tr_node x = tr_input(net, tr_shape_of(ndim, dims));
  return tr_position(net, x, &(tr_position_opts){0});
}

static tr_node add_linear(tr_model *net)
{
  tr_node x = trained(net, 2, (int64_t[]){7, 3});
  return tr_linear(net, x, &(tr_linear_opts){.out = 5});
}

static tr_node add_tied(tr_model *net)
{
  tr_node tok =
      tr_embedding(net, tr_input_ids(net, tr_shape_of(1, (int64_t[]){7})),
                   &(tr_embedding_opts){.num = 5, .out = 3});
  tr_node head = tr_linear(net, tok, &(tr_linear_opts){.out = 5});
  tr_model_tie(net, head, tok);
  return head;
}

static tr_node add_conv1d(tr_model *net)
{
  tr_node x = trained(net, 2, (int64_t[]){4, 9});
  return tr_conv1d(net, x,
                   &(tr_conv1d_opts){.out = 6, .kernel = 3, .dilation = 2});
}

static tr_node add_conv2d(tr_model *net)
{
  tr_node x = trained(net, 3, (int64_t[]){4, 9, 7});
  const tr_conv2d_opts opts = {
      .out = 6, .stride = 2, .padding = 1, .groups = 2, .kernel_hw = {3, 5}};
  return tr_conv2d(net, x, &opts);
}

static tr_node add_conv3d(tr_model *net)
{
  tr_node x = trained(net, 4, (int64_t[]){2, 3, 4, 5});
  return tr_conv3d(net, x, &(tr_conv3d_opts){.out = 3, .kernel = 2});
}

static tr_node add_transposed(tr_model *net)
{
  tr_node x = trained(net, 3, (int64_t[]){4, 3, 5});
  return tr_conv_transpose2d(
      net, x, &(tr_conv_transpose2d_opts){.out = 6, .kernel = 3, .stride = 2});
}

static tr_node add_attention(tr_model *net)
{
  tr_node x = trained(net, 2, (int64_t[]){7, 36});
  return tr_attention(net, x, &(tr_attention_opts){.heads = 3});
}

static tr_node add_causal(tr_model *net)
{
  tr_node x = trained(net, 2, (int64_t[]){7, 36});
  return tr_attention(net, x, &(tr_attention_opts){.heads = 3, .causal = 1});
}

/* Of a convolution: places of the output, channels of it, and weights that each
 * reads; as many again for each of two gradients. Of attention: scores and
 * means, then scores again and four products. */
static const counted layers[] = {
    {"linear", add_linear, 7 * 3 * 5, 2 * 7 * 3 * 5},
    {"tied linear", add_tied, 7 * 3 * 5, 2 * 7 * 3 * 5},
    {"conv1d", add_conv1d, 5 * 6 * 4 * 3, 2 * 5 * 6 * 4 * 3},
    {"conv2d", add_conv2d, 5 * 3 * 6 * 2 * 15, 2 * 5 * 3 * 6 * 2 * 15},
    {"conv3d", add_conv3d, 24 * 3 * 2 * 8, 2 * 24 * 3 * 2 * 8},
    {"conv_transpose2d", add_transposed, 15 * 4 * 6 * 9, 2 * 15 * 4 * 6 * 9},
    {"attention", add_attention, 2 * 7 * 7 * 12, 5 * 7 * 7 * 12},
    {"causal attention", add_causal, 2 * 28 * 12, 5 * 28 * 12},
};

static void check_counted(tr_context *ctx, const counted *layer, bool is_frozen)
{
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node added = layer->add(net);
  if (is_frozen) {
    ASSERT_OK(tr_model_freeze(net, "*", 1));
  }
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 7}));
  const tr__node *node = &net->nodes[added.index];
  const tr__flops flops = node->type->flops(net, node);
  double backward = is_frozen ? 0 : 2 * layer->backward;
  if (flops.forward != 2 * layer->forward || flops.backward != backward) {
    test_fail(__FILE__, __LINE__, "%s: %g and %g, expected %g and %g",
              layer->name, flops.forward, flops.backward, 2 * layer->forward,
              backward);
  }
  tr_model_destroy(&net);
}

static void test_flops_are_those_of_the_formulas(void)
{
  tr_context *ctx = make_context("reference", TR_F32);
  for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++) {
    check_counted(ctx, &layers[i], false);
    check_counted(ctx, &layers[i], true);
  }
  tr_context_destroy(&ctx);
}

static const tr_test tests[] = {
    TEST(test_layers_are_printed_with_shape_parameters_and_flops),
    TEST(test_flops_are_those_of_the_formulas),
    TEST(test_printing_before_the_build_is_refused),
};

TEST_MAIN(tests)
