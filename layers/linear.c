/* Linear: an affine map of the last axis.
 *
 *   forward   y = x W^T + b
 *             x (N, ..., D), W (K, D), b (K), y (N, ..., K)
 *   backward  dx = dy W,  dW += dy^T x,  db += sum over rows n of dy[n,:]
 *
 * Ops see a matrix: the axes before the last one are its rows.
 * Source: torch.nn.Linear; initial values uniform in +-1/sqrt(D), as there. */
#include <train/layers.h>

#include "layers/layer_table_impl.h"
#include "model/node_impl.h"

#include <math.h>

enum { WEIGHT, BIAS };

/* A value as a matrix: its last axis is a row. */
static tr__tensor rows_of(tr__tensor t)
{
  return tr__tensor_as_rows(t, t.dims[t.ndim - 1]);
}

static void ask_for_workspaces(const tr_model *net, tr__node *node)
{
  const tr_shape *in = tr__input_shape(net, node, 0);
  tr__tensor x = rows_of(tr__shape_tensor(net, in));
  tr__tensor y = rows_of(tr__shape_tensor(net, &node->shape));
  tr__shards shards = tr__plan_shards(net);
  node->forward_bytes = tr__workspace_bytes(
      net, TR__OP_linear_forward,
      &(tr__linear_forward_args){.y = y, .x = x, .shards = shards});
  node->backward_bytes =
      tr__workspace_bytes(net, TR__OP_linear_backward_weight,
                          &(tr__linear_backward_weight_args){
                              .dw = tr__param_tensor(net, node, WEIGHT),
                              .x = x,
                              .dy = y,
                              .shards = shards});
}

static tr_status infer(tr_model *net, tr__node *node)
{
  const tr_linear_opts *opts = node->opts;
  const tr_shape *x = tr__input_shape(net, node, 0);
  TR__CHECK_NODE(x->ndim >= 1, node, TR_ESHAPE,
                 "input is one number per sample, expected %s",
                 "at least one axis");
  TR__CHECK_NODE(opts->out > 0, node, TR_EINVAL,
                 "out is %lld, expected at least 1", (long long)opts->out);
  int64_t in = x->dims[x->ndim - 1];
  node->shape = *x;
  node->shape.dims[x->ndim - 1] = opts->out;
  const tr_shape weight = {2, {opts->out, in}}, outputs = {1, {opts->out}};
  double bound = 1.0 / sqrt((double)in);
  TR_TRY(
      tr__declare_param(net, node, "weight", weight, tr__init_uniform(bound)));
  if (!opts->no_bias) {
    TR_TRY(
        tr__declare_param(net, node, "bias", outputs, tr__init_uniform(bound)));
  }
  node->flags = TR__USES_INPUT | TR__CAN_ACTIVATE;
  ask_for_workspaces(net, node);
  return TR_OK;
}

static tr__tensor bias(const tr__pass *run, const tr__node *node)
{
  return node->num_params > BIAS ? tr__value(run, node, BIAS)
                                 : (tr__tensor){.data = NULL};
}

static tr__tensor bias_grad(const tr__pass *run, const tr__node *node)
{
  return node->num_params > BIAS ? tr__grad(run, node, BIAS)
                                 : (tr__tensor){.data = NULL};
}

/* The shards of the matrix' rows. */
static tr__shards shards_of(const tr__pass *run, const tr__node *node)
{
  int64_t times = 1;
  for (int i = 0; i + 1 < node->shape.ndim; i++) {
    times *= node->shape.dims[i];
  }
  return tr__shards_of(run->shards, times);
}

static void forward(const tr__pass *run, const tr__node *node)
{
  run->ops->linear_forward(
      run->stream,
      &(tr__linear_forward_args){.y = rows_of(tr__output(run, node)),
                                 .x = rows_of(tr__input(run, node, 0)),
                                 .w = tr__weight(run, node, WEIGHT),
                                 .b = bias(run, node),
                                 .workspace = tr__workspace(run, node),
                                 .shards = shards_of(run, node),
                                 .activation = node->activation});
}

static void backward_weight(const tr__pass *run, const tr__node *node)
{
  tr__tensor dw = tr__grad(run, node, WEIGHT);
  tr__tensor db = bias_grad(run, node);
  if (dw.data == NULL && db.data == NULL) {
    return;
  }
  run->ops->linear_backward_weight(
      run->stream, &(tr__linear_backward_weight_args){
                       .dw = dw,
                       .db = db,
                       .x = rows_of(tr__input(run, node, 0)),
                       .dy = rows_of(tr__output_grad(run, node)),
                       .workspace = tr__workspace(run, node),
                       .shards = shards_of(run, node),
                       .accumulate = tr__grads_add(run, node)});
}

static void backward(const tr__pass *run, const tr__node *node)
{
  backward_weight(run, node);
  tr__tensor dx = tr__input_grad(run, node, 0);
  if (dx.data != NULL) {
    run->ops->linear_backward_input(
        run->stream, &(tr__linear_backward_input_args){
                         .dx = rows_of(dx),
                         .dy = rows_of(tr__output_grad(run, node)),
                         .w = tr__weight(run, node, WEIGHT),
                         .shards = shards_of(run, node),
                         .accumulate = tr__input_grad_adds(run, node, 0)});
  }
}

static tr__flops flops(const tr_model *net, const tr__node *node)
{
  const tr_shape *x = tr__input_shape(net, node, 0);
  return tr__product_flops(net, node, WEIGHT,
                           (double)tr_shape_count(&node->shape) *
                               (double)x->dims[x->ndim - 1]);
}

static tr_node random_build(tr_model *net, const tr__random *random)
{
  tr_shape in = {1, {1 + tr__random_u32(random, 0) % 37}};
  if (tr__random_u32(random, 3) % 2 == 0) {
    in = (tr_shape){3,
                    {1 + tr__random_u32(random, 4) % 3,
                     1 + tr__random_u32(random, 5) % 4, in.dims[0]}};
  }
  tr_linear_opts opts = {.out = 1 + tr__random_u32(random, 1) % 23,
                         .no_bias = tr__random_u32(random, 2) % 4 == 0};
  return tr_linear(net, tr_input(net, in), &opts);
}

const tr__layer_type tr__linear_type = {
    .name = "linear",
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .flops = flops,
    .random_build = random_build,
    .tolerance = 1e-8,
};

tr_node tr_linear(tr_model *net, tr_node x, const tr_linear_opts *opts)
{
  return tr__add_node(net, &(tr__node_spec){.type = &tr__linear_type,
                                            .inputs = &x,
                                            .num_inputs = 1,
                                            .opts = opts,
                                            .opts_bytes = sizeof *opts,
                                            .name = opts->name});
}
