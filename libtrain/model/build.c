/* tr_model_build(): infer shapes, plan memory, allocate, initialise, and check
 * that all ranks have built the same model. A second build, after
 * tr_model_freeze(), keeps the values of the parameters. */
#include "model/model_impl.h"

#include <stdlib.h>
#include <string.h>

static tr_status choose_rows(tr_model *net, const tr_build_opts *opts)
{
  int64_t wanted = opts != NULL ? opts->max_local_batch : 0;
  if (wanted == 0) {
    wanted = net->max_rows; /* the previous build's */
  }
  TR_CHECK(wanted >= 0, TR_EINVAL,
           "tr_model_build: max_local_batch is %lld, expected at least 1",
           (long long)wanted);
  net->max_rows = wanted > 0 ? wanted : net->ctx->loader_rows;
  TR_CHECK(net->max_rows > 0, TR_EINVAL,
           "tr_model_build: no batch size is known: create the loader first "
           "or give .max_local_batch");
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
  TR_TRY(tr__model_apply_freezes(net));
  TR_TRY(tr__model_freeze_unreached(net));
  TR_TRY(tr__model_plan(net));
  TR_TRY(tr__model_lay_out(net));
  TR_TRY(tr__plan_accumulate(net));
  TR_TRY(tr__store_alloc(&net->store));
  TR_TRY(allocate(net));
  return tr__model_init_values(net);
}

/* Where all ranks run on the same type of CPU, their first values are equal
 * already. */
tr_status tr__model_broadcast_values(tr_model *net)
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
    tr__store_changed(&net->store);
  }
  free(values);
  return status;
}

/* An error unless the text is equal on all ranks. Frees the text. */
static tr_status agree_on(tr_model *net, const char *what, char *text)
{
  tr_status status = tr__agree(
      net->ctx->comm,
      text != NULL ? TR_OK : TR_FAIL(TR_ENOMEM, "no memory for the plan"));
  if (status == TR_OK) {
    status = tr__agree_text(net->ctx->comm, what, text);
  }
  free(text);
  return status;
}

/* Check that all ranks have equal models, then broadcast rank 0's values. */
static tr_status join_ranks(tr_model *net)
{
  TR_TRY(agree_on(net, "models", tr__model_options_text(net)));
  TR_TRY(agree_on(net, "frozen parameters", tr__model_freeze_text(net)));
  TR_TRY(tr__model_broadcast_values(net));
  tr__model_name_unreached(net);
  return TR_OK;
}

static tr_status build_on_all(tr_model *net, const tr_build_opts *opts)
{
  tr_status status = tr__agree(net->ctx->comm, build(net, opts));
  if (status == TR_OK) {
    status = tr__store_alloc_grads(&net->store);
  }
  if (status == TR_OK) {
    status = tr__agree(net->ctx->comm, net->ctx->step_hooks->create(net));
  }
  return status == TR_OK ? join_ranks(net) : status;
}

/* Copy the values of `from` to the parameters of the same name. */
static tr_status copy_values(tr_model *net, const tr_model *from)
{
  tr__backend *backend = net->ctx->backend;
  tr__stream *stream = &backend->stream;
  size_t size = tr_dtype_size(net->ctx->dtype);
  char *values = malloc((size_t)from->store.value_count * size + 1);
  TR_CHECK(values != NULL, TR_ENOMEM, "no memory for %lld values",
           (long long)from->store.value_count);
  tr_status status =
      backend->type->download(stream, values, from->store.values,
                              (size_t)from->store.value_count * size);
  for (int i = 0; i < net->store.num_params && status == TR_OK; i++) {
    const tr__param *param = &net->store.params[i];
    const tr__param *old = tr__store_param(&from->store, param->name);
    tr__tensor view = tr__store_tensor(&net->store, net->store.values, param);
    backend->type->upload(stream, view.data,
                          values + (size_t)old->offset * size,
                          (size_t)param->count * size);
  }
  tr__store_changed(&net->store);
  free(values);
  return status;
}

/* Reset the model to what its builder calls left, with a copy of the nodes. The
 * caller owns what the old plan allocated. */
static tr_status forget_plan(tr_model *net)
{
  int num_workspaces = atomic_load(&net->workspaces->num_workspaces);
  TR_CHECK(num_workspaces == 0, TR_ESTATE,
           "tr_model_build: %d workspaces use the parameters: call "
           "tr_inference_destroy() first",
           num_workspaces);
  tr__node *nodes = calloc((size_t)net->max_nodes, sizeof *nodes);
  TR_CHECK(nodes != NULL, TR_ENOMEM, "no memory for %d layers", net->num_nodes);
  for (int i = 0; i < net->num_nodes; i++) {
    nodes[i] = tr__node_as_added(&net->nodes[i]);
  }
  int generation = net->store.generation;
  net->nodes = nodes;
  net->store = (tr__store){.generation = generation + 1};
  net->num_inputs = net->num_losses = 0;
  net->activations = net->sums = NULL;
  net->activation_bytes = 0;
  net->overlap = (tr__overlap){0};
  net->buckets = (tr__buckets){0};
  net->step = (tr__step_state){0};
  net->is_begun = net->is_built = false;
  return TR_OK;
}

/* Build the new plan while the old one still exists, so that the model keeps
 * the old one if the build fails. */
static tr_status build_again(tr_model *net, const tr_build_opts *opts)
{
  tr_model old = *net;
  tr_status status = tr__agree(net->ctx->comm, forget_plan(net));
  if (status == TR_OK) {
    status = build_on_all(net, opts);
  }
  if (status == TR_OK) {
    status = tr__agree(net->ctx->comm, copy_values(net, &old));
  }
  bool is_new = status == TR_OK;
  if (is_new) {
    net->is_built = true;
    net->is_stale = false;
  }
  if (net->nodes != old.nodes) {
    tr_model *gone = is_new ? &old : net;
    tr__model_release_plan(gone);
    free(gone->nodes);
  }
  if (!is_new) {
    *net = old;
  }
  return status;
}

tr_status tr_model_build(tr_model *net, const tr_build_opts *opts)
{
  TR_CHECK(!net->is_built || net->is_stale, TR_ESTATE,
           "tr_model_build: called twice");
  if (net->is_stale) {
    return tr_error_push(build_again(net, opts), __FILE__, __LINE__);
  }
  tr_status status = build_on_all(net, opts);
  net->is_built = status == TR_OK;
  /* tr_model_destroy() frees what a failed build has allocated. */
  if (status != TR_OK && net->is_begun) {
    tr__model_remember(net, status);
  }
  return tr_error_push(status, __FILE__, __LINE__);
}
