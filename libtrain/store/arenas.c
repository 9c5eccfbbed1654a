/* Allocates and frees the arenas of parameters and gradients, in backend memory
 * or in a segment that the ranks of a node share. */
#include "base/half_impl.h"
#include "store/store_impl.h"

#include <stdlib.h>

tr_status tr__store_alloc(tr__store *store)
{
  tr_context *ctx = store->ctx;
  tr__backend *backend = ctx->backend;
  size_t size = tr_dtype_size(ctx->dtype);
  size_t bytes = (size_t)store->value_count * size;
  TR_TRY(backend->type->alloc(backend, bytes, &store->values));
  if (tr__is_half(ctx->compute)) {
    bytes = tr__store_values16_bytes(store);
    TR_TRY(backend->type->alloc(backend, bytes, &store->values16));
  }
  TR_TRY(backend->type->alloc(backend, sizeof(tr__step_block), &store->block));
  const tr__step_block block = {.loss_scale = tr__first_loss_scale(ctx)};
  backend->type->upload(&backend->stream, store->block, &block, sizeof block);
  return TR_OK;
}

size_t tr__store_grad_bytes(const tr__store *store)
{
  return ((size_t)store->count + TR__TAIL_COUNT) *
         tr_dtype_size(store->ctx->dtype);
}

tr_status tr__store_alloc_grads(tr__store *store)
{
  tr__comm *comm = store->ctx->comm;
  tr__backend *backend = store->ctx->backend;
  size_t bytes = tr__store_grad_bytes(store);
  if (backend->type->host_view(backend, store->values) == store->values) {
    TR_TRY(comm->type->alloc(comm, bytes, &store->grads));
    store->grads_are_shared = store->grads != NULL;
  }
  tr_status status = store->grads_are_shared
                         ? TR_OK
                         : backend->type->alloc(backend, bytes, &store->grads);
  return tr__agree(comm, status);
}

static void
release_arena(const tr__store *store, void *arena, bool is_shared, size_t bytes)
{
  tr__backend *backend = store->ctx->backend;
  if (is_shared) {
    store->ctx->comm->type->free(store->ctx->comm, arena);
  } else {
    backend->type->free(backend, arena, bytes);
  }
}

static size_t value_bytes(const tr__store *store)
{
  return (size_t)store->value_count * tr_dtype_size(store->ctx->dtype);
}

tr_status tr__store_use_shared_memory(tr__store *store, bool can)
{
  tr__comm *comm = store->ctx->comm;
  tr__backend *backend = store->ctx->backend;
  int64_t is_agreed =
      can && !store->values_are_shared &&
      backend->type->host_view(backend, store->values) == store->values;
  void *shared = NULL;
  TR_TRY(comm->type->reduce_i64(comm, &is_agreed, 1, TR__MIN));
  if (is_agreed != 0) {
    TR_TRY(comm->type->alloc(comm, value_bytes(store), &shared));
  }
  if (shared == NULL) {
    return TR_OK;
  }
  tr_status status = backend->type->download(&backend->stream, shared,
                                             store->values, value_bytes(store));
  release_arena(store, store->values, false, value_bytes(store));
  store->values = shared;
  store->values_are_shared = true;
  return tr__agree(comm, status);
}

void tr__store_release(tr__store *store)
{
  if (store->ctx != NULL) {
    tr__backend *backend = store->ctx->backend;
    backend->type->free(backend, store->block, sizeof(tr__step_block));
    backend->type->free(backend, store->micro_batch_sums,
                        tr__store_grad_bytes(store));
    release_arena(store, store->grads, store->grads_are_shared,
                  tr__store_grad_bytes(store));
    backend->type->free(backend, store->values16,
                        tr__store_values16_bytes(store));
    release_arena(store, store->values, store->values_are_shared,
                  value_bytes(store));
  }
  free(store->by_name);
  free(store->params);
}
