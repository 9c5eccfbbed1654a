/* Results that are known exactly, on every backend and in every precision. */
#include "chain_helper.h"

static tr_node spread_pixels(tr_model *net, tr_node x)
{
  const tr_conv_transpose2d_opts opts = {
      .out = 1, .kernel = 1, .dilation = 2, .output_padding = 1, .name = "up"};
  return tr_conv_transpose2d(net, x, &opts);
}

/* The last row and column see no input: they are the bias. */
static void check_output_padding(chain *c)
{
  open_chain(c, spread_pixels, (tr_shape){3, {1, 2, 2}}, 1);
  set_param(c, "up.weight", 1);
  set_param(c, "up.bias", 10);
  for (int i = 0; i < 2; i++) {
    forward(c, (double[]){1, 2, 3, 4});
    expect_output(c, (double[]){11, 12, 10, 13, 14, 10, 10, 10, 10});
    backward(c, (double[]){1, 2, 3, 4, 5, 6, 7, 8, 9});
    expect_input_gradient(c, (double[]){1, 2, 4, 5});
    expect_gradient(c, "up.weight", 37 * (i + 1));
    expect_gradient(c, "up.bias", 45 * (i + 1));
  }
}

static void
test_output_padding_of_a_transposed_1x1_convolution_is_the_bias(void)
{
  everywhere(check_output_padding);
}

static const tr_test tests[] = {
    TEST(test_output_padding_of_a_transposed_1x1_convolution_is_the_bias),
};
TEST_MAIN(tests)
