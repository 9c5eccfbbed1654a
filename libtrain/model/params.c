/* The arenas of parameters and gradients: layout, first values, access. */
#include "base/half_impl.h"
#include "model/model_impl.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static bool is_no_buffer(const tr__param *param)
{
  return !param->is_buffer;
}

/* Parameters in the order in which backward finishes their gradients: those of
 * the last layer first, but a weight that others are tied to with the layer
 * that declared it; then those that do not come `first`. `order[k]` is the
 * declared index at place k. */
static void order_params(const tr_model *net,
                         bool (*comes_first)(const tr__param *param),
                         int *order)
{
  int place = 0;
  for (int is_first = 1; is_first >= 0; is_first--) {
    for (int i = net->num_nodes - 1; i >= 0; i--) {
      const tr__node *node = &net->nodes[i];
      for (int k = 0; k < node->num_params; k++) {
        const tr__param *param = &net->store.params[node->params[k]];
        if (comes_first(param) == is_first &&
            !tr__is_tied_param(net, node, k)) {
          order[place++] = node->params[k];
        }
      }
    }
  }
}

static void renumber(tr_model *net, const int *order)
{
  for (int i = 0; i < net->num_nodes; i++) {
    tr__node *node = &net->nodes[i];
    for (int k = 0; k < node->num_params; k++) {
      int declared = node->params[k];
      for (int place = 0; place < net->store.num_params; place++) {
        if (order[place] == declared) {
          node->params[k] = place;
        }
      }
    }
  }
}

/* Insertion sort: there are at most a few hundred names. */
static void sort_names(tr__store *store)
{
  for (int i = 0; i < store->num_params; i++) {
    int k = i;
    while (k > 0 && strcmp(store->params[store->by_name[k - 1]].name,
                           store->params[i].name) > 0) {
      store->by_name[k] = store->by_name[k - 1];
      k--;
    }
    store->by_name[k] = i;
  }
}

/* Each parameter fits, all of them together may not. */
static tr_status check_total(const tr__store *store)
{
  int64_t total = 0;
  for (int i = 0; i < store->num_params; i++) {
    int64_t room = store->params[i].count + TR__PARAM_ALIGN;
    bool fits = !tr__add_overflows(total, room, &total);
    TR_CHECK(fits && total <= INT64_MAX / 16, TR_ESHAPE,
             "tr_model_build: the parameters up to \"%s\" are too large",
             store->params[i].name);
  }
  return TR_OK;
}

/* The trained ones first, behind them the gradients of layers that are tied to
 * them, where these are kept apart, then the rest. */
static void place_params(tr__store *store, tr__param *params)
{
  int64_t at = 0;
  bool is_cut = store->ctx->comm->cut.total > 0;
  for (int i = 0; i < store->num_trained; i++) {
    params[i].offset = at;
    at += tr__param_room(&params[i]);
  }
  for (int i = 0; i < store->num_trained && is_cut; i++) {
    params[i].uses_offset = at;
    at += tr__param_room(&params[i]) * tr__max(params[i].num_uses - 1, 0);
  }
  store->count = at;
  for (int i = store->num_trained; i < store->num_params; i++) {
    params[i].offset = at;
    at += tr__param_room(&params[i]);
  }
  store->value_count = at;
}

static tr_status lay_out(tr_model *net)
{
  tr__store *store = &net->store;
  TR_TRY(check_total(store));
  size_t count = (size_t)store->num_params;
  int *order = calloc(count + 1, sizeof *order);
  tr__param *params = calloc(count + 1, sizeof *params);
  store->by_name = calloc(count + 1, sizeof *store->by_name);
  if (order == NULL || params == NULL || store->by_name == NULL) {
    free(order);
    free(params);
    return TR_FAIL(TR_ENOMEM, "no memory for %zu parameter names", count);
  }
  /* First values do not depend on what is frozen. */
  order_params(net, is_no_buffer, order);
  for (int i = 0; i < store->num_params; i++) {
    store->params[order[i]].stream = store->num_params - 1 - i;
  }
  order_params(net, tr__param_is_trained, order);
  renumber(net, order);
  store->num_trained = 0;
  for (int i = 0; i < store->num_params; i++) {
    params[i] = store->params[order[i]];
    store->num_trained += tr__param_is_trained(&params[i]);
  }
  place_params(store, params);
  free(order);
  free(store->params);
  store->params = params;
  sort_names(store);
  return TR_OK;
}

