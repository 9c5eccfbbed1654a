/* A directory of checkpoints: locking it, listing what is there, adding a
 * checkpoint and removing old ones.
 *
 * One process writes at a time: it holds a flock on run.lock, which the kernel
 * releases when the process ends, however it ends. So every temporary that the
 * holder finds is a leftover of a dead process. */
#ifndef TR_RUN_DIR_IMPL_H
#define TR_RUN_DIR_IMPL_H

#include "checkpoint/durable_impl.h"
#include "checkpoint/manifest_impl.h"

/* A joined path, for use in one call. */
typedef struct tr__joined {
  char text[TR__PATH_BYTES + 260];
} tr__joined;

tr__joined tr__join(const char *dir, const char *name);

typedef struct tr__run_dir {
  const tr__file_ops *ops;
  char path[TR__PATH_BYTES];
  int lock;       /* file descriptor of run.lock; -1: closed */
  bool is_locked; /* false where locks are not supported */
  bool has_begun; /* the run's identity is written there */

  /* Saves that a resume found damaged: refused_after < save <= refused_to. They
   * do not count towards the number of checkpoints to keep. */
  int64_t refused_after, refused_to;
  char moved[512]; /* message about what was set aside; "": nothing */
} tr__run_dir;

/* tr__run_dir_open - make the directory if needed and lock it.
 *
 * wait_s  how long to wait for another process, in seconds: a killed job needs
 *         a moment to disappear
 *
 * TR_ETEMPORARY if another process holds the lock, TR_ESTATE if another model
 * of this process does, TR_EINVAL for a path that is empty or too long, TR_EIO.
 */
tr_status tr__run_dir_open(const tr__file_ops *ops,
                           const char *path,
                           double wait_s,
                           tr__run_dir *out);

void tr__run_dir_close(tr__run_dir *dir);

/* tr__run_dir_is_held - whether the held lock is still that of the file with
 * the lock's name. */
bool tr__run_dir_is_held(const tr__run_dir *dir);

typedef struct tr__listed {
  char name[TR__FILE_NAME_BYTES]; /* file name of the manifest itself */
  tr__manifest manifest;          /* only the step if it is not readable */
  bool is_readable;
  bool is_gone; /* removed after it was listed */
  bool has_run; /* run_id is known, from the manifest or from the seal of its
                   data file */
  unsigned char run_id[TR__SEAL_RUN_BYTES];
  char problem[256]; /* why it is not readable */
} tr__listed;

typedef struct tr__listing {
  tr__listed *items; /* owned; unreadable ones first, then by save, newest
                        first */
  int count;
  int64_t last_save; /* the largest in any readable manifest */
} tr__listing;

/* tr__run_dir_list - list all manifests. No directory gives an empty list.
 *
 * A manifest that is damaged or no regular file becomes an item with
 * is_readable false. If a manifest could not be read for another reason (no
 * permission, a failing disk, no memory), it may be undamaged: then the call
 * fails. */
tr_status
tr__run_dir_list(const tr__file_ops *ops, const char *path, tr__listing *out);

/* tr__data_name - the name of an item's data file. For an unreadable item it is
 * derived from the manifest's name. */
void tr__data_name(const tr__listed *item, char out[TR__FILE_NAME_BYTES]);

/* tr__is_of_run, tr__is_foreign - whether a checkpoint is known to belong to
 * this run, or to another run. */
bool tr__is_of_run(const tr__listed *item, const unsigned char *run_id);
bool tr__is_foreign(const tr__listed *item, const unsigned char *run_id);

void tr__listing_release(tr__listing *listing);

/* tr__run_dir_each - call visit for every name in a directory, for none if
 * there is no directory. Stops at the first failure of visit. */
tr_status tr__run_dir_each(const char *path,
                           tr_status (*visit)(void *user,
                                              const char *path,
                                              const char *name),
                           void *user);

/* The first bytes of an unfinished data file. */
#define TR__UNFINISHED_MARK "libtrain unfinished\n"

/* The file that says which run owns the directory. */
#define TR__IDENTITY_NAME "run.identity"

/* tr__run_dir_clean - remove the leftovers of interrupted saves. */
tr_status tr__run_dir_clean(const tr__file_ops *ops,
                            const char *path,
                            const tr__listing *listing);

/* tr__run_dir_remove - remove item i of a listing, and its data file if no
 * other item names it. */
void tr__run_dir_remove(const tr__file_ops *ops,
                        const char *path,
                        tr__listing *listing,
                        int i);

/* tr__run_dir_remove_old - of a run, remove checkpoints beyond the newest
 * `keep` complete ones, and those of a step that was saved again. A file that
 * cannot be removed is tried again at the next save. Copies that a user made
 * stay. */
tr_status tr__run_dir_remove_old(const tr__run_dir *dir,
                                 const unsigned char *run_id,
                                 int keep);

/* Folders for the checkpoints of other runs: previous, previous-2, ... */
#define TR__PREVIOUS_DIR "previous"

/* tr__run_dir_set_aside - move the checkpoints of each other run to a folder:
 * the first of DIR/previous, DIR/previous-2 and so on that is empty or already
 * holds a checkpoint of that run.
 *
 * Call it when a checkpoint of this run is durable and newer than all of them.
 * A kill or a failure at any moment loses nothing: the old name goes only when
 * the new one is durable, and the next save moves what is left. Adds what was
 * moved to dir->moved.
 *
 * found  what was there before this run's save */
tr_status tr__run_dir_set_aside(tr__run_dir *dir,
                                const tr__listing *found,
                                const unsigned char *run_id);

/* tr__run_dir_commit - make an image the newest checkpoint of a directory.
 *
 * Data file and manifest are durable before they get their names, the data file
 * first. Only then older checkpoints go: of this run the newest `keep` complete
 * ones stay, those of other runs are set aside. Replaces no existing file. On
 * failure all earlier checkpoints are still there.
 *
 * seal  [in,out]  step and run id; the call sets length and hash */
tr_status tr__run_dir_commit(tr__run_dir *dir,
                             const tr__image *image,
                             tr__seal *seal,
                             int64_t world,
                             int keep);

/* tr__run_dir_load - read and verify the data file of a manifest.
 *
 * bytes  [out]  the caller frees it, after it has released out */
tr_status tr__run_dir_load(const tr__file_ops *ops,
                           const char *path,
                           const tr__manifest *manifest,
                           unsigned char **bytes,
                           tr__sealed *out);

#endif
