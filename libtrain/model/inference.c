/* Inference workspaces: the subgraph of a model that given outputs need,
 * planned for forward alone, on the model's parameters.
 *
 * The subgraph is a tr_model with a context of its own, so that layers need no
 * code for it. Where the backend's memory is host memory, the workspace creates
 * a backend with its own thread pool, which can read the model's parameters.
 * Elsewhere the workspace uses the model's backend, and all such workspaces
 * take turns. */
#include "model/model_impl.h"

#include <train/inference.h>

#include <stdlib.h>
#include <string.h>

struct tr_inference {
  tr_model *model; /* borrowed */
  tr_context ctx;  /* the model's, with the pool and backend of the workspace */
  tr_model part;
  int *origins;      /* for each node of `part`, its index in the model */
  bool owns_backend; /* false: calls take the lock */
  bool has_run;
};

static void begin(tr_inference *plan)
{
  if (!plan->owns_backend) {
    pthread_mutex_lock(&plan->model->workspaces->lock);
  }
}

static void end(tr_inference *plan)
{
  if (!plan->owns_backend) {
    pthread_mutex_unlock(&plan->model->workspaces->lock);
  }
}

/* Mark the outputs with 2 and the nodes that they depend on with 1. The
 * standard output is the input of the first loss, or the last node. */
static tr_status
mark_nodes(const tr_model *net, const tr_inference_opts *opts, char *marks)
{
  tr_node standard = {net->num_nodes - 1};
  for (int i = net->num_nodes - 1; i >= 0; i--) {
    if (net->nodes[i].flags & TR__IS_LOSS) {
      standard.index = net->nodes[i].inputs[0];
    }
  }
  bool is_standard = opts->outputs == NULL;
  const tr_node *outputs = is_standard ? &standard : opts->outputs;
  int count = is_standard ? 1 : opts->num_outputs;
  TR_CHECK(count > 0, TR_EINVAL,
           "tr_inference_create: num_outputs is %d, expected at least 1",
           count);
  for (int i = 0; i < count; i++) {
    int index = outputs[i].index;
    TR_CHECK(index >= 0 && index < net->num_nodes, TR_EINVAL,
             "tr_inference_create: outputs[%d] is no node of this model", i);
    TR_CHECK(!(net->nodes[index].flags & TR__IS_LOSS), TR_EINVAL,
             "tr_inference_create: outputs[%d] is the loss \"%s\", which needs "
             "targets: ask for its input",
             i, net->nodes[index].name);
    marks[index] = 2;
  }
  for (int i = net->num_nodes - 1; i >= 0; i--) {
    const tr__node *node = &net->nodes[i];
    for (int k = 0; k < node->num_inputs && marks[i] != 0; k++) {
      marks[node->inputs[k]] |= 1;
    }
  }
  return TR_OK;
}

/* Copy the marked nodes and renumber them. The model owns their options. */
static tr_status copy_nodes(tr_inference *plan, const char *marks)
{
  const tr_model *net = plan->model;
  tr_model *part = &plan->part;
  size_t count = (size_t)net->num_nodes;
  int *places = calloc(count, sizeof *places);
  plan->origins = calloc(count, sizeof *plan->origins);
  part->nodes = calloc(count, sizeof *part->nodes);
  if (places == NULL || plan->origins == NULL || part->nodes == NULL) {
    free(places);
    return TR_FAIL(TR_ENOMEM, "no memory for %zu layers", count);
  }
  for (int i = 0; i < net->num_nodes; i++) {
    if (marks[i] == 0) {
      continue;
    }
    tr__node node = tr__node_as_added(&net->nodes[i]);
    for (int k = 0; k < node.num_inputs; k++) {
      node.inputs[k] = places[node.inputs[k]];
    }
    node.is_kept = (marks[i] & 2) != 0;
    node.index = places[i] = part->num_nodes;
    node.tied_to = -1; /* join_params() replaces its weight */
    plan->origins[part->num_nodes] = i;
    part->nodes[part->num_nodes++] = node;
  }
  free(places);
  return TR_OK;
}

/* Copy the model's context, with a new backend where that one can read the
 * model's memory. */
