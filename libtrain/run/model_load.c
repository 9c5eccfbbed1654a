/* tr_model_load(): parameters from any HDF5 file, all or none. */
#include "run/checkpoint_impl.h"
#include "run/h5_strict_impl.h"

#include <stdlib.h>

static tr_status
read_params(const tr__store *store, const tr__h5_file *file, char *arena)
{
  char name[TR__VIEW_NAME_BYTES];
  tr_dtype dtype = store->ctx->dtype;
  for (int i = 0; i < store->num_params; i++) {
    const tr__param *param = &store->params[i];
    char *values = arena + (size_t)param->offset * tr_dtype_size(dtype);
    tr__param_set_name(param, NULL, name);
    TR_TRY(tr__h5_read(file, name, &param->shape, dtype, values));
    int64_t bad = tr__first_not_finite(dtype, values, param->count);
    TR_CHECK(bad < 0, TR_EDATA,
             "%s: element %lld of data set %s is not a finite %s", file->path,
             (long long)bad, name, tr__dtype_name(dtype));
  }
  return TR_OK;
}

static tr_status
read_root(const tr__store *store, const char *path, char *arena)
{
  tr__h5_file file;
  TR_TRY(tr__h5_open(path, &file));
  tr_status status = read_params(store, &file, arena);
  tr__h5_close(&file);
  return status;
}

tr_status tr_model_load(tr_model *net, const char *path)
{
  tr_context *ctx = tr__model_context(net);
  tr__comm *comm = ctx->comm;
  tr__store *store = tr__model_store(net);
  /* The same on every rank, so nothing has to be agreed on. */
  TR_CHECK(store != NULL, TR_ESTATE, "tr_model_load before tr_model_build()");
  size_t bytes = (size_t)store->value_count * tr_dtype_size(ctx->dtype);
  char *arena = calloc(1, bytes + 1);
  tr_status status = TR_OK;
  if (arena == NULL) {
    status = TR_FAIL(TR_ENOMEM, "no memory for %zu bytes of parameters", bytes);
  } else if (comm->rank == 0) {
    status = read_root(store, path, arena);
  }
  TR_TRY_GOTO(tr__agree(comm, status), done);
  TR_TRY_GOTO(comm->type->broadcast(comm, arena, bytes, 0), done);
  tr__backend *backend = ctx->backend;
  backend->type->upload(&backend->stream, store->values, arena, bytes);
  TR_TRY_GOTO(tr__agree(comm, backend->type->wait(&backend->stream)), done);

done:
  free(arena);
  return status;
}
