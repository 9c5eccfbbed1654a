#include "checkpoint/run_dir_impl.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A path that is used for one call. */
typedef struct joined {
  char text[TR__PATH_BYTES + 260];
} joined;

static joined join(const char *dir, const char *name)
{
  joined path;
  snprintf(path.text, sizeof path.text, "%s/%s", dir, name);
  return path;
}

tr_status tr__run_dir_each(const char *path,
                           tr_status (*visit)(void *user,
                                              const char *path,
                                              const char *name),
                           void *user)
{
  DIR *stream = opendir(path);
  if (stream == NULL && errno == ENOENT) {
    return TR_OK;
  }
  TR_CHECK(stream != NULL, TR_EIO, "%s: cannot list the directory: %s", path,
           strerror(errno));
  tr_status status = TR_OK;
  int code = 0;
  while (status == TR_OK) {
    errno = 0;
    const struct dirent *entry = readdir(stream);
    code = errno;
    if (entry == NULL) {
      break;
    }
    status = visit(user, path, entry->d_name);
  }
  closedir(stream);
  TR_TRY(status);
  TR_CHECK(code == 0, TR_EIO, "%s: cannot list the directory: %s", path,
           strerror(code));
  return TR_OK;
}

typedef struct lister {
  const tr__file_ops *ops;
  tr__listing *listing;
} lister;

static tr_status list_name(void *user, const char *path, const char *name)
{
  lister *l = user;
  tr__listing *listing = l->listing;
  unsigned char *text;
  size_t length;
  /* Also of a manifest that cannot be read: no name is given twice. */
  long long save = 0;
  if (sscanf(name, "step-%*d.save%lld", &save) == 1 &&
      save > listing->last_save && save < INT64_MAX) {
    listing->last_save = save;
  }
  int64_t step = tr__step_of_name(name, ".manifest");
  if (step < 0) {
    return TR_OK;
  }
  size_t count = (size_t)listing->count + 1;
  tr__listed *items = realloc(listing->items, count * sizeof *items);
  TR_CHECK(items != NULL, TR_ENOMEM, "%s: no memory for its list", path);
  listing->items = items;
  tr__listed *item = &items[listing->count++];
  memset(item, 0, sizeof *item);
  snprintf(item->name, sizeof item->name, "%s", name);
  joined full = join(path, name);
  tr_status status =
      tr__read_file(l->ops, full.text, TR__MANIFEST_BYTES, &text, &length);
  if (status == TR_OK) {
    status =
        tr__manifest_parse(full.text, (char *)text, length, &item->manifest);
    item->is_damaged = status != TR_OK;
    free(text);
  }
  if (status != TR_OK && status != TR_EDATA && status != TR_ENOINPUT) {
    /* It could not be looked at, so nobody knows what it is. */
    return tr_error_push(status, __FILE__, __LINE__);
  }
  if (status == TR_OK && item->manifest.step != step) {
    status = TR_FAIL(TR_EDATA, "%s: is the manifest of step %lld", full.text,
                     (long long)item->manifest.step);
  }
  item->is_readable = status == TR_OK;
  if (status != TR_OK) {
    snprintf(item->problem, sizeof item->problem, "%.*s",
             (int)sizeof item->problem - 1, tr_error_message());
    item->manifest.step = step;
    item->manifest.save = INT64_MAX;
  }
  if (status == TR_OK && item->manifest.save > listing->last_save) {
    listing->last_save = item->manifest.save;
  }
  return TR_OK;
}

static int newest_first(const void *a, const void *b)
{
  const tr__manifest *x = &((const tr__listed *)a)->manifest;
  const tr__manifest *y = &((const tr__listed *)b)->manifest;
  if (x->save != y->save) {
    return x->save < y->save ? 1 : -1;
  }
  return x->step < y->step ? 1 : x->step > y->step ? -1 : 0;
}

