/* Softmax over the last axis.
 *
 *   forward   y[k] = exp(x[k]) / sum over j of exp(x[j])
 *   backward  dx[k] = y[k] (dy[k] - sum over j of dy[j] y[j])
 *
 *   x, y (N, ..., K). Source: torch.nn.Softmax(dim=-1) */
#include <train/activation.h>
#include <train/layers.h>

#include "layers/layer_table_impl.h"
#include "model/node_impl.h"

static tr_status infer(tr_model *net, tr__node *node)
{
  node->shape = *tr__input_shape(net, node, 0);
  TR__CHECK_NODE(node->shape.ndim > 0, node, TR_ESHAPE,
                 "input has %d axes per sample, expected at least 1",
                 node->shape.ndim);
  node->flags = TR__USES_OUTPUT | TR__IN_PLACE;
  return TR_OK;
}

static void forward(const tr__pass *run, const tr__node *node)
{
  run->ops->softmax_forward(
      run->stream, &(tr__softmax_forward_args){.y = tr__output(run, node),
                                               .x = tr__input(run, node, 0)});
}

static void backward(const tr__pass *run, const tr__node *node)
{
  run->ops->softmax_backward(
      run->stream, &(tr__softmax_backward_args){
                       .dx = tr__input_grad(run, node, 0),
                       .dy = tr__output_grad(run, node),
                       .y = tr__output(run, node),
                       .accumulate = tr__input_grad_adds(run, node, 0)});
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  const tr_shape in = {
      2,
      {1 + tr__random_u32(random, 0) % 5, 1 + tr__random_u32(random, 1) % 13}};
  return tr_softmax(net, tr_input(net, in));
}

const tr__layer_type tr__softmax_type = {
    .name = "softmax",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .random_build = random_build,
    .tolerance = 1e-7,
};

tr_node tr_softmax(tr_model *net, tr_node x)
{
  return tr__add_node(net, &(tr__node_spec){.type = &tr__softmax_type,
                                            .inputs = &x,
                                            .num_inputs = 1});
}
