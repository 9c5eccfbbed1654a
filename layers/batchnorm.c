/* BatchNorm: normalisation of each channel over samples and places.
 *
 *   forward   r = 1 / sqrt(var + eps),  xhat = (x - mean) r
 *             y = xhat w + b
 *   backward  dw = sum of dy xhat,  db = sum of dy
 *             dx = r w (dy - db / n - xhat dw / n)
 *
 *   x, y (N, C, ...), w, b (C); mean, var and the sums are per channel over the
 *   n values of the batch, with sync over those of all ranks
 *
 * In evaluation mean and var are the running values, and dx = r w dy.
 * Each shard computes (mean, sum of (x - mean)^2, n), and the op merges these:
 * the difference of two sums of squares would cancel where the mean is large.
 * Source: torch.nn.BatchNorm1d, 2d, 3d, SyncBatchNorm; Chan, Golub, LeVeque
 * 1979 */
#include <train/layers.h>
#include <train/norm.h>

#include "layers/layer_table_impl.h"
#include "model/node_impl.h"
#include "sync/staging_impl.h"

/* Parameters: the running values, then w and b unless no_affine. */
enum { RUNNING_MEAN, RUNNING_VAR, NUM_BATCHES, WEIGHT, BIAS };

/* Saved tensors, one for all samples together, in double. */
enum { STATS, SUMS, GRAD_SUMS };

/* Doubles in a cache line: the slices of a transfer begin at cache lines. */
enum { LINE = 8 };

static tr_status declare(tr_model *net, tr__node *node, int64_t channels)
{
  const tr_batchnorm_opts *opts = node->opts;
  const tr_shape each = {1, {channels}}, scalar = {0, {0}};
  TR_TRY(tr__declare_buffer(net, node, "running_mean", each,
                            tr__init_constant(0)));
  TR_TRY(
      tr__declare_buffer(net, node, "running_var", each, tr__init_constant(1)));
  TR_TRY(tr__declare_buffer(net, node, "num_batches_tracked", scalar,
                            tr__init_constant(0)));
  if (!opts->no_affine) {
    TR_TRY(tr__declare_param(net, node, "weight", each, tr__init_constant(1)));
    TR_TRY(tr__declare_param(net, node, "bias", each, tr__init_constant(0)));
  }
  const tr_shape pairs = {1, {2 * channels}}, sums = {1, {2 * channels + 1}};
  tr__declare_single(node, TR_F64, pairs);
  tr__declare_single(node, TR_F64, sums);
  tr__declare_single(node, TR_F64, pairs);
  return TR_OK;
}

/* In reproducible mode the statistics must not depend on the number of
 * ranks. */
static bool is_synced(const tr_model *net, const tr_batchnorm_opts *opts)
{
  return opts->sync || net->ctx->comm->shards.total > 0;
}

/* Whether an all-gather exchanges the statistics of the ranks. Each rank has a
 * row of a matrix in front of the workspace. */
static bool has_parts(const tr_model *net, const tr_batchnorm_opts *opts)
{
  return is_synced(net, opts) && net->ctx->comm->size > 1;
}

static int64_t part_length(int64_t channels)
{
  return (int64_t)tr__align((size_t)(2 * channels + 1), LINE);
}

static size_t parts_bytes(const tr_model *net, int64_t channels)
{
  return (size_t)(net->ctx->comm->size * part_length(channels)) *
         sizeof(double);
}