tr_status
tr__run_dir_list(const tr__file_ops *ops, const char *path, tr__listing *out)
{
  lister l = {ops, out};
  memset(out, 0, sizeof *out);
  tr_status status = tr__run_dir_each(path, list_name, &l);
  if (status != TR_OK) {
    tr__listing_release(out);
    return tr_error_push(status, __FILE__, __LINE__);
  }
  if (out->count > 0) {
    qsort(out->items, (size_t)out->count, sizeof *out->items, newest_first);
  }
  return TR_OK;
}

bool tr__is_of_run(const tr__listed *item, const unsigned char *run_id)
{
  return item->is_readable &&
         memcmp(item->manifest.run_id, run_id, TR__SEAL_RUN_BYTES) == 0;
}

void tr__listing_release(tr__listing *listing)
{
  free(listing->items);
  memset(listing, 0, sizeof *listing);
}

typedef struct cleaner {
  const tr__file_ops *ops;
  const tr__listing *listing;
} cleaner;

/* Temporaries, and data files that no manifest committed. The file of a
 * manifest that cannot be read stays: somebody may want to look at it. */
static tr_status clean_name(void *user, const char *path, const char *name)
{
  const cleaner *c = user;
  size_t prefix = strlen(TR__TEMPORARY_PREFIX);
  bool remove = strncmp(name, TR__TEMPORARY_PREFIX, prefix) == 0;
  int64_t step = tr__step_of_name(name, ".h5");
  if (step >= 0) {
    remove = true;
    for (int i = 0; i < c->listing->count; i++) {
      const tr__listed *item = &c->listing->items[i];
      bool is_its = item->is_readable ? strcmp(item->manifest.file, name) == 0
                                      : item->manifest.step == step;
      remove = remove && !is_its;
    }
  }
  if (remove) {
    c->ops->unlink(join(path, name).text);
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

static bool is_complete(const tr__run_dir *dir, const tr__manifest *manifest)
{
  struct stat info;
  if (manifest->save > dir->refused_after &&
      manifest->save <= dir->refused_to) {
    return false;
  }
  return stat(join(dir->path, manifest->file).text, &info) == 0 &&
         info.st_size >= 0 && (size_t)info.st_size == manifest->length;
}

/* Removes what is older than this run's newest `keep` complete ones, and the
 * file of a checkpoint of the same step. What cannot be removed stays for the
 * next time. */
static tr_status
remove_old(const tr__run_dir *dir, const unsigned char *run_id, int keep)
{
  tr__listing listing;
  TR_TRY(tr__run_dir_list(dir->ops, dir->path, &listing));
  for (int i = 0; i < listing.count; i++) {
    const tr__manifest *manifest = &listing.items[i].manifest;
    if (!tr__is_of_run(&listing.items[i], run_id)) {
      /* Damage is told to whoever resumes; it may hold what somebody misses.
       * Another run's are set aside, not removed. */
      continue;
    }
    if (keep > 0) {
      keep -= is_complete(dir, manifest);
      continue;
    }
    const char *name = listing.items[i].name;
    if (dir->ops->unlink(join(dir->path, name).text) == 0) {
      dir->ops->unlink(join(dir->path, manifest->file).text);
    }
  }
  tr_status status = tr__run_dir_clean(dir->ops, dir->path, &listing);
  tr__listing_release(&listing);
  return status;
}

/* Names of the data file and of the manifest. A data file's name is never used
 * twice while a manifest names it; a manifest may replace one of the same step
 * and run, but none of another run. */
static void choose_names(const tr__listing *listing,
                         tr__manifest *manifest,
                         char name[TR__FILE_NAME_BYTES])
{
  bool has_step = false, has_others = false;
  for (int i = 0; i < listing->count; i++) {
    const tr__listed *item = &listing->items[i];
    if (item->manifest.step == manifest->step) {
      has_step = true;
      has_others =
          has_others || tr__is_foreign(item, listing, manifest->run_id);
    }
  }
  char plain[TR__FILE_NAME_BYTES / 2], numbered[TR__FILE_NAME_BYTES - 10];
  snprintf(plain, sizeof plain, "step-%08lld", (long long)manifest->step);
  snprintf(numbered, sizeof numbered, "%s.save%lld", plain,
           (long long)manifest->save);
  snprintf(manifest->file, sizeof manifest->file, "%s.h5",
           has_step ? numbered : plain);
  snprintf(name, TR__FILE_NAME_BYTES, "%s.manifest",
           has_others ? numbered : plain);
}

static tr_status
to_file(void *user, size_t offset, const void *data, size_t bytes)
{
  return tr__durable_write(user, offset, data, bytes);
}

static tr_status write_data(const tr__run_dir *dir,
                            const tr__image *image,
                            tr__seal *seal,
                            tr__manifest *manifest)
{
  tr__durable file;
  TR_TRY(tr__durable_open(dir->ops, dir->path, manifest->file,
                          tr__seal_length(image), &file));
  tr_status status = tr__seal_emit(image, seal, to_file, &file);
  if (status != TR_OK) {
    tr__durable_abort(&file);
    return tr_error_push(status, __FILE__, __LINE__);
  }
  TR_TRY(tr__durable_commit(&file));
  manifest->length = seal->length;
  memcpy(manifest->hash, seal->hash, sizeof manifest->hash);
  return TR_OK;
}

static tr_status write_manifest(const tr__run_dir *dir,
                                const tr__manifest *manifest,
                                const char *name)
{
  tr__durable file;
  char text[TR__MANIFEST_BYTES];
  size_t length = tr__manifest_format(manifest, text);
  TR_TRY(tr__durable_open(dir->ops, dir->path, name, length, &file));
  TR_TRY(tr__durable_write(&file, 0, text, length));
  return tr__durable_commit(&file);
}

tr_status tr__run_dir_commit(const tr__run_dir *dir,
                             const tr__image *image,
                             tr__seal *seal,
                             int64_t world,
                             int keep)
{
  tr_status status;
  tr__listing listing;
  char name[TR__FILE_NAME_BYTES];
  tr__manifest manifest = {.step = seal->step, .world = world};
  TR_CHECK(seal->step >= 0 && keep >= 1, TR_EINVAL,
           "%s: expected step >= 0 and keep >= 1, got %lld and %d", dir->path,
           (long long)seal->step, keep);
  memcpy(manifest.run_id, seal->run_id, sizeof manifest.run_id);
  TR_TRY(tr__run_dir_list(dir->ops, dir->path, &listing));
  TR_TRY_GOTO(tr__run_dir_clean(dir->ops, dir->path, &listing), done);
  manifest.save = listing.last_save + 1;
  choose_names(&listing, &manifest, name);
  TR_TRY_GOTO(write_data(dir, image, seal, &manifest), done);
  TR_TRY_GOTO(write_manifest(dir, &manifest, name), done);
  /* The checkpoint is there: what cannot be moved waits for the next save. */
  (void)tr__run_dir_set_aside(dir, &listing, seal->run_id);
  TR_TRY_GOTO(remove_old(dir, seal->run_id, keep), done);

done:
  tr__listing_release(&listing);
  return status;
}

tr_status tr__run_dir_load(const tr__file_ops *ops,
                           const char *path,
                           const tr__manifest *manifest,
                           unsigned char **bytes,
                           tr__sealed *out)
{
  tr_status status;
  size_t length;
  joined full = join(path, manifest->file);
  memset(out, 0, sizeof *out);
  TR_TRY(tr__read_file(ops, full.text, SIZE_MAX / 2, bytes, &length));
  TR_TRY_GOTO(tr__seal_verify(full.text, *bytes, length, out), failed);
  if (out->seal.step != manifest->step ||
      memcmp(out->seal.hash, manifest->hash, TR__SEAL_HASH_BYTES) != 0) {
    status = TR_FAIL(TR_EDATA,
                     "%s: is not the file that its manifest names (step %lld, "
                     "expected %lld)",
                     full.text, (long long)out->seal.step,
                     (long long)manifest->step);
    goto failed;
  }
  return TR_OK;

failed:
  tr__sealed_release(out);
  free(*bytes);
  *bytes = NULL;
  return status;
}
