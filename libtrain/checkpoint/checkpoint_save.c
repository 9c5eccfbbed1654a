/* tr_checkpoint_save(): rank 0 copies the state into the image and commits it.
 * The other ranks send their slices of partitioned slots and wait for the
 * outcome. */
#include "checkpoint/checkpoint_impl.h"

#include <stdlib.h>
#include <string.h>

enum { DEFAULT_KEEP = 2 };

#define COUNT_ONE(name) +1
enum {
  NUM_NUMBERS = TR__STATE_NUMBERS(COUNT_ONE) TR__LATER_NUMBERS(COUNT_ONE),
  NUM_TEXTS = TR__RUN_TEXTS(COUNT_ONE)
};
#undef COUNT_ONE

/* A save in progress. Other ranks than 0 use run and store only. */
typedef struct save {
  const tr_checkpoint *run;
  tr__store *store;
  tr__run_numbers numbers;
  tr__run_texts texts;
  tr__view *views; /* by arena and parameter, then numbers, then texts */
  int num_views;
  tr__checkpoint_cache *cache;
} save;

static tr_status collect_optimizer(const tr_optimizer *opt,
                                   tr__run_numbers *numbers)
{
  const tr__plateau *plateau = &opt->plateau;
  numbers->step = tr_optimizer_num_steps(opt);
  memcpy(&numbers->plateau_best, &plateau->best, sizeof plateau->best);
  memcpy(&numbers->plateau_scale, &plateau->scale, sizeof plateau->scale);
  numbers->plateau_bad = plateau->num_bad;
  numbers->plateau_cooldown = plateau->cooldown;
  numbers->plateau_reports = plateau->num_reports;
  memcpy(&numbers->lr_scale, &opt->lr_scale, sizeof opt->lr_scale);
  numbers->rollbacks = opt->num_rollbacks;
  tr__scaler scaler;
  TR_TRY(tr__optimizer_get_scaler(opt, &scaler));
  numbers->skipped = (int64_t)scaler.num_skipped;
  if (opt->growth_interval > 0) {
    memcpy(&numbers->loss_scale, &scaler.loss_scale, sizeof scaler.loss_scale);
    numbers->good_steps = (int64_t)scaler.good_steps;
  }
  return TR_OK;
}

static tr_status collect_numbers(save *s, int64_t world)
{
  const tr_checkpoint *run = s->run;
  tr__run_numbers *numbers = &s->numbers;
  uint64_t hash;
  TR_TRY(tr_model_params_hash(run->model, &hash));
  numbers->format = TR__SEAL_VERSION;
  numbers->seed = (int64_t)tr__model_seed(run->model);
  numbers->virtual_shards = s->store->ctx->comm->shards.total;
  numbers->started = s->cache->identity.started;
  numbers->world = world;
  numbers->params_hash = (int64_t)hash;
  if (run->optimizer != NULL) {
    TR_TRY(collect_optimizer(run->optimizer, numbers));
  }
  if (run->loader != NULL) {
    tr__loader_state state = tr__loader_get_state(run->loader);
    numbers->has_loader = 1;
    numbers->loader_seed = (int64_t)state.seed;
    numbers->epoch = state.epoch;
    numbers->done = state.done;
    numbers->num_samples = state.num_samples;
    numbers->batch = state.batch;
    numbers->shuffle = state.shuffle;
    numbers->deal = state.deal;
  }
  return TR_OK;
}

static void view_number(save *s, const char *name)
{
  tr__view *view = &s->views[s->num_views++];
  view->type = TR__VIEW_I64;
  snprintf(view->name, sizeof view->name, "/state/%s", name);
}

static void view_text(save *s, const char *name, const char *text)
{
  tr__view *view = &s->views[s->num_views++];
  view->type = TR__VIEW_TEXT;
  view->ndim = 1;
  view->dims[0] = (int64_t)strlen(text) + 1;
  snprintf(view->name, sizeof view->name, "/state/%s", name);
}

static void view_param(save *s, const tr__param *param, const char *slot)
{
  tr__view *view = &s->views[s->num_views++];
  view->type = (tr__view_type)s->store->ctx->dtype;
  view->ndim = param->shape.ndim;
  memcpy(view->dims, param->shape.dims, sizeof view->dims);
  tr__param_set_name(param, slot, view->name);
}

