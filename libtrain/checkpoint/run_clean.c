/* Removal from a checkpoint directory: removes only files that libtrain wrote,
 * which it recognises by their content and never by the name alone.
 *
 * It removes a data file only if a manifest with the file's hash proves that
 * the file is a checkpoint, and no other manifest names it. That manifest is
 * either of an interrupted save or about to be removed. In both cases it has a
 * temporary name and goes last. So a kill between the two removals leaves the
 * proof. */
#include "checkpoint/run_dir_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_named(const tr__listing *listing, const char *file)
{
  char name[TR__FILE_NAME_BYTES];
  for (int i = 0; i < listing->count; i++) {
    tr__data_name(&listing->items[i], name);
    if (!listing->items[i].is_gone && strcmp(name, file) == 0) {
      return true;
    }
  }
  return false;
}

/* Returns false if the next save has to try again. */
static bool remove_data(const tr__file_ops *ops,
                        const char *path,
                        const tr__listing *listing,
                        const tr__manifest *manifest)
{
  unsigned char head[TR__SEAL_HEADER_BYTES];
  size_t length;
  tr__seal seal;
  const tr__joined full = tr__join(path, manifest->file);
  if (is_named(listing, manifest->file)) {
    return true;
  }
  tr_status status = tr__read_head(ops, full.text, head, sizeof head, &length);
  if (status != TR_OK) {
    return status == TR_EDATA || status == TR_ENOINPUT;
  }
  bool is_its =
      tr__seal_peek(head, length, &seal) &&
      memcmp(seal.run_id, manifest->run_id, TR__SEAL_RUN_BYTES) == 0 &&
      memcmp(seal.hash, manifest->hash, TR__SEAL_HASH_BYTES) == 0;
  return !is_its || ops->unlink(full.text) == 0;
}

/* ".tmp-<process>-<name>" or ".tmp-<process>.<number>-<name>" with a name that
 * libtrain uses here. */
static bool is_temporary_name(const char *name)
{
  static const char digits[] = "0123456789";
  size_t prefix = strlen(TR__TEMPORARY_PREFIX);
  if (strncmp(name, TR__TEMPORARY_PREFIX, prefix) != 0) {
    return false;
  }
  name += prefix;
  size_t number = strspn(name, digits);
  name += number;
  if (*name == '.') {
    name += 1 + strspn(name + 1, digits);
  }
  return number > 0 && *name == '-' &&
         (tr__step_of_name(name + 1, ".h5") >= 0 ||
          tr__step_of_name(name + 1, ".manifest") >= 0 ||
          strcmp(name + 1, TR__IDENTITY_NAME) == 0);
}

/* Space that was reserved but not written reads as zeros. */
static bool is_ours(const unsigned char *head, size_t length)
{
  static const char *const begins[] = {TR__UNFINISHED_MARK,
                                       "libtrain checkpoint ", "libtrain run "};
  bool is_zero = true, is = tr__seal_is_on(head, length);
  for (size_t i = 0; i < length; i++) {
    is_zero = is_zero && head[i] == 0;
  }
  for (size_t i = 0; i < sizeof begins / sizeof begins[0]; i++) {
    size_t bytes = strlen(begins[i]);
    is = is || (length >= bytes && memcmp(head, begins[i], bytes) == 0);
  }
  return is || is_zero;
}

typedef struct cleaner {
  const tr__file_ops *ops;
  const tr__listing *listing;
} cleaner;

static tr_status clean_name(void *user, const char *path, const char *name)
{
  const cleaner *c = user;
  unsigned char head[TR__SEAL_HEADER_BYTES];
  size_t length;
  tr__manifest manifest;
  if (!is_temporary_name(name)) {
    return TR_OK;
  }
  const tr__joined full = tr__join(path, name);
  if (tr__read_head(c->ops, full.text, head, sizeof head, &length) != TR_OK ||
      !is_ours(head, length)) {
    return TR_OK;
  }
  bool is_manifest =
      tr__manifest_parse(full.text, (char *)head, length, &manifest) == TR_OK;
  if (!is_manifest || remove_data(c->ops, path, c->listing, &manifest)) {
    c->ops->unlink(full.text);
  }
  return TR_OK;
}

