/* Lists, commits and loads the checkpoints of a directory. */
#include "checkpoint/run_dir_impl.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

tr__joined tr__join(const char *dir, const char *name)
{
  tr__joined path;
  snprintf(path.text, sizeof path.text, "%s/%s", dir, name);
  return path;
}

/* A file in the directory's place does not count as a missing directory. */
static tr_status listing_status(int code)
{
  tr_status status = tr__errno_status(code);
  return status == TR_ENOINPUT ? TR_EIO : status;
}

tr_status tr__run_dir_each(const char *path,
                           tr_status (*visit)(void *user,
                                              const char *path,
                                              const char *name),
                           void *user)
{
  DIR *stream;
  do {
    stream = opendir(path);
  } while (stream == NULL && errno == EINTR);
  if (stream == NULL && errno == ENOENT) {
    return TR_OK;
  }
  TR_CHECK(stream != NULL, listing_status(errno),
           "%s: cannot list the directory: %s", path, strerror(errno));
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
  TR_CHECK(code == 0, listing_status(code), "%s: cannot list the directory: %s",
           path, strerror(code));
  return TR_OK;
}

enum { MOST_NAMES = 1000 };

typedef struct lister {
  const tr__file_ops *ops;
  tr__listing *listing;
} lister;

void tr__data_name(const tr__listed *item, char out[TR__FILE_NAME_BYTES])
{
  if (item->is_readable) {
    snprintf(out, TR__FILE_NAME_BYTES, "%s", item->manifest.file);
    return;
  }
  size_t stem = strlen(item->name) - strlen(".manifest");
  snprintf(out, TR__FILE_NAME_BYTES, "%.*s.h5", (int)stem, item->name);
}

/* A damaged or missing file is a fault of this checkpoint alone. Any other
 * status: it may be undamaged, but could not be read. */
static bool is_passed_over(tr_status status)
{
  return status == TR_EDATA || status == TR_ENOINPUT;
}

/* If the manifest is damaged, the seal of the data file tells the run. */
static tr_status
find_run(const tr__file_ops *ops, const char *path, tr__listed *item)
{
  char name[TR__FILE_NAME_BYTES];
  unsigned char head[TR__SEAL_HEADER_BYTES];
  size_t length;
  tr__seal seal;
  tr__data_name(item, name);
  tr_status status =
      tr__read_head(ops, tr__join(path, name).text, head, sizeof head, &length);
  if (status != TR_OK) {
    return is_passed_over(status) ? TR_OK : status;
  }
  item->has_run = tr__seal_peek(head, length, &seal);
  memcpy(item->run_id, seal.run_id, sizeof item->run_id);
  return TR_OK;
}

static tr_status
read_manifest(const tr__file_ops *ops, const char *path, tr__listed *item)
{
  unsigned char *text;
  size_t length;
  const tr__joined full = tr__join(path, item->name);
  const int64_t step = tr__step_of_name(item->name, ".manifest");
  TR_TRY(tr__read_file(ops, full.text, TR__MANIFEST_BYTES, &text, &length));
  tr_status status =
      tr__manifest_parse(full.text, (char *)text, length, &item->manifest);
  free(text);
  TR_TRY(status);
  TR_CHECK(item->manifest.step == step, TR_EDATA,
           "%s: is the manifest of step %lld", full.text,
           (long long)item->manifest.step);
  return TR_OK;
}

static tr_status list_name(void *user, const char *path, const char *name)
{
  const lister *l = user;
  tr__listing *listing = l->listing;
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
  tr_status status = read_manifest(l->ops, path, item);
  if (status == TR_OK) {
    item->is_readable = item->has_run = true;
    memcpy(item->run_id, item->manifest.run_id, sizeof item->run_id);
    listing->last_save = tr__max(listing->last_save, item->manifest.save);
    return TR_OK;
  }
  if (!is_passed_over(status)) {
    return tr_error_push(status, __FILE__, __LINE__);
  }
  snprintf(item->problem, sizeof item->problem, "%.*s",
           (int)sizeof item->problem - 1, tr_error_message());
  item->manifest.step = step;
  item->manifest.save = INT64_MAX;
  return find_run(l->ops, path, item);
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
  return item->has_run && memcmp(item->run_id, run_id, TR__SEAL_RUN_BYTES) == 0;
}

bool tr__is_foreign(const tr__listed *item, const unsigned char *run_id)
{
  return item->has_run && !tr__is_of_run(item, run_id);
}

void tr__listing_release(tr__listing *listing)
{
  free(listing->items);
  memset(listing, 0, sizeof *listing);
}

/* A folder does not count: nobody makes one of this name for a checkpoint, and
 * the rename fails on it. */
static bool is_there(const char *path)
{
  struct stat info;
  return lstat(path, &info) == 0 ? !S_ISDIR(info.st_mode) : errno != ENOENT;
}

