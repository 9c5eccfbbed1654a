/* Flatten: the values of a sample as one vector.
 *
 *   forward   y (N, D) = x (N, ...), D the product of x's extents
 *   backward  dx (N, ...) = dy (N, D)
 *
 * The output is an alias: the layer computes nothing unless another layer adds
 * to dx too. */
#include <train/layers.h>

#include "layers/layer_table_impl.h"
#include "layers/view_impl.h"

static tr_status infer(tr_model *net, tr__node *node)
{
  const tr_shape *x = tr__input_shape(net, node, 0);
  node->shape = (tr_shape){1, {tr_shape_count(x)}};
  node->flags = TR__IS_VIEW;
  return TR_OK;
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  const tr_shape in = {3,
                       {1 + tr__random_u32(random, 0) % 5,
                        1 + tr__random_u32(random, 1) % 7,
                        1 + tr__random_u32(random, 2) % 3}};
  return tr_flatten(net, tr_input(net, in));
}

const tr__layer_type tr__flatten_type = {
    .name = "flatten",
    .infer = infer,
    .forward = tr__view_forward,
    .backward = tr__view_backward,
    .random_build = random_build,
    .tolerance = 1e-8,
};

tr_node tr_flatten(tr_model *net, tr_node x)
{
  return tr__add_node(net, &(tr__node_spec){.type = &tr__flatten_type,
                                            .inputs = &x,
                                            .num_inputs = 1});
}