static tr_status make_context(tr_inference *plan, int threads)
{
  const tr__store *store = &plan->model->store;
  const tr_context *ctx = plan->model->ctx;
  tr__backend *backend = ctx->backend;
  plan->ctx = (tr_context){.comm = ctx->comm,
                           .step_hooks = ctx->step_hooks,
                           .pool = ctx->pool,
                           .backend = backend,
                           .seed = ctx->seed,
                           .dtype = ctx->dtype,
                           .compute = ctx->compute,
                           .log = ctx->log,
                           .log_user = ctx->log_user};
  plan->part.ctx = &plan->ctx;
  plan->owns_backend =
      backend->type->host_view(backend, store->values) == store->values;
  if (!plan->owns_backend) {
    return TR_OK;
  }
  plan->ctx.pool = NULL;
  plan->ctx.backend = NULL;
  TR_TRY(tr__threads_create(threads, &plan->ctx.pool));
  return backend->type->create(plan->ctx.pool, &plan->ctx.backend);
}

/* Replace the parameters that a node has declared by the model's: they use the
 * model's memory. */
static tr_status join_params(tr_inference *plan, const tr__node *node)
{
  const tr_model *net = plan->model;
  const tr__node *origin = &net->nodes[plan->origins[node->index]];
  for (int i = 0; i < node->num_params; i++) {
    tr__param *param = &plan->part.store.params[node->params[i]];
    const tr__param *whole = &net->store.params[origin->params[i]];
    TR_CHECK(node->num_params == origin->num_params &&
                 tr__shape_equal(&whole->shape, &param->shape),
             TR_ESTATE, "tr_inference_create: the model has no parameter %s",
             param->name);
    *param = *whole;
  }
  return TR_OK;
}

/* Let the subgraph read the model's parameters, and its inputs the same arrays
 * of a batch as the model's inputs. */
static tr_status join_model(tr_inference *plan)
{
  const tr_model *net = plan->model;
  tr_model *part = &plan->part;
  part->store.ctx = &plan->ctx;
  part->store.values = net->store.values;
  part->store.values16 = net->store.values16;
  part->store.value_count = net->store.value_count;
  for (int i = 0; i < part->num_nodes; i++) {
    TR_TRY(join_params(plan, &part->nodes[i]));
    part->nodes[i].ordinal = net->nodes[plan->origins[i]].ordinal;
  }
  part->weights.bytes = 0;
  return TR_OK;
}

static tr_status allocate(tr_inference *plan)
{
  tr_model *part = &plan->part;
  tr__backend *backend = plan->ctx.backend;
  begin(plan);
  tr_status status =
      backend->type->alloc(backend, sizeof(tr__step_block), &part->store.block);
  if (status == TR_OK) {
    status = backend->type->alloc(backend, part->activation_bytes,
                                  &part->activations);
  }
  end(plan);
  TR_CHECK(status == TR_OK, status,
           "tr_inference_create: no memory for %zu bytes of activations for "
           "%lld samples",
           part->activation_bytes, (long long)part->max_rows);
  return TR_OK;
}

static tr_status build(tr_inference *plan, const tr_inference_opts *opts)
{
  const tr_model *net = plan->model;
  char *marks = calloc((size_t)net->num_nodes, 1);
  TR_CHECK(marks != NULL, TR_ENOMEM, "no memory for %d layers", net->num_nodes);
  tr_status status = mark_nodes(net, opts, marks);
  if (status == TR_OK) {
    status = copy_nodes(plan, marks);
  }
  free(marks);
  TR_TRY(status);
  TR_TRY(make_context(plan, opts->threads > 0 ? opts->threads : 1));
  plan->part.max_rows = opts->batch > 0 ? opts->batch : net->max_rows;
  plan->part.is_inference = true;
  plan->part.is_evaluating = true;
  TR_TRY(tr__model_infer(&plan->part));
  TR_TRY(join_model(plan));
  TR_TRY(tr__model_plan(&plan->part));
  TR_TRY(allocate(plan));
  plan->part.is_built = true;
  return TR_OK;
}

tr_status tr_inference_create(tr_model *net,
                              const tr_inference_opts *opts,
                              tr_inference **out)
{
  const tr_inference_opts standard = {0};
  opts = opts != NULL ? opts : &standard;
  *out = NULL;
  TR_CHECK(net->is_built, TR_ESTATE,
           "tr_inference_create before tr_model_build()");
  TR_CHECK(!net->is_stale, TR_ESTATE,
           "tr_inference_create after tr_model_freeze(): call "
           "tr_model_build() again");
  TR_CHECK(opts->batch >= 0 && opts->threads >= 0, TR_EINVAL,
           "tr_inference_create: batch is %lld and threads %d, expected at "
           "least 0",
           (long long)opts->batch, opts->threads);
  tr_inference *plan = calloc(1, sizeof *plan);
  TR_CHECK(plan != NULL, TR_ENOMEM, "no memory for a workspace");
  plan->model = net;
  atomic_fetch_add(&net->workspaces->num_workspaces, 1);
  tr_status status = build(plan, opts);
  if (status != TR_OK) {
    tr_inference_destroy(&plan);
    return tr_error_push(status, __FILE__, __LINE__);
  }
  *out = plan;
  return TR_OK;
}

