/* Tied weights in reproducible mode: each layer that uses the weight has a
 * gradient of its own until all have been summed over the ranks. The functions
 * here clear these gradients and add them up. */
#include "model/model_impl.h"

void tr__model_clear_owners(tr_model *net)
{
  const tr__store *store = &net->store;
  tr__backend *backend = net->ctx->backend;
  bool is_apart = net->ctx->comm->shards.total > 0;
  for (int i = 0; i < store->num_trained && is_apart; i++) {
    const tr__param *p = &store->params[i];
    if (p->num_uses > 1 && !p->has_own_gradient) {
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
