/* Cross-entropy: softmax and negative log-likelihood of the target class.
 *
 *   forward   l[n] = log(sum over k of exp(x[n,k])) - x[n, t[n]]
 *             adds w[n] l[n] and w[n] to the sums of the loss
 *   backward  dx[n,k] = scale w[n] (softmax(x)[n,k] - [k = t[n]])
 *
 *   x (N, K), t (N) int32 classes, w (N) weights of the samples, 1 where the
 *   batch has none
 *
 * With more axes, x (N, T, K), each of the N T rows has a target and the weight
 * of its sample. scale is 1 / (planned global weight): the optimizer corrects
 * for the true weight, so the gradient is the mean over the global batch. Label
 * smoothing, ignored targets and class weights: see xent_rule_forward.
 * Source: torch.nn.CrossEntropyLoss */
#include <train/layers.h>
#include <train/loss.h>

#include "layers/layer_table_impl.h"
#include "model/node_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Saved tensors. The first one of every loss holds the batch's targets. SHARE
 * exists only with a rule. */
enum { TARGET, PROBABILITY, CORRECT, SHARE };

enum { CLASS_WEIGHT }; /* parameter */

/* Options of tr_cross_entropy_with(). */
typedef struct rule_opts {
  tr__xent_rule rule;
  double weight;
  int64_t num_class_weights;
  double class_weights[];
} rule_opts;

static tr_status infer_rule(tr_model *net, tr__node *node)
{
  const rule_opts *opts = node->opts;
  const tr_shape *x = tr__input_shape(net, node, 0);
  int64_t K = x->dims[x->ndim - 1], count = opts->num_class_weights;
  double e = opts->rule.smoothing;
  TR__CHECK_NODE(e >= 0 && e <= 1, node, TR_EINVAL,
                 "label_smoothing is %g, expected 0 to 1", e);
  TR__CHECK_NODE(count == 0 || count == K, node, TR_ESHAPE,
                 "%lld class weights, expected one for each of %lld classes",
                 (long long)count, (long long)K);
  for (int64_t k = 0; k < count; k++) {
    double c = opts->class_weights[k];
    TR__CHECK_NODE(c >= 0 && isfinite(c), node, TR_EINVAL,
                   "class_weights[%lld] is %g, expected at least 0",
                   (long long)k, c);
  }
  node->loss_weight = opts->weight;
  if (count > 0 || opts->rule.ignores) {
    node->flags |= TR__WEIGHS_TARGETS;
  }
  tr__declare_saved(node, net->ctx->dtype, node->shape);
  return count == 0
             ? TR_OK
             : tr__declare_buffer(net, node, "weight", (tr_shape){1, {K}},
                                  tr__init_values(opts->class_weights));
}

static tr_status infer(tr_model *net, tr__node *node)
{
  const tr_shape *x = tr__input_shape(net, node, 0);
  TR__CHECK_NODE(x->ndim >= 1, node, TR_ESHAPE,
                 "input is one number per sample, expected %s",
                 "one value per class");
  node->shape = *x;
  node->shape.ndim--;
  node->flags = TR__IS_LOSS;
  node->loss_weight = 1;
  node->loss_rows = tr_shape_count(&node->shape);
  tr__declare_saved(node, TR_I32, node->shape);
  tr__declare_saved(node, net->ctx->dtype, *x);
  tr__declare_saved(node, net->ctx->dtype, node->shape);
  return node->opts != NULL ? infer_rule(net, node) : TR_OK;
}

/* A tensor as a matrix with one row per target. */
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

static tr__tensor class_weights(const tr__pass *run, const tr__node *node)
{
  return node->num_params > 0 ? tr__value(run, node, CLASS_WEIGHT)
                              : (tr__tensor){.data = NULL};
}

static tr__tensor share_of(const tr__pass *run, const tr__node *node)
{
  return node->opts != NULL ? list_of(tr__saved(run, node, SHARE))
                            : (tr__tensor){.data = NULL};
}

static void forward_rows(const tr__pass *run, const tr__node *node)
{
  const tr__softmax_xent_forward_args plain = {
      .loss = list_of(tr__output(run, node)),
      .prob = rows_of(tr__saved(run, node, PROBABILITY)),
      .correct = list_of(tr__saved(run, node, CORRECT)),
      .x = rows_of(tr__input(run, node, 0)),
      .target = list_of(tr__saved(run, node, TARGET))};
  if (node->opts == NULL) {
    run->ops->softmax_xent_forward(run->stream, &plain);
    return;
  }
  const rule_opts *opts = node->opts;
  run->ops->xent_rule_forward(
      run->stream,
      &(tr__xent_rule_forward_args){.loss = plain.loss,
                                    .prob = plain.prob,
                                    .correct = plain.correct,
                                    .share = share_of(run, node),
                                    .x = plain.x,
                                    .target = plain.target,
                                    .class_weight = class_weights(run, node),
                                    .rule = opts->rule});
}

