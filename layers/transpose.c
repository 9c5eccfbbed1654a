/* Transpose: the axes of a sample in another order.
 *
 *   forward   y.dims[i] = x.dims[order[i]]; y[i0, i1, ...] is the element of x
 *             whose index along axis order[k] is ik
 *   backward  dx = dy in the inverse order
 *
 * N stays the first axis. Source: torch.permute */
#include <train/layers.h>
#include <train/shape.h>

#include "layers/layer_table_impl.h"
#include "model/node_impl.h"

static tr_status infer(tr_model *net, tr__node *node)
{
  const tr_transpose_opts *opts = node->opts;
  const tr_shape *x = tr__input_shape(net, node, 0);
  unsigned seen = 0;
  node->shape = *x;
  for (int i = 0; i < x->ndim; i++) {
    int from = opts->order[i];
    char text[TR__SHAPE_BYTES];
    TR__CHECK_NODE(from >= 0 && from < x->ndim && !(seen & 1u << from), node,
                   TR_EINVAL,
                   "order[%d] is %d, expected each axis of %s once, counted "
                   "from 0",
                   i, from, tr__shape_text(x, text));
    seen |= 1u << from;
    node->shape.dims[i] = x->dims[from];
  }
  return TR_OK;
}

/* The order of the axes of a tensor, whose axis 0 is N. */
static void set_order(const tr__node *node, bool is_backward, int *order)
{
  const tr_transpose_opts *opts = node->opts;
  order[0] = 0;
  for (int i = 0; i < node->shape.ndim; i++) {
    if (is_backward) {
      order[1 + opts->order[i]] = 1 + i;
    } else {
      order[1 + i] = 1 + opts->order[i];
    }
  }
}

static void forward(const tr__pass *run, const tr__node *node)
{
  tr__permute_args args = {.y = tr__output(run, node),
                           .x = tr__input(run, node, 0)};
  set_order(node, false, args.order.of);
  run->ops->permute(run->stream, &args);
}

static void backward(const tr__pass *run, const tr__node *node)
{
  tr__permute_args args = {.y = tr__input_grad(run, node, 0),
                           .x = tr__output_grad(run, node),
                           .accumulate = tr__input_grad_adds(run, node, 0)};
  set_order(node, true, args.order.of);
  run->ops->permute(run->stream, &args);
}

static void describe(const tr__node *node, FILE *out)
{
  const tr_transpose_opts *opts = node->opts;
  for (int i = 0; i < node->shape.ndim; i++) {
    fprintf(out, i == 0 ? ", order %d" : " %d", opts->order[i]);
  }
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  const tr_shape in = {3,
                       {1 + tr__random_u32(random, 0) % 5,
                        1 + tr__random_u32(random, 1) % 7,
                        1 + tr__random_u32(random, 2) % 3}};
  static const tr_transpose_opts orders[] = {
      {{0, 1, 2}}, {{1, 0, 2}}, {{2, 0, 1}}, {{1, 2, 0}}, {{2, 1, 0}}};
  return tr_transpose(net, tr_input(net, in),
                      &orders[tr__random_u32(random, 3) % 5]);
}

const tr__layer_type tr__transpose_type = {
    .name = "transpose",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .describe = describe,
    .random_build = random_build,
    .tolerance = 1e-8,
};

tr_node tr_transpose(tr_model *net, tr_node x, const tr_transpose_opts *opts)
{
  return tr__add_node(net, &(tr__node_spec){.type = &tr__transpose_type,
                                            .inputs = &x,
                                            .num_inputs = 1,
                                            .opts = opts,
                                            .opts_bytes = sizeof *opts});
}
