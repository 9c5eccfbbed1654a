/* Conv2d: cross-correlation with a set of filters.
 *
 *   forward   y[n,k,p,q] = b[k] + sum over c,i,j of W[k,c,i,j] *
 *                          x[n, c, p*stride + i - padding,
 *                                  q*stride + j - padding]
 *   backward  dW += sum over n,p,q of dy * x,  db += sum over n,p,q of dy,
 *             dx = dy spread by W
 *
 *   x (N, C, H, W), W (K, C, I, J), b (K), y (N, K, P, Q)
 *
 * Source: torch.nn.Conv2d; first values uniform in +-1/sqrt(C I J). */
#include <train/layers.h>

#include "layers/table_impl.h"
#include "layers/window_impl.h"

#include <math.h>

enum { WEIGHT, BIAS };

static tr__window window_of(const tr_conv2d_opts *opts)
{
  return tr__square_window(opts->kernel, opts->stride == 0 ? 1 : opts->stride,
                           opts->padding);
}

/* The image's patches as a matrix, which backends may want as workspace, for
 * every thread. */
static bool patches_fit(const tr__node *node, int64_t channels)
{
  const tr_conv2d_opts *opts = node->opts;
  const tr_shape patches = {5,
                            {channels, opts->kernel, opts->kernel,
                             node->shape.dims[1], node->shape.dims[2]}};
  int64_t count = tr_shape_count(&patches);
  return count > 0 && count <= INT64_MAX >> 20;
}

static void infer_workspace(tr_model *net, tr__node *node)
{
  const tr__window window = window_of(node->opts);
  tr__tensor x = tr__shape_tensor(net, tr__input_shape(net, node, 0));
  tr__tensor y = tr__shape_tensor(net, &node->shape);
  tr__tensor w = tr__param_tensor(net, node, WEIGHT);
  node->forward_bytes = tr__workspace_bytes(
      net, TR__OP_conv2d_forward,
      &(tr__conv2d_forward_args){.y = y, .x = x, .w = w, .window = window});
  size_t weight =
      tr__workspace_bytes(net, TR__OP_conv2d_backward_weight,
                          &(tr__conv2d_backward_weight_args){
                              .dw = w,
                              .x = x,
                              .dy = y,
                              .window = window,
                              .shards = tr__one_shard(net->max_rows)});
  size_t input =
      tr__workspace_bytes(net, TR__OP_conv2d_backward_input,
                          &(tr__conv2d_backward_input_args){
                              .dx = x, .dy = y, .w = w, .window = window});
  node->backward_bytes = weight > input ? weight : input;
}

static tr_status infer(tr_model *net, tr__node *node)
{
  const tr_conv2d_opts *opts = node->opts;
  const tr__window window = window_of(opts);
  TR__CHECK_NODE(opts->out > 0, node, TR_EINVAL,
                 "out is %lld, expected at least 1", (long long)opts->out);
  TR_TRY(tr__infer_window(net, node, &window, opts->out));
  int64_t channels = tr__input_shape(net, node, 0)->dims[0];
  TR__CHECK_NODE(patches_fit(node, channels), node, TR_ESHAPE,
                 "a kernel of %lld on %lld x %lld places is too large",
                 (long long)opts->kernel, (long long)node->shape.dims[1],
                 (long long)node->shape.dims[2]);
  const tr_shape weight = {4,
                           {opts->out, channels, opts->kernel, opts->kernel}};
  double fan_in =
      (double)channels * (double)opts->kernel * (double)opts->kernel;
  double bound = 1.0 / sqrt(fan_in);
  TR_TRY(
      tr__declare_param(net, node, "weight", weight, tr__init_uniform(bound)));
  if (!opts->no_bias) {
    const tr_shape bias = {1, {opts->out}};
    TR_TRY(tr__declare_param(net, node, "bias", bias, tr__init_uniform(bound)));
  }
  node->flags = TR__USES_INPUT | TR__CAN_ACTIVATE;
  infer_workspace(net, node);
  return TR_OK;
}

