/* Shape inference: each layer computes its output shape and declares
 * parameters, saved tensors and workspaces during tr_model_build(). */
#include "model/node_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const tr_shape *
tr__input_shape(const tr_model *net, const tr__node *node, int i)
{
  return &net->nodes[node->inputs[i]].shape;
}

static tr_status
declare(tr_model *net, tr__node *node, const char *name, const tr__param *what)
{
  tr__store *store = &net->store;
  tr__param param = *what;
  param.count = tr_shape_count(&param.shape);
  param.num_uses = 1;
  TR__CHECK_NODE(tr__shape_is_valid(&param.shape), node, TR_ESHAPE,
                 "the extents of its %s are too large", name);
  snprintf(param.name, sizeof param.name, "%.75s.%.19s", node->name, name);
  size_t bytes = (size_t)(store->num_params + 1) * sizeof *store->params;
  tr__param *params = realloc(store->params, bytes);
  TR_CHECK(params != NULL, TR_ENOMEM, "no memory for parameter names");
  store->params = params;
  node->params[node->num_params++] = store->num_params;
  params[store->num_params++] = param;
  return TR_OK;
}

/* The index of a node's weight in store->params; -1: it has none. */
static int weight_of(const tr_model *net, const tr__node *node)
{
  for (int i = 0; i < node->num_params; i++) {
    const tr__param *param = &net->store.params[node->params[i]];
    const char *last = strrchr(param->name, '.');
    if (!param->is_buffer && strcmp(last, ".weight") == 0) {
      return node->params[i];
    }
  }
  return -1;
}

static tr_status
tie_weight(tr_model *net, tr__node *node, const tr_shape *shape)
{
  const tr__node *owner = &net->nodes[node->tied_to];
  int index = weight_of(net, owner);
  TR__CHECK_NODE(index >= 0, node, TR_EINVAL,
                 "tied to the %s \"%s\", which has no weight",
                 owner->type->name, owner->name);
  tr__param *param = &net->store.params[index];
  char text[2][TR__SHAPE_BYTES];
  TR__CHECK_NODE(tr__shape_equal(shape, &param->shape), node, TR_ESHAPE,
                 "its weight is %s, expected the %s of the %s \"%s\" that it "
                 "is tied to",
                 tr__shape_text(shape, text[0]),
                 tr__shape_text(&param->shape, text[1]), owner->type->name,
                 owner->name);
  param->num_uses++;
  node->is_tied[node->num_params] = true;
  node->params[node->num_params++] = index;
  return TR_OK;
}

tr_status tr__declare_param(tr_model *net,
                            tr__node *node,
                            const char *name,
                            tr_shape shape,
                            tr__init init)
{
  if (node->tied_to >= 0 && strcmp(name, "weight") == 0) {
    return tie_weight(net, node, &shape);
  }
  return declare(net, node, name, &(tr__param){.shape = shape, .init = init});
}

tr_status tr__declare_buffer(tr_model *net,
                             tr__node *node,
                             const char *name,
                             tr_shape shape,
                             tr__init init)
{
  return declare(net, node, name,
                 &(tr__param){.shape = shape, .init = init, .is_buffer = true});
}

void tr__declare_saved(tr__node *node, tr_dtype dtype, tr_shape shape)
{
  node->saved[node->num_saved++] = (tr__slot){.dtype = dtype, .shape = shape};
}

void tr__declare_single(tr__node *node, tr_dtype dtype, tr_shape shape)
{
  node->saved[node->num_saved++] =
      (tr__slot){.dtype = dtype, .shape = shape, .is_single = true};
}

static tr__tensor
tensor_with_rows(tr_dtype dtype, int64_t rows, const tr_shape *shape)
{
  int64_t dims[TR_MAX_DIMS] = {rows};
  for (int i = 0; i < shape->ndim; i++) {
    dims[i + 1] = shape->dims[i];
  }
  return tr__tensor_of(NULL, dtype, shape->ndim + 1, dims);
}

tr__tensor tr__shape_tensor(const tr_model *net, const tr_shape *shape)
{
  return tensor_with_rows(net->ctx->compute, net->max_rows, shape);
}

tr__tensor tr__param_tensor(const tr_model *net, const tr__node *node, int i)
{
  const tr_shape *shape = &net->store.params[node->params[i]].shape;
  return tr__tensor_of(NULL, net->ctx->dtype, shape->ndim, shape->dims);
}

tr__shards tr__plan_shards(const tr_model *net)
{
  tr__shards shards = tr__one_shard(net->max_rows);
  shards.total = tr__max(1, net->ctx->comm->shards.total);
  return shards;
}

size_t tr__workspace_bytes(const tr_model *net, tr__op op, const void *args)
{
  tr__backend *backend = net->ctx->backend;
  return backend->type->workspace(backend, op, args);
}

