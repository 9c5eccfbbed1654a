/* Used by save and resume: the cache that rank 0 keeps between two saves,
 * checks of arguments, and the texts, names and arenas of a checkpoint. */
#include "checkpoint/checkpoint_impl.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static void release_cache(void *user)
{
  tr__checkpoint_cache *cache = user;
  if (cache->has_dir) {
    tr__run_dir_close(&cache->dir);
  }
  tr__image_destroy(&cache->image);
  free(cache);
}

tr_status tr__checkpoint_cache_of(tr_model *net, tr__checkpoint_cache **out)
{
  tr__attachment *attachment = tr__model_attachment(net);
  if (attachment->data == NULL) {
    const tr_context *ctx = tr__model_context(net);
    tr__checkpoint_cache *cache = calloc(1, sizeof *cache);
    TR_CHECK(cache != NULL, TR_ENOMEM, "checkpoint: no memory");
    *attachment = (tr__attachment){cache, release_cache};
    /* A resume replaces this by the identity of the run that it continues. */
    tr__identity *identity = &cache->identity;
    identity->seed = ctx->seed;
    identity->shards = ctx->comm->shards.total;
    ssize_t got = getrandom(identity->run_id, sizeof identity->run_id, 0);
    TR_CHECK(got == (ssize_t)sizeof identity->run_id, TR_ESYSTEM,
             "checkpoint: no random bytes for the identity of the run");
  }
  *out = attachment->data;
  return TR_OK;
}

tr_status tr__checkpoint_lock(tr__checkpoint_cache *cache,
                              const tr__file_ops *ops,
                              const char *dir)
{
  bool is_same = cache->has_dir && strcmp(cache->dir.path, dir) == 0;
  if (is_same && tr__run_dir_is_held(&cache->dir)) {
    cache->dir.ops = ops;
    return TR_OK;
  }
  tr__run_dir opened;
  TR_TRY(tr__run_dir_open(ops, dir, TR__LOCK_WAIT_S, &opened));
  if (is_same) {
    opened.refused_after = cache->dir.refused_after;
    opened.refused_to = cache->dir.refused_to;
  }
  if (cache->has_dir) {
    tr__run_dir_close(&cache->dir);
  }
  cache->dir = opened;
  cache->has_dir = true;
  return TR_OK;
}

tr_status tr__checkpoint_check(const tr_context *ctx,
                               const char *dir,
                               const tr_checkpoint *run)
{
  TR_CHECK(dir != NULL && dir[0] != '\0', TR_EINVAL,
           "checkpoint: expected the name of a directory, got none");
  TR_CHECK(run != NULL && run->model != NULL, TR_EINVAL,
           "checkpoint of %s: expected a model, got none", dir);
  TR_CHECK(run->keep >= 0, TR_EINVAL,
           "checkpoint of %s: keep is %d, expected at least 0", dir, run->keep);
  const tr__store *store = tr__model_store(run->model);
  TR_CHECK(store != NULL, TR_ESTATE, "checkpoint of %s before tr_model_build()",
           dir);
  TR_CHECK(tr__model_context(run->model) == ctx, TR_EINVAL,
           "checkpoint of %s: the model belongs to another context", dir);
  TR_CHECK(run->optimizer == NULL || run->optimizer->store == store, TR_EINVAL,
           "checkpoint of %s: the optimizer belongs to another model", dir);
  if (run->optimizer != NULL) {
    TR_TRY(tr__optimizer_check(run->optimizer));
  }
  if (run->ema != NULL) {
    TR_TRY(tr__ema_check(run->ema, store));
  }
  return TR_OK;
}

/* "adamw with exp_avg exp_avg_sq", "sgd", or "none". */
static char *slots_text(const tr_optimizer *opt)
{
  char *text = NULL;
  size_t bytes = 0;
  FILE *out = open_memstream(&text, &bytes);
  if (out == NULL) {
    return NULL;
  }
  fputs(opt != NULL ? opt->type->name : "none", out);
  for (int i = 0; opt != NULL && i < opt->num_slots; i++) {
    fprintf(out, "%s %s", i == 0 ? " with" : "", opt->slot_names[i]);
  }
  if (fclose(out) != 0) {
    free(text);
    return NULL;
  }
  return text;
}