static tr_status make_views(save *s)
{
  int arenas = tr__num_arenas(s->run);
  int count = arenas * s->store->num_params + NUM_NUMBERS + NUM_TEXTS;
  s->views = calloc((size_t)count, sizeof *s->views);
  TR_CHECK(s->views != NULL, TR_ENOMEM, "checkpoint: no memory for %d names",
           count);
  for (int k = 0; k < arenas; k++) {
    int num_params = tr__store_arena_params(s->store, k == 0);
    for (int i = 0; i < num_params; i++) {
      view_param(s, &s->store->params[i], tr__arena_slot(s->run, k));
    }
  }
#define VIEW_NUMBER(name) view_number(s, #name);
  TR__STATE_NUMBERS(VIEW_NUMBER)
  TR__LATER_NUMBERS(VIEW_NUMBER)
#undef VIEW_NUMBER
#define VIEW_TEXT(name) view_text(s, #name, s->texts.name);
  TR__RUN_TEXTS(VIEW_TEXT)
#undef VIEW_TEXT
  return TR_OK;
}

static tr_status check_finite(const save *s, int i, int k, const void *to)
{
  const tr__param *param = &s->store->params[i];
  tr_dtype dtype = s->store->ctx->dtype;
  int64_t bad = tr__first_not_finite(dtype, to, param->count);
  TR_CHECK(bad < 0, TR_ENUMERIC,
           "checkpoint: element %lld of parameter %s%s%s is not finite; "
           "nothing is saved",
           (long long)bad, param->name, k == 0 ? "" : ", slot ",
           k == 0 ? "" : tr__arena_slot(s->run, k));
  return TR_OK;
}

static tr_status copy_param(const save *s, int i, int k, void *to)
{
  const tr__param *param = &s->store->params[i];
  tr__backend *backend = s->store->ctx->backend;
  tr__tensor view = tr__store_tensor(s->store, tr__arena_of(s->run, k), param);
  size_t bytes = (size_t)param->count * tr_dtype_size(view.dtype);
  if (tr__arena_is_partitioned(s->run, k)) {
    return TR_OK; /* see collect_slots() */
  }
  TR_TRY(backend->type->download(&backend->stream, to, view.data, bytes));
  return check_finite(s, i, k, to);
}

static tr_status fill_image(const save *s, tr__image *image)
{
  int at = 0;
  for (int k = 0; k < tr__num_arenas(s->run); k++) {
    int num_params = tr__store_arena_params(s->store, k == 0);
    for (int i = 0; i < num_params; i++, at++) {
      TR_TRY(copy_param(s, i, k, tr__image_at(image, at)));
    }
  }
#define FILL_NUMBER(name)                                                      \
  memcpy(tr__image_at(image, at++), &s->numbers.name, sizeof(int64_t));
  TR__STATE_NUMBERS(FILL_NUMBER)
  TR__LATER_NUMBERS(FILL_NUMBER)
#undef FILL_NUMBER
#define FILL_TEXT(name) strcpy(tr__image_at(image, at++), s->texts.name);
  TR__RUN_TEXTS(FILL_TEXT)
#undef FILL_TEXT
  TR_ASSERT(at == image->num_entries);
  return TR_OK;
}

static tr_status update_image(save *s)
{
  tr__checkpoint_cache *cache = s->cache;
  TR_TRY(make_views(s));
  if (cache->image != NULL &&
      !tr__image_matches(cache->image, s->views, s->num_views)) {
    tr__image_destroy(&cache->image);
  }
  if (cache->image == NULL) {
    TR_TRY(tr__image_create(s->views, s->num_views, &cache->image));
  }
  return fill_image(s, cache->image);
}

/* Everything but the commit, on rank 0. */
static tr_status
prepare_root(save *s, const tr__file_ops *ops, const char *dir, int64_t world)
{
  TR_TRY(tr__checkpoint_cache_of(s->run->model, &s->cache));
  TR_TRY(tr__checkpoint_begin(ops, dir, s->run));
  TR_TRY(tr__run_texts_make(s->run, &s->texts));
  TR_TRY(collect_numbers(s, world));
  return update_image(s);
}

