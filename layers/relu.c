/* ReLU: negative values become 0.
 *
 *   forward   y = max(x, 0)                     x, y of any one shape
 *   backward  dx = dy where y > 0, else 0
 *
 * The layer runs in place, or fused into the layer before it, unless another
 * layer reads x. Source: torch.nn.ReLU; the gradient at 0 is 0, as there. */
#include <train/activation.h>
#include <train/layers.h>

#include "layers/layer_table_impl.h"
#include "model/node_impl.h"

static tr_status infer(tr_model *net, tr__node *node)
{
  node->shape = *tr__input_shape(net, node, 0);
  node->flags = TR__USES_OUTPUT | TR__IN_PLACE;
  return TR_OK;
}

static void forward(const tr__pass *run, const tr__node *node)
{
  run->ops->relu_forward(
      run->stream, &(tr__relu_forward_args){.y = tr__output(run, node),
                                            .x = tr__input(run, node, 0)});
}

static void backward(const tr__pass *run, const tr__node *node)
{
  run->ops->relu_backward(run->stream,
                          &(tr__relu_backward_args){
                              .dx = tr__input_grad(run, node, 0),
                              .dy = tr__output_grad(run, node),
                              .y = tr__output(run, node),
                              .accumulate = tr__input_grad_adds(run, node, 0)});
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  const tr_shape in = {
      2,
      {1 + tr__random_u32(random, 0) % 11, 1 + tr__random_u32(random, 1) % 13}};
  return tr_relu(net, tr_input(net, in));
}

const tr__layer_type tr__relu_type = {
    .name = "relu",
    .activation = TR__ACTIVATION_RELU,
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .random_build = random_build,
    .tolerance = 1e-8,
};

tr_node tr_relu(tr_model *net, tr_node x)
{
  return tr__add_node(
      net,
      &(tr__node_spec){.type = &tr__relu_type, .inputs = &x, .num_inputs = 1});
}
