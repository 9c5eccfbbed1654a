/* The graph of a model: tr_model_create(), the nodes that builder calls add,
 * tied weights, and access to the model's members for other folders. */
#include "model/node_impl.h"

#include <stdlib.h>
#include <string.h>

tr_status tr_model_create(tr_context *ctx, tr_model **out)
{
  *out = NULL;
  tr_model *net = calloc(1, sizeof *net);
  tr__workspaces *sharing = calloc(1, sizeof *sharing);
  if (net == NULL || sharing == NULL) {
    free(net);
    free(sharing);
    return TR_FAIL(TR_ENOMEM, "no memory for a model");
  }
  pthread_mutex_init(&sharing->lock, NULL);
  net->ctx = ctx;
  net->seed = ctx->seed;
  net->workspaces = sharing;
  *out = net;
  return TR_OK;
}

void tr__model_release_plan(tr_model *net)
{
  tr__backend *backend = net->ctx->backend;
  backend->type->wait(&backend->stream);
  backend->type->free(backend, net->activations, net->activation_bytes);
  backend->type->free(backend, net->sums,
                      TR__TAIL_COUNT * tr_dtype_size(net->ctx->dtype));
  net->ctx->step_hooks->release(net);
  free(net->buckets.all);
  tr__store_release(&net->store);
}

void tr_model_destroy(tr_model **net)
{
  if (net == NULL || *net == NULL) {
    return;
  }
  tr_model *m = *net;
  if (m->attachment.data != NULL) {
    m->attachment.release(m->attachment.data);
  }
  tr__model_release_plan(m);
  for (int i = 0; i < m->num_nodes; i++) {
    free(m->nodes[i].opts);
  }
  free(m->nodes);
  free(m->freezes);
  pthread_mutex_destroy(&m->workspaces->lock);
  free(m->workspaces);
  free(m);
  *net = NULL;
}

static tr_status grow(tr_model *net)
{
  if (net->num_nodes < net->max_nodes) {
    return TR_OK;
  }
  int max_nodes = net->max_nodes == 0 ? 32 : 2 * net->max_nodes;
  tr__node *nodes = realloc(net->nodes, (size_t)max_nodes * sizeof *nodes);
  TR_CHECK(nodes != NULL, TR_ENOMEM, "no memory for %d layers", max_nodes);
  net->nodes = nodes;
  net->max_nodes = max_nodes;
  return TR_OK;
}

static int count_type(const tr_model *net, const tr__layer_type *type)
{
  int count = 0;
  for (int i = 0; i < net->num_nodes; i++) {
    count += net->nodes[i].type == type;
  }
  return count;
}

static tr_status
name_node(const tr_model *net, tr__node *node, const char *name)
{
  char standard[TR__NAME_BYTES];
  if (name == NULL) {
    snprintf(standard, sizeof standard, "%s_%d", node->type->name,
             count_type(net, node->type) + 1);
    name = standard;
  }
  /* The name of a parameter appends up to ".num_batches_tracked". A '/' would
   * separate the path of a data set. */
  TR_CHECK(tr__copy_name(node->name, sizeof node->name - 20, name) &&
               name[0] != '\0' && strchr(name, '/') == NULL,
           TR_EINVAL, "%s: the name \"%.80s\" is empty, too long or has a '/'",
           node->type->name, name);
  for (int i = 0; i < net->num_nodes; i++) {
    TR_CHECK(strcmp(net->nodes[i].name, name) != 0, TR_EINVAL,
             "%s: the name \"%s\" is taken by a %s", node->type->name, name,
             net->nodes[i].type->name);
  }
  return TR_OK;
}

