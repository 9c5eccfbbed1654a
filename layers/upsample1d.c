/* Upsample of sequences: repeat each element.
 *
 *   forward   y[n,c,l] = x[n, c, l / s], rounded down
 *   backward  dx[n,c,l] = sum over i < s of dy[n, c, l s + i]
 *
 * x (N, C, L), y (N, C, s L). Ops see x as a column, and y as a matrix with s
 * columns.
 * Source: torch.nn.Upsample, nearest */
#include <train/layers.h>
#include <train/shape.h>

#include "layers/layer_table_impl.h"
#include "model/node_impl.h"

static int64_t scale_of(const tr__node *node)
{
  return *(const int64_t *)node->opts;
}

static tr_status infer(tr_model *net, tr__node *node)
{
  int64_t scale = scale_of(node);
  const tr_shape *x = tr__input_shape(net, node, 0);
  char text[TR__SHAPE_BYTES];
  TR__CHECK_NODE(x->ndim == 2, node, TR_ESHAPE, "input is %s, expected (C, L)",
                 tr__shape_text(x, text));
  TR__CHECK_NODE(scale > 0, node, TR_EINVAL,
                 "scale is %lld, expected at least 1", (long long)scale);
  node->shape = *x;
  TR__CHECK_NODE(!tr__mul_overflows(x->dims[1], scale, &node->shape.dims[1]),
                 node, TR_ESHAPE, "%s times %lld is too large",
                 tr__shape_text(x, text), (long long)scale);
  return TR_OK;
}

static void forward(const tr__pass *run, const tr__node *node)
{
  int64_t scale = scale_of(node);
  tr__tensor y = tr__tensor_as_rows(tr__output(run, node), scale);
  tr__tensor x = tr__tensor_as_rows(tr__input(run, node, 0), 1);
  for (int64_t i = 0; i < scale; i++) {
    run->ops->copy(run->stream,
                   &(tr__copy_args){.y = y, .x = x, .y_first = i, .count = 1});
  }
}

static void backward(const tr__pass *run, const tr__node *node)
{
  int64_t scale = scale_of(node);
  tr__tensor dy = tr__tensor_as_rows(tr__output_grad(run, node), scale);
  tr__tensor dx = tr__tensor_as_rows(tr__input_grad(run, node, 0), 1);
  for (int64_t i = 0; i < scale; i++) {
    int adds = i > 0 || tr__input_grad_adds(run, node, 0);
    run->ops->copy(
        run->stream,
        &(tr__copy_args){
            .y = dx, .x = dy, .x_first = i, .count = 1, .accumulate = adds});
  }
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  const tr_shape in = {
      2,
      {1 + tr__random_u32(random, 0) % 3, 1 + tr__random_u32(random, 1) % 6}};
  return tr_upsample1d(net, tr_input(net, in),
                       1 + tr__random_u32(random, 2) % 3);
}

const tr__layer_type tr__upsample1d_type = {
    .name = "upsample1d",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .random_build = random_build,
    .tolerance = 1e-8,
};

tr_node tr_upsample1d(tr_model *net, tr_node x, int64_t scale)
{
  return tr__add_node(net, &(tr__node_spec){.type = &tr__upsample1d_type,
                                            .inputs = &x,
                                            .num_inputs = 1,
                                            .opts = &scale,
                                            .opts_bytes = sizeof scale});
}
