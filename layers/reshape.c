/* Reshape: the same values in another shape.
 *
 *   forward   y (N, shape...) = x (N, ...)
 *   backward  dx = dy
 *
 * The output is an alias: the layer computes nothing unless another layer adds
 * to dx too. One extent may be -1: the layer computes it. Source:
 * torch.Tensor.reshape */
#include <train/layers.h>
#include <train/shape.h>

#include "layers/layer_table_impl.h"
#include "layers/view_impl.h"

/* Replace the -1 of the wanted shape; returns false where no shape fits. */
static bool fill_in(tr_shape *shape, int64_t count)
{
  int open = -1;
  int64_t rest = 1;
  if (shape->ndim < 0 || shape->ndim >= TR_MAX_DIMS) {
    return false;
  }
  for (int i = 0; i < shape->ndim; i++) {
    bool is_open = shape->dims[i] == -1;
    if ((is_open && open >= 0) || (!is_open && shape->dims[i] < 1) ||
        (!is_open && tr__mul_overflows(rest, shape->dims[i], &rest))) {
      return false;
    }
    open = is_open ? i : open;
  }
  if (open >= 0) {
    shape->dims[open] = count / rest;
    return count % rest == 0;
  }
  return rest == count;
}

static tr_status infer(tr_model *net, tr__node *node)
{
  const tr_shape *x = tr__input_shape(net, node, 0);
  const tr_shape *wanted = node->opts;
  tr_shape shape = *wanted;
  char text[2][TR__SHAPE_BYTES];
  TR__CHECK_NODE(fill_in(&shape, tr_shape_count(x)), node, TR_ESHAPE,
                 "input is %s, which has no shape %s",
                 tr__shape_text(x, text[0]),
                 wanted->ndim >= 0 && wanted->ndim <= TR_MAX_DIMS
                     ? tr__shape_text(wanted, text[1])
                     : "of so many axes");
  node->shape = shape;
  node->flags = TR__IS_VIEW;
  return TR_OK;
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  int64_t a = 1 + tr__random_u32(random, 0) % 5;
  int64_t b = 1 + tr__random_u32(random, 1) % 7;
  int64_t c = 1 + tr__random_u32(random, 2) % 3;
  const tr_shape in = {3, {a, b, c}};
  const tr_shape out[3] = {{2, {c, -1}}, {1, {a * b * c}}, {4, {b, 1, c, a}}};
  return tr_reshape(net, tr_input(net, in), out[tr__random_u32(random, 3) % 3]);
}

const tr__layer_type tr__reshape_type = {
    .name = "reshape",
    .infer = infer,
    .forward = tr__view_forward,
    .backward = tr__view_backward,
    .random_build = random_build,
    .tolerance = 1e-8,
};

tr_node tr_reshape(tr_model *net, tr_node x, tr_shape shape)
{
  return tr__add_node(net, &(tr__node_spec){.type = &tr__reshape_type,
                                            .inputs = &x,
                                            .num_inputs = 1,
                                            .opts = &shape,
                                            .opts_bytes = sizeof shape});
}
