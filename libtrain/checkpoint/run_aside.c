/* Setting other runs' checkpoints aside.
 *
 * A run that did not resume has an identity of its own. Its first checkpoint
 * is committed beside those of the run before, and supersedes them by its save
 * number; only then they go to DIR/previous, data first, so that a manifest in
 * DIR keeps its data file from being cleaned away. */
#include "checkpoint/run_dir_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool has_run(const tr__listing *listing, const unsigned char *run_id)
{
  bool has = false;
  for (int i = 0; i < listing->count; i++) {
    has = has || tr__is_of_run(&listing->items[i], run_id);
  }
  return has;
}

bool tr__is_foreign(const tr__listed *item,
                    const tr__listing *found,
                    const unsigned char *run_id)
{
  return item->is_readable ? !tr__is_of_run(item, run_id)
                           : item->is_damaged && !has_run(found, run_id);
}

/* The data file of a manifest; a guess where that cannot be read. */
static void data_name(const tr__listed *item, char out[TR__FILE_NAME_BYTES])
{
  if (item->is_readable) {
    snprintf(out, TR__FILE_NAME_BYTES, "%s", item->manifest.file);
    return;
  }
  size_t stem = strlen(item->name) - strlen(".manifest");
  snprintf(out, TR__FILE_NAME_BYTES, "%.*s.h5", (int)stem, item->name);
}

static tr_status move(const tr__run_dir *dir, const char *to, const char *name)
{
  char from[TR__PATH_BYTES + TR__FILE_NAME_BYTES + 1];
  char there[TR__PATH_BYTES + TR__FILE_NAME_BYTES + 1];
  snprintf(from, sizeof from, "%s/%s", dir->path, name);
  snprintf(there, sizeof there, "%s/%s", to, name);
  int failed = dir->ops->rename(from, there) < 0 && errno != ENOENT;
  TR_CHECK(!failed, TR_EIO, "%s: cannot move to %s: %s", from, to,
           strerror(errno));
  return TR_OK;
}

static tr_status
move_all(const tr__run_dir *dir, const char *to, const tr__listing *foreign)
{
  char name[TR__FILE_NAME_BYTES];
  for (int i = 0; i < foreign->count; i++) {
    data_name(&foreign->items[i], name);
    TR_TRY(move(dir, to, name));
    TR_TRY(move(dir, to, foreign->items[i].name));
  }
  TR_TRY(tr__sync_dir(dir->ops, to));
  return tr__sync_dir(dir->ops, dir->path);
}

static bool was_moved(const tr__listed *item, const tr__listing *foreign)
{
  if (item->is_readable) {
    return has_run(foreign, item->manifest.run_id);
  }
  bool was = false;
  for (int i = 0; i < foreign->count; i++) {
    was = was || strcmp(foreign->items[i].name, item->name) == 0;
  }
  return was;
}

/* Removes what runs before the moved ones left in previous. */
static tr_status
purge(const tr__file_ops *ops, const char *previous, const tr__listing *foreign)
{
  tr__listing listing;
  char path[TR__PATH_BYTES + TR__FILE_NAME_BYTES + 1];
  TR_TRY(tr__run_dir_list(ops, previous, &listing));
  int kept = 0;
  for (int i = 0; i < listing.count; i++) {
    if (was_moved(&listing.items[i], foreign)) {
      listing.items[kept++] = listing.items[i];
      continue;
    }
    snprintf(path, sizeof path, "%s/%s", previous, listing.items[i].name);
    ops->unlink(path);
  }
  listing.count = kept;
  tr_status status = tr__run_dir_clean(ops, previous, &listing);
  tr__listing_release(&listing);
  return status;
}

static tr_status make_previous(const tr__run_dir *dir, char out[TR__PATH_BYTES])
{
  int length = snprintf(out, TR__PATH_BYTES, "%s/" TR__PREVIOUS_DIR, dir->path);
  TR_CHECK(length < TR__PATH_BYTES, TR_EIO,
           "%s: the path is longer than %d bytes", dir->path, TR__PATH_BYTES);
  int failed = dir->ops->make_dir(out, 0777) < 0 && errno != EEXIST;
  TR_CHECK(!failed, TR_EIO, "%s: cannot make the directory: %s", out,
           strerror(errno));
  return TR_OK;
}

tr_status tr__run_dir_set_aside(const tr__run_dir *dir,
                                const tr__listing *found,
                                const unsigned char *run_id)
{
  tr_status status;
  char previous[TR__PATH_BYTES];
  tr__listing foreign = {0};
  foreign.items = calloc((size_t)found->count + 1, sizeof *foreign.items);
  TR_CHECK(foreign.items != NULL, TR_ENOMEM, "%s: no memory for its list",
           dir->path);
  for (int i = 0; i < found->count; i++) {
    if (tr__is_foreign(&found->items[i], found, run_id)) {
      foreign.items[foreign.count++] = found->items[i];
    }
  }
  status = TR_OK;
  if (foreign.count > 0) {
    TR_TRY_GOTO(make_previous(dir, previous), done);
    TR_TRY_GOTO(move_all(dir, previous, &foreign), done);
    TR_TRY_GOTO(purge(dir->ops, previous, &foreign), done);
  }

done:
  tr__listing_release(&foreign);
  return status;
}
