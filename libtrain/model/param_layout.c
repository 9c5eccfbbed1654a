/* Layout of the arenas: the order of the parameters, which is the order in
 * which backward finishes their gradients, and the offset of each. */
#include "model/model_impl.h"

#include <stdlib.h>
#include <string.h>

static bool is_no_buffer(const tr__param *param)
{
  return !param->is_buffer;
}

/* Parameters in the order in which backward finishes their gradients: those of
 * the last layer first. A weight that other layers are tied to has the place of
 * the layer that declared it. Parameters for which comes_first() is false
 * follow after all others. `order[k]` is the declared index at place k. */
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
        if (comes_first(param) == is_first && !node->is_tied[k]) {
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

/* Insertion sort is fast enough: there are at most a few hundred names. */
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

/* Each parameter fits, but the sum of all may overflow. */
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

/* Trained parameters come first. In reproducible mode, room for the gradients
 * of tied layers follows. Frozen parameters and buffers come last. */
static void place_params(tr__store *store, tr__param *params)
{
  int64_t at = 0;
  bool is_cut = store->ctx->comm->shards.total > 0;
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

tr_status tr__model_lay_out(tr_model *net)
{
  tr__store *store = &net->store;
  store->ctx = net->ctx;
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
  /* Freezing reorders the parameters but does not change their first values, so
   * the random streams are numbered without regard to what is frozen. */
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
