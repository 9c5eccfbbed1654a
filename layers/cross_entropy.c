/* Cross-entropy: softmax and negative log-likelihood of the target class.
 *
 *   forward   l[n] = log(sum over k of exp(x[n,k])) - x[n, t[n]]
 *             adds w[n] l[n] and w[n] to the sums of the loss
 *   backward  dx[n,k] = scale w[n] (softmax(x)[n,k] - [k = t[n]])
 *
 *   x (N, K), t (N) int32 classes, w (N) weights of the samples, 1 where the
 *   batch has none. With more extents, x (N, T, K), each of the N T rows has a
 *   target, and weighs what its sample weighs. scale is 1 / (planned global
 * weight): the optimizer corrects for the true one, so the gradient is the mean
 * over the global batch. Source: torch.nn.CrossEntropyLoss */
#include <train/layers.h>

#include "layers/table_impl.h"
#include "model/node_impl.h"

/* The batch's targets go to the first saved tensor of every loss. */
enum { TARGET, PROBABILITY, CORRECT };

static tr_status infer(tr_model *net, tr__node *node)
{
  const tr_shape *x = tr__input_shape(net, node, 0);
  TR__CHECK_NODE(x->ndim >= 1, node, TR_ESHAPE,
                 "input is one number per sample, expected %s",
                 "one value per class");
  node->shape = *x;
  node->shape.ndim--;
  node->flags = TR__IS_LOSS;
  tr__declare_saved(node, TR_I32, node->shape);
  tr__declare_saved(node, net->ctx->dtype, *x);
  tr__declare_saved(node, net->ctx->dtype, node->shape);
  return TR_OK;
}

/* One row per target. */
static tr__tensor rows_of(tr__tensor t)
{
  return tr__tensor_as_rows(t, t.dims[t.ndim - 1]);
}

static tr__tensor list_of(tr__tensor t)
{
  t.dims[0] = tr__tensor_count(&t);
  t.ndim = 1;
  return t;
}

static void forward(const tr__run *run, const tr__node *node)
{
  tr__tensor loss = list_of(tr__output(run, node));
  tr__tensor correct = list_of(tr__saved(run, node, CORRECT));
  run->ops->softmax_xent_forward(
      run->stream, &(tr__softmax_xent_forward_args){
                       .loss = loss,
                       .prob = rows_of(tr__saved(run, node, PROBABILITY)),
                       .correct = correct,
                       .x = rows_of(tr__input(run, node, 0)),
                       .target = list_of(tr__saved(run, node, TARGET))});
  int64_t times = tr_shape_count(&node->shape);
  run->ops->loss_sum(
      run->stream,
      &(tr__loss_sum_args){.tail = tr__loss_sums(run),
                           .loss = loss,
                           .correct = correct,
                           .weight = tr__sample_weights(run),
                           .shards = tr__shards_of(run->shards, times),
                           .accumulate = node->ordinal > 0});
}

static void backward(const tr__run *run, const tr__node *node)
{
  run->ops->softmax_xent_backward(
      run->stream, &(tr__softmax_xent_backward_args){
                       .dx = rows_of(tr__input_grad(run, node, 0)),
                       .prob = rows_of(tr__saved(run, node, PROBABILITY)),
                       .target = list_of(tr__saved(run, node, TARGET)),
                       .weight = tr__sample_weights(run),
                       .block = tr__store_block(&run->net->store),
                       .accumulate = tr__input_grad_adds(run, node, 0)});
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  tr_shape in = {1, {1 + tr__random_u32(random, 0) % 17}};
  if (tr__random_u32(random, 1) % 2 == 0) {
    in = (tr_shape){2, {1 + tr__random_u32(random, 2) % 5, in.dims[0]}};
  }
  return tr_cross_entropy(net, tr_input(net, in));
}

const tr__layer_type tr__cross_entropy_type = {
    .name = "cross_entropy",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .random_build = random_build,
    .tolerance = 1e-7,
};

tr_node tr_cross_entropy(tr_model *net, tr_node x)
{
  return tr__add_node(net, &(tr__node_spec){.type = &tr__cross_entropy_type,
                                            .inputs = &x,
                                            .num_inputs = 1});
}
