/* Reproducible mode: each layer that uses a tied weight has a gradient of its
 * own until these are summed over the ranks. */
#include "model/model_impl.h"

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
  bool is_apart = net->ctx->comm->shards.total > 0;
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
  bool is_apart = store->ctx->comm->shards.total > 0;
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
