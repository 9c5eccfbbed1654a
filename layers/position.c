/* Position: adds a learned number to each place of a sample.
 *
 *   forward   y[n,:] = x[n,:] + W            x, y (N, shape), W (shape)
 *   backward  dx = dy,  dW += sum over n of dy[n,:]
 *
 * Source: the positions of GPT-2, torch.nn.Embedding of 0..T-1. */
#include <train/layers.h>
#include <train/sequence.h>

#include "layers/layer_table_impl.h"
#include "layers/view_impl.h"

static tr_status infer(tr_model *net, tr__node *node)
{
  const tr_position_opts *opts = node->opts;
  TR__CHECK_NODE(opts->std >= 0, node, TR_EINVAL,
                 "std is %g, expected 0 or more", opts->std);
  node->shape = *tr__input_shape(net, node, 0);
  const tr__init init = tr__init_normal(tr__or_default(opts->std, 1));
  TR_TRY(tr__declare_param(net, node, "weight", node->shape, init));
  int64_t count = tr_shape_count(&node->shape);
  const tr__position_backward_args args = {
      .dw = tr__tensor_of(NULL, net->ctx->dtype, 1, &count),
      .shards = tr__plan_shards(net)};
  node->backward_bytes =
      tr__workspace_bytes(net, TR__OP_position_backward, &args);
  node->flags = TR__IN_PLACE;
  return TR_OK;
}

/* (N, shape) as a matrix with one row per sample. */
static tr__tensor samples(tr__tensor t)
{
  t.dims[1] = tr__tensor_row(&t);
  t.ndim = 2;
  return t;
}

/* (shape) as a vector. */
static tr__tensor list_of(tr__tensor w)
{
  w.dims[0] = tr__tensor_count(&w);
  w.ndim = 1;
  return w;
}

static void forward(const tr__pass *run, const tr__node *node)
{
  run->ops->position_forward(
      run->stream,
      &(tr__position_forward_args){.y = samples(tr__output(run, node)),
                                   .x = samples(tr__input(run, node, 0)),
                                   .w = list_of(tr__value(run, node, 0))});
}

static void backward(const tr__pass *run, const tr__node *node)
{
  tr__tensor dw = tr__grad(run, node, 0);
  if (dw.data != NULL) {
    run->ops->position_backward(
        run->stream,
        &(tr__position_backward_args){.dw = list_of(dw),
                                      .dy = samples(tr__output_grad(run, node)),
                                      .workspace = tr__workspace(run, node),
                                      .shards = run->shards,
                                      .accumulate = tr__grads_add(run, node)});
  }
  tr__copy_gradient(run, node, 0);
}

static void describe(const tr__node *node, FILE *out)
{
  const tr_position_opts *opts = node->opts;
  tr__describe_number(out, "std", tr__or_default(opts->std, 1));
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  const tr_shape in = {
      2,
      {1 + tr__random_u32(random, 0) % 11, 1 + tr__random_u32(random, 1) % 13}};
  return tr_position(
      net, tr_input(net, in),
      &(tr_position_opts){.std = tr__random_u32(random, 2) % 2 ? 0.02 : 0.1});
}

const tr__layer_type tr__position_type = {
    .name = "position",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .describe = describe,
    .random_build = random_build,
    .tolerance = 1e-8,
};

tr_node tr_position(tr_model *net, tr_node x, const tr_position_opts *opts)
{
  return tr__add_node(net, &(tr__node_spec){.type = &tr__position_type,
                                            .inputs = &x,
                                            .num_inputs = 1,
                                            .opts = opts,
                                            .opts_bytes = sizeof *opts,
                                            .name = opts->name});
}
