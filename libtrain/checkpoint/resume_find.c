/* Finds the checkpoint of a directory from which a run resumes. */
#include "checkpoint/resume_impl.h"

#include <stdlib.h>
#include <string.h>

void tr__found_release(tr__found *f)
{
  tr__sealed_release(&f->sealed);
  free(f->bytes);
  f->bytes = NULL;
}

tr__identity tr__found_identity(const tr__found *found,
                                const tr__run_numbers *numbers)
{
  tr__identity out = {.seed = (uint64_t)numbers->seed,
                      .shards = numbers->virtual_shards,
                      .started = numbers->started};
  memcpy(out.run_id, found->run_id, sizeof out.run_id);
  bool is_current =
      found->has_current &&
      memcmp(out.run_id, found->current.run_id, sizeof out.run_id) == 0;
  return is_current ? found->current : out;
}

/* A damaged or missing checkpoint can never be resumed, so an older one is
 * used. Any other status: it may be undamaged, but could not be read. */
static bool is_lost(tr_status status)
{
  return status == TR_EDATA || status == TR_ENOINPUT;
}

static tr_status
load(const char *dir, const tr__manifest *manifest, tr__found *out)
{
  TR_TRY(tr__run_dir_load(out->ops, dir, manifest, &out->bytes, &out->sealed));
  snprintf(out->path, sizeof out->path, "%s/%s", dir, manifest->file);
  memcpy(out->run_id, out->sealed.seal.run_id, sizeof out->run_id);
  out->save = manifest->save;
  return TR_OK;
}

static tr_status try_one(tr_context *ctx,
                         const char *dir,
                         const tr__listed *item,
                         tr__found *out)
{
  if (!item->is_readable) {
    tr__warn_root(ctx, "checkpoint refused: %s", item->problem);
    return TR_FAIL(TR_EDATA, "%s", item->problem);
  }
  tr_status status = load(dir, &item->manifest, out);
  if (status == TR_OK) {
    return TR_OK;
  }
  char why[TR__MESSAGE_BYTES / 2];
  snprintf(why, sizeof why, "%.*s", (int)sizeof why - 1, tr_error_message());
  if (is_lost(status)) {
    tr__warn_root(ctx, "checkpoint refused: %s", why);
    return status;
  }
  return TR_FAIL(status, "%s; an older checkpoint is not taken instead", why);
}

/* A checkpoint that names no run counts as the wanted run's if that run has
 * others there, or if no other run has any. */
static bool is_wanted(const tr__listed *item,
                      const tr__listing *listing,
                      const unsigned char *run_id)
{
  bool has_wanted = false, has_others = false;
  if (run_id == NULL || item->has_run) {
    return run_id == NULL || tr__is_of_run(item, run_id);
  }
  for (int i = 0; i < listing->count; i++) {
    has_wanted = has_wanted || tr__is_of_run(&listing->items[i], run_id);
    has_others = has_others || tr__is_foreign(&listing->items[i], run_id);
  }
  return has_wanted || !has_others;
}

/* Warn of a damaged identity. Then the checkpoints alone decide. */
static tr_status read_current(tr_context *ctx, const char *dir, tr__found *out)
{
  if (out->whose == TR__THIS_RUN) {
    return TR_OK;
  }
  tr_status status = tr__identity_read(out->ops, dir, &out->current);
  out->has_current = status == TR_OK;
  if (status == TR_EDATA) {
    tr__warn_root(ctx, "identity of the run refused: %s", tr_error_message());
  }
  return is_lost(status) ? TR_OK : status;
}

/* Load the newest checkpoint of another run only to describe that run. If it
 * cannot be loaded, the message gives its step alone. */
static void describe_others(const char *dir,
                            const tr__listing *listing,
                            const unsigned char *run_id,
                            tr__found *out)
{
  char whose[TR__WHOSE_BYTES] = "another run", current[TR__WHOSE_BYTES];
  const tr__listed *newest = NULL;
  for (int i = 0; i < listing->count && newest == NULL; i++) {
    const tr__listed *item = &listing->items[i];
    newest = item->is_readable && tr__is_foreign(item, run_id) ? item : NULL;
  }
  if (newest == NULL) {
    return;
  }
  tr__found other = {.ops = out->ops};
  tr__run_numbers numbers;
  if (load(dir, &newest->manifest, &other) == TR_OK &&
      tr__saved_numbers(&(tr__saved_run){other.path, &other.sealed},
                        &numbers) == TR_OK) {
    const tr__identity identity = tr__found_identity(&other, &numbers);
    tr__identity_describe(&identity, whose);
  }
  tr__found_release(&other);
  tr__identity_describe(&out->current, current);
  snprintf(out->others, sizeof out->others,
           ": those there, the newest of step %lld, are of %s; %s has saved "
           "nothing yet and begins; take_over (--take-over) goes on with the "
           "other one instead",
           (long long)newest->manifest.step, whose, current);
}

static tr_status search_list(tr_context *ctx,
                             const char *dir,
                             const tr__listing *listing,
                             const unsigned char *run_id,
                             tr__found *out)
{
  char newest[TR__MESSAGE_BYTES / 2] = "";
  tr_status status = TR_OK;
  int count = 0;
  for (int i = 0; i < listing->count; i++) {
    const tr__listed *item = &listing->items[i];
    if (!is_wanted(item, listing, run_id)) {
      continue;
    }
    status = try_one(ctx, dir, item, out);
    if (!is_lost(status)) {
      return tr_error_push(status, __FILE__, __LINE__);
    }
    if (count++ == 0) {
      snprintf(newest, sizeof newest, "%.*s", (int)sizeof newest - 1,
               tr_error_message());
    }
  }
  TR_CHECK(count == 0, TR_EDATA,
           "%s: none of %d checkpoints can be used; the newest: %s", dir, count,
           newest);
  return TR_OK;
}

tr_status tr__find_checkpoint(tr_context *ctx, const char *dir, tr__found *out)
{
  tr__listing listing;
  unsigned char run_id[TR__SEAL_RUN_BYTES];
  TR_TRY(read_current(ctx, dir, out));
  bool is_current = out->whose == TR__CURRENT_RUN && out->has_current;
  memcpy(run_id, is_current ? out->current.run_id : out->run_id, sizeof run_id);
  const unsigned char *wanted =
      is_current || out->whose == TR__THIS_RUN ? run_id : NULL;
  TR_TRY(tr__run_dir_list(out->ops, dir, &listing));
  tr_status status = search_list(ctx, dir, &listing, wanted, out);
  if (status == TR_OK && out->bytes == NULL && is_current) {
    describe_others(dir, &listing, run_id, out);
  }
  out->last_save = listing.last_save;
  tr__listing_release(&listing);
  return status;
}
