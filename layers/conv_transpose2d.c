/* ConvTranspose2d, the transpose of a convolution: its input has the shape of
 * that convolution's output, and vice versa.
 *
 *   forward   y[n,k,h,w] = b[k] + sum of x[n,c,p,q] W[c,k,i,j] over c and all
 *                          p, i with p*stride + i*dilation - padding = h,
 *                          likewise q, j with w
 *   backward  dx = dy * W, a convolution,  dW += sum over n,p,q of x * dy,
 *             db += sum over n,h,w of dy
 *
 *   x (N, C, P, Q), W (C, K / groups, I, J), b (K), y (N, K, H, W)
 *
 * Source: torch.nn.ConvTranspose2d; initial values uniform in +-1/sqrt(K/groups
 * I J). */
#include "layers/conv_impl.h"
#include "layers/layer_table_impl.h"

#include <train/conv.h>
#include <train/layers.h>

enum { WEIGHT, BIAS };

/* The output's extent along axis i; 0 where nothing is left. */
static int64_t extent_of(const tr__conv_opts *opts, int i, int64_t places)
{
  const tr__window *w = &opts->window;
  int64_t spread, span, extent;
  if (w->padding[i] > INT64_MAX / 4 ||
      tr__mul_overflows(places - 1, w->stride[i], &spread) ||
      tr__mul_overflows(w->kernel[i] - 1, w->dilation[i], &span) ||
      tr__add_overflows(spread, span, &extent) ||
      tr__add_overflows(extent, opts->output_padding[i] + 1, &extent)) {
    return 0;
  }
  return tr__max(0, extent - 2 * w->padding[i]);
}

static tr_status infer_shape(const tr_model *net, tr__node *node)
{
  const tr__conv_opts *opts = node->opts;
  const tr_shape *x = tr__input_shape(net, node, 0);
  TR_TRY(tr__check_image(net, node, 2));
  TR_TRY(tr__check_channels(node, x->dims[0]));
  TR_TRY(tr__check_window(node, 2, &opts->window));
  char text[TR__SHAPE_BYTES];
  tr_shape out = {3, {opts->out}};
  for (int d = 1; d <= 2; d++) {
    int64_t added = opts->output_padding[d], stride = opts->window.stride[d];
    int64_t most = tr__max(stride, opts->window.dilation[d]) - 1;
    TR__CHECK_NODE(added >= 0 && added <= most, node, TR_EINVAL,
                   "output padding is %lld, expected 0 to %lld, less than "
                   "stride or dilation",
                   (long long)added, (long long)most);
    out.dims[d] = extent_of(opts, d, x->dims[d]);
    TR__CHECK_NODE(out.dims[d] > 0, node, TR_ESHAPE,
                   "nothing is left of %s with padding %lld",
                   tr__shape_text(x, text), (long long)opts->window.padding[d]);
  }
  node->shape = out;
  TR__CHECK_NODE(tr__shape_is_valid(&node->shape), node, TR_ESHAPE,
                 "output %s is too large", tr__shape_text(&node->shape, text));
  return TR_OK;
}

static void infer_workspace(tr_model *net, tr__node *node)
{
  const tr__window window = ((const tr__conv_opts *)node->opts)->window;
  tr__tensor x =
      tr__volume(tr__shape_tensor(net, tr__input_shape(net, node, 0)));
  tr__tensor y = tr__volume(tr__shape_tensor(net, &node->shape));
  tr__tensor w = tr__volume(tr__param_tensor(net, node, WEIGHT));
  node->forward_bytes =
      tr__workspace_bytes(net, TR__OP_conv_backward_input,
                          &(tr__conv_backward_input_args){
                              .dx = y, .dy = x, .w = w, .window = window});
  size_t input = tr__workspace_bytes(
      net, TR__OP_conv_forward,
      &(tr__conv_forward_args){.y = x, .x = y, .w = w, .window = window});
  size_t weight = tr__workspace_bytes(
      net, TR__OP_conv_backward_weight,
      &(tr__conv_backward_weight_args){.dw = w,
                                       .x = y,
                                       .dy = x,
                                       .window = window,
                                       .shards = tr__plan_shards(net)});
  node->backward_bytes = weight > input ? weight : input;
}

static tr_status infer(tr_model *net, tr__node *node)
{
  TR_TRY(infer_shape(net, node));
  const tr__conv_opts *opts = node->opts;
  const tr_shape *x = tr__input_shape(net, node, 0);
  int64_t columns = opts->out / opts->window.groups;
  char text[TR__SHAPE_BYTES];
  TR__CHECK_NODE(tr__patches_fit(&opts->window, columns, x), node, TR_ESHAPE,
                 "a kernel of %lld on %s places is too large",
                 (long long)opts->window.kernel[2], tr__shape_text(x, text));
  TR_TRY(tr__declare_filters(net, node, x->dims[0], columns));
  node->flags = TR__USES_INPUT;
  infer_workspace(net, node);
  return TR_OK;
}