tr_status tr__store_create(tr_model *net)
{
  tr__store *store = &net->store;
  store->ctx = net->ctx;
  TR_TRY(lay_out(net));
  tr__backend *backend = net->ctx->backend;
  size_t size = tr_dtype_size(net->ctx->dtype);
  size_t bytes = (size_t)store->value_count * size;
  TR_TRY(backend->type->alloc(backend, bytes, &store->values));
  if (tr__is_half(net->ctx->compute)) {
    bytes = tr__store_half_bytes(store);
    TR_TRY(backend->type->alloc(backend, bytes, &store->halves));
  }
  TR_TRY(backend->type->alloc(backend, sizeof(tr__step_block), &store->block));
  const tr__step_block block = {.loss_scale = tr__first_loss_scale(net->ctx)};
  backend->type->upload(&backend->stream, store->block, &block, sizeof block);
  store->grads_are_clear = true;
  return TR_OK;
}

size_t tr__store_grad_bytes(const tr__store *store)
{
  return ((size_t)store->count + TR__TAIL_COUNT) *
         tr_dtype_size(store->ctx->dtype);
}

tr_status tr__store_create_grads(tr_model *net)
{
  tr__store *store = &net->store;
  tr__comm *comm = net->ctx->comm;
  tr__backend *backend = net->ctx->backend;
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

/* Where the host may touch the values, and no workspace reads them. */
static bool can_move_values(const tr_model *net)
{
  const tr__store *store = &net->store;
  tr__backend *backend = net->ctx->backend;
  return !store->values_are_shared &&
         atomic_load(&net->sharing->num_workspaces) == 0 &&
         backend->type->host_view(backend, store->values) == store->values;
}

tr_status tr__model_join_values(tr_model *net)
{
  tr__store *store = &net->store;
  tr__comm *comm = net->ctx->comm;
  tr__backend *backend = net->ctx->backend;
  int64_t can = can_move_values(net);
  void *shared = NULL;
  TR_TRY(comm->type->reduce_i64(comm, &can, 1, TR__MIN));
  if (can != 0) {
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
  if (store->checkpoint_cache != NULL) {
    store->release_checkpoint_cache(store->checkpoint_cache);
  }
  if (store->ctx != NULL) {
    tr__backend *backend = store->ctx->backend;
    backend->type->free(backend, store->block, sizeof(tr__step_block));
    backend->type->free(backend, store->earlier, tr__store_grad_bytes(store));
    release_arena(store, store->grads, store->grads_are_shared,
                  tr__store_grad_bytes(store));
    backend->type->free(backend, store->halves, tr__store_half_bytes(store));
    release_arena(store, store->values, store->values_are_shared,
                  value_bytes(store));
  }
  free(store->buckets);
  free(store->by_name);
  free(store->params);
}

tr_status tr__store_init(tr_model *net)
{
  const tr__store *store = &net->store;
  int64_t largest = 1;
  for (int i = 0; i < store->num_params; i++) {
    largest = tr__max(largest, store->params[i].count);
  }
  double *values = malloc((size_t)largest * sizeof *values);
  TR_CHECK(values != NULL, TR_ENOMEM, "no memory for %lld first values",
           (long long)largest);
  tr_status status = TR_OK;
  for (int i = 0; i < store->num_params && status == TR_OK; i++) {
    status = tr__init_set(net, &store->params[i], values);
  }
  free(values);
  return status;
}

static tr_status
find_param(tr_model *net, const char *call, const char *name, tr__param **out)
{
  TR_CHECK(net->is_built, TR_ESTATE, "%s before tr_model_build()", call);
  *out = tr__store_param(&net->store, name);
  if (*out != NULL) {
    return TR_OK;
  }
  char list[TR__MESSAGE_BYTES / 2];
  return TR_FAIL(TR_EINVAL, "%s: no parameter is named \"%.80s\"; there are%s",
                 call, name, tr__store_names(&net->store, sizeof list, list));
}

/* Without the loss scale. */
static tr_status unscale(tr_model *net, float *values, int64_t count)
{
  tr__step_block block;
  tr__backend *backend = net->ctx->backend;
  TR_TRY(backend->type->download(&backend->stream, &block, net->store.block,
                                 sizeof block));
  for (int64_t i = 0; i < count; i++) {
    values[i] = (float)((double)values[i] / block.loss_scale);
  }
  return TR_OK;
}

/* With virtual shards layers that share a weight have gradients of their own
 * until they are summed. */
static tr_status add_uses(tr_model *net, const tr__param *param, void *values)
{
  tr__backend *backend = net->ctx->backend;
  const tr__store *store = &net->store;
  bool is_apart = net->ctx->comm->cut.total > 0 && !store->grads_are_reduced;
  if (!is_apart || param->num_uses == 1) {
    return TR_OK;
  }
  size_t bytes = (size_t)param->count * tr_dtype_size(net->ctx->dtype);
  void *one = malloc(bytes);
  TR_CHECK(one != NULL, TR_ENOMEM, "no memory for a gradient");
  tr_status status = TR_OK;
  for (int use = 0; use < param->num_uses - 1; use++) {
    tr__tensor from = tr__store_use_grad(store, param, use);
    TR_TRY_GOTO(
        backend->type->download(&backend->stream, one, from.data, bytes), done);
    for (int64_t i = 0; i < param->count; i++) {
      if (net->ctx->dtype == TR_F64) {
        ((double *)values)[i] += ((double *)one)[i];
      } else {
        ((float *)values)[i] += ((float *)one)[i];
      }
    }
  }

done:
  free(one);
  return status;
}

static tr_status read_param(tr_model *net,
                            const char *call,
                            const char *name,
                            bool is_grad,
                            void *values)
{
  tr__param *param;
  TR_TRY(find_param(net, call, name, &param));
  TR_CHECK(!is_grad || tr__param_is_trained(param), TR_EINVAL,
           "%s: %s is not trained and has no gradient", call, name);
  tr__backend *backend = net->ctx->backend;
  void *arena = is_grad ? net->store.grads : net->store.values;
  tr__tensor view = tr__store_tensor(&net->store, arena, param);
  TR_TRY(backend->type->download(&backend->stream, values, view.data,
                                 (size_t)param->count *
                                     tr_dtype_size(net->ctx->dtype)));
  if (is_grad) {
    TR_TRY(add_uses(net, param, values));
  }
  return is_grad && net->ctx->compute == TR_F16
             ? unscale(net, values, param->count)
             : TR_OK;
}

size_t tr_model_param_bytes(const tr_model *net, const char *name)
{
  const tr__param *param =
      net->is_built ? tr__store_param(&net->store, name) : NULL;
  return param != NULL ? (size_t)param->count * tr_dtype_size(net->ctx->dtype)
                       : 0;
}

tr_status tr_model_get_param(tr_model *net, const char *name, void *values)
{
  return read_param(net, "tr_model_get_param", name, false, values);
}

tr_status tr_model_get_grad(tr_model *net, const char *name, void *values)
{
  TR_CHECK(net->is_built && !net->store.grads_are_clear, TR_ESTATE,
           "tr_model_get_grad before tr_model_backward()");
  TR_CHECK(!net->store.grads_are_spread, TR_ESTATE,
           "tr_model_get_grad after tr_model_allreduce_grads(): the optimizer "
           "has shard_state, and every rank the sums of its share only");
  return read_param(net, "tr_model_get_grad", name, true, values);
}

tr_status
tr_model_set_param(tr_model *net, const char *name, const void *values)
{
  tr__param *param;
  TR_TRY(find_param(net, "tr_model_set_param", name, &param));
  tr__backend *backend = net->ctx->backend;
  tr__tensor view = tr__store_tensor(&net->store, net->store.values, param);
  backend->type->upload(&backend->stream, view.data, values,
                        (size_t)param->count * tr_dtype_size(net->ctx->dtype));
  tr__store_changed(&net->store);
  return TR_OK;
}

tr_status tr_model_visit(tr_model *net, tr_visit_fn visit, void *user)
{
  TR_CHECK(net->is_built, TR_ESTATE, "tr_model_visit before tr_model_build()");
  for (int i = 0; i < net->store.num_params; i++) {
    const tr__param *param = &net->store.params[net->store.by_name[i]];
    const tr_param_info info = {param->name, param->shape, net->ctx->dtype};
    TR_TRY(visit(user, &info));
  }
  return TR_OK;
}

int64_t tr_model_num_params(const tr_model *net)
{
  int64_t count = 0;
  for (int i = 0; net->is_built && i < net->store.num_trained; i++) {
    count += net->store.params[i].count;
  }
  return count;
}

static void hash_params(const tr_model *net,
                        const char *values,
                        bool has_buffers,
                        XXH3_state_t *state)
{
  const tr__store *store = &net->store;
  size_t size = tr_dtype_size(net->ctx->dtype);
  for (int i = 0; i < store->num_params; i++) {
    const tr__param *param = &store->params[store->by_name[i]];
    if (param->is_buffer && !has_buffers) {
      continue;
    }
    XXH3_64bits_update(state, param->name, strlen(param->name));
    XXH3_64bits_update(state, param->shape.dims,
                       (size_t)param->shape.ndim * sizeof(int64_t));
    XXH3_64bits_update(state, values + (size_t)param->offset * size,
                       (size_t)param->count * size);
  }
}

/* Values and extents are hashed as they lie in memory. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "hashes and checkpoints are little-endian");

/* The values on the host: where they lie, or in memory of their own. */
static tr_status values_on_host(tr_model *net, const char **values, char **own)
{
  tr__backend *backend = net->ctx->backend;
  size_t bytes =
      (size_t)net->store.value_count * tr_dtype_size(net->ctx->dtype);
  *own = NULL;
  *values = backend->type->host_view(backend, net->store.values);
  if (*values != NULL) {
    return backend->type->wait(&backend->stream);
  }
  *own = malloc(bytes + 1);
  TR_CHECK(*own != NULL, TR_ENOMEM, "no memory to hash %zu bytes", bytes);
  *values = *own;
  return backend->type->download(&backend->stream, *own, net->store.values,
                                 bytes);
}

static tr_status hash_values(tr_model *net, bool has_buffers, uint64_t *hash)
{
  const char *values;
  char *own;
  tr_status status = values_on_host(net, &values, &own);
  XXH3_state_t *state = XXH3_createState();
  if (status == TR_OK && state == NULL) {
    status = TR_FAIL(TR_ENOMEM, "no memory for a hash");
  }
  if (status == TR_OK) {
    XXH3_64bits_reset(state);
    hash_params(net, values, has_buffers, state);
    *hash = XXH3_64bits_digest(state);
  }
  XXH3_freeState(state);
  free(own);
  return status;
}

tr_status tr_model_params_hash(tr_model *net, uint64_t *hash)
{
  *hash = 0;
  TR_CHECK(net->is_built, TR_ESTATE,
           "tr_model_params_hash before tr_model_build()");
  return hash_values(net, true, hash);
}

tr_status tr__model_equal_hash(tr_model *net, uint64_t *hash)
{
  *hash = 0;
  return hash_values(net, false, hash);
}
