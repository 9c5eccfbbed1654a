/* MaxPool1d, MaxPool2d, MaxPool3d: the largest value of each window.
 *
 *   forward   y[n,c,p,q] = max over i,j of x[n, c, p*stride + i - padding,
 *                                                  q*stride + j - padding]
 *   backward  dx = dy at the first maximum in row-major order, else 0;
 *             overlapping windows add
 *
 *   x (N, C, H, W), y (N, C, P, Q), likewise (N, C, W) and (N, C, D, H, W).
 *   Source: torch.nn.MaxPool2d */
#include "layers/layer_table_impl.h"
#include "layers/window_impl.h"

#include <limits.h>
#include <train/layers.h>

enum { INDEX };

static tr_status infer(tr_model *net, tr__node *node)
{
  TR_TRY(tr__infer_pool(net, node));
  const tr_shape *x = tr__input_shape(net, node, 0);
  int64_t places = 1;
  for (int i = 1; i < x->ndim; i++) {
    TR__CHECK_NODE(places <= INT_MAX / x->dims[i], node, TR_ESHAPE,
                   "%lld x %lld values per channel are too many for the index",
                   (long long)places, (long long)x->dims[i]);
    places *= x->dims[i];
  }
  tr__declare_saved(node, TR_I32, node->shape);
  return TR_OK;
}

static void forward(const tr__pass *run, const tr__node *node)
{
  const tr__pool_opts *opts = node->opts;
  run->ops->maxpool_forward(
      run->stream, &(tr__maxpool_forward_args){
                       .y = tr__volume(tr__output(run, node)),
                       .x = tr__volume(tr__input(run, node, 0)),
                       .index = tr__volume(tr__saved(run, node, INDEX)),
                       .window = opts->window});
}

static void backward(const tr__pass *run, const tr__node *node)
{
  run->ops->maxpool_backward(
      run->stream, &(tr__maxpool_backward_args){
                       .dx = tr__volume(tr__input_grad(run, node, 0)),
                       .dy = tr__volume(tr__output_grad(run, node)),
                       .index = tr__volume(tr__saved(run, node, INDEX)),
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
  tr_pool1d_opts opts = {.kernel = all.kernel_dhw[0],
                         .stride = all.stride_dhw[0],
                         .padding = all.padding_dhw[0]};
  return tr_maxpool1d(net, tr_input(net, in), &opts);
}

static tr_node random_2d(tr_model *net, const tr__random *random)
{
  tr_shape in;
  tr_pool3d_opts all = tr__random_pool(random, 2, &in);
  tr_pool2d_opts opts = {
      .kernel_hw = {all.kernel_dhw[0], all.kernel_dhw[1]},
      .stride_hw = {all.stride_dhw[0], all.stride_dhw[1]},
      .padding_hw = {all.padding_dhw[0], all.padding_dhw[1]}};
  return tr_maxpool2d(net, tr_input(net, in), &opts);
}

static tr_node random_3d(tr_model *net, const tr__random *random)
{
  tr_shape in;
  tr_pool3d_opts opts = tr__random_pool(random, 3, &in);
  return tr_maxpool3d(net, tr_input(net, in), &opts);
}

const tr__layer_type tr__maxpool1d_type = {
    .name = "maxpool1d",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .describe = tr__describe_pool,
    .random_build = random_1d,
    .tolerance = 1e-8,
};

const tr__layer_type tr__maxpool2d_type = {
    .name = "maxpool2d",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .describe = tr__describe_pool,
    .random_build = random_2d,
    .tolerance = 1e-8,
};

const tr__layer_type tr__maxpool3d_type = {
    .name = "maxpool3d",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .describe = tr__describe_pool,
    .random_build = random_3d,
    .tolerance = 1e-8,
};

tr_node tr_maxpool1d(tr_model *net, tr_node x, const tr_pool1d_opts *opts)
{
  return add(net, x, &tr__maxpool1d_type, tr__pool1d(opts));
}

tr_node tr_maxpool2d(tr_model *net, tr_node x, const tr_pool2d_opts *opts)
{
  return add(net, x, &tr__maxpool2d_type, tr__pool2d(opts));
}

tr_node tr_maxpool3d(tr_model *net, tr_node x, const tr_pool3d_opts *opts)
{
  return add(net, x, &tr__maxpool3d_type, tr__pool3d(opts));
}
