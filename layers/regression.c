/* Regression losses: the mean over the elements of each sample, then over
 * samples.
 *
 *   forward   l[n] = mean over i of l(x[n,i], t[n,i])
 *             adds w[n] l[n] and w[n] to the sums of the loss
 *   backward  dx[n,i] = scale w[n] l'(x[n,i], t[n,i]) / D
 *
 *   x (N, D...), t like x, w (N) weights of the samples, 1 where the batch has
 *   none; l: see tr__regression; scale as in cross_entropy.c
 *   Source: torch.nn.MSELoss, L1Loss, HuberLoss, BCEWithLogitsLoss */
#include <train/layers.h>
#include <train/loss.h>

#include "layers/layer_table_impl.h"
#include "model/node_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TARGET };     /* saved tensor */
enum { POS_WEIGHT }; /* parameter */

typedef struct regression_opts {
  tr__regression kind;
  double delta, weight;
  int64_t num_pos_weight;
  double pos_weight[];
} regression_opts;

static tr_status infer_pos_weight(tr_model *net, tr__node *node)
{
  const regression_opts *opts = node->opts;
  const tr_shape *x = tr__input_shape(net, node, 0);
  int64_t count = opts->num_pos_weight;
  int64_t places = x->ndim > 0 ? x->dims[x->ndim - 1] : 1;
  TR__CHECK_NODE(count == places, node, TR_ESHAPE,
                 "%lld of pos_weight, expected one for each of %lld places",
                 (long long)count, (long long)places);
  for (int64_t i = 0; i < count; i++) {
    double q = opts->pos_weight[i];
    TR__CHECK_NODE(q >= 0 && isfinite(q), node, TR_EINVAL,
                   "pos_weight[%lld] is %g, expected at least 0", (long long)i,
                   q);
  }
  return tr__declare_buffer(net, node, "pos_weight", (tr_shape){1, {count}},
                            tr__init_values(opts->pos_weight));
}

static tr_status infer(tr_model *net, tr__node *node)
{
  const regression_opts *opts = node->opts;
  TR__CHECK_NODE(opts->delta > 0 && isfinite(opts->delta), node, TR_EINVAL,
                 "delta is %g, expected more than 0", opts->delta);
  node->shape = (tr_shape){0, {0}};
  node->flags = TR__IS_LOSS | TR__USES_INPUT;
  node->loss_weight = opts->weight;
  tr__declare_saved(node, net->ctx->dtype, *tr__input_shape(net, node, 0));
  return opts->num_pos_weight != 0 ? infer_pos_weight(net, node) : TR_OK;
}

static tr__tensor rows_of(tr__tensor t)
{
  return tr__tensor_as_rows(t, tr__tensor_row(&t));
}

static tr__tensor pos_weight(const tr__pass *run, const tr__node *node)
{
  return node->num_params > 0 ? tr__value(run, node, POS_WEIGHT)
                              : (tr__tensor){.data = NULL};
}

static void forward(const tr__pass *run, const tr__node *node)
{
  const regression_opts *opts = node->opts;
  tr__tensor loss = tr__output(run, node);
  run->ops->regression_forward(
      run->stream, &(tr__regression_forward_args){
                       .loss = loss,
                       .x = rows_of(tr__input(run, node, 0)),
                       .target = rows_of(tr__saved(run, node, TARGET)),
                       .pos_weight = pos_weight(run, node),
                       .delta = opts->delta,
                       .kind = opts->kind});
  run->ops->loss_sum(run->stream,
                     &(tr__loss_sum_args){.tail = tr__loss_sums(run),
                                          .loss = loss,
                                          .weight = tr__sample_weights(run),
                                          .shards = run->shards,
                                          .scale = tr__loss_scale(run, node),
                                          .number = node->ordinal,
                                          .accumulate = node->ordinal > 0});
}

static void backward(const tr__pass *run, const tr__node *node)
{
  const regression_opts *opts = node->opts;
  run->ops->regression_backward(
      run->stream, &(tr__regression_backward_args){
                       .dx = rows_of(tr__input_grad(run, node, 0)),
                       .x = rows_of(tr__input(run, node, 0)),
                       .target = rows_of(tr__saved(run, node, TARGET)),
                       .pos_weight = pos_weight(run, node),
                       .weight = tr__sample_weights(run),
                       .block = tr__store_block(&run->net->store),
                       .delta = opts->delta,
                       .scale = tr__loss_scale(run, node),
                       .kind = opts->kind,
                       .accumulate = tr__input_grad_adds(run, node, 0)});
}

static void describe(const tr__node *node, FILE *out)
{
  const regression_opts *opts = node->opts;
  if (opts->kind == TR__REGRESSION_HUBER) {
    tr__describe_number(out, "delta", opts->delta);
  }
  tr__describe_array(out, "pos_weight", opts->pos_weight, opts->num_pos_weight);
  tr__describe_number(out, "weight", opts->weight);
}

static tr_node random_input(tr_model *net, const tr__random *random)
{
  tr_shape in = {(int)(tr__random_u32(random, 0) % 4), {0}};
  for (int i = 0; i < in.ndim; i++) {
    in.dims[i] = 1 + tr__random_u32(random, 1 + i) % 5;
  }
  return tr_input(net, in);
}

