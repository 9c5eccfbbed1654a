/* Global average pool: the mean of each channel.
 *
 *   forward   y[n,c] = sum over h,w of x[n,c,h,w] / (H W)
 *   backward  dx[n,c,h,w] = dy[n,c] / (H W)
 *
 *   x (N, C, H, W), y (N, C). Source: torch.nn.AdaptiveAvgPool2d(1) */
#include <train/layers.h>
#include <train/pool.h>

#include "layers/layer_table_impl.h"
#include "model/node_impl.h"

static tr_status infer(tr_model *net, tr__node *node)
{
  const tr_shape *x = tr__input_shape(net, node, 0);
  char text[TR__SHAPE_BYTES];
  TR__CHECK_NODE(x->ndim == 3, node, TR_ESHAPE,
                 "input is %s, expected (C, H, W)", tr__shape_text(x, text));
  node->shape = (tr_shape){1, {x->dims[0]}};
  return TR_OK;
}

static void forward(const tr__pass *run, const tr__node *node)
{
  run->ops->global_avgpool2d_forward(
      run->stream,
      &(tr__global_avgpool2d_forward_args){.y = tr__output(run, node),
                                           .x = tr__input(run, node, 0)});
}

static void backward(const tr__pass *run, const tr__node *node)
{
  run->ops->global_avgpool2d_backward(
      run->stream, &(tr__global_avgpool2d_backward_args){
                       .dx = tr__input_grad(run, node, 0),
                       .dy = tr__output_grad(run, node),
                       .accumulate = tr__input_grad_adds(run, node, 0)});
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  const tr_shape in = {3,
                       {1 + tr__random_u32(random, 0) % 9,
                        1 + tr__random_u32(random, 1) % 8,
                        1 + tr__random_u32(random, 2) % 8}};
  return tr_global_avgpool2d(net, tr_input(net, in));
}

const tr__layer_type tr__global_avgpool2d_type = {
    .name = "global_avgpool2d",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .random_build = random_build,
    .tolerance = 1e-8,
};

tr_node tr_global_avgpool2d(tr_model *net, tr_node x)
{
  return tr__add_node(net, &(tr__node_spec){.type = &tr__global_avgpool2d_type,
                                            .inputs = &x,
                                            .num_inputs = 1});
}