static tr_status infer(tr_model *net, tr__node *node)
{
  const tr_batchnorm_opts *opts = node->opts;
  node->shape = *tr__input_shape(net, node, 0);
  TR__CHECK_NODE(node->shape.ndim > 0, node, TR_ESHAPE,
                 "input has %d axes per sample, expected at least 1",
                 node->shape.ndim);
  TR__CHECK_NODE(opts->eps >= 0, node, TR_EINVAL,
                 "eps is %g, expected at least 0", opts->eps);
  TR__CHECK_NODE(opts->momentum >= 0 && opts->momentum <= 1, node, TR_EINVAL,
                 "momentum is %g, expected 0 to 1", opts->momentum);
  TR_TRY(declare(net, node, node->shape.dims[0]));
  tr__tensor x = tr__shape_tensor(net, &node->shape);
  const tr__shards shards = tr__plan_shards(net);
  node->forward_bytes =
      tr__workspace_bytes(net, TR__OP_batchnorm_sums,
                          &(tr__batchnorm_sums_args){.x = x, .shards = shards});
  if (has_parts(net, opts)) {
    node->forward_bytes += parts_bytes(net, node->shape.dims[0]);
  }
  node->backward_bytes = tr__workspace_bytes(
      net, TR__OP_batchnorm_backward_sums,
      &(tr__batchnorm_backward_sums_args){.dy = x, .x = x, .shards = shards});
  node->flags = TR__USES_INPUT | TR__IN_PLACE | TR__CAN_ACTIVATE |
                (is_synced(net, opts) ? 0u : (unsigned)TR__LOCAL_BUFFERS);
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

/* The all-reduce of gradients reports the failure to all ranks. */
static void keep_failure(tr_context *ctx, tr_status status)
{
  if (status != TR_OK) {
    tr__context_set_pending(ctx, status);
  }
}

/* sums <- sum over all ranks of sums */
static void sum_over_ranks(const tr__pass *run,
                           const tr__node *node,
                           const tr__tensor *sums)
{
  tr_context *ctx = run->net->ctx;
  if (has_parts(run->net, node->opts)) {
    keep_failure(ctx, tr__staged_allreduce(ctx, sums->data,
                                           tr__tensor_count(sums), TR_F64));
  }
}

/* The sums of the batch; absent in evaluation. */
static tr__tensor batch_sums(const tr__pass *run, const tr__node *node)
{
  return run->is_training ? tr__saved(run, node, SUMS)
                          : (tr__tensor){.data = NULL};
}

/* Compute the sums of this rank's samples. Returns the matrix of all ranks'
 * sums, absent where no exchange is necessary. */
static tr__tensor gather_sums(const tr__pass *run, const tr__node *node)
{
  tr_context *ctx = run->net->ctx;
  int64_t channels = node->shape.dims[0], length = part_length(channels);
  tr__tensor parts = {.data = NULL}, workspace = tr__workspace(run, node);
  tr__tensor own = batch_sums(run, node);
  if (has_parts(run->net, node->opts)) {
    size_t bytes = parts_bytes(run->net, channels);
    parts = tr__tensor_of(workspace.data, TR_F64, 2,
                          (int64_t[]){ctx->comm->size, length});
    own.data = (double *)parts.data + ctx->comm->rank * length;
    workspace.data = (char *)workspace.data + bytes;
    workspace.dims[0] -= (int64_t)bytes;
  }
  run->ops->batchnorm_sums(
      run->stream, &(tr__batchnorm_sums_args){.x = tr__input(run, node, 0),
                                              .sums = own,
                                              .workspace = workspace,
                                              .shards = run->shards});
  if (parts.data != NULL) {
    const tr__transfer all = {.kind = TR__ALLGATHER,
                              .buf = parts.data,
                              .count = tr__tensor_count(&parts),
                              .dtype = TR_F64};
    keep_failure(ctx, tr__staged_transfer(ctx, &all));
  }
  return parts;
}

static void find_stats(const tr__pass *run, const tr__node *node)
{
  const tr_batchnorm_opts *opts = node->opts;
  tr__tensor parts = {.data = NULL};
  if (run->is_training) {
    parts = gather_sums(run, node);
  }
  run->ops->batchnorm_stats(
      run->stream, &(tr__batchnorm_stats_args){
                       .running_mean = param(run, node, RUNNING_MEAN),
                       .running_var = param(run, node, RUNNING_VAR),
                       .batches = param(run, node, NUM_BATCHES),
                       .stats = tr__saved(run, node, STATS),
                       .sums = batch_sums(run, node),
                       .parts = parts,
                       .momentum = opts->momentum,
                       .eps = opts->eps,
                       .num_shards = tr__comm_num_shards(run->net->ctx->comm)});
}

static void forward(const tr__pass *run, const tr__node *node)
{
  find_stats(run, node);
  run->ops->batchnorm_forward(
      run->stream,
      &(tr__batchnorm_forward_args){.y = tr__output(run, node),
                                    .x = tr__input(run, node, 0),
                                    .w = param(run, node, WEIGHT),
                                    .b = param(run, node, BIAS),
                                    .stats = tr__saved(run, node, STATS),
                                    .activation = node->activation});
}

static void backward(const tr__pass *run, const tr__node *node)
{
  tr__tensor dy = tr__output_grad(run, node), x = tr__input(run, node, 0);
  tr__tensor stats = tr__saved(run, node, STATS);
  tr__tensor grad_sums = tr__saved(run, node, GRAD_SUMS);
  run->ops->batchnorm_backward_sums(
      run->stream, &(tr__batchnorm_backward_sums_args){
                       .dy = dy,
                       .x = x,
                       .stats = stats,
                       .sums = grad_sums,
                       .dw = gradient(run, node, WEIGHT),
                       .db = gradient(run, node, BIAS),
                       .workspace = tr__workspace(run, node),
                       .shards = run->shards,
                       .accumulate = tr__grads_add(run, node)});
  tr__tensor dx = tr__input_grad(run, node, 0);
  if (dx.data == NULL) {
    return;
  }
  if (run->is_training) {
    sum_over_ranks(run, node, &grad_sums);
  }
  run->ops->batchnorm_backward_input(
      run->stream, &(tr__batchnorm_backward_input_args){
                       .dx = dx,
                       .dy = dy,
                       .x = x,
                       .w = param(run, node, WEIGHT),
                       .stats = stats,
                       .sums = batch_sums(run, node),
                       .grad_sums = grad_sums,
                       .accumulate = tr__input_grad_adds(run, node, 0)});
}

static void describe(const tr__node *node, FILE *out)
{
  const tr_batchnorm_opts *opts = node->opts;
  tr__describe_number(out, "eps", opts->eps);
  tr__describe_number(out, "momentum", opts->momentum);
  tr__describe_flag(out, "sync", opts->sync);
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  tr_shape in = {3,
                 {1 + tr__random_u32(random, 0) % 19,
                  1 + tr__random_u32(random, 1) % 4,
                  1 + tr__random_u32(random, 2) % 5}};
  in.ndim = 1 + (int)(tr__random_u32(random, 3) % 3);
  tr_batchnorm_opts opts = {.eps = tr__random_u32(random, 6) % 2 ? 0.1 : 0.2,
                            .momentum = tr__random_u32(random, 7) % 2 * 0.3,
                            .sync = tr__random_u32(random, 4) % 2,
                            .no_affine = tr__random_u32(random, 5) % 4 == 0};
  return tr_batchnorm(net, tr_input(net, in), &opts);
}

const tr__layer_type tr__batchnorm_type = {
    .name = "batchnorm",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .describe = describe,
    .random_build = random_build,
    /* The curvature of 1 / sqrt(var) limits finite differences. */
    .tolerance = 1e-6,
};

tr_node tr_batchnorm(tr_model *net, tr_node x, const tr_batchnorm_opts *opts)
{
  tr_batchnorm_opts o = opts != NULL ? *opts : (tr_batchnorm_opts){0};
  o.eps = tr__or_default(o.eps, 1e-5);
  o.momentum = tr__or_default(o.momentum, 0.1);
  return tr__add_node(net, &(tr__node_spec){.type = &tr__batchnorm_type,
                                            .inputs = &x,
                                            .num_inputs = 1,
                                            .opts = &o,
                                            .opts_bytes = sizeof o,
                                            .name = o.name});
}