static tr_status check_batch(const tr_inference *plan, const tr_batch *batch)
{
  const tr_model *part = &plan->part;
  TR_CHECK(batch->count >= 0 && batch->count <= part->max_rows, TR_EINVAL,
           "tr_inference_forward: batch has %lld samples, expected 0 to %lld",
           (long long)batch->count, (long long)part->max_rows);
  for (int i = 0; i < part->num_nodes && batch->count > 0; i++) {
    const tr__node *node = &part->nodes[i];
    TR_CHECK(!(node->flags & TR__IS_INPUT) ||
                 batch->inputs[node->ordinal] != NULL,
             TR_EINVAL, "tr_inference_forward: inputs[%d] is missing",
             node->ordinal);
  }
  return TR_OK;
}

/* All workspaces read the same 16-bit copy. The first one that runs after the
 * parameters have changed makes it anew. */
static void refresh(tr_inference *plan)
{
  tr__workspaces *sharing = plan->model->workspaces;
  pthread_mutex_lock(&sharing->lock);
  tr__store_refresh(&plan->model->store, &plan->ctx.backend->stream);
  pthread_mutex_unlock(&sharing->lock);
}

tr_status tr_inference_forward(tr_inference *plan, const tr_batch *batch)
{
  TR_TRY(check_batch(plan, batch));
  plan->part.rows = batch->count;
  plan->part.shards = tr__one_shard(batch->count);
  refresh(plan);
  begin(plan);
  tr__infer_begin(plan->ctx.comm->board);
  tr__model_compute(&plan->part, batch);
  tr__infer_end(plan->ctx.comm->board);
  end(plan);
  plan->has_run = true;
  return TR_OK;
}

static const tr__node *find_output(const tr_inference *plan, tr_node node)
{
  for (int i = 0; i < plan->part.num_nodes; i++) {
    if (plan->origins[i] == node.index && plan->part.nodes[i].is_kept) {
      return &plan->part.nodes[i];
    }
  }
  return NULL;
}

tr_status
tr_inference_get_output(tr_inference *plan, tr_node node, void *values)
{
  TR_CHECK(plan->has_run, TR_ESTATE,
           "tr_inference_get_output before tr_inference_forward()");
  const tr__node *output = find_output(plan, node);
  TR_CHECK(output != NULL, TR_EINVAL,
           "tr_inference_get_output: the node is none of the outputs that "
           "tr_inference_create() was asked for");
  begin(plan);
  tr_status status = tr__read_rows(&plan->part, &output->output, values);
  end(plan);
  return status;
}

size_t tr_inference_output_bytes(const tr_inference *plan, tr_node node)
{
  const tr__node *output = plan->has_run ? find_output(plan, node) : NULL;
  return output != NULL ? tr__rows_bytes(&plan->part, &output->output) : 0;
}

size_t tr_inference_bytes(const tr_inference *plan)
{
  return plan->part.activation_bytes + sizeof(tr__step_block);
}

static void release_memory(tr_inference *plan)
{
  tr_model *part = &plan->part;
  tr__backend *backend = plan->ctx.backend;
  begin(plan);
  backend->type->wait(&backend->stream);
  backend->type->free(backend, part->activations, part->activation_bytes);
  backend->type->free(backend, part->store.block, sizeof(tr__step_block));
  end(plan);
  if (plan->owns_backend) {
    backend->type->destroy(backend);
  }
}

void tr_inference_destroy(tr_inference **plan)
{
  if (plan == NULL || *plan == NULL) {
    return;
  }
  tr_inference *p = *plan;
  if (p->ctx.backend != NULL) {
    release_memory(p);
  }
  if (p->owns_backend) {
    tr__threads_destroy(&p->ctx.pool);
  }
  free(p->part.store.params);
  free(p->part.nodes);
  free(p->origins);
  atomic_fetch_sub(&p->model->workspaces->num_workspaces, 1);
  free(p);
  *plan = NULL;
}
