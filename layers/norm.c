/* LayerNorm, RMSNorm and GroupNorm: normalisation within a sample.
 *
 *   forward   r = 1 / sqrt(var(x) + eps),  xhat = (x - mean(x)) r
 *             y = xhat w + b
 *   backward  dw = sum of dy xhat,  db = sum of dy,  g = dy w
 *             dx = r (g - mean(g) - xhat mean(g xhat))
 *
 * Means are over the last axis (LayerNorm, RMSNorm) or over a group of channels
 * and their places (GroupNorm). RMSNorm takes the mean of x, and the mean of g
 * in backward, as 0. The layer saves the statistics for backward.
 *
 * Source: torch.nn.LayerNorm, RMSNorm, GroupNorm */
#include <train/layers.h>
#include <train/norm.h>

#include "layers/layer_table_impl.h"
#include "model/node_impl.h"

#include <float.h>

enum { WEIGHT, BIAS };
enum { STATS };

typedef enum norm_kind { LAYER, RMS, GROUP } norm_kind;

/* Options of a node, set by the layer functions. */
typedef struct norm_opts {
  norm_kind kind;
  int64_t groups;
  double eps;
  bool has_weight, has_bias;
} norm_opts;

static tr__norm norm_of(const tr__node *node)
{
  const norm_opts *opts = node->opts;
  const tr_shape *shape = &node->shape;
  int64_t count = tr_shape_count(shape);
  if (opts->kind == GROUP) {
    return (tr__norm){.groups = opts->groups,
                      .channels = shape->dims[0] / opts->groups,
                      .inner = count / shape->dims[0],
                      .centred = 1,
                      .eps = opts->eps};
  }
  int64_t last = shape->dims[shape->ndim - 1];
  return (tr__norm){.groups = count / last,
                    .channels = last,
                    .inner = 1,
                    .shared = 1,
                    .centred = opts->kind == LAYER,
                    .eps = opts->eps};
}

static tr_status check(const tr__node *node)
{
  const norm_opts *opts = node->opts;
  TR__CHECK_NODE(node->shape.ndim > 0, node, TR_ESHAPE,
                 "input has %d axes per sample, expected at least 1",
                 node->shape.ndim);
  TR__CHECK_NODE(opts->eps >= 0, node, TR_EINVAL,
                 "eps is %g, expected at least 0", opts->eps);
  if (opts->kind != GROUP) {
    return TR_OK;
  }
  TR__CHECK_NODE(opts->groups > 0, node, TR_EINVAL,
                 "groups is %lld, expected at least 1",
                 (long long)opts->groups);
  TR__CHECK_NODE(node->shape.dims[0] % opts->groups == 0, node, TR_ESHAPE,
                 "input has %lld channels, expected a multiple of %lld groups",
                 (long long)node->shape.dims[0], (long long)opts->groups);
  return TR_OK;
}

static void infer_workspace(tr_model *net, tr__node *node)
{
  const tr__norm norm = norm_of(node);
  if (node->num_params == 0) {
    return;
  }
  tr__tensor x = tr__shape_tensor(net, &node->shape);
  node->backward_bytes =
      tr__workspace_bytes(net, TR__OP_norm_backward_weight,
                          &(tr__norm_backward_weight_args){
                              .dw = tr__param_tensor(net, node, WEIGHT),
                              .x = x,
                              .dy = x,
                              .norm = norm,
                              .shards = tr__plan_shards(net)});
}

static tr_status infer(tr_model *net, tr__node *node)
{
  norm_opts *opts = node->opts;
  if (opts->kind == RMS && tr__is_default(opts->eps)) {
    opts->eps = net->ctx->dtype == TR_F64 ? DBL_EPSILON : (double)FLT_EPSILON;
  }
  node->shape = *tr__input_shape(net, node, 0);
  TR_TRY(check(node));
  const tr__norm norm = norm_of(node);
  const tr_shape weight = {
      1, {norm.shared ? norm.channels : norm.groups * norm.channels}};
  if (opts->has_weight) {
    TR_TRY(
        tr__declare_param(net, node, "weight", weight, tr__init_constant(1)));
  }
  if (opts->has_bias) {
    TR_TRY(tr__declare_param(net, node, "bias", weight, tr__init_constant(0)));
  }
  const tr_shape stats = {2, {norm.groups, 2}};
  tr__declare_saved(node, net->ctx->dtype, stats);
  node->flags = TR__USES_INPUT | TR__IN_PLACE;
  infer_workspace(net, node);
  return TR_OK;
}

static tr__tensor param(const tr__pass *run, const tr__node *node, int i)
{
  return node->num_params > i ? tr__value(run, node, i)
                              : (tr__tensor){.data = NULL};
}

static tr__tensor gradient(const tr__pass *run, const tr__node *node, int i)
{
  return node->num_params > i ? tr__grad(run, node, i)
                              : (tr__tensor){.data = NULL};
}

static void forward(const tr__pass *run, const tr__node *node)
{
  run->ops->norm_forward(run->stream, &(tr__norm_forward_args){
                                          .y = tr__output(run, node),
                                          .x = tr__input(run, node, 0),
                                          .w = param(run, node, WEIGHT),
                                          .b = param(run, node, BIAS),
                                          .stats = tr__saved(run, node, STATS),
                                          .norm = norm_of(node)});
}

