/* Reproducible mode: the cut of a batch into virtual shards, and gradients of
 * several batches, whose sums must not depend on the number of ranks either. */
#include "model/model_impl.h"

tr__shards tr__model_shards(const tr_model *net)
{
  const tr__comm *comm = net->ctx->comm;
  if (comm->cut.total == 0) {
    return tr__one_shard(net->rows);
  }
  int64_t first = comm->cut.first[comm->rank];
  /* Of a batch that this rank could not read its shards are empty too. */
  return (tr__shards){.rows = net->rows > 0 ? net->global_rows : 0,
                      .total = comm->cut.total,
                      .first = first,
                      .count = comm->cut.first[comm->rank + 1] - first};
}

tr_status tr__model_check_cut(const tr_model *net, const tr_batch *batch)
{
  const tr__comm *comm = net->ctx->comm;
  /* A batch that could not be read is empty on its rank. */
  if (comm->cut.total == 0 || net->ctx->pending != TR_OK) {
    return TR_OK;
  }
  int64_t rows = batch->global_count;
  int64_t first = tr__comm_first_row(comm, rows, comm->rank);
  int64_t end = tr__comm_first_row(comm, rows, comm->rank + 1);
  TR_CHECK(
      batch->first == first && batch->count == end - first, TR_EINVAL,
      "tr_model_forward: the batch holds the samples %lld to %lld of %lld, "
      "with %lld virtual shards expected %lld to %lld: see "
      "tr_batch_part()",
      (long long)batch->first, (long long)(batch->first + batch->count),
      (long long)rows, (long long)comm->cut.total, (long long)first,
      (long long)end);
  return TR_OK;
}

static tr__tensor grads(const tr__store *store)
{
  return tr__store_flat(store, store->grads, 0, store->count);
}

static bool is_cut(const tr_context *ctx)
{
  return ctx->comm->cut.total > 0 && ctx->comm->size > 1;
}

void tr__model_drop_empty(tr_model *net, int64_t begin, int64_t end)
{
  tr_context *ctx = net->ctx;
  const tr__store *store = &net->store;
  if (is_cut(ctx) && net->backward_rows == 0) {
    tr__tensor part = tr__store_flat(store, store->grads, begin, end - begin);
    ctx->backend->ops.fill(&ctx->backend->stream,
                           &(tr__fill_args){.y = part, .value = -0.0});
  }
}

/* The first time, on all ranks alike. */
static tr_status make_room(tr__store *store)
{
  tr__backend *backend = store->ctx->backend;
  size_t bytes = tr__store_grad_bytes(store);
  if (store->earlier != NULL) {
    return TR_OK;
  }
  return tr__agree(store->ctx->comm,
                   backend->type->alloc(backend, bytes, &store->earlier));
}

tr_status tr__model_end_part(tr_model *net)
{
  tr_context *ctx = net->ctx;
  tr__store *store = &net->store;
  if (!is_cut(ctx)) {
    return TR_OK;
  }
  TR_TRY(make_room(store));
  tr__model_drop_empty(net, 0, store->count);
  int64_t count = store->count + TR__TAIL_COUNT;
  TR_TRY(tr__allreduce_arena(ctx, store->grads, count, ctx->dtype));
  tr__stream *stream = &ctx->backend->stream;
  tr__tensor all = tr__store_flat(store, store->grads, 0, count);
  tr__tensor earlier = tr__store_flat(store, store->earlier, 0, count);
  /* To -0 every number can be added, and is itself. */
  if (!store->has_earlier) {
    ctx->backend->ops.fill(stream,
                           &(tr__fill_args){.y = earlier, .value = -0.0});
  }
  ctx->backend->ops.add(stream, &(tr__add_args){.y = earlier, .x = all});
  store->has_earlier = true;
  ctx->backend->ops.fill(stream,
                         &(tr__fill_args){.y = grads(store), .value = -0.0});
  ctx->backend->ops.fill(stream, &(tr__fill_args){.y = tr__store_tail(store)});
  return TR_OK;
}

void tr__model_add_parts(tr_model *net)
{
  tr_context *ctx = net->ctx;
  tr__store *store = &net->store;
  if (!store->has_earlier) {
    return;
  }
  store->has_earlier = false;
  int64_t count = store->count + TR__TAIL_FAILED;
  ctx->backend->ops.add(
      &ctx->backend->stream,
      &(tr__add_args){.y = tr__store_flat(store, store->grads, 0, count),
                      .x = tr__store_flat(store, store->earlier, 0, count)});
}

/* Layers before a node that are tied to the same weight. */
static int use_of(const tr_model *net, const tr__node *node, int param)
{
  int uses = 0;
  for (int k = 0; k < node->index; k++) {
    const tr__node *other = &net->nodes[k];
    for (int i = 0; i < other->num_params; i++) {
      uses += other->params[i] == param && tr__is_tied_param(net, other, i);
    }
  }
  return uses;
}

void *tr__model_tied_grad(const tr_model *net, const tr__node *node, int i)
{
  int param = node->params[i];
  int use = use_of(net, node, param);
  return tr__store_use_grad(&net->store, &net->store.params[param], use).data;
}

/* Does the layer that declared it take part in backward? */
static bool has_own_gradient(const tr_model *net, int param)
{
  for (int k = 0; k < net->num_nodes; k++) {
    const tr__node *node = &net->nodes[k];
    for (int i = 0; i < node->num_params; i++) {
      if (node->params[i] == param && !tr__is_tied_param(net, node, i)) {
        return node->wants_gradient;
      }
    }
  }
  return false;
}

void tr__model_clear_owners(tr_model *net)
{
  const tr__store *store = &net->store;
  tr__backend *backend = net->ctx->backend;
  bool is_apart = net->ctx->comm->cut.total > 0;
  for (int i = 0; i < store->num_trained && is_apart; i++) {
    const tr__param *p = &store->params[i];
    if (p->num_uses > 1 && !has_own_gradient(net, i)) {
      tr__tensor own = tr__store_flat(store, store->grads, p->offset, p->count);
      backend->ops.fill(&backend->stream, &(tr__fill_args){.y = own});
    }
  }
}

void tr__store_add_uses(const tr__store *store)
{
  const tr__ops *ops = &store->ctx->backend->ops;
  tr__stream *stream = &store->ctx->backend->stream;
  bool is_apart = store->ctx->comm->cut.total > 0;
  for (int i = 0; i < store->num_trained && is_apart; i++) {
    const tr__param *p = &store->params[i];
    tr__tensor sum = tr__store_flat(store, store->grads, p->offset, p->count);
    for (int use = 0; use < p->num_uses - 1; use++) {
      tr__tensor other = tr__store_use_grad(store, p, use);
      ops->add(stream, &(tr__add_args){.y = sum, .x = other});
      ops->fill(stream, &(tr__fill_args){.y = other});
    }
  }
}
