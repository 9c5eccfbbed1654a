/* Access to parameters by name: reading, writing, visiting, hashing. */
#include "model/model_impl.h"

#include <stdlib.h>

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

/* Divide gradients by the loss scale. */
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

/* With virtual shards, layers that use the same weight have separate gradients
 * until the gradients are summed over the ranks. Until then, add them up here.
 */
static tr_status add_uses(tr_model *net, const tr__param *param, void *values)
{
  tr__backend *backend = net->ctx->backend;
  const tr__store *store = &net->store;
  bool is_apart = net->ctx->comm->shards.total > 0 &&
                  net->step.gradients == TR__GRADIENTS_LOCAL;
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
  TR_CHECK(net->is_built, TR_ESTATE,
           "tr_model_get_grad before tr_model_build()");
  TR_TRY(tr__step_check(&net->step, TR__STEP_READ_GRADIENT, false));
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

tr_status tr_model_params_hash(tr_model *net, uint64_t *hash)
{
  *hash = 0;
  TR_CHECK(net->is_built, TR_ESTATE,
           "tr_model_params_hash before tr_model_build()");
  return tr__store_hash(&net->store, true, hash);
}

tr_status tr__model_equal_hash(tr_model *net, uint64_t *hash)
{
  *hash = 0;
  return tr__store_hash(&net->store, false, hash);
}

tr_status tr__model_use_shared_memory(tr_model *net)
{
  /* An inference workspace keeps a pointer to the values. */
  bool is_free = atomic_load(&net->workspaces->num_workspaces) == 0;
  return tr__store_use_shared_memory(&net->store, is_free);
}
