/* Embedding: a learned vector replaces each id.
 *
 *   forward   y[n,...,:] = W[ids[n,...],:]
 *   backward  dW[v,:] += sum of dy[n,...,:] where ids[n,...] = v
 *
 *   ids (N, ...) int32, W (V, D), y (N, ..., D)
 *
 * Source: torch.nn.Embedding; initial values normal with standard deviation 1,
 * as there. */
#include <train/sequence.h>

#include "layers/layer_table_impl.h"
#include "model/node_impl.h"

static tr_status infer(tr_model *net, tr__node *node)
{
  const tr_embedding_opts *opts = node->opts;
  const tr__node *input = &net->nodes[node->inputs[0]];
  TR__CHECK_NODE((input->flags & TR__IS_IDS) != 0, node, TR_EINVAL,
                 "input \"%s\" is numbers, expected a tr_input_ids()",
                 input->name);
  TR__CHECK_NODE(opts->num > 0 && opts->out > 0, node, TR_EINVAL,
                 "num is %lld and out %lld, expected at least 1",
                 (long long)opts->num, (long long)opts->out);
  TR__CHECK_NODE(input->shape.ndim + 1 < TR_MAX_DIMS, node, TR_ESHAPE,
                 "ids have %d axes, expected at most %d", input->shape.ndim,
                 TR_MAX_DIMS - 2);
  node->shape = input->shape;
  node->shape.dims[node->shape.ndim++] = opts->out;
  const tr_shape weight = {2, {opts->num, opts->out}};
  TR_TRY(tr__declare_param(net, node, "weight", weight, tr__init_normal(1)));
  const tr__embedding_backward_args args = {
      .dw = tr__param_tensor(net, node, 0), .shards = tr__plan_shards(net)};
  node->backward_bytes =
      tr__workspace_bytes(net, TR__OP_embedding_backward, &args);
  node->flags = TR__USES_INPUT;
  return TR_OK;
}

static tr__tensor list_of(tr__tensor ids)
{
  ids.dims[0] = tr__tensor_count(&ids);
  ids.ndim = 1;
  return ids;
}

static tr__tensor rows_of(tr__tensor t)
{
  return tr__tensor_as_rows(t, t.dims[t.ndim - 1]);
}

static void forward(const tr__pass *run, const tr__node *node)
{
  run->ops->embedding_forward(
      run->stream,
      &(tr__embedding_forward_args){.y = rows_of(tr__output(run, node)),
                                    .w = tr__value(run, node, 0),
                                    .ids = list_of(tr__input(run, node, 0))});
}

static void backward(const tr__pass *run, const tr__node *node)
{
  tr__tensor dw = tr__grad(run, node, 0);
  if (dw.data == NULL) {
    return;
  }
  const tr_shape *ids = tr__input_shape(run->net, node, 0);
  run->ops->embedding_backward(
      run->stream,
      &(tr__embedding_backward_args){
          .dw = dw,
          .dy = rows_of(tr__output_grad(run, node)),
          .ids = list_of(tr__input(run, node, 0)),
          .workspace = tr__workspace(run, node),
          .shards = tr__shards_of(run->shards, tr_shape_count(ids)),
          .accumulate = tr__grads_add(run, node)});
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  const tr_shape in = {
      (int)(tr__random_u32(random, 0) % 3),
      {1 + tr__random_u32(random, 1) % 5, 1 + tr__random_u32(random, 2) % 3}};
  const tr_embedding_opts opts = {.num = 1 + tr__random_u32(random, 3) % 7,
                                  .out = 1 + tr__random_u32(random, 4) % 9};
  return tr_embedding(net, tr_input_ids(net, in), &opts);
}

const tr__layer_type tr__embedding_type = {
    .name = "embedding",
    .takes_ids = true,
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .random_build = random_build,
    .tolerance = 1e-8,
};

tr_node tr_embedding(tr_model *net, tr_node ids, const tr_embedding_opts *opts)
{
  return tr__add_node(net, &(tr__node_spec){.type = &tr__embedding_type,
                                            .inputs = &ids,
                                            .num_inputs = 1,
                                            .opts = opts,
                                            .opts_bytes = sizeof *opts,
                                            .name = opts->name});
}
