/* Views of the parameter and gradient arenas as tensors, and the 16-bit copy of
 * the values. */
#include "store/store_impl.h"

#include <string.h>

tr__param *tr__store_param(const tr__store *store, const char *name)
{
  for (int i = 0; i < store->num_params; i++) {
    if (strcmp(store->params[i].name, name) == 0) {
      return &store->params[i];
    }
  }
  return NULL;
}

const char *tr__store_names(const tr__store *store, size_t bytes, char *out)
{
  size_t used = 0;
  out[0] = '\0';
  for (int i = 0; i < store->num_params && used < bytes; i++) {
    int k = store->by_name != NULL ? store->by_name[i] : i;
    used += (size_t)snprintf(out + used, bytes - used, " %s",
                             store->params[k].name);
  }
  return out;
}

static void *element(const tr__store *store, void *arena, int64_t offset)
{
  return (char *)arena + (size_t)offset * tr_dtype_size(store->ctx->dtype);
}

tr__tensor
tr__store_tensor(const tr__store *store, void *arena, const tr__param *param)
{
  return tr__tensor_of(element(store, arena, param->offset), store->ctx->dtype,
                       param->shape.ndim, param->shape.dims);
}

tr__tensor tr__store_flat(const tr__store *store,
                          void *arena,
                          int64_t offset,
                          int64_t count)
{
  return tr__tensor_of(element(store, arena, offset), store->ctx->dtype, 1,
                       &count);
}

void tr__store_refresh(tr__store *store, tr__stream *stream)
{
  if (store->values16 == NULL || !store->values16_are_stale) {
    return;
  }
  const int64_t count = store->value_count;
  stream->backend->ops.cast(
      stream,
      &(tr__cast_args){
          .y = tr__tensor_of(store->values16, store->ctx->compute, 1, &count),
          .x = tr__store_flat(store, store->values, 0, count)});
  store->values16_are_stale = false;
}

tr__tensor
tr__store_use_grad(const tr__store *store, const tr__param *param, int use)
{
  int64_t offset = param->uses_offset + use * tr__param_room(param);
  return tr__store_flat(store, store->grads, offset, param->count);
}

tr__tensor tr__store_tail(const tr__store *store)
{
  return tr__store_flat(store, store->grads, store->count, TR__TAIL_COUNT);
}

tr__tensor tr__store_block(const tr__store *store)
{
  int64_t count = (int64_t)(sizeof(tr__step_block) / sizeof(double));
  return tr__tensor_of(store->block, TR_F64, 1, &count);
}
