/* Code of all convolutions over one, two and three spatial axes: ops see all of
 * them as convolutions of volumes. */
#include "layers/conv_impl.h"

#include <math.h>
#include <train/conv.h>

enum { WEIGHT, BIAS };

tr__conv_opts tr__conv_of(int ndim, int64_t out, const tr__window_opts *window)
{
  const int64_t one[3] = {1, 1, 1};
  tr__conv_opts opts = {
      .ndim = ndim, .out = out, .window = tr__window_of(ndim, window)};
  tr__default_stride(&opts.window, one);
  return opts;
}

bool tr__patches_fit(const tr__window *window,
                     int64_t channels,
                     const tr_shape *places)
{
  int64_t count = channels;
  bool fits = true;
  for (int i = 0; i < 3; i++) {
    fits = fits && !tr__mul_overflows(count, window->kernel[i], &count);
  }
  for (int i = 1; i < places->ndim; i++) {
    fits = fits && !tr__mul_overflows(count, places->dims[i], &count);
  }
  return fits && count <= INT64_MAX >> 20;
}

tr_status tr__check_channels(const tr__node *node, int64_t channels)
{
  const tr__conv_opts *opts = node->opts;
  int64_t groups = opts->window.groups;
  TR__CHECK_NODE(opts->out > 0, node, TR_EINVAL,
                 "out is %lld, expected at least 1", (long long)opts->out);
  TR__CHECK_NODE(groups > 0 && channels % groups == 0 &&
                     opts->out % groups == 0,
                 node, TR_EINVAL,
                 "%lld groups, expected a divisor of the %lld input channels "
                 "and of the %lld output channels",
                 (long long)groups, (long long)channels, (long long)opts->out);
  return TR_OK;
}

tr_status tr__declare_filters(tr_model *net,
                              tr__node *node,
                              int64_t rows,
                              int64_t columns)
{
  const tr__conv_opts *opts = node->opts;
  tr_shape weight = {2 + opts->ndim, {rows, columns}};
  double fan_in = (double)columns;
  for (int i = 0; i < opts->ndim; i++) {
    weight.dims[2 + i] = opts->window.kernel[3 - opts->ndim + i];
    fan_in *= (double)weight.dims[2 + i];
  }
  tr__init init = tr__init_uniform(1.0 / sqrt(fan_in));
  TR_TRY(tr__declare_param(net, node, "weight", weight, init));
  const tr_shape bias = {1, {opts->out}};
  return opts->no_bias ? TR_OK
                       : tr__declare_param(net, node, "bias", bias, init);
}

static void infer_workspace(tr_model *net, tr__node *node)
{
  const tr__conv_opts *opts = node->opts;
  tr__tensor x =
      tr__volume(tr__shape_tensor(net, tr__input_shape(net, node, 0)));
  tr__tensor y = tr__volume(tr__shape_tensor(net, &node->shape));
  tr__tensor w = tr__volume(tr__param_tensor(net, node, WEIGHT));
  node->forward_bytes = tr__workspace_bytes(
      net, TR__OP_conv_forward,
      &(tr__conv_forward_args){.y = y, .x = x, .w = w, .window = opts->window});
  size_t weight = tr__workspace_bytes(
      net, TR__OP_conv_backward_weight,
      &(tr__conv_backward_weight_args){.dw = w,
                                       .x = x,
                                       .dy = y,
                                       .window = opts->window,
                                       .shards = tr__plan_shards(net)});
  size_t input = tr__workspace_bytes(
      net, TR__OP_conv_backward_input,
      &(tr__conv_backward_input_args){
          .dx = x, .dy = y, .w = w, .window = opts->window});
  node->backward_bytes = weight > input ? weight : input;
}

tr_status tr__conv_infer(tr_model *net, tr__node *node)
{
  const tr__conv_opts *opts = node->opts;
  TR_TRY(tr__check_image(net, node, opts->ndim));
  int64_t channels = tr__input_shape(net, node, 0)->dims[0];
  TR_TRY(tr__check_channels(node, channels));
  TR_TRY(tr__infer_window(net, node, opts->ndim, &opts->window, opts->out));
  char text[TR__SHAPE_BYTES];
  TR__CHECK_NODE(tr__patches_fit(&opts->window, channels / opts->window.groups,
                                 &node->shape),
                 node, TR_ESHAPE, "a kernel of %lld on %s places is too large",
                 (long long)opts->window.kernel[2],
                 tr__shape_text(&node->shape, text));
  TR_TRY(tr__declare_filters(net, node, opts->out,
                             channels / opts->window.groups));
  node->flags = TR__USES_INPUT | TR__CAN_ACTIVATE;
  infer_workspace(net, node);
  return TR_OK;
}

tr__tensor tr__conv_bias(const tr__pass *run, const tr__node *node)
{
  return node->num_params > BIAS ? tr__value(run, node, BIAS)
                                 : (tr__tensor){.data = NULL};
}

