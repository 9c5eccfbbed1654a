/* Cross-entropy: softmax and negative log-likelihood of the target class.
 *
 *   forward   l[n] = log(sum over k of exp(x[n,k])) - x[n, t[n]]
 *             adds w[n] l[n] and w[n] to the sums of the loss
 *   backward  dx[n,k] = scale w[n] (softmax(x)[n,k] - [k = t[n]])
 *
 *   x (N, K), t (N) int32 classes, w (N) weights of the samples, 1 where the
 *   batch has none. scale is 1 / (planned global weight): the optimizer
 *   corrects for the true one, so the gradient is the mean over the global
 *   batch. Source: torch.nn.CrossEntropyLoss */
#include <train/layers.h>

#include "layers/table_impl.h"
#include "model/node_impl.h"

/* The batch's targets go to the first saved tensor of every loss. */
enum { TARGET, PROBABILITY, CORRECT };

static tr_status infer(tr_model *net, tr__node *node)
{
  const tr_shape *x = tr__input_shape(net, node, 0);
  const tr_shape scalar = {0, {0}};
  char text[TR__SHAPE_BYTES];
  TR__CHECK_NODE(x->ndim == 1, node, TR_ESHAPE,
                 "input is %s, expected one value per class",
                 tr__shape_text(x, text));
  node->shape = scalar;
  node->flags = TR__IS_LOSS;
  tr__declare_saved(node, TR_I32, scalar);
  tr__declare_saved(node, net->ctx->dtype, *x);
  tr__declare_saved(node, net->ctx->dtype, scalar);
  return TR_OK;
}

static void forward(const tr__run *run, const tr__node *node)
{
  tr__tensor loss = tr__output(run, node);
  tr__tensor correct = tr__saved(run, node, CORRECT);
  run->ops->softmax_xent_forward(run->stream,
                                 &(tr__softmax_xent_forward_args){
                                     .loss = loss,
                                     .prob = tr__saved(run, node, PROBABILITY),
                                     .correct = correct,
                                     .x = tr__input(run, node, 0),
                                     .target = tr__saved(run, node, TARGET)});
  run->ops->loss_sum(run->stream,
                     &(tr__loss_sum_args){.tail = tr__loss_sums(run),
                                          .loss = loss,
                                          .correct = correct,
                                          .weight = tr__sample_weights(run),
                                          .shards = run->shards,
                                          .accumulate = node->ordinal > 0});
}

static void backward(const tr__run *run, const tr__node *node)
{
  run->ops->softmax_xent_backward(
      run->stream, &(tr__softmax_xent_backward_args){
                       .dx = tr__input_grad(run, node, 0),
                       .prob = tr__saved(run, node, PROBABILITY),
                       .target = tr__saved(run, node, TARGET),
                       .weight = tr__sample_weights(run),
                       .block = tr__store_block(&run->net->store),
                       .accumulate = tr__input_grad_adds(run, node, 0)});
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  const tr_shape in = {1, {1 + tr__random_u32(random, 0) % 17}};
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