static tr__tensor bias(const tr__run *run, const tr__node *node)
{
  return node->num_params > BIAS ? tr__value(run, node, BIAS)
                                 : (tr__tensor){.data = NULL};
}

static tr__tensor bias_grad(const tr__run *run, const tr__node *node)
{
  return node->num_params > BIAS ? tr__grad(run, node, BIAS)
                                 : (tr__tensor){.data = NULL};
}

static void forward(const tr__run *run, const tr__node *node)
{
  run->ops->conv2d_forward(
      run->stream,
      &(tr__conv2d_forward_args){.y = tr__output(run, node),
                                 .x = tr__input(run, node, 0),
                                 .w = tr__value(run, node, WEIGHT),
                                 .b = bias(run, node),
                                 .workspace = tr__workspace(run, node),
                                 .window = window_of(node->opts),
                                 .activation = node->activation});
}

static void backward(const tr__run *run, const tr__node *node)
{
  const tr__window window = window_of(node->opts);
  tr__tensor dy = tr__output_grad(run, node);
  tr__tensor dw = tr__grad(run, node, WEIGHT);
  tr__tensor db = bias_grad(run, node);
  if (dw.data != NULL || db.data != NULL) {
    run->ops->conv2d_backward_weight(run->stream,
                                     &(tr__conv2d_backward_weight_args){
                                         .dw = dw,
                                         .db = db,
                                         .x = tr__input(run, node, 0),
                                         .dy = dy,
                                         .workspace = tr__workspace(run, node),
                                         .window = window,
                                         .shards = run->shards,
                                         .accumulate = tr__grad_adds(run)});
  }
  tr__tensor dx = tr__input_grad(run, node, 0);
  if (dx.data != NULL) {
    run->ops->conv2d_backward_input(
        run->stream, &(tr__conv2d_backward_input_args){
                         .dx = dx,
                         .dy = dy,
                         .w = tr__value(run, node, WEIGHT),
                         .workspace = tr__workspace(run, node),
                         .window = window,
                         .accumulate = tr__input_grad_adds(run, node, 0)});
  }
}

static tr__flops flops(const tr_model *net, const tr__node *node)
{
  const tr_conv2d_opts *opts = node->opts;
  double channels = (double)tr__input_shape(net, node, 0)->dims[0];
  double filter = channels * (double)(opts->kernel * opts->kernel);
  return tr__product_flops(net, node, WEIGHT,
                           filter * (double)tr_shape_count(&node->shape));
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  int64_t kernel = 1 + tr__random_u32(random, 0) % 4;
  int64_t padding = tr__random_u32(random, 1) % (uint32_t)(kernel + 1);
  int64_t stride = 1 + tr__random_u32(random, 2) % 3;
  const tr_shape in = {3,
                       {1 + tr__random_u32(random, 3) % 4,
                        kernel + tr__random_u32(random, 4) % 6,
                        kernel + tr__random_u32(random, 5) % 6}};
  tr_conv2d_opts opts = {.out = 1 + tr__random_u32(random, 6) % 5,
                         .kernel = kernel,
                         .stride = stride,
                         .padding = padding,
                         .no_bias = tr__random_u32(random, 7) % 4 == 0};
  return tr_conv2d(net, tr_input(net, in), &opts);
}

const tr__layer_type tr__conv2d_type = {
    .name = "conv2d",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .flops = flops,
    .random_build = random_build,
    .tolerance = 1e-8,
};

tr_node tr_conv2d(tr_model *net, tr_node x, const tr_conv2d_opts *opts)
{
  return tr__add_node(net, &(tr__node_spec){.type = &tr__conv2d_type,
                                            .inputs = &x,
                                            .num_inputs = 1,
                                            .opts = opts,
                                            .opts_bytes = sizeof *opts,
                                            .name = opts->name});
}
