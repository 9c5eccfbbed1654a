/* Adaptive average pool: means over windows that cover the image, so that the
 * output has the given extents.
 *
 *   forward   y[n,c,p,...] = mean of x[n,c,h,...] over h in
 *                            floor(p H / P) .. ceil((p + 1) H / P) - 1
 *   backward  dx = sum of dy / (elements of the window) over the windows that
 *             contain the element
 *
 *   x (N, C, H, W), y (N, C, P, Q), likewise (N, C, W) and (N, C, D, H, W).
 *   Source: torch.nn.AdaptiveAvgPool2d */
#include "layers/layer_table_impl.h"
#include "layers/window_impl.h"

#include <train/layers.h>

static tr_status infer(tr_model *net, tr__node *node)
{
  const tr_adaptive_pool_opts *opts = node->opts;
  const tr_shape *x = tr__input_shape(net, node, 0);
  char text[TR__SHAPE_BYTES];
  TR__CHECK_NODE(x->ndim >= 2 && x->ndim <= 4, node, TR_ESHAPE,
                 "input is %s, expected (C, W), (C, H, W) or (C, D, H, W)",
                 tr__shape_text(x, text));
  for (int i = x->ndim - 1; i < 3; i++) {
    TR__CHECK_NODE(opts->out_each[i] == 0, node, TR_ESHAPE,
                   "out_each[%d] is %lld, but the input %s has a channel and "
                   "%d more axes; expected (C, W), (C, H, W) or (C, D, H, "
                   "W)",
                   i, (long long)opts->out_each[i], tr__shape_text(x, text),
                   x->ndim - 1);
  }
  tr_shape out = *x;
  for (int i = 1; i < x->ndim; i++) {
    int64_t own = opts->out_each[i - 1];
    out.dims[i] = own != 0 ? own : opts->out;
    /* The limits keep p H, which the op computes, from overflow. */
    TR__CHECK_NODE(
        out.dims[i] > 0 && out.dims[i] <= INT32_MAX && x->dims[i] <= INT32_MAX,
        node, TR_EINVAL, "%lld places from %lld, expected 1 to 2147483647",
        (long long)out.dims[i], (long long)x->dims[i]);
  }
  node->shape = out;
  TR__CHECK_NODE(tr__shape_is_valid(&node->shape), node, TR_ESHAPE,
                 "output %s is too large", tr__shape_text(&node->shape, text));
  return TR_OK;
}

static void forward(const tr__pass *run, const tr__node *node)
{
  run->ops->avgpool_forward(
      run->stream,
      &(tr__avgpool_forward_args){.y = tr__volume(tr__output(run, node)),
                                  .x = tr__volume(tr__input(run, node, 0)),
                                  .average = TR__AVERAGE_ADAPTIVE});
}

static void backward(const tr__pass *run, const tr__node *node)
{
  run->ops->avgpool_backward(
      run->stream, &(tr__avgpool_backward_args){
                       .dx = tr__volume(tr__input_grad(run, node, 0)),
                       .dy = tr__volume(tr__output_grad(run, node)),
                       .average = TR__AVERAGE_ADAPTIVE,
                       .accumulate = tr__input_grad_adds(run, node, 0)});
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  tr_adaptive_pool_opts opts = {.out = 1 + tr__random_u32(random, 0) % 5};
  tr_shape in = {2 + (int)(tr__random_u32(random, 1) % 3),
                 {1 + tr__random_u32(random, 2) % 4}};
  for (int i = 1; i < in.ndim; i++) {
    in.dims[i] = 1 + tr__random_u32(random, 2 + i) % 7;
    opts.out_each[i - 1] = tr__random_u32(random, 8 + i) % 5;
  }
  return tr_adaptive_avgpool(net, tr_input(net, in), &opts);
}

const tr__layer_type tr__adaptive_avgpool_type = {
    .name = "adaptive_avgpool",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .random_build = random_build,
    .tolerance = 1e-8,
};

tr_node
tr_adaptive_avgpool(tr_model *net, tr_node x, const tr_adaptive_pool_opts *opts)
{
  return tr__add_node(net, &(tr__node_spec){.type = &tr__adaptive_avgpool_type,
                                            .inputs = &x,
                                            .num_inputs = 1,
                                            .opts = opts,
                                            .opts_bytes = sizeof *opts});
}