/* Set the bytes of a slot for max_rows rows. The limit is 2^62 bytes. */
static tr_status
size_slot(const tr_model *net, const tr__node *node, tr__slot *slot)
{
  int64_t count = tr_shape_count(&slot->shape);
  int64_t rows = slot->is_single ? 1 : net->max_rows;
  bool fits = count >= 0 && slot->shape.ndim < TR_MAX_DIMS &&
              !tr__mul_overflows(count, rows, &count) &&
              !tr__mul_overflows(count, 16, &count);
  char text[TR__SHAPE_BYTES];
  TR__CHECK_NODE(fits, node, TR_ESHAPE, "%lld samples of %s are too large",
                 (long long)net->max_rows, tr__shape_text(&slot->shape, text));
  slot->bytes = (size_t)count / 16 * tr_dtype_size(slot->dtype);
  return TR_OK;
}

/* Losses are sums, for which 16 bits are not precise enough. */
static tr_dtype output_dtype(const tr_model *net, const tr__node *node)
{
  if (node->flags & TR__IS_IDS) {
    return TR_I32;
  }
  return node->flags & TR__IS_LOSS ? net->ctx->dtype : net->ctx->compute;
}

static tr_status infer_node(tr_model *net, tr__node *node)
{
  for (int i = 0; i < node->num_inputs; i++) {
    const tr__node *input = &net->nodes[node->inputs[i]];
    TR__CHECK_NODE(!(input->flags & TR__IS_IDS) || node->type->takes_ids, node,
                   TR_EINVAL,
                   "input \"%s\" is integers, expected numbers: put "
                   "tr_embedding() before",
                   input->name);
    TR__CHECK_NODE(!(input->flags & TR__IS_LOSS), node, TR_EINVAL,
                   "input \"%s\" is a loss: losses are added up by "
                   "themselves, each with its weight",
                   input->name);
  }
  TR_TRY(node->type->infer(net, node));
  TR__CHECK_NODE(node->tied_to < 0 || weight_of(net, node) >= 0, node,
                 TR_EINVAL, "tied to \"%s\", but it has no weight",
                 net->nodes[node->tied_to].name);
  TR_ASSERT(node->num_params <= TR__MAX_NODE_PARAMS);
  TR_ASSERT(node->num_saved <= TR__MAX_NODE_SAVED);
  node->output =
      (tr__slot){.dtype = output_dtype(net, node), .shape = node->shape};
  if ((node->flags & TR__IS_INPUT) && node->output.dtype != TR_I32 &&
      node->output.dtype != net->ctx->dtype) {
    /* The batch's values before they are rounded to 16 bits. */
    tr__declare_saved(node, net->ctx->dtype, node->shape);
  }
  TR_TRY(size_slot(net, node, &node->output));
  for (int i = 0; i < node->num_saved; i++) {
    TR_TRY(size_slot(net, node, &node->saved[i]));
  }
  return TR_OK;
}

/* All losses are divided by the same sum of weights. So where targets decide
 * the weights, the model can have only one loss. */
static tr_status check_loss(const tr_model *net, const tr__node *node)
{
  TR__CHECK_NODE(net->num_losses < TR_MAX_INPUTS, node, TR_EINVAL,
                 "a model has at most %d losses", TR_MAX_INPUTS);
  TR__CHECK_NODE(node->loss_weight >= 0 && isfinite(node->loss_weight), node,
                 TR_EINVAL, "weight is %g, expected at least 0",
                 node->loss_weight);
  for (int i = 0; i < node->index; i++) {
    const tr__node *other = &net->nodes[i];
    if (!(other->flags & TR__IS_LOSS)) {
      continue;
    }
    unsigned any = node->flags | other->flags;
    TR__CHECK_NODE(!(any & TR__WEIGHS_TARGETS), node, TR_EUNSUPPORTED,
                   "the model has the loss \"%s\" too, and where ignored "
                   "targets or class weights decide what counts it has one",
                   other->name);
  }
  return TR_OK;
}

tr_status tr__model_infer(tr_model *net)
{
  for (int i = 0; i < net->num_nodes; i++) {
    tr__node *node = &net->nodes[i];
    TR_TRY(infer_node(net, node));
    if (node->flags & TR__IS_INPUT) {
      TR__CHECK_NODE(net->num_inputs < TR_MAX_INPUTS, node, TR_EINVAL,
                     "a model has at most %d inputs", TR_MAX_INPUTS);
      node->ordinal = net->num_inputs++;
    }
    if (node->flags & TR__IS_LOSS) {
      TR_TRY(check_loss(net, node));
      net->first_loss = net->num_losses == 0 ? i : net->first_loss;
      node->ordinal = net->num_losses++;
    }
  }
  TR_CHECK(net->num_inputs > 0, TR_EINVAL,
           "tr_model_build: the model has no tr_input()");
  net->weights = (tr__slot){.dtype = net->ctx->dtype};
  return size_slot(net, &net->nodes[0], &net->weights);
}