/* dx may be an alias of dy, so the gradients of the parameters come first. */
static void backward(const tr__pass *run, const tr__node *node)
{
  tr__tensor dw = gradient(run, node, WEIGHT);
  tr__tensor db = gradient(run, node, BIAS);
  if (dw.data != NULL || db.data != NULL) {
    run->ops->norm_backward_weight(run->stream,
                                   &(tr__norm_backward_weight_args){
                                       .dw = dw,
                                       .db = db,
                                       .x = tr__input(run, node, 0),
                                       .dy = tr__output_grad(run, node),
                                       .stats = tr__saved(run, node, STATS),
                                       .workspace = tr__workspace(run, node),
                                       .norm = norm_of(node),
                                       .shards = run->shards,
                                       .accumulate = tr__grads_add(run, node)});
  }
  tr__tensor dx = tr__input_grad(run, node, 0);
  if (dx.data != NULL) {
    run->ops->norm_backward_input(
        run->stream, &(tr__norm_backward_input_args){
                         .dx = dx,
                         .dy = tr__output_grad(run, node),
                         .x = tr__input(run, node, 0),
                         .w = param(run, node, WEIGHT),
                         .stats = tr__saved(run, node, STATS),
                         .norm = norm_of(node),
                         .accumulate = tr__input_grad_adds(run, node, 0)});
  }
}

static void describe(const tr__node *node, FILE *out)
{
  const norm_opts *opts = node->opts;
  if (opts->kind == GROUP) {
    tr__describe_integer(out, "groups", opts->groups);
  }
  tr__describe_number(out, "eps", opts->eps != 0 ? opts->eps : 0);
}

static double random_eps(const tr__random *random)
{
  return tr__random_u32(random, 6) % 2 ? 0.1 : 0.2;
}

static tr_node random_layernorm(tr_model *net, const tr__random *random)
{
  const tr_shape in = {
      2,
      {1 + tr__random_u32(random, 0) % 5, 1 + tr__random_u32(random, 1) % 37}};
  tr_layernorm_opts opts = {.eps = random_eps(random),
                            .no_bias = tr__random_u32(random, 2) % 3 == 0,
                            .no_affine = tr__random_u32(random, 3) % 4 == 0};
  return tr_layernorm(net, tr_input(net, in), &opts);
}

static tr_node random_rmsnorm(tr_model *net, const tr__random *random)
{
  const tr_shape in = {
      2,
      {1 + tr__random_u32(random, 0) % 5, 1 + tr__random_u32(random, 1) % 37}};
  tr_rmsnorm_opts opts = {.eps = random_eps(random),
                          .no_affine = tr__random_u32(random, 3) % 4 == 0};
  return tr_rmsnorm(net, tr_input(net, in), &opts);
}

static tr_node random_groupnorm(tr_model *net, const tr__random *random)
{
  int64_t groups = 1 + tr__random_u32(random, 0) % 4;
  tr_shape in = {3,
                 {groups * (1 + tr__random_u32(random, 1) % 4),
                  1 + tr__random_u32(random, 2) % 4,
                  1 + tr__random_u32(random, 3) % 5}};
  in.ndim = 1 + (int)(tr__random_u32(random, 4) % 3);
  tr_groupnorm_opts opts = {.groups = groups,
                            .eps = random_eps(random),
                            .no_affine = tr__random_u32(random, 5) % 4 == 0};
  return tr_groupnorm(net, tr_input(net, in), &opts);
}

/* The types differ in their names and in how tests build them. The tolerance
 * allows for the curvature of 1 / sqrt(var). */
#define NORM_TYPE(layer)                                                       \
  const tr__layer_type tr__##layer##_type = {                                  \
      .name = #layer,                                                          \
      .infer = infer,                                                          \
      .forward = forward,                                                      \
      .backward = backward,                                                    \
      .describe = describe,                                                    \
      .random_build = random_##layer,                                          \
      .tolerance = 1e-6,                                                       \
  };
NORM_TYPE(layernorm)
NORM_TYPE(rmsnorm)
NORM_TYPE(groupnorm)

static tr_node add(tr_model *net,
                   tr_node x,
                   const tr__layer_type *type,
                   const norm_opts *opts,
                   const char *name)
{
  return tr__add_node(net, &(tr__node_spec){.type = type,
                                            .inputs = &x,
                                            .num_inputs = 1,
                                            .opts = opts,
                                            .opts_bytes = sizeof *opts,
                                            .name = name});
}

tr_node tr_layernorm(tr_model *net, tr_node x, const tr_layernorm_opts *opts)
{
  const tr_layernorm_opts o = opts != NULL ? *opts : (tr_layernorm_opts){0};
  const norm_opts norm = {.kind = LAYER,
                          .eps = tr__or_default(o.eps, 1e-5),
                          .has_weight = !o.no_affine,
                          .has_bias = !o.no_affine && !o.no_bias};
  return add(net, x, &tr__layernorm_type, &norm, o.name);
}

tr_node tr_rmsnorm(tr_model *net, tr_node x, const tr_rmsnorm_opts *opts)
{
  const tr_rmsnorm_opts o = opts != NULL ? *opts : (tr_rmsnorm_opts){0};
  const norm_opts norm = {
      .kind = RMS, .eps = o.eps, .has_weight = !o.no_affine};
  return add(net, x, &tr__rmsnorm_type, &norm, o.name);
}

tr_node tr_groupnorm(tr_model *net, tr_node x, const tr_groupnorm_opts *opts)
{
  const norm_opts norm = {.kind = GROUP,
                          .groups = opts->groups,
                          .eps = tr__or_default(opts->eps, 1e-5),
                          .has_weight = !opts->no_affine,
                          .has_bias = !opts->no_affine};
  return add(net, x, &tr__groupnorm_type, &norm, opts->name);
}
