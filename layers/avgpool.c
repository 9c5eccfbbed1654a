/* AvgPool1d, AvgPool2d, AvgPool3d: the mean of each window.
 *
 *   forward   y[n,c,p,q] = sum over i,j of x[n, c, p*stride + i - padding,
 *                                                  q*stride + j - padding] / d
 *   backward  dx = sum of dy / d over the windows that contain the element
 *
 *   d: elements of the window inside the padded image, or inside the image.
 *   x (N, C, H, W), y (N, C, P, Q), likewise (N, C, W) and (N, C, D, H, W).
 *   Source: torch.nn.AvgPool2d */
#include "layers/layer_table_impl.h"
#include "layers/window_impl.h"

#include <train/layers.h>

static tr_status infer(tr_model *net, tr__node *node)
{
  return tr__infer_pool(net, node);
}

static void forward(const tr__pass *run, const tr__node *node)
{
  const tr__pool_opts *opts = node->opts;
  run->ops->avgpool_forward(
      run->stream,
      &(tr__avgpool_forward_args){.y = tr__volume(tr__output(run, node)),
                                  .x = tr__volume(tr__input(run, node, 0)),
                                  .window = opts->window,
                                  .average = opts->average});
}

static void backward(const tr__pass *run, const tr__node *node)
{
  const tr__pool_opts *opts = node->opts;
  run->ops->avgpool_backward(
      run->stream, &(tr__avgpool_backward_args){
                       .dx = tr__volume(tr__input_grad(run, node, 0)),
                       .dy = tr__volume(tr__output_grad(run, node)),
                       .window = opts->window,
                       .average = opts->average,
                       .accumulate = tr__input_grad_adds(run, node, 0)});
}

static tr_node
add(tr_model *net, tr_node x, const tr__layer_type *type, tr__pool_opts opts)
{
  return tr__add_node(net, &(tr__node_spec){.type = type,
                                            .inputs = &x,
                                            .num_inputs = 1,
                                            .opts = &opts,
                                            .opts_bytes = sizeof opts});
}

static tr_node random_1d(tr_model *net, const tr__random *random)
{
  tr_shape in;
  tr_pool3d_opts all = tr__random_pool(random, 1, &in);
  tr_pool1d_opts opts = {.exclude_padding = all.exclude_padding,
                         .kernel = all.kernel_dhw[0],
                         .stride = all.stride_dhw[0],
                         .padding = all.padding_dhw[0]};
  return tr_avgpool1d(net, tr_input(net, in), &opts);
}

static tr_node random_2d(tr_model *net, const tr__random *random)
{
  tr_shape in;
  tr_pool3d_opts all = tr__random_pool(random, 2, &in);
  tr_pool2d_opts opts = {
      .exclude_padding = all.exclude_padding,
      .kernel_hw = {all.kernel_dhw[0], all.kernel_dhw[1]},
      .stride_hw = {all.stride_dhw[0], all.stride_dhw[1]},
      .padding_hw = {all.padding_dhw[0], all.padding_dhw[1]}};
  return tr_avgpool2d(net, tr_input(net, in), &opts);
}

static tr_node random_3d(tr_model *net, const tr__random *random)
{
  tr_shape in;
  tr_pool3d_opts opts = tr__random_pool(random, 3, &in);
  return tr_avgpool3d(net, tr_input(net, in), &opts);
}

const tr__layer_type tr__avgpool1d_type = {
    .name = "avgpool1d",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .describe = tr__describe_pool,
    .random_build = random_1d,
    .tolerance = 1e-8,
};

const tr__layer_type tr__avgpool2d_type = {
    .name = "avgpool2d",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .describe = tr__describe_pool,
    .random_build = random_2d,
    .tolerance = 1e-8,
};

const tr__layer_type tr__avgpool3d_type = {
    .name = "avgpool3d",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .describe = tr__describe_pool,
    .random_build = random_3d,
    .tolerance = 1e-8,
};

tr_node tr_avgpool1d(tr_model *net, tr_node x, const tr_pool1d_opts *opts)
{
  return add(net, x, &tr__avgpool1d_type, tr__pool1d(opts));
}

tr_node tr_avgpool2d(tr_model *net, tr_node x, const tr_pool2d_opts *opts)
{
  return add(net, x, &tr__avgpool2d_type, tr__pool2d(opts));
}

tr_node tr_avgpool3d(tr_model *net, tr_node x, const tr_pool3d_opts *opts)
{
  return add(net, x, &tr__avgpool3d_type, tr__pool3d(opts));
}
