/* Add: the sum of two values of one shape, such as a residual branch.
 *
 *   forward   y = a + b                   a, b, y of any one shape
 *   backward  da = dy,  db = dy
 *
 * y is an alias of a where no other layer reads a afterwards. One of the
 * gradients is an alias of dy where no other layer adds to it. */
#include <train/layers.h>
#include <train/shape.h>

#include "layers/layer_table_impl.h"
#include "layers/view_impl.h"

static tr_status infer(tr_model *net, tr__node *node)
{
  const tr_shape *a = tr__input_shape(net, node, 0);
  const tr_shape *b = tr__input_shape(net, node, 1);
  char text[2][TR__SHAPE_BYTES];
  TR__CHECK_NODE(tr__shape_equal(a, b), node, TR_ESHAPE,
                 "inputs are %s and %s, expected equal shapes",
                 tr__shape_text(a, text[0]), tr__shape_text(b, text[1]));
  node->shape = *a;
  node->flags = TR__IN_PLACE | TR__ALIASES_ANY_GRADIENT;
  return TR_OK;
}

static void forward(const tr__pass *run, const tr__node *node)
{
  run->ops->sum(run->stream, &(tr__sum_args){.y = tr__output(run, node),
                                             .a = tr__input(run, node, 0),
                                             .b = tr__input(run, node, 1)});
}

static void backward(const tr__pass *run, const tr__node *node)
{
  tr__copy_gradient(run, node, 0);
  tr__copy_gradient(run, node, 1);
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  const tr_shape in = {
      2,
      {1 + tr__random_u32(random, 0) % 11, 1 + tr__random_u32(random, 1) % 13}};
  tr_node a = tr_input(net, in);
  bool is_double = tr__random_u32(random, 2) % 4 == 0;
  return tr_add(net, a, is_double ? a : tr_input(net, in));
}

const tr__layer_type tr__add_type = {
    .name = "add",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .random_build = random_build,
    .tolerance = 1e-8,
};

tr_node tr_add(tr_model *net, tr_node a, tr_node b)
{
  const tr_node inputs[2] = {a, b};
  return tr__add_node(net, &(tr__node_spec){.type = &tr__add_type,
                                            .inputs = inputs,
                                            .num_inputs = 2});
}
