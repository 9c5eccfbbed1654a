/* Freezing: parameters that are not trained, because tr_model_freeze() named
 * them with a pattern or because no loss depends on them. */
#include "model/model_impl.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

static int count_matches(const tr_model *net, const char *pattern)
{
  int count = 0;
  for (int i = 0; i < net->store.num_params; i++) {
    count += fnmatch(pattern, net->store.params[i].name, 0) == 0;
  }
  return count;
}

static tr_status check_matches(const tr_model *net, const char *pattern)
{
  char list[TR__MESSAGE_BYTES / 2];
  TR_CHECK(count_matches(net, pattern) > 0, TR_EINVAL,
           "tr_model_freeze: no parameter matches \"%s\"; there are%s", pattern,
           tr__store_names(&net->store, sizeof list, list));
  return TR_OK;
}

tr_status tr_model_freeze(tr_model *net, const char *pattern, int frozen)
{
  tr__freeze freeze = {.is_frozen = frozen != 0};
  TR_CHECK(pattern != NULL &&
               tr__copy_name(freeze.pattern, sizeof freeze.pattern, pattern),
           TR_EINVAL, "tr_model_freeze: the pattern \"%.80s\" is too long",
           pattern != NULL ? pattern : "(null)");
  if (net->is_built) {
    TR_TRY(check_matches(net, pattern));
  }
  size_t count = (size_t)net->num_freezes + 1;
  tr__freeze *freezes = realloc(net->freezes, count * sizeof *freezes);
  TR_CHECK(freezes != NULL, TR_ENOMEM, "no memory for %zu patterns", count);
  net->freezes = freezes;
  net->freezes[net->num_freezes++] = freeze;
  net->is_stale = net->is_built;
  return TR_OK;
}

tr_status tr__model_apply_freezes(tr_model *net)
{
  for (int k = 0; k < net->num_freezes; k++) {
    const tr__freeze *freeze = &net->freezes[k];
    TR_TRY(check_matches(net, freeze->pattern));
    for (int i = 0; i < net->store.num_params; i++) {
      tr__param *param = &net->store.params[i];
      if (fnmatch(freeze->pattern, param->name, 0) == 0) {
        param->is_frozen = freeze->is_frozen;
      }
    }
  }
  return TR_OK;
}

/* Sets one flag per node: true if a loss depends on it. Losses of weight 0 do
 * not count. */
static void find_reached(const tr_model *net, bool *reached)
{
  for (int i = net->num_nodes - 1; i >= 0; i--) {
    const tr__node *node = &net->nodes[i];
    reached[i] |= (node->flags & TR__IS_LOSS) && node->loss_weight != 0;
    for (int k = 0; k < node->num_inputs && reached[i]; k++) {
      reached[node->inputs[k]] = true;
    }
  }
}

static void freeze_all_but(tr_model *net, const bool *reached)
{
  tr__param *params = net->store.params;
  for (int i = 0; i < net->store.num_params; i++) {
    params[i].is_unreached = tr__param_is_trained(&params[i]);
  }
  for (int i = 0; i < net->num_nodes; i++) {
    const tr__node *node = &net->nodes[i];
    for (int k = 0; k < node->num_params && reached[i]; k++) {
      params[node->params[k]].is_unreached = false;
    }
  }
  for (int i = 0; i < net->store.num_params; i++) {
    params[i].is_frozen |= params[i].is_unreached;
  }
}

tr_status tr__model_freeze_unreached(tr_model *net)
{
  if (net->num_losses == 0) {
    return TR_OK;
  }
  bool *reached = calloc((size_t)net->num_nodes, sizeof *reached);
  TR_CHECK(reached != NULL, TR_ENOMEM, "no memory for %d layers",
           net->num_nodes);
  find_reached(net, reached);
  freeze_all_but(net, reached);
  free(reached);
  return TR_OK;
}

void tr__model_name_unreached(const tr_model *net)
{
  const tr__store *store = &net->store;
  char list[TR__MESSAGE_BYTES];
  size_t used = 0;
  for (int i = 0; i < store->num_params && used < sizeof list; i++) {
    const tr__param *param = &store->params[store->by_name[i]];
    if (param->is_unreached) {
      used += (size_t)snprintf(list + used, sizeof list - used, "%s%s",
                               used > 0 ? ", " : "", param->name);
    }
  }
  if (used > 0) {
    tr__warn_root(net->ctx,
                  "tr_model_build: no loss depends on %s: not trained", list);
  }
}

char *tr__model_freeze_text(const tr_model *net)
{
  char *text = NULL;
  size_t bytes = 0;
  FILE *out = open_memstream(&text, &bytes);
  if (out == NULL) {
    return NULL;
  }
  for (int i = 0; i < net->store.num_params; i++) {
    const tr__param *param = &net->store.params[net->store.by_name[i]];
    fprintf(out, "%s %s\n", param->name,
            param->is_frozen ? "is frozen" : "is trained");
  }
  if (fclose(out) != 0) {
    free(text);
    return NULL;
  }
  return text;
}
