/* Attention: the output at a place is a weighted mean of the values at all
 * places of the sequence.
 *
 *   forward   s[i,j] = q[i,:] k[j,:] / sqrt(E), -inf where causal and j > i
 *             p[i,:] = softmax(s[i,:]),  y[i,:] = sum over j of p[i,j] v[j,:]
 *   backward  dv[j,:] = sum over i of p[i,j] dy[i,:]
 *             ds[i,j] = p[i,j] (dy[i,:] v[j,:] - dy[i,:] y[i,:]) / sqrt(E)
 *             dq[i,:] = sum over j of ds[i,j] k[j,:]
 *             dk[j,:] = sum over i of ds[i,j] q[i,:]
 *
 * for each sample and head. q, k, v are the thirds of qkv (N, T, 3 D), and a
 * head has E = D / heads of the D numbers. Backward computes p again from s and
 * the saved logarithm of the sum of exponentials.
 *
 * Source: Dao 2023, arXiv:2307.08691;
 * torch.nn.functional.scaled_dot_product_attention */
#include <train/layers.h>
#include <train/sequence.h>

#include "layers/layer_table_impl.h"
#include "model/node_impl.h"

enum { LOG_SUM };

static void set_workspace(tr_model *net, tr__node *node, const tr_shape *qkv)
{
  const tr_attention_opts *opts = node->opts;
  tr__tensor x = tr__shape_tensor(net, qkv);
  const tr__attention_forward_args forward = {
      .y = tr__shape_tensor(net, &node->shape), .qkv = x, .heads = opts->heads};
  const tr__attention_backward_args backward = {
      .dqkv = x, .qkv = x, .heads = opts->heads};
  node->forward_bytes =
      tr__workspace_bytes(net, TR__OP_attention_forward, &forward);
  node->backward_bytes =
      tr__workspace_bytes(net, TR__OP_attention_backward, &backward);
}

static tr_status infer(tr_model *net, tr__node *node)
{
  const tr_attention_opts *opts = node->opts;
  const tr_shape *x = tr__input_shape(net, node, 0);
  char text[TR__SHAPE_BYTES];
  TR__CHECK_NODE(x->ndim == 2 && x->dims[1] % 3 == 0, node, TR_ESHAPE,
                 "input is %s, expected (T, 3 D): queries, keys and values",
                 tr__shape_text(x, text));
  int64_t D = x->dims[1] / 3;
  TR__CHECK_NODE(opts->heads > 0 && D % opts->heads == 0, node, TR_EINVAL,
                 "heads is %lld, expected a divisor of D = %lld",
                 (long long)opts->heads, (long long)D);
  node->shape = (tr_shape){2, {x->dims[0], D}};
  tr__declare_saved(node, net->ctx->dtype,
                    (tr_shape){2, {opts->heads, x->dims[0]}});
  node->flags = TR__USES_INPUT | TR__USES_OUTPUT;
  set_workspace(net, node, x);
  return TR_OK;
}

static void forward(const tr__pass *run, const tr__node *node)
{
  const tr_attention_opts *opts = node->opts;
  run->ops->attention_forward(
      run->stream,
      &(tr__attention_forward_args){.y = tr__output(run, node),
                                    .lse = tr__saved(run, node, LOG_SUM),
                                    .qkv = tr__input(run, node, 0),
                                    .workspace = tr__workspace(run, node),
                                    .heads = opts->heads,
                                    .is_causal = opts->causal != 0});
}

static void backward(const tr__pass *run, const tr__node *node)
{
  const tr_attention_opts *opts = node->opts;
  run->ops->attention_backward(
      run->stream, &(tr__attention_backward_args){
                       .dqkv = tr__input_grad(run, node, 0),
                       .dy = tr__output_grad(run, node),
                       .y = tr__output(run, node),
                       .lse = tr__saved(run, node, LOG_SUM),
                       .qkv = tr__input(run, node, 0),
                       .workspace = tr__workspace(run, node),
                       .heads = opts->heads,
                       .is_causal = opts->causal != 0,
                       .accumulate = tr__input_grad_adds(run, node, 0)});
}

static void describe(const tr__node *node, FILE *out)
{
  const tr_attention_opts *opts = node->opts;
  tr__describe_integer(out, "heads", opts->heads);
  tr__describe_flag(out, "causal", opts->causal);
}

/* Scores and means take T T D multiply-adds each, half of them where causal.
 * Backward computes the scores again, then four products of that size. */
static tr__flops flops(const tr_model *net, const tr__node *node)
{
  const tr_attention_opts *opts = node->opts;
  double T = (double)node->shape.dims[0], D = (double)node->shape.dims[1];
  double product = 2 * T * D * (opts->causal ? (T + 1) / 2 : T);
  bool goes_on = net->nodes[node->inputs[0]].wants_gradient;
  return (tr__flops){.forward = 2 * product,
                     .backward = goes_on ? 5 * product : 0};
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  int64_t heads = 1 + tr__random_u32(random, 0) % 3;
  int64_t D = heads * (1 + tr__random_u32(random, 1) % 5);
  const tr_shape in = {2, {1 + tr__random_u32(random, 2) % 7, 3 * D}};
  const tr_attention_opts opts = {.heads = heads,
                                  .causal = tr__random_u32(random, 3) % 2 == 0};
  return tr_attention(net, tr_input(net, in), &opts);
}

const tr__layer_type tr__attention_type = {
    .name = "attention",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .describe = describe,
    .flops = flops,
    .random_build = random_build,
    .tolerance = 1e-7,
};

tr_node tr_attention(tr_model *net, tr_node qkv, const tr_attention_opts *opts)
{
  return tr__add_node(net, &(tr__node_spec){.type = &tr__attention_type,
                                            .inputs = &qkv,
                                            .num_inputs = 1,
                                            .opts = opts,
                                            .opts_bytes = sizeof *opts});
}