tr_status tr__run_dir_clean(const tr__file_ops *ops,
                            const char *path,
                            const tr__listing *listing)
{
  cleaner c = {ops, listing};
  return tr__run_dir_each(path, clean_name, &c);
}

void tr__run_dir_remove(const tr__file_ops *ops,
                        const char *path,
                        tr__listing *listing,
                        int i)
{
  tr__listed *item = &listing->items[i];
  char name[sizeof item->name + 40];
  snprintf(name, sizeof name, TR__TEMPORARY_PREFIX "%ld-%s", (long)getpid(),
           item->name);
  const tr__joined from = tr__join(path, item->name);
  const tr__joined to = tr__join(path, name);
  int how = tr__link_new(ops, from.text, to.text);
  if (how < 0) {
    return;
  }
  if (how == TR__LINKED && ops->unlink(from.text) < 0) {
    ops->unlink(to.text);
    return;
  }
  item->is_gone = true;
  if (remove_data(ops, path, listing, &item->manifest)) {
    ops->unlink(to.text);
  }
}

/* "step-00000007" or, if that was taken, "step-00000007.save9", for data file
 * and manifest alike. Older versions put the save number in the data file's
 * name only. Any other name is a copy that a user made. */
static bool has_own_name(const tr__listed *item)
{
  const tr__manifest *m = &item->manifest;
  char plain[TR__FILE_NAME_BYTES], numbered[TR__FILE_NAME_BYTES];
  size_t stem = strlen(item->name) - strlen(".manifest");
  bool is_same = strncmp(item->name, m->file, stem) == 0 &&
                 strcmp(m->file + stem, ".h5") == 0;
  snprintf(plain, sizeof plain, "step-%08lld.manifest", (long long)m->step);
  snprintf(numbered, sizeof numbered, "step-%08lld.save%lld.h5",
           (long long)m->step, (long long)m->save);
  return is_same ||
         (strcmp(item->name, plain) == 0 && strcmp(m->file, numbered) == 0);
}

static bool is_complete(const tr__run_dir *dir, const tr__manifest *manifest)
{
  struct stat info;
  if (manifest->save > dir->refused_after &&
      manifest->save <= dir->refused_to) {
    return false;
  }
  return stat(tr__join(dir->path, manifest->file).text, &info) == 0 &&
         info.st_size >= 0 && (size_t)info.st_size == manifest->length;
}

/* Whether the item belongs to this run and is no copy of a newer item. */
static bool counts(const tr__listing *listing, int i, const unsigned char *run)
{
  const tr__listed *item = &listing->items[i];
  bool does =
      item->is_readable && tr__is_of_run(item, run) && has_own_name(item);
  for (int k = 0; k < i && does; k++) {
    const tr__listed *other = &listing->items[k];
    does = !other->is_readable || !has_own_name(other) ||
           strcmp(other->manifest.file, item->manifest.file) != 0;
  }
  return does;
}

static bool is_superseded(const tr__run_dir *dir,
                          const tr__listing *listing,
                          int i,
                          const unsigned char *run)
{
  bool is = false;
  for (int k = 0; k < i && !is; k++) {
    is = counts(listing, k, run) &&
         listing->items[k].manifest.step == listing->items[i].manifest.step &&
         is_complete(dir, &listing->items[k].manifest);
  }
  return is;
}

tr_status tr__run_dir_remove_old(const tr__run_dir *dir,
                                 const unsigned char *run_id,
                                 int keep)
{
  tr__listing listing;
  TR_TRY(tr__run_dir_list(dir->ops, dir->path, &listing));
  for (int i = 0; i < listing.count; i++) {
    /* Unreadable checkpoints stay: a resume warns of them, and a user may miss
     * what they hold. Those of other runs are set aside, not removed. */
    if (!counts(&listing, i, run_id)) {
      continue;
    }
    bool stays = keep > 0 && !is_superseded(dir, &listing, i, run_id);
    if (stays) {
      keep -= is_complete(dir, &listing.items[i].manifest);
      continue;
    }
    tr__run_dir_remove(dir->ops, dir->path, &listing, i);
  }
  tr__listing_release(&listing);
  return TR_OK;
}
