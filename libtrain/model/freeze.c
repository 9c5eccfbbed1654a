/* Freezing: parameters that are not trained, by patterns of their names. */
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
