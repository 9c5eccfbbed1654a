/* Concatenate values along one axis.
 *
 *   forward   y = [a, b, ...]       equal extents except along the axis
 *   backward  da, db, ... = the slices of dy
 *
 * Ops see a matrix: the axes before the axis are its rows, and the others are a
 * row.
 * Source: torch.cat */
#include <train/layers.h>
#include <train/shape.h>

#include "layers/layer_table_impl.h"
#include "model/node_impl.h"

typedef struct concat_opts {
  int axis;
} concat_opts;

static tr_status check_input(tr_model *net, tr__node *node, int i, int axis)
{
  const tr_shape *first = tr__input_shape(net, node, 0);
  const tr_shape *x = tr__input_shape(net, node, i);
  char text[2][TR__SHAPE_BYTES];
  tr_shape other = *x;
  TR__CHECK_NODE(axis >= 0 && axis < x->ndim, node, TR_EINVAL,
                 "axis is %d, expected 0 to %d of %s", axis, x->ndim - 1,
                 tr__shape_text(x, text[0]));
  other.dims[axis] = first->dims[axis];
  TR__CHECK_NODE(
      tr__shape_equal(first, &other), node, TR_ESHAPE,
      "inputs are %s and %s, expected equal extents but along axis %d",
      tr__shape_text(first, text[0]), tr__shape_text(x, text[1]), axis);
  return TR_OK;
}

static tr_status infer(tr_model *net, tr__node *node)
{
  const concat_opts *opts = node->opts;
  TR__CHECK_NODE(node->num_inputs > 0, node, TR_EINVAL,
                 "has no inputs, expected 1 to %d", TR__MAX_NODE_INPUTS);
  node->shape = *tr__input_shape(net, node, 0);
  int64_t sum = 0;
  for (int i = 0; i < node->num_inputs; i++) {
    TR_TRY(check_input(net, node, i, opts->axis));
    bool overflows = tr__add_overflows(
        sum, tr__input_shape(net, node, i)->dims[opts->axis], &sum);
    TR__CHECK_NODE(!overflows, node, TR_ESHAPE, "%s", "output is too large");
  }
  node->shape.dims[opts->axis] = sum;
  return TR_OK;
}

/* A value as a matrix: the axes from `axis` on are a row. Tensors have N in
 * front of a sample's axes. */
static tr__tensor parts(const tr__node *node, tr__tensor t)
{
  const concat_opts *opts = node->opts;
  int64_t width = 1;
  for (int i = opts->axis + 1; i < t.ndim; i++) {
    width *= t.dims[i];
  }
  return tr__tensor_as_rows(t, width);
}

static void forward(const tr__pass *run, const tr__node *node)
{
  int64_t first = 0;
  tr__tensor y = parts(node, tr__output(run, node));
  for (int i = 0; i < node->num_inputs; i++) {
    tr__tensor x = parts(node, tr__input(run, node, i));
    run->ops->copy(
        run->stream,
        &(tr__copy_args){.y = y, .x = x, .y_first = first, .count = x.dims[1]});
    first += x.dims[1];
  }
}

static void backward(const tr__pass *run, const tr__node *node)
{
  int64_t first = 0;
  tr__tensor dy = parts(node, tr__output_grad(run, node));
  for (int i = 0; i < node->num_inputs; i++) {
    int64_t width = parts(node, tr__input(run, node, i)).dims[1];
    tr__tensor dx = tr__input_grad(run, node, i);
    if (dx.data != NULL) {
      run->ops->copy(
          run->stream,
          &(tr__copy_args){.y = parts(node, dx),
                           .x = dy,
                           .x_first = first,
                           .count = width,
                           .accumulate = tr__input_grad_adds(run, node, i)});
    }
    first += width;
  }
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  tr_shape in = {3,
                 {1 + tr__random_u32(random, 0) % 4,
                  1 + tr__random_u32(random, 1) % 3,
                  1 + tr__random_u32(random, 2) % 4}};
  int axis = (int)(tr__random_u32(random, 3) % 3);
  int num_inputs = 1 + (int)(tr__random_u32(random, 4) % TR_MAX_INPUTS);
  tr_node inputs[TR__MAX_NODE_INPUTS];
  for (int i = 0; i < num_inputs; i++) {
    in.dims[axis] = 1 + tr__random_u32(random, 5 + i) % 5;
    inputs[i] = tr_input(net, in);
  }
  if (tr__random_u32(random, 20) % 4 == 0) {
    inputs[num_inputs++] = inputs[0];
  }
  return tr_concat(net, inputs, num_inputs, axis);
}

const tr__layer_type tr__concat_type = {
    .name = "concat",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .random_build = random_build,
    .tolerance = 1e-8,
};

tr_node
tr_concat(tr_model *net, const tr_node *inputs, int num_inputs, int axis)
{
  const concat_opts opts = {axis};
  return tr__add_node(net, &(tr__node_spec){.type = &tr__concat_type,
                                            .inputs = inputs,
                                            .num_inputs = num_inputs,
                                            .opts = &opts,
                                            .opts_bytes = sizeof opts});
}