static tr_status
add_node(tr_model *net, tr__node *node, const tr__node_spec *what)
{
  TR_CHECK(!net->is_built, TR_ESTATE, "%s: the model is built already",
           node->type->name);
  TR_CHECK(what->num_inputs <= TR__MAX_NODE_INPUTS, TR_EINVAL,
           "%s \"%s\": %d inputs, expected at most %d", node->type->name,
           node->name, what->num_inputs, TR__MAX_NODE_INPUTS);
  TR_TRY(grow(net));
  for (int i = 0; i < what->num_inputs; i++) {
    int index = what->inputs[i].index;
    TR_CHECK(index >= 0 && index < net->num_nodes, TR_EINVAL,
             "%s \"%s\": its input is no node of this model", node->type->name,
             node->name);
    node->inputs[i] = index;
  }
  node->num_inputs = what->num_inputs;
  if (what->opts_bytes > 0) {
    node->opts = malloc(what->opts_bytes);
    TR_CHECK(node->opts != NULL, TR_ENOMEM, "no memory for a layer");
    memcpy(node->opts, what->opts, what->opts_bytes);
    node->opts_bytes = what->opts_bytes;
  }
  node->index = net->num_nodes;
  net->nodes[net->num_nodes++] = *node;
  return TR_OK;
}

tr__node tr__node_as_added(const tr__node *node)
{
  tr__node added = *node;
  size_t kept = offsetof(tr__node, flags);
  memset((char *)&added + kept, 0, sizeof added - kept);
  added.is_kept = node->is_kept;
  return added;
}

void tr__model_remember(tr_model *net, tr_status status)
{
  if (net->error != TR_OK) {
    return;
  }
  net->error = status;
  snprintf(net->error_message, sizeof net->error_message, "%s",
           tr_error_message());
}

tr_node tr__add_node(tr_model *net, const tr__node_spec *what)
{
  const tr_node none = {-1};
  if (net->error != TR_OK) {
    return none;
  }
  tr__node node = {.type = what->type, .tied_to = -1};
  tr_status status = name_node(net, &node, what->name);
  if (status == TR_OK) {
    status = add_node(net, &node, what);
  }
  if (status != TR_OK) {
    tr__model_remember(net, status);
    return none;
  }
  return (tr_node){node.index};
}

void tr_model_keep(tr_model *net, tr_node node)
{
  if (net->error != TR_OK) {
    return;
  }
  if (node.index < 0 || node.index >= net->num_nodes || net->is_built) {
    tr__model_remember(
        net,
        TR_FAIL(TR_EINVAL, "tr_model_keep: no node of a model that is being "
                           "built"));
    return;
  }
  net->nodes[node.index].is_kept = true;
}

static bool is_node(const tr_model *net, tr_node node)
{
  return node.index >= 0 && node.index < net->num_nodes;
}

static tr_status tie(tr_model *net, tr_node node, tr_node to)
{
  TR_CHECK(!net->is_built && is_node(net, node) && is_node(net, to), TR_EINVAL,
           "tr_model_tie: expected two nodes of a model that is being built, "
           "got %d and %d of %d",
           node.index, to.index, net->num_nodes);
  tr__node *user = &net->nodes[node.index];
  const tr__node *owner = &net->nodes[to.index];
  TR__CHECK_NODE(to.index < node.index, user, TR_EINVAL,
                 "tied to the %s \"%s\", expected a layer declared before it",
                 owner->type->name, owner->name);
  TR__CHECK_NODE(user->tied_to < 0, user, TR_EINVAL,
                 "tied to the %s \"%s\", and to \"%s\" already",
                 owner->type->name, owner->name,
                 net->nodes[user->tied_to].name);
  user->tied_to = to.index;
  return TR_OK;
}

void tr_model_tie(tr_model *net, tr_node node, tr_node to)
{
  tr_status status = net->error == TR_OK ? tie(net, node, to) : TR_OK;
  if (status != TR_OK) {
    tr__model_remember(net, status);
  }
}

tr_shape tr_model_shape(const tr_model *net, tr_node node)
{
  if (!net->is_built || node.index < 0 || node.index >= net->num_nodes) {
    return (tr_shape){.ndim = -1};
  }
  return net->nodes[node.index].shape;
}

tr_context *tr__model_context(const tr_model *net)
{
  return net->ctx;
}

uint64_t tr__model_seed(const tr_model *net)
{
  return net->seed;
}

void tr__model_set_seed(tr_model *net, uint64_t seed)
{
  net->seed = seed;
}

tr__store *tr__model_store(tr_model *net)
{
  return net->is_built ? &net->store : NULL;
}

tr__step_state *tr__model_step(tr_model *net)
{
  return &net->step;
}

tr__buckets *tr__model_buckets(tr_model *net)
{
  return &net->buckets;
}

tr__attachment *tr__model_attachment(tr_model *net)
{
  return &net->attachment;
}