/* Gather the partitioned optimizer slots straight into rank 0's image. A value
 * that is not finite does not end the loop, because the other ranks take part
 * in every gather. */
static tr_status collect_slots(const save *s)
{
  tr_status status = TR_OK;
  int at = s->store->num_params;
  for (int k = 1; k < tr__num_arenas(s->run); k++) {
    for (int i = 0; i < s->store->num_trained; i++, at++) {
      if (!tr__arena_is_partitioned(s->run, k)) {
        continue;
      }
      void *to = s->cache != NULL ? tr__image_at(s->cache->image, at) : NULL;
      tr_status got = tr__optimizer_gather_slot(s->run->optimizer, k - 1,
                                                &s->store->params[i], to);
      if (got == TR_OK && to != NULL) {
        got = check_finite(s, i, k, to);
      }
      status = status == TR_OK ? got : status;
    }
  }
  return status;
}

static bool is_spread(const tr_checkpoint *run)
{
  return run->optimizer != NULL && run->optimizer->partition != NULL &&
         run->optimizer->num_slots > 0;
}

/* Log once what was set aside. */
static void tell_moved(tr_context *ctx, tr__run_dir *dir)
{
  if (dir->moved[0] != '\0') {
    tr_log_root(ctx, "%s", dir->moved);
    dir->moved[0] = '\0';
  }
}

static tr_status commit_root(const save *s, int64_t world)
{
  const tr_checkpoint *run = s->run;
  tr__seal seal = {.step = s->numbers.step};
  memcpy(seal.run_id, s->cache->identity.run_id, sizeof seal.run_id);
  tr_status status =
      tr__run_dir_commit(&s->cache->dir, s->cache->image, &seal, world,
                         run->keep > 0 ? run->keep : DEFAULT_KEEP);
  tell_moved(s->store->ctx, &s->cache->dir);
  return status;
}

static tr_status
check(const tr_context *ctx, const char *dir, const tr_checkpoint *run)
{
  TR_TRY(tr__checkpoint_check(ctx, dir, run));
  TR_CHECK(!ctx->torn, TR_ESTATE,
           "checkpoint of %s after a step that failed half-way; nothing is "
           "saved",
           dir);
  return TR_OK;
}

static tr_status save_together(tr_context *ctx,
                               const tr__file_ops *ops,
                               const char *dir,
                               const tr_checkpoint *run)
{
  tr__comm *comm = ctx->comm;
  save s = {.run = run};
  tr_status status = TR_OK;
  TR_TRY(tr__agree(comm, check(ctx, dir, run)));
  TR_TRY(tr__check_drift(comm, run->model));
  s.store = tr__model_store(run->model);
  if (comm->rank == 0) {
    status = prepare_root(&s, ops, dir, comm->size);
  }
  if (is_spread(run)) {
    TR_TRY_GOTO(tr__agree(comm, status), done);
    TR_TRY_GOTO(tr__agree(comm, collect_slots(&s)), done);
  }
  if (comm->rank == 0 && status == TR_OK) {
    status = commit_root(&s, comm->size);
  }
  TR_TRY_GOTO(tr__agree(comm, status), done);

done:
  free(s.views);
  tr__run_texts_release(&s.texts);
  return status;
}

tr_status tr__checkpoint_save_with(tr_context *ctx,
                                   const tr__file_ops *ops,
                                   const char *dir,
                                   const tr_checkpoint *run)
{
  tr__work before = tr__work_begin(ctx->comm->board, TR__WORK_SAVE, 0);
  atomic_store(&ctx->is_saving, 1);
  tr_status status = save_together(ctx, ops, dir, run);
  atomic_store(&ctx->is_saving, 0);
  tr__work_end(ctx->comm->board, before);
  return status;
}

tr_status
tr_checkpoint_save(tr_context *ctx, const char *dir, const tr_checkpoint *run)
{
  return tr__checkpoint_save_with(ctx, tr__file_ops_system(), dir, run);
}