static void forward(const tr__pass *run, const tr__node *node)
{
  forward_rows(run, node);
  int64_t times = tr_shape_count(&node->shape);
  run->ops->loss_sum(
      run->stream,
      &(tr__loss_sum_args){.tail = tr__loss_sums(run),
                           .loss = list_of(tr__output(run, node)),
                           .correct = list_of(tr__saved(run, node, CORRECT)),
                           .weight = tr__sample_weights(run),
                           .share = share_of(run, node),
                           .shards = tr__shards_of(run->shards, times),
                           .scale = tr__loss_scale(run, node),
                           .number = node->ordinal,
                           .accumulate = node->ordinal > 0});
}

static void backward(const tr__pass *run, const tr__node *node)
{
  const tr__softmax_xent_backward_args plain = {
      .dx = rows_of(tr__input_grad(run, node, 0)),
      .prob = rows_of(tr__saved(run, node, PROBABILITY)),
      .target = list_of(tr__saved(run, node, TARGET)),
      .weight = tr__sample_weights(run),
      .block = tr__store_block(&run->net->store),
      .accumulate = tr__input_grad_adds(run, node, 0)};
  double scale = tr__loss_scale(run, node);
  if (node->opts == NULL && scale == 1) {
    run->ops->softmax_xent_backward(run->stream, &plain);
    return;
  }
  const rule_opts *opts = node->opts;
  run->ops->xent_rule_backward(
      run->stream,
      &(tr__xent_rule_backward_args){
          .dx = plain.dx,
          .prob = plain.prob,
          .target = plain.target,
          .weight = plain.weight,
          .class_weight = class_weights(run, node),
          .block = plain.block,
          .rule = opts != NULL ? opts->rule : (tr__xent_rule){.smoothing = 0},
          .scale = scale,
          .accumulate = plain.accumulate});
}

static void describe(const tr__node *node, FILE *out)
{
  const rule_opts *opts = node->opts;
  if (opts == NULL) {
    return;
  }
  tr__describe_number(out, "label smoothing", opts->rule.smoothing);
  if (opts->rule.ignores) {
    tr__describe_integer(out, "ignored target", opts->rule.ignored);
  }
  tr__describe_array(out, "class weights", opts->class_weights,
                     opts->num_class_weights);
  tr__describe_number(out, "weight", opts->weight);
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  tr_shape in = {1, {1 + tr__random_u32(random, 0) % 17}};
  int64_t K = in.dims[0];
  if (tr__random_u32(random, 1) % 2 == 0) {
    in = (tr_shape){2, {1 + tr__random_u32(random, 2) % 5, K}};
  }
  tr_node x = tr_input(net, in);
  if (tr__random_u32(random, 3) % 3 == 0) {
    return tr_cross_entropy(net, x);
  }
  double weights[17];
  tr__random_fill(random, 0.1, 2, K, weights);
  bool is_weighted = tr__random_u32(random, 4) % 2;
  return tr_cross_entropy_with(
      net, x,
      &(tr_cross_entropy_opts){.label_smoothing =
                                   tr__random_u32(random, 5) % 2 * 0.2,
                               .ignores = tr__random_u32(random, 6) % 2,
                               .class_weights = is_weighted ? weights : NULL,
                               .num_class_weights = is_weighted ? K : 0,
                               .weight = tr__random_u32(random, 7) % 2 * 0.7});
}

const tr__layer_type tr__cross_entropy_type = {
    .name = "cross_entropy",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .describe = describe,
    .random_build = random_build,
    .tolerance = 1e-7,
};

tr_node tr_cross_entropy(tr_model *net, tr_node x)
{
  return tr__add_node(net, &(tr__node_spec){.type = &tr__cross_entropy_type,
                                            .inputs = &x,
                                            .num_inputs = 1});
}

tr_node tr_cross_entropy_with(tr_model *net,
                              tr_node x,
                              const tr_cross_entropy_opts *given)
{
  if (given == NULL) {
    return tr_cross_entropy(net, x);
  }
  int64_t count = given->class_weights != NULL ? given->num_class_weights : 0;
  size_t weights = count > 0 ? (size_t)count * sizeof(double) : 0;
  rule_opts *opts = malloc(sizeof *opts + weights);
  if (opts == NULL) {
    tr__model_remember(net, TR_FAIL(TR_ENOMEM, "no memory for a loss"));
    return (tr_node){-1};
  }
  *opts = (rule_opts){.rule = {.smoothing = given->label_smoothing,
                               .ignored = given->ignore_index,
                               .ignores = given->ignores},
                      .weight = tr__or_default(given->weight, 1),
                      .num_class_weights = given->num_class_weights};
  if (weights > 0) {
    memcpy(opts->class_weights, given->class_weights, weights);
  } else if (given->num_class_weights != 0) {
    /* A count without numbers fails the check in infer_rule(). */
    opts->num_class_weights = -1;
  }
  tr_node node =
      tr__add_node(net, &(tr__node_spec){.type = &tr__cross_entropy_type,
                                         .inputs = &x,
                                         .num_inputs = 1,
                                         .opts = opts,
                                         .opts_bytes = sizeof *opts + weights,
                                         .name = given->name});
  free(opts);
  return node;
}
