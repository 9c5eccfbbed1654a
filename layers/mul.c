/* Multiply: the element-wise product of two values of one shape, such as a
 * gate.
 *
 *   forward   y = a b                     a, b, y of any one shape
 *   backward  da = dy b,  db = dy a */
#include <train/layers.h>
#include <train/shape.h>

#include "layers/layer_table_impl.h"
#include "model/node_impl.h"

static tr_status infer(tr_model *net, tr__node *node)
{
  const tr_shape *a = tr__input_shape(net, node, 0);
  const tr_shape *b = tr__input_shape(net, node, 1);
  char text[2][TR__SHAPE_BYTES];
  TR__CHECK_NODE(tr__shape_equal(a, b), node, TR_ESHAPE,
                 "inputs are %s and %s, expected equal shapes",
                 tr__shape_text(a, text[0]), tr__shape_text(b, text[1]));
  node->shape = *a;
  node->flags = TR__USES_INPUT;
  return TR_OK;
}

static void forward(const tr__pass *run, const tr__node *node)
{
  run->ops->product(run->stream,
                    &(tr__product_args){.y = tr__output(run, node),
                                        .a = tr__input(run, node, 0),
                                        .b = tr__input(run, node, 1)});
}

static void backward(const tr__pass *run, const tr__node *node)
{
  for (int i = 0; i < 2; i++) {
    tr__tensor dx = tr__input_grad(run, node, i);
    if (dx.data == NULL) {
      continue;
    }
    run->ops->product(
        run->stream,
        &(tr__product_args){.y = dx,
                            .a = tr__output_grad(run, node),
                            .b = tr__input(run, node, 1 - i),
                            .accumulate = tr__input_grad_adds(run, node, i)});
  }
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  const tr_shape in = {
      2,
      {1 + tr__random_u32(random, 0) % 11, 1 + tr__random_u32(random, 1) % 13}};
  tr_node a = tr_input(net, in);
  bool is_square = tr__random_u32(random, 2) % 4 == 0;
  return tr_mul(net, a, is_square ? a : tr_input(net, in));
}

const tr__layer_type tr__mul_type = {
    .name = "mul",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .random_build = random_build,
    .tolerance = 1e-7,
};

tr_node tr_mul(tr_model *net, tr_node a, tr_node b)
{
  const tr_node inputs[2] = {a, b};
  return tr__add_node(net, &(tr__node_spec){.type = &tr__mul_type,
                                            .inputs = inputs,
                                            .num_inputs = 2});
}
