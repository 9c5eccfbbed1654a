/* Conv3d: cross-correlation of volumes with a set of filters.
 *
 *   forward   y[n,k,p,q,r] = b[k] + sum over c,i,j,l of W[k,c,i,j,l] *
 *                            x[n, c, p*stride + i*dilation - padding, ...]
 *   backward  dW += sum over n,p,q,r of dy * x,  db += sum over n,p,q,r of dy,
 *             dx = transposed convolution of dy with W
 *
 *   x (N, C, D, H, W), W (K, C / groups, I, J, L), b (K), y (N, K, P, Q, R)
 *
 * Source: torch.nn.Conv3d; initial values uniform in +-1/sqrt(C/groups I J
 * L). */
#include "layers/conv_impl.h"
#include "layers/layer_table_impl.h"

#include <train/conv.h>
#include <train/layers.h>

static tr_node random_build(tr_model *net, const tr__random *random)
{
  tr_shape in;
  tr_conv3d_opts opts = tr__random_conv(random, 3, &in);
  return tr_conv3d(net, tr_input(net, in), &opts);
}

const tr__layer_type tr__conv3d_type = {
    .name = "conv3d",
    .infer = tr__conv_infer,
    .forward = tr__conv_forward,
    .backward = tr__conv_backward,
    .describe = tr__conv_describe,
    .flops = tr__conv_flops,
    .random_build = random_build,
    .tolerance = 1e-8,
};

tr_node tr_conv3d(tr_model *net, tr_node x, const tr_conv3d_opts *opts)
{
  const tr__window_opts window = {
      .kernel = {opts->kernel, opts->kernel_dhw},
      .stride = {opts->stride, opts->stride_dhw},
      .padding = {opts->padding, opts->padding_dhw},
      .dilation = {opts->dilation, opts->dilation_dhw},
      .groups = opts->groups};
  tr__conv_opts conv = tr__conv_of(3, opts->out, &window);
  conv.no_bias = opts->no_bias;
  return tr__add_conv(net, x, &tr__conv3d_type, &conv, opts->name);
}
