/* Conv2d: cross-correlation of images with a set of filters.
 *
 *   forward   y[n,k,p,q] = b[k] + sum over c,i,j of W[k,c,i,j] *
 *                          x[n, c, p*stride + i*dilation - padding,
 *                                  q*stride + j*dilation - padding]
 *   backward  dW += sum over n,p,q of dy * x,  db += sum over n,p,q of dy,
 *             dx = transposed convolution of dy with W
 *
 *   x (N, C, H, W), W (K, C / groups, I, J), b (K), y (N, K, P, Q)
 *
 * Source: torch.nn.Conv2d; initial values uniform in +-1/sqrt(C/groups I J). */
#include "layers/conv_impl.h"
#include "layers/layer_table_impl.h"

#include <train/conv.h>
#include <train/layers.h>

static tr_node random_build(tr_model *net, const tr__random *random)
{
  tr_shape in;
  tr_conv3d_opts all = tr__random_conv(random, 2, &in);
  tr_conv2d_opts opts = {
      .out = all.out,
      .groups = all.groups,
      .no_bias = all.no_bias,
      .kernel_hw = {all.kernel_dhw[0], all.kernel_dhw[1]},
      .stride_hw = {all.stride_dhw[0], all.stride_dhw[1]},
      .padding_hw = {all.padding_dhw[0], all.padding_dhw[1]},
      .dilation_hw = {all.dilation_dhw[0], all.dilation_dhw[1]}};
  return tr_conv2d(net, tr_input(net, in), &opts);
}

const tr__layer_type tr__conv2d_type = {
    .name = "conv2d",
    .infer = tr__conv_infer,
    .forward = tr__conv_forward,
    .backward = tr__conv_backward,
    .describe = tr__conv_describe,
    .flops = tr__conv_flops,
    .random_build = random_build,
    .tolerance = 1e-8,
};

tr_node tr_conv2d(tr_model *net, tr_node x, const tr_conv2d_opts *opts)
{
  const tr__window_opts window = {
      .kernel = {opts->kernel, opts->kernel_hw},
      .stride = {opts->stride, opts->stride_hw},
      .padding = {opts->padding, opts->padding_hw},
      .dilation = {opts->dilation, opts->dilation_hw},
      .groups = opts->groups};
  tr__conv_opts conv = tr__conv_of(2, opts->out, &window);
  conv.no_bias = opts->no_bias;
  return tr__add_conv(net, x, &tr__conv2d_type, &conv, opts->name);
}
