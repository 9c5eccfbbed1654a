/* Sets the checkpoints of other runs aside.
 *
 * A run that did not resume has a new identity. It commits its first checkpoint
 * beside those of the earlier run, and its larger save number supersedes them.
 * Only then the earlier ones move to DIR/previous, DIR/previous-2 and so on,
 * one folder per run. Each file gets a second name there, which is durable
 * before the first name goes. */
#include "checkpoint/run_dir_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_FOLDERS = 10000 };

/* What a folder contains. */
typedef struct content {
  const tr__file_ops *ops;
  const unsigned char *run_id;
  bool is_empty, has_run;
} content;

static tr_status look_at(void *user, const char *path, const char *name)
{
  content *c = user;
  unsigned char head[TR__SEAL_HEADER_BYTES];
  size_t length;
  tr__seal seal;
  if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
    return TR_OK;
  }
  c->is_empty = false;
  if (tr__step_of_name(name, ".h5") >= 0 &&
      tr__read_head(c->ops, tr__join(path, name).text, head, sizeof head,
                    &length) == TR_OK &&
      tr__seal_peek(head, length, &seal)) {
    c->has_run =
        c->has_run || memcmp(seal.run_id, c->run_id, TR__SEAL_RUN_BYTES) == 0;
  }
  return TR_OK;
}

/* The first folder that is missing, is empty, or already holds a checkpoint of
 * this run from an interrupted move. */
static tr_status choose_folder(const tr__run_dir *dir,
                               const unsigned char *run_id,
                               char out[TR__PATH_BYTES])
{
  struct stat info;
  for (int i = 1; i <= MOST_FOLDERS; i++) {
    char number[16] = "";
    content found = {.ops = dir->ops, .run_id = run_id, .is_empty = true};
    if (i > 1) {
      snprintf(number, sizeof number, "-%d", i);
    }
    int length = snprintf(out, TR__PATH_BYTES, "%s/" TR__PREVIOUS_DIR "%s",
                          dir->path, number);
    TR_CHECK(length < TR__PATH_BYTES, TR_EIO,
             "%s: the path is longer than %d bytes", dir->path, TR__PATH_BYTES);
    if (lstat(out, &info) == 0) {
      TR_TRY(S_ISDIR(info.st_mode) ? tr__run_dir_each(out, look_at, &found)
                                   : TR_OK);
      if (S_ISDIR(info.st_mode) && (found.is_empty || found.has_run)) {
        return TR_OK;
      }
      continue;
    }
    TR_CHECK(errno == ENOENT && dir->ops->make_dir(out, 0777) == 0, TR_EIO,
             "%s: cannot make the directory: %s", out, strerror(errno));
    return tr__sync_dir(dir->ops, dir->path);
  }
  return TR_FAIL(TR_EIO, "%s: has %d folders of earlier runs", dir->path,
                 MOST_FOLDERS);
}

static bool is_same_file(const char *a, const char *b)
{
  struct stat x, y;
  return lstat(a, &x) == 0 && lstat(b, &y) == 0 && x.st_dev == y.st_dev &&
         x.st_ino == y.st_ino;
}

/* Give a file a second name; without hard links, rename it. */
static tr_status
name_anew(const tr__run_dir *dir, const char *to, const char *name)
{
  const tr__joined from = tr__join(dir->path, name);
  const tr__joined there = tr__join(to, name);
  int how = tr__link_new(dir->ops, from.text, there.text);
  int code = errno;
  TR_CHECK(how >= 0 || code == ENOENT ||
               (code == EEXIST && is_same_file(from.text, there.text)),
           TR_EIO, "%s: cannot move to %s: %s", from.text, to, strerror(code));
  return how == TR__RENAMED ? tr__sync_dir(dir->ops, to) : TR_OK;
}

static void
remove_name(const tr__run_dir *dir, const char *to, const char *name)
{
  const tr__joined from = tr__join(dir->path, name);
  if (is_same_file(from.text, tr__join(to, name).text)) {
    dir->ops->unlink(from.text);
  }
}

/* Move one run: first all files get their new names, then all lose their old
 * ones. */
static tr_status move_run(const tr__run_dir *dir,
                          const char *to,
                          const tr__listing *found,
                          const unsigned char *run_id)
{
  char data[TR__FILE_NAME_BYTES];
  for (int i = 0; i < found->count; i++) {
    if (tr__is_of_run(&found->items[i], run_id)) {
      tr__data_name(&found->items[i], data);
      TR_TRY(name_anew(dir, to, data));
      TR_TRY(name_anew(dir, to, found->items[i].name));
    }
  }
  TR_TRY(tr__sync_dir(dir->ops, to));
  for (int i = 0; i < found->count; i++) {
    if (tr__is_of_run(&found->items[i], run_id)) {
      tr__data_name(&found->items[i], data);
      remove_name(dir, to, found->items[i].name);
      remove_name(dir, to, data);
    }
  }
  return tr__sync_dir(dir->ops, dir->path);
}

static void note(tr__run_dir *dir,
                 const char *to,
                 const tr__listing *found,
                 const unsigned char *run_id)
{
  int count = 0;
  int64_t newest = -1;
  for (int i = 0; i < found->count; i++) {
    const tr__listed *item = &found->items[i];
    if (tr__is_of_run(item, run_id)) {
      count++;
      newest = newest < 0 && item->is_readable ? item->manifest.step : newest;
    }
  }
  size_t used = strlen(dir->moved);
  char step[48] = "";
  if (newest >= 0) {
    snprintf(step, sizeof step, " (the newest of step %lld)",
             (long long)newest);
  }
  snprintf(dir->moved + used, sizeof dir->moved - used,
           "%s%d checkpoint%s of another run%s moved to %s",
           used > 0 ? "; " : "", count, count == 1 ? "" : "s", step, to);
}

tr_status tr__run_dir_set_aside(tr__run_dir *dir,
                                const tr__listing *found,
                                const unsigned char *run_id)
{
  char to[TR__PATH_BYTES];
  for (int i = 0; i < found->count; i++) {
    const tr__listed *item = &found->items[i];
    bool is_done = !tr__is_foreign(item, run_id);
    for (int k = 0; k < i && !is_done; k++) {
      is_done = tr__is_of_run(&found->items[k], item->run_id);
    }
    if (!is_done) {
      TR_TRY(choose_folder(dir, item->run_id, to));
      TR_TRY(move_run(dir, to, found, item->run_id));
      note(dir, to, found, item->run_id);
    }
  }
  return TR_OK;
}