static tr_loss_opts random_opts(const tr__random *random)
{
  return (tr_loss_opts){.weight = tr__random_u32(random, 8) % 2 * 0.7};
}

static tr_node random_mse(tr_model *net, const tr__random *random)
{
  tr_loss_opts opts = random_opts(random);
  return tr_mse(net, random_input(net, random), &opts);
}

static tr_node random_mae(tr_model *net, const tr__random *random)
{
  tr_loss_opts opts = random_opts(random);
  return tr_mae(net, random_input(net, random), &opts);
}

static tr_node random_huber(tr_model *net, const tr__random *random)
{
  const tr_huber_opts opts = {.weight = random_opts(random).weight,
                              .delta =
                                  tr__random_u32(random, 12) % 2 ? 0 : 0.9};
  return tr_huber(net, random_input(net, random), &opts);
}

static tr_node random_bce(tr_model *net, const tr__random *random)
{
  double weights[7];
  tr__random_fill(random, 0.1, 3, 7, weights);
  int64_t K = 1 + tr__random_u32(random, 9) % 7;
  tr_shape in = {2, {1 + tr__random_u32(random, 10) % 3, K}};
  bool is_weighted = tr__random_u32(random, 11) % 2;
  return tr_bce_with_logits(
      net, tr_input(net, in),
      &(tr_bce_opts){.pos_weight = is_weighted ? weights : NULL,
                     .num_pos_weight = is_weighted ? K : 0,
                     .weight = random_opts(random).weight});
}

#define TYPE(type_name, build)                                                 \
  {                                                                            \
    .name = type_name, .infer = infer, .forward = forward,                     \
    .backward = backward, .describe = describe, .random_build = build,         \
    .tolerance = 1e-7,                                                         \
  }

const tr__layer_type tr__mse_type = TYPE("mse", random_mse);
const tr__layer_type tr__mae_type = TYPE("mae", random_mae);
const tr__layer_type tr__huber_type = TYPE("huber", random_huber);
const tr__layer_type tr__bce_type = TYPE("bce_with_logits", random_bce);

typedef struct add_what {
  const tr__layer_type *type;
  const regression_opts *opts;
  size_t bytes;
  const char *name;
} add_what;

static tr_node add(tr_model *net, tr_node x, const add_what *what)
{
  return tr__add_node(net, &(tr__node_spec){.type = what->type,
                                            .inputs = &x,
                                            .num_inputs = 1,
                                            .opts = what->opts,
                                            .opts_bytes = what->bytes,
                                            .name = what->name});
}

static tr_node add_plain(tr_model *net,
                         tr_node x,
                         const tr__layer_type *type,
                         const regression_opts *opts,
                         const char *name)
{
  return add(net, x, &(add_what){type, opts, sizeof *opts, name});
}

tr_node tr_mse(tr_model *net, tr_node x, const tr_loss_opts *given)
{
  regression_opts opts = {.kind = TR__REGRESSION_MSE, .delta = 1};
  opts.weight = tr__or_default(given != NULL ? given->weight : 0, 1);
  return add_plain(net, x, &tr__mse_type, &opts,
                   given != NULL ? given->name : NULL);
}

tr_node tr_mae(tr_model *net, tr_node x, const tr_loss_opts *given)
{
  regression_opts opts = {.kind = TR__REGRESSION_MAE, .delta = 1};
  opts.weight = tr__or_default(given != NULL ? given->weight : 0, 1);
  return add_plain(net, x, &tr__mae_type, &opts,
                   given != NULL ? given->name : NULL);
}

tr_node tr_huber(tr_model *net, tr_node x, const tr_huber_opts *given)
{
  regression_opts opts = {
      .kind = TR__REGRESSION_HUBER, .delta = 1, .weight = 1};
  if (given != NULL) {
    opts.weight = tr__or_default(given->weight, 1);
    opts.delta = tr__or_default(given->delta, 1);
  }
  return add_plain(net, x, &tr__huber_type, &opts,
                   given != NULL ? given->name : NULL);
}

tr_node tr_bce_with_logits(tr_model *net, tr_node x, const tr_bce_opts *given)
{
  const tr_bce_opts none = {.weight = 0};
  given = given != NULL ? given : &none;
  bool has_weights = given->pos_weight != NULL && given->num_pos_weight > 0;
  size_t bytes = sizeof(regression_opts);
  bytes += has_weights ? (size_t)given->num_pos_weight * sizeof(double) : 0;
  regression_opts *opts = malloc(bytes);
  if (opts == NULL) {
    tr__model_remember(net, TR_FAIL(TR_ENOMEM, "no memory for a loss"));
    return (tr_node){-1};
  }
  *opts = (regression_opts){.kind = TR__REGRESSION_BCE,
                            .delta = 1,
                            .weight = tr__or_default(given->weight, 1),
                            .num_pos_weight = given->num_pos_weight};
  if (has_weights) {
    memcpy(opts->pos_weight, given->pos_weight, bytes - sizeof *opts);
  } else if (given->num_pos_weight != 0) {
    /* A count without numbers fails the check in infer_pos_weight(). */
    opts->num_pos_weight = -1;
  }
  tr_node node =
      add(net, x, &(add_what){&tr__bce_type, opts, bytes, given->name});
  free(opts);
  return node;
}
