/* tr_model_build(): infer, plan, allocate, initialise, agree. */
#include "model/model_impl.h"

#include <stdlib.h>
#include <string.h>

static tr_status choose_rows(tr_model *net, const tr_build_opts *opts)
{
  int64_t wanted = opts != NULL ? opts->batch : 0;
  TR_CHECK(wanted >= 0, TR_EINVAL,
           "tr_model_build: batch is %lld, expected at least 1",
           (long long)wanted);
  net->max_rows = wanted > 0 ? wanted : net->ctx->loader_rows;
  TR_CHECK(net->max_rows > 0, TR_EINVAL,
           "tr_model_build: no batch size is known: create the loader first "
           "or give .batch");
  return TR_OK;
}

static tr_status allocate(tr_model *net)
{
  tr__backend *backend = net->ctx->backend;
  tr_status status =
      backend->type->alloc(backend, net->activation_bytes, &net->activations);
  TR_CHECK(status == TR_OK, status,
           "tr_model_build: no memory for %zu bytes of activations for %lld "
           "samples",
           net->activation_bytes, (long long)net->max_rows);
  size_t size = tr_dtype_size(net->ctx->dtype);
  return backend->type->alloc(backend, TR__TAIL_COUNT * size, &net->sums);
}

static tr_status build(tr_model *net, const tr_build_opts *opts)
{
  if (net->error != TR_OK) {
    return TR_FAIL(net->error, "%s", net->error_message);
  }
  TR_TRY(choose_rows(net, opts));
  net->is_begun = true;
  TR_TRY(tr__model_infer(net));
  TR_TRY(tr__model_plan(net));
  TR_TRY(tr__store_create(net));
  TR_TRY(allocate(net));
  return tr__store_init(net);
}

/* Rank 0's first values to all ranks: they are the same already where all run
 * on one CPU type. */
static tr_status share_values(tr_model *net)
{
  tr__comm *comm = net->ctx->comm;
  if (comm->size == 1) {
    return TR_OK;
  }
  tr__backend *backend = net->ctx->backend;
  size_t bytes =
      (size_t)net->store.value_count * tr_dtype_size(net->ctx->dtype);
  char *values = malloc(bytes + 1);
  tr_status status = values == NULL
                         ? TR_FAIL(TR_ENOMEM, "no memory for %zu bytes", bytes)
                         : backend->type->download(&backend->stream, values,
                                                   net->store.values, bytes);
  status = tr__agree(comm, status);
  if (status == TR_OK) {
    status = comm->type->broadcast(comm, values, bytes, 0);
  }
  if (status == TR_OK) {
    backend->type->upload(&backend->stream, net->store.values, values, bytes);
  }
  free(values);
  return status;
}

/* Equal models on all ranks, then equal values. */
static tr_status join_ranks(tr_model *net)
{
  char *text = tr__model_text(net);
  tr_status status = tr__agree(
      net->ctx->comm,
      text != NULL ? TR_OK : TR_FAIL(TR_ENOMEM, "no memory for the plan"));
  if (status == TR_OK) {
    status = tr__agree_text(net->ctx->comm, "models", text);
  }
  free(text);
  if (status == TR_OK) {
    status = share_values(net);
  }
  return status;
}

tr_status tr_model_build(tr_model *net, const tr_build_opts *opts)
{
  TR_CHECK(!net->is_built, TR_ESTATE, "tr_model_build: called twice");
  tr_status status = tr__agree(net->ctx->comm, build(net, opts));
  if (status == TR_OK) {
    status = join_ranks(net);
  }
  net->is_built = status == TR_OK;
  /* What is there half-way stays until the model goes. */
  if (status != TR_OK && net->is_begun) {
    tr__model_remember(net, status);
  }
  return tr_error_push(status, __FILE__, __LINE__);
}
