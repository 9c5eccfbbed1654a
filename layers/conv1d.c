/* Conv1d: cross-correlation of sequences with a set of filters.
 *
 *   forward   y[n,k,p] = b[k] + sum over c,i of W[k,c,i] *
 *                        x[n, c, p*stride + i*dilation - padding]
 *   backward  dW += sum over n,p of dy * x,  db += sum over n,p of dy,
 *             dx = transposed convolution of dy with W
 *
 *   x (N, C, L), W (K, C / groups, I), b (K), y (N, K, P)
 *
 * Source: torch.nn.Conv1d; initial values uniform in +-1/sqrt(C/groups I). */
#include "layers/conv_impl.h"
#include "layers/layer_table_impl.h"

#include <train/conv.h>
#include <train/layers.h>

static tr_node random_build(tr_model *net, const tr__random *random)
{
  tr_shape in;
  tr_conv3d_opts all = tr__random_conv(random, 1, &in);
  tr_conv1d_opts opts = {.out = all.out,
                         .kernel = all.kernel_dhw[0],
                         .stride = all.stride_dhw[0],
                         .padding = all.padding_dhw[0],
                         .dilation = all.dilation_dhw[0],
                         .groups = all.groups,
                         .no_bias = all.no_bias};
  return tr_conv1d(net, tr_input(net, in), &opts);
}

const tr__layer_type tr__conv1d_type = {
    .name = "conv1d",
    .infer = tr__conv_infer,
    .forward = tr__conv_forward,
    .backward = tr__conv_backward,
    .describe = tr__conv_describe,
    .flops = tr__conv_flops,
    .random_build = random_build,
    .tolerance = 1e-8,
};

tr_node tr_conv1d(tr_model *net, tr_node x, const tr_conv1d_opts *opts)
{
  const tr__window_opts window = {.kernel = {opts->kernel, NULL},
                                  .stride = {opts->stride, NULL},
                                  .padding = {opts->padding, NULL},
                                  .dilation = {opts->dilation, NULL},
                                  .groups = opts->groups};
  tr__conv_opts conv = tr__conv_of(1, opts->out, &window);
  conv.no_bias = opts->no_bias;
  return tr__add_conv(net, x, &tr__conv1d_type, &conv, opts->name);
}
