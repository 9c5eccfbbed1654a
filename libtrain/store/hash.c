/* XXH3-64 of names, shapes and values, for tr_model_params_hash() and for ranks
 * that compare their models. */
#include "store/store_impl.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* The hash reads values and extents as they lie in memory. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "hashes and checkpoints are little-endian");

static void hash_params(const tr__store *store,
                        const char *values,
                        bool has_buffers,
                        XXH3_state_t *state)
{
  size_t size = tr_dtype_size(store->ctx->dtype);
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

/* The values on the host: where they lie, or in a copy *own. */
static tr_status
values_on_host(const tr__store *store, const char **values, char **own)
{
  tr__backend *backend = store->ctx->backend;
  size_t bytes = (size_t)store->value_count * tr_dtype_size(store->ctx->dtype);
  *own = NULL;
  *values = backend->type->host_view(backend, store->values);
  if (*values != NULL) {
    return backend->type->wait(&backend->stream);
  }
  *own = malloc(bytes + 1);
  TR_CHECK(*own != NULL, TR_ENOMEM, "no memory to hash %zu bytes", bytes);
  *values = *own;
  return backend->type->download(&backend->stream, *own, store->values, bytes);
}

tr_status
tr__store_hash(const tr__store *store, bool has_buffers, uint64_t *hash)
{
  const char *values;
  char *own;
  tr_status status = values_on_host(store, &values, &own);
  XXH3_state_t *state = XXH3_createState();
  if (status == TR_OK && state == NULL) {
    status = TR_FAIL(TR_ENOMEM, "no memory for a hash");
  }
  if (status == TR_OK) {
    XXH3_64bits_reset(state);
    hash_params(store, values, has_buffers, state);
    *hash = XXH3_64bits_digest(state);
  }
  XXH3_freeState(state);
  free(own);
  return status;
}