/* Without the number of ranks: numbers do not depend on it. */
static char *context_text(const tr_context *ctx)
{
  char text[128];
  tr_dtype wire = ctx->wire != 0 ? ctx->wire : ctx->dtype;
  snprintf(text, sizeof text, "device %s\ncompute %s\nwire %s\n",
           ctx->backend->type->name, tr__dtype_name(ctx->compute),
           tr__dtype_name(wire));
  return strdup(text);
}

static char *numbering_text(const tr_checkpoint *run)
{
  const char *text =
      run->loader != NULL ? tr__loader_dataset(run->loader)->numbering : NULL;
  return strdup(text != NULL ? text : "");
}

tr_status tr__run_texts_make(const tr_checkpoint *run, tr__run_texts *out)
{
  bool is_whole = true;
  out->library = strdup(tr_version());
  out->model = tr__model_text(run->model);
  out->slots = slots_text(run->optimizer);
  out->optimizer = run->optimizer != NULL ? tr__optimizer_text(run->optimizer)
                                          : strdup("none\n");
  out->layers = tr__model_options_text(run->model);
  out->context = context_text(tr__model_context(run->model));
  out->numbering = numbering_text(run);
#define IS_THERE(name) is_whole = is_whole && out->name != NULL;
  TR__RUN_TEXTS(IS_THERE)
#undef IS_THERE
  TR_CHECK(is_whole, TR_ENOMEM,
           "checkpoint: no memory for the description of the run");
  return TR_OK;
}

void tr__run_texts_release(tr__run_texts *texts)
{
#define FREE_TEXT(name) free(texts->name);
  TR__RUN_TEXTS(FREE_TEXT)
#undef FREE_TEXT
  memset(texts, 0, sizeof *texts);
}

void tr__param_set_name(const tr__param *param, const char *slot, char *out)
{
  if (slot == NULL) {
    snprintf(out, TR__VIEW_NAME_BYTES, "/params/%s", param->name);
    return;
  }
  snprintf(out, TR__VIEW_NAME_BYTES, "/optim/%s/%s", param->name, slot);
}

static int num_slots(const tr_checkpoint *run)
{
  return run->optimizer != NULL ? run->optimizer->num_slots : 0;
}

int tr__num_arenas(const tr_checkpoint *run)
{
  return 1 + num_slots(run) + (run->ema != NULL ? 1 : 0);
}

void *tr__arena_of(const tr_checkpoint *run, int k)
{
  if (k == 0) {
    return tr__model_store(run->model)->values;
  }
  return k <= num_slots(run) ? run->optimizer->slots[k - 1]
                             : tr__ema_values(run->ema);
}

const char *tr__arena_slot(const tr_checkpoint *run, int k)
{
  if (k == 0) {
    return NULL;
  }
  return k <= num_slots(run) ? run->optimizer->slot_names[k - 1] : TR__EMA_SLOT;
}

bool tr__arena_is_partitioned(const tr_checkpoint *run, int k)
{
  return k > 0 && k <= num_slots(run) && run->optimizer->partition != NULL;
}

int64_t tr__first_not_finite(tr_dtype dtype, const void *values, int64_t count)
{
  /* Inf and NaN have an exponent of all ones. The first loop has no exit, so
   * that it runs at the speed of memory. */
  const uint32_t ones32 = 0x7f800000u;
  const uint64_t ones64 = 0x7ff0000000000000u;
  const uint32_t *bits32 = values;
  const uint64_t *bits64 = values;
  int found = 0;
  for (int64_t i = 0; i < count; i++) {
    found |= dtype == TR_F64 ? (bits64[i] & ones64) == ones64
                             : (bits32[i] & ones32) == ones32;
  }
  for (int64_t i = 0; found != 0 && i < count; i++) {
    if (dtype == TR_F64 ? (bits64[i] & ones64) == ones64
                        : (bits32[i] & ones32) == ones32) {
      return i;
    }
  }
  return -1;
}