static bool
is_taken(const tr__run_dir *dir, const tr__listing *listing, const char *stem)
{
  char file[TR__FILE_NAME_BYTES], name[TR__FILE_NAME_BYTES];
  char other[TR__FILE_NAME_BYTES];
  snprintf(file, sizeof file, "%.50s.h5", stem);
  snprintf(name, sizeof name, "%.50s.manifest", stem);
  bool is = is_there(tr__join(dir->path, file).text) ||
            is_there(tr__join(dir->path, name).text);
  for (int i = 0; i < listing->count; i++) {
    tr__data_name(&listing->items[i], other);
    is = is || strcmp(other, file) == 0;
  }
  return is;
}

/* Choose names that are free: no existing file is ever replaced. */
static tr_status choose_names(const tr__run_dir *dir,
                              const tr__listing *listing,
                              tr__manifest *manifest,
                              char name[TR__FILE_NAME_BYTES])
{
  char stem[TR__FILE_NAME_BYTES - 10];
  for (int i = 0; i < MOST_NAMES; i++) {
    manifest->save = listing->last_save + tr__max(i, 1);
    int used =
        snprintf(stem, sizeof stem, "step-%08lld", (long long)manifest->step);
    if (i > 0) {
      snprintf(stem + used, sizeof stem - (size_t)used, ".save%lld",
               (long long)manifest->save);
    }
    TR_CHECK(manifest->save <= TR__MOST_SAVES, TR_EDATA,
             "%s: a manifest counts %lld saves, no more can follow", dir->path,
             (long long)listing->last_save);
    if (!is_taken(dir, listing, stem)) {
      snprintf(manifest->file, sizeof manifest->file, "%s.h5", stem);
      snprintf(name, TR__FILE_NAME_BYTES, "%s.manifest", stem);
      return TR_OK;
    }
  }
  return TR_FAIL(TR_EIO, "%s: all names for step %lld are taken", dir->path,
                 (long long)manifest->step);
}

static tr_status
to_file(void *user, size_t offset, const void *data, size_t bytes)
{
  return tr__durable_write(user, offset, data, bytes);
}

/* The first bytes mark the file, so that a leftover is recognised. The header
 * comes last and replaces them. */
static tr_status write_data(const tr__run_dir *dir,
                            const tr__image *image,
                            tr__seal *seal,
                            tr__manifest *manifest,
                            tr__durable *file)
{
  static const char mark[] = TR__UNFINISHED_MARK;
  TR_TRY(tr__durable_open(dir->ops, dir->path, manifest->file,
                          tr__seal_length(image), file));
  TR_TRY(tr__durable_write(file, 0, mark, sizeof mark));
  TR_TRY(tr__seal_emit(image, seal, to_file, file));
  manifest->length = seal->length;
  memcpy(manifest->hash, seal->hash, sizeof manifest->hash);
  return tr__durable_finish(file);
}

static tr_status write_manifest(const tr__run_dir *dir,
                                const tr__manifest *manifest,
                                const char *name,
                                tr__durable *file)
{
  char text[TR__MANIFEST_BYTES];
  size_t length = tr__manifest_format(manifest, text);
  TR_TRY(tr__durable_open(dir->ops, dir->path, name, length, file));
  TR_TRY(tr__durable_write(file, 0, text, length));
  return tr__durable_finish(file);
}

/* After a kill between the two renames, the manifest's temporary proves that
 * the data file, which already has its name, is not a user's file. */
static tr_status write_both(const tr__run_dir *dir,
                            const tr__image *image,
                            tr__seal *seal,
                            tr__manifest *manifest,
                            const char *name)
{
  tr_status status;
  tr__durable data = {.fd = -1}, record = {.fd = -1};
  TR_TRY_GOTO(write_data(dir, image, seal, manifest, &data), failed);
  TR_TRY_GOTO(write_manifest(dir, manifest, name, &record), failed);
  TR_TRY_GOTO(tr__durable_publish(&data), failed);
  TR_TRY_GOTO(tr__durable_publish(&record), failed);
  return TR_OK;

failed:
  if (data.path[0] != '\0' && data.temporary[0] == '\0' &&
      record.temporary[0] != '\0' && dir->ops->unlink(data.path) < 0) {
    /* Keep the manifest's temporary: with it the next save finds both files. */
    record.temporary[0] = '\0';
  }
  tr__durable_abort(&data);
  tr__durable_abort(&record);
  return status;
}

tr_status tr__run_dir_commit(tr__run_dir *dir,
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
  if (dir->is_locked) {
    TR_TRY_GOTO(tr__run_dir_clean(dir->ops, dir->path, &listing), done);
  }
  TR_TRY_GOTO(choose_names(dir, &listing, &manifest, name), done);
  TR_TRY_GOTO(write_both(dir, image, seal, &manifest, name), done);
  /* The checkpoint is committed. What cannot be moved or removed waits for the
   * next save. */
  (void)tr__run_dir_set_aside(dir, &listing, seal->run_id);
  (void)tr__run_dir_remove_old(dir, seal->run_id, keep);

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
  tr__joined full = tr__join(path, manifest->file);
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