tr__tensor tr__conv_bias_grad(const tr__pass *run, const tr__node *node)
{
  return node->num_params > BIAS ? tr__grad(run, node, BIAS)
                                 : (tr__tensor){.data = NULL};
}

void tr__conv_forward(const tr__pass *run, const tr__node *node)
{
  const tr__conv_opts *opts = node->opts;
  run->ops->conv_forward(
      run->stream,
      &(tr__conv_forward_args){.y = tr__volume(tr__output(run, node)),
                               .x = tr__volume(tr__input(run, node, 0)),
                               .w = tr__volume(tr__weight(run, node, WEIGHT)),
                               .b = tr__conv_bias(run, node),
                               .workspace = tr__workspace(run, node),
                               .window = opts->window,
                               .activation = node->activation});
}

void tr__conv_backward(const tr__pass *run, const tr__node *node)
{
  const tr__conv_opts *opts = node->opts;
  tr__tensor dy = tr__volume(tr__output_grad(run, node));
  tr__tensor dw = tr__grad(run, node, WEIGHT);
  tr__tensor db = tr__conv_bias_grad(run, node);
  if (dw.data != NULL || db.data != NULL) {
    run->ops->conv_backward_weight(run->stream,
                                   &(tr__conv_backward_weight_args){
                                       .dw = tr__volume(dw),
                                       .db = db,
                                       .x = tr__volume(tr__input(run, node, 0)),
                                       .dy = dy,
                                       .workspace = tr__workspace(run, node),
                                       .window = opts->window,
                                       .shards = run->shards,
                                       .accumulate = tr__grads_add(run, node)});
  }
  tr__tensor dx = tr__input_grad(run, node, 0);
  if (dx.data != NULL) {
    run->ops->conv_backward_input(
        run->stream, &(tr__conv_backward_input_args){
                         .dx = tr__volume(dx),
                         .dy = dy,
                         .w = tr__volume(tr__weight(run, node, WEIGHT)),
                         .workspace = tr__workspace(run, node),
                         .window = opts->window,
                         .accumulate = tr__input_grad_adds(run, node, 0)});
  }
}

void tr__conv_describe(const tr__node *node, FILE *out)
{
  const tr__conv_opts *opts = node->opts;
  tr__describe_window(out, opts->ndim, &opts->window);
}

tr__flops tr__conv_flops(const tr_model *net, const tr__node *node)
{
  tr__tensor w = tr__param_tensor(net, node, WEIGHT);
  return tr__product_flops(net, node, WEIGHT,
                           (double)tr_shape_count(&node->shape) *
                               (double)tr__tensor_row(&w));
}

tr_node tr__add_conv(tr_model *net,
                     tr_node x,
                     const tr__layer_type *type,
                     const tr__conv_opts *opts,
                     const char *name)
{
  return tr__add_node(net, &(tr__node_spec){.type = type,
                                            .inputs = &x,
                                            .num_inputs = 1,
                                            .opts = opts,
                                            .opts_bytes = sizeof *opts,
                                            .name = name});
}

/* Draw no groups, two groups, or one per channel (depthwise). A quarter of the
 * kernels have one element, for which backends have a path of their own. */
tr_conv3d_opts tr__random_conv(const tr__random *random, int ndim, tr_shape *in)
{
  tr_conv3d_opts opts = {.out = 1 + tr__random_u32(random, 0) % 4,
                         .no_bias = tr__random_u32(random, 1) % 4 == 0};
  int64_t channels = 1 + tr__random_u32(random, 2) % 4;
  int64_t kind = tr__random_u32(random, 3) % 4;
  opts.groups = kind == 0 ? 2 : kind == 1 ? channels : 0;
  if (opts.groups > 0) {
    channels *= kind == 0 ? 2 : 1;
    opts.out *= opts.groups;
  }
  in->ndim = ndim + 1;
  in->dims[0] = channels;
  uint32_t most = ndim == 3 ? 2 : 4;
  bool is_pointwise = tr__random_u32(random, 30) % 4 == 0;
  uint32_t strides = is_pointwise && tr__random_u32(random, 31) % 2 ? 1 : 4;
  for (int i = 0; i < ndim; i++) {
    int64_t kernel =
        is_pointwise ? 1 : 1 + tr__random_u32(random, 4 + i) % most;
    int64_t dilation = 1 + tr__random_u32(random, 7 + i) % 3;
    opts.kernel_dhw[i] = kernel;
    opts.dilation_dhw[i] = dilation;
    opts.stride_dhw[i] = 1 + tr__random_u32(random, 10 + i) % strides;
    opts.padding_dhw[i] = tr__random_u32(random, 13 + i) % (kernel + 1);
    in->dims[1 + i] =
        (kernel - 1) * dilation + 1 + tr__random_u32(random, 16 + i) % most;
  }
  return opts;
}