static void forward(const tr__pass *run, const tr__node *node)
{
  const tr__conv_opts *opts = node->opts;
  run->ops->conv_backward_input(
      run->stream, &(tr__conv_backward_input_args){
                       .dx = tr__volume(tr__output(run, node)),
                       .dy = tr__volume(tr__input(run, node, 0)),
                       .w = tr__volume(tr__weight(run, node, WEIGHT)),
                       .b = tr__conv_bias(run, node),
                       .workspace = tr__workspace(run, node),
                       .window = opts->window});
}

static void backward(const tr__pass *run, const tr__node *node)
{
  const tr__conv_opts *opts = node->opts;
  tr__tensor dy = tr__volume(tr__output_grad(run, node));
  tr__tensor dw = tr__grad(run, node, WEIGHT);
  tr__tensor db = tr__conv_bias_grad(run, node);
  if (dw.data != NULL || db.data != NULL) {
    run->ops->conv_backward_weight(
        run->stream, &(tr__conv_backward_weight_args){
                         .dw = tr__volume(dw),
                         .db = db,
                         .x = dy,
                         .dy = tr__volume(tr__input(run, node, 0)),
                         .workspace = tr__workspace(run, node),
                         .window = opts->window,
                         .shards = run->shards,
                         .accumulate = tr__grads_add(run, node),
                         .db_of_x = 1});
  }
  tr__tensor dx = tr__input_grad(run, node, 0);
  if (dx.data != NULL) {
    run->ops->conv_forward(
        run->stream, &(tr__conv_forward_args){
                         .y = tr__volume(dx),
                         .x = dy,
                         .w = tr__volume(tr__weight(run, node, WEIGHT)),
                         .workspace = tr__workspace(run, node),
                         .window = opts->window,
                         .accumulate = tr__input_grad_adds(run, node, 0)});
  }
}

static tr__flops flops(const tr_model *net, const tr__node *node)
{
  tr__tensor w = tr__param_tensor(net, node, WEIGHT);
  const tr_shape *x = tr__input_shape(net, node, 0);
  return tr__product_flops(net, node, WEIGHT,
                           (double)tr_shape_count(x) *
                               (double)tr__tensor_row(&w));
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  tr_shape in;
  tr_conv3d_opts all = tr__random_conv(random, 2, &in);
  tr_conv_transpose2d_opts opts = {
      .out = all.out,
      .groups = all.groups,
      .no_bias = all.no_bias,
      .kernel_hw = {all.kernel_dhw[0], all.kernel_dhw[1]},
      .stride_hw = {all.stride_dhw[0], all.stride_dhw[1]},
      .dilation_hw = {all.dilation_dhw[0], all.dilation_dhw[1]}};
  for (int i = 0; i < 2; i++) {
    int64_t size = 2 + tr__random_u32(random, 20 + i) % 4;
    int64_t reach = (size - 1) * all.stride_dhw[i] +
                    (all.kernel_dhw[i] - 1) * all.dilation_dhw[i];
    in.dims[1 + i] = size;
    opts.output_padding_hw[i] = tr__random_u32(random, 22 + i) %
                                tr__max(all.stride_dhw[i], all.dilation_dhw[i]);
    /* More padding would leave no output. */
    opts.padding_hw[i] = tr__min(all.padding_dhw[i], reach / 2);
  }
  return tr_conv_transpose2d(net, tr_input(net, in), &opts);
}

const tr__layer_type tr__conv_transpose2d_type = {
    .name = "conv_transpose2d",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .describe = tr__conv_describe,
    .flops = flops,
    .random_build = random_build,
    .tolerance = 1e-8,
};

tr_node tr_conv_transpose2d(tr_model *net,
                            tr_node x,
                            const tr_conv_transpose2d_opts *opts)
{
  const tr__window_opts window = {
      .kernel = {opts->kernel, opts->kernel_hw},
      .stride = {opts->stride, opts->stride_hw},
      .padding = {opts->padding, opts->padding_hw},
      .dilation = {opts->dilation, opts->dilation_hw},
      .groups = opts->groups};
  tr__conv_opts conv = tr__conv_of(2, opts->out, &window);
  tr__set_extents(conv.output_padding, 2,
                  (tr__extents){opts->output_padding, opts->output_padding_hw},
                  0);
  conv.no_bias = opts->no_bias;
  return tr__add_conv(net, x, &tr__conv_transpose2d_type, &conv, opts->name);
}
