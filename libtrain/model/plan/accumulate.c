/* Planning pass: which calls of backward add to a gradient and which set it.
 *
 * Backward runs from the last node to the first. The first call that reaches a
 * gradient sets it, and all others add to it. The plan stores this for each
 * node, so that a step does not search the graph. */
#include "model/model_impl.h"

#include <stdlib.h>

typedef struct reached {
  bool *inputs; /* [num_nodes] true: the gradient is set already */
  bool *params; /* [num_params] likewise */
  int *uses;    /* [num_params] number of tied layers so far */
} reached;

static void plan_inputs(tr__node *node, reached *r)
{
  for (int i = 0; i < node->num_inputs; i++) {
    node->input_grad_adds[i] = r->inputs[node->inputs[i]];
    r->inputs[node->inputs[i]] |= node->wants_gradient;
  }
}

/* In reproducible mode, layers that use the same weight have separate
 * gradients, so none adds to that of another. */
static void plan_params(const tr_model *net, tr__node *node, reached *r)
{
  bool is_apart = net->ctx->comm->shards.total > 0;
  for (int i = 0; i < node->num_params; i++) {
    node->param_grad_adds[i] = r->params[node->params[i]] && !is_apart;
  }
  for (int i = 0; i < node->num_params && node->wants_gradient; i++) {
    r->params[node->params[i]] = true;
  }
}

static void number_uses(tr_model *net, tr__node *node, reached *r)
{
  for (int i = 0; i < node->num_params; i++) {
    if (node->is_tied[i]) {
      node->tied_use[i] = r->uses[node->params[i]]++;
    } else {
      net->store.params[node->params[i]].has_own_gradient =
          node->wants_gradient;
    }
  }
}

tr_status tr__plan_accumulate(tr_model *net)
{
  size_t nodes = (size_t)net->num_nodes, params = (size_t)net->store.num_params;
  reached r = {calloc(nodes + 1, sizeof *r.inputs),
               calloc(params + 1, sizeof *r.params),
               calloc(params + 1, sizeof *r.uses)};
  bool fits = r.inputs != NULL && r.params != NULL && r.uses != NULL;
  for (int i = net->num_nodes - 1; i >= 0 && fits; i--) {
    plan_inputs(&net->nodes[i], &r);
    plan_params(net, &net->nodes[i], &r);
  }
  for (int i = 0; i < net->num_nodes && fits; i++) {
    number_uses(net, &net->nodes[i], &r);
  }
  free(r.uses);
  free(r.params);
  free(r.inputs);
  TR_CHECK(fits, TR_ENOMEM, "no memory to plan %d layers", net->num_nodes);
  return TR_OK;
}
