/* Impossible convolutions and pools are refused with the layer's name, what
 * was expected and what was got. */
#include "layer_helper.h"

static tr_node volume(tr_model *net, int ndim, int64_t extent)
{
  return tr_input(net, (tr_shape){ndim + 1, {4, extent, extent, extent}});
}

static void groups_that_do_not_divide_the_input(tr_model *net)
{
  tr_conv2d_opts opts = {.out = 6, .kernel = 1, .groups = 3};
  tr_conv2d(net, volume(net, 2, 5), &opts);
}

static void groups_that_do_not_divide_the_output(tr_model *net)
{
  tr_conv1d_opts opts = {.out = 3, .kernel = 1, .groups = 2};
  tr_conv1d(net, volume(net, 1, 5), &opts);
}

static void negative_groups(tr_model *net)
{
  tr_conv3d_opts opts = {.out = 4, .kernel = 1, .groups = -4};
  tr_conv3d(net, volume(net, 3, 5), &opts);
}

static void negative_dilation(tr_model *net)
{
  tr_conv2d_opts opts = {.out = 4, .kernel = 1, .dilation_hw = {0, -1}};
  tr_conv2d(net, volume(net, 2, 5), &opts);
}

static void dilated_kernel_that_does_not_fit(tr_model *net)
{
  tr_conv3d_opts opts = {.out = 4, .kernel = 2, .dilation_dhw = {1, 1, 5}};
  tr_conv3d(net, volume(net, 3, 5), &opts);
}

static void dilation_that_overflows(tr_model *net)
{
  tr_conv1d_opts opts = {.out = 4, .kernel = 3, .dilation = INT64_MAX / 2 + 1};
  tr_conv1d(net, volume(net, 1, 5), &opts);
}

static void sequence_of_images(tr_model *net)
{
  tr_conv1d_opts opts = {.out = 4, .kernel = 3};
  tr_conv1d(net, volume(net, 2, 5), &opts);
}

static void volume_of_images(tr_model *net)
{
  tr_maxpool3d(net, volume(net, 2, 5), &(tr_pool3d_opts){.kernel = 2});
}

static void transpose_that_leaves_nothing(tr_model *net)
{
  tr_conv_transpose2d_opts opts = {.out = 2, .kernel = 1, .padding = 3};
  tr_conv_transpose2d(net, volume(net, 2, 5), &opts);
}

static void transpose_with_too_much_padding_behind(tr_model *net)
{
  tr_conv_transpose2d_opts opts = {
      .out = 2, .kernel = 3, .stride = 2, .output_padding = 2};
  tr_conv_transpose2d(net, volume(net, 2, 5), &opts);
}

static void transpose_without_outputs(tr_model *net)
{
  tr_conv_transpose2d(net, volume(net, 2, 5),
                      &(tr_conv_transpose2d_opts){.kernel = 3});
}

static void transpose_too_large(tr_model *net)
{
  tr_conv_transpose2d_opts opts = {
      .out = 2, .kernel = 3, .stride = INT64_MAX / 3};
  tr_conv_transpose2d(net, volume(net, 2, 5), &opts);
}

static void average_padding_too_large(tr_model *net)
{
  tr_pool2d_opts opts = {.kernel_hw = {4, 2}, .padding_hw = {2, 2}};
  tr_avgpool2d(net, volume(net, 2, 5), &opts);
}

static void adaptive_without_extents(tr_model *net)
{
  tr_adaptive_avgpool(net, volume(net, 2, 5),
                      &(tr_adaptive_pool_opts){.out_each = {3}});
}

static void adaptive_without_a_channel(tr_model *net)
{
  tr_adaptive_avgpool(net, tr_input(net, (tr_shape){2, {14, 14}}),
                      &(tr_adaptive_pool_opts){.out_each = {7, 7}});
}

static void adaptive_of_a_vector(tr_model *net)
{
  tr_adaptive_avgpool(net, volume(net, 0, 5),
                      &(tr_adaptive_pool_opts){.out = 1});
}

static void maximum_of_a_sequence(tr_model *net)
{
  tr_global_maxpool2d(net, volume(net, 1, 5));
}

typedef struct bad_layer {
  void (*add)(tr_model *net);
  tr_status status;
  const char *texts[2];
} bad_layer;

static const bad_layer bad_layers[] = {
    {groups_that_do_not_divide_the_input,
     TR_EINVAL,
     {"conv2d_1", "3 groups, expected a divisor of the 4 input"}},
    {groups_that_do_not_divide_the_output,
     TR_EINVAL,
     {"conv1d_1", "and of the 3 output channels"}},
    {negative_groups, TR_EINVAL, {"conv3d_1", "-4 groups"}},
    {negative_dilation, TR_EINVAL, {"conv2d_1", "dilation is -1"}},
    {dilated_kernel_that_does_not_fit,
     TR_ESHAPE,
     {"conv3d_1", "kernel of 2 does not fit into (4, 5, 5, 5)"}},
    {dilation_that_overflows, TR_ESHAPE, {"conv1d_1", "does not fit"}},
    {sequence_of_images, TR_ESHAPE, {"conv1d_1", "expected (C, W)"}},
    {volume_of_images, TR_ESHAPE, {"maxpool3d_1", "expected (C, D, H, W)"}},
    {transpose_that_leaves_nothing,
     TR_ESHAPE,
     {"conv_transpose2d_1", "nothing is left of (4, 5, 5) with padding 3"}},
    {transpose_with_too_much_padding_behind,
     TR_EINVAL,
     {"conv_transpose2d_1", "output padding is 2, expected 0 to 1"}},
    {transpose_without_outputs, TR_EINVAL, {"conv_transpose2d_1", "out is 0"}},
    {transpose_too_large, TR_ESHAPE, {"conv_transpose2d_1", "(4, 5, 5)"}},
    {average_padding_too_large,
     TR_EINVAL,
     {"avgpool2d_1", "padding is 2, expected at most half the kernel, 1"}},
    {adaptive_without_extents,
     TR_EINVAL,
     {"adaptive_avgpool_1", "0 places from 5"}},
    {adaptive_without_a_channel,
     TR_ESHAPE,
     {"adaptive_avgpool_1", "out_each[1] is 7, but the input (14, 14)"}},
    {adaptive_of_a_vector, TR_ESHAPE, {"adaptive_avgpool_1", "(C, H, W)"}},
    {maximum_of_a_sequence, TR_ESHAPE, {"global_maxpool2d_1", "(C, H, W)"}},
};

static void test_impossible_options_name_the_layer(void)
{
  tr_context *ctx = make_context("cpu", TR_F32);
  for (size_t i = 0; i < sizeof bad_layers / sizeof bad_layers[0]; i++) {
    const bad_layer *bad = &bad_layers[i];
    tr_model *net;
    ASSERT_OK(tr_model_create(ctx, &net));
    bad->add(net);
    ASSERT_FAILS(tr_model_build(net, &(tr_build_opts){.max_local_batch = 3}),
                 bad->status, bad->texts[0]);
    if (strstr(tr_error_message(), bad->texts[1]) == NULL) {
      test_fail(__FILE__, __LINE__, "\"%s\", expected \"...%s...\"",
                tr_error_message(), bad->texts[1]);
    }
    tr_model_destroy(&net);
  }
  tr_context_destroy(&ctx);
}

static const tr_test tests[] = {
    TEST(test_impossible_options_name_the_layer),
};

TEST_MAIN(tests)
