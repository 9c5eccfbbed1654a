/* Upsample of images: enlarge height and width by a factor.
 *
 *   forward   y[n,c,h,w] = x[n, c, h / s, w / s], rounded down
 *   backward  dx[n,c,h,w] = sum over i, j < s of dy[n, c, h s + i, w s + j]
 *
 *   x (N, C, H, W), y (N, C, s H, s W). Source: torch.nn.Upsample, nearest */
#include <train/layers.h>
#include <train/shape.h>

#include "layers/layer_table_impl.h"
#include "model/node_impl.h"

static tr_status infer(tr_model *net, tr__node *node)
{
  int64_t scale = *(const int64_t *)node->opts;
  const tr_shape *x = tr__input_shape(net, node, 0);
  char text[TR__SHAPE_BYTES];
  TR__CHECK_NODE(x->ndim == 3, node, TR_ESHAPE,
                 "input is %s, expected (C, H, W)", tr__shape_text(x, text));
  TR__CHECK_NODE(scale > 0, node, TR_EINVAL,
                 "scale is %lld, expected at least 1", (long long)scale);
  node->shape = *x;
  bool overflows = tr__mul_overflows(x->dims[1], scale, &node->shape.dims[1]) ||
                   tr__mul_overflows(x->dims[2], scale, &node->shape.dims[2]);
  TR__CHECK_NODE(!overflows, node, TR_ESHAPE, "%s times %lld is too large",
                 tr__shape_text(x, text), (long long)scale);
  return TR_OK;
}

static void forward(const tr__pass *run, const tr__node *node)
{
  run->ops->upsample2d_forward(
      run->stream,
      &(tr__upsample2d_forward_args){.y = tr__output(run, node),
                                     .x = tr__input(run, node, 0),
                                     .scale = *(const int64_t *)node->opts});
}

static void backward(const tr__pass *run, const tr__node *node)
{
  run->ops->upsample2d_backward(
      run->stream, &(tr__upsample2d_backward_args){
                       .dx = tr__input_grad(run, node, 0),
                       .dy = tr__output_grad(run, node),
                       .scale = *(const int64_t *)node->opts,
                       .accumulate = tr__input_grad_adds(run, node, 0)});
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  const tr_shape in = {3,
                       {1 + tr__random_u32(random, 0) % 3,
                        1 + tr__random_u32(random, 1) % 5,
                        1 + tr__random_u32(random, 2) % 4}};
  return tr_upsample2d(net, tr_input(net, in),
                       1 + tr__random_u32(random, 3) % 3);
}

const tr__layer_type tr__upsample2d_type = {
    .name = "upsample2d",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .random_build = random_build,
    .tolerance = 1e-8,
};

tr_node tr_upsample2d(tr_model *net, tr_node x, int64_t scale)
{
  return tr__add_node(net, &(tr__node_spec){.type = &tr__upsample2d_type,
                                            .inputs = &x,
                                            .num_inputs = 1,
                                            .opts = &scale,
                                            .opts_bytes = sizeof scale});
}
