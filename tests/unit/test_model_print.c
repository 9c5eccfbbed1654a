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
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.batch = 7}));
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

static const tr_test tests[] = {
    TEST(test_layers_are_printed_with_shape_parameters_and_flops),
    TEST(test_printing_before_the_build_is_refused),
};

TEST_MAIN(tests)
