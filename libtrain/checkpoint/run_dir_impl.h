/* A directory of checkpoints: who may write, what is there, how one is added.
 *
 * One process writes at a time: it holds run.lock (flock, which ends with the
 * process, however that ends). So every temporary that the holder finds is a
 * leftover of a dead process. */
#ifndef TR_RUN_DIR_IMPL_H
#define TR_RUN_DIR_IMPL_H

#include "checkpoint/durable_impl.h"
#include "checkpoint/manifest_impl.h"

typedef struct tr__run_dir {
  const tr__file_ops *ops;
  char path[TR__PATH_BYTES];
  int lock;       /* file descriptor of run.lock; -1: closed */
  bool is_locked; /* by it; not where another model of this process holds it, or
                     locks are not supported there */

  /* Saves that a resume has found damaged, refused_after < save <=
   * refused_to: they do not count among those that stay. */
  int64_t refused_after, refused_to;
} tr__run_dir;

/* tr__run_dir_open - make the directory where needed and lock it.
 *
 * wait_s  how long to wait for another process, in seconds: a job that was
 *         killed needs a moment to disappear
 *
 * TR_ETEMPORARY where another process keeps it, TR_EIO. */
tr_status tr__run_dir_open(const tr__file_ops *ops,
                           const char *path,
                           double wait_s,
                           tr__run_dir *out);

void tr__run_dir_close(tr__run_dir *dir);

typedef struct tr__listed {
  char name[TR__FILE_NAME_BYTES]; /* of the manifest's own file */
  tr__manifest manifest;          /* only the step where it is not readable */
  bool is_readable;
  bool is_damaged;   /* it could be read, but is no manifest */
  char problem[256]; /* why it is not */
} tr__listed;

typedef struct tr__listing {
  tr__listed *items; /* owned; unreadable ones first, then by save, newest
                        first */
  int count;
  int64_t last_save;
} tr__listing;

/* tr__run_dir_list - all manifests; none where there is no directory. */
tr_status
tr__run_dir_list(const tr__file_ops *ops, const char *path, tr__listing *out);

/* tr__is_of_run - whether a manifest can be read and belongs to a run. */
bool tr__is_of_run(const tr__listed *item, const unsigned char *run_id);

void tr__listing_release(tr__listing *listing);

/* tr__run_dir_each - call visit for every name in a directory, none where there
 * is no directory; stops at its first failure. */
tr_status tr__run_dir_each(const char *path,
                           tr_status (*visit)(void *user,
                                              const char *path,
                                              const char *name),
                           void *user);

/* tr__run_dir_clean - remove temporaries, and data files that no manifest of
 * the listing names. */
tr_status tr__run_dir_clean(const tr__file_ops *ops,
                            const char *path,
                            const tr__listing *listing);

/* tr__is_foreign - whether a checkpoint is another run's. A damaged manifest
 * names no run: it is another's where this run has written none. */
bool tr__is_foreign(const tr__listed *item,
                    const tr__listing *found,
                    const unsigned char *run_id);

/* Where a run puts what it finds of other runs. */
#define TR__PREVIOUS_DIR "previous"

/* tr__run_dir_set_aside - move checkpoints of other runs to DIR/previous.
 *
 * Called when a checkpoint of this run is durable and newer than all of them,
 * so a kill or a failure at any moment loses nothing: what is not moved now is
 * moved at the next save. What an even earlier run has in previous goes once
 * the move is complete.
 *
 * found  what was there before this run's save */
tr_status tr__run_dir_set_aside(const tr__run_dir *dir,
                                const tr__listing *found,
                                const unsigned char *run_id);

/* tr__run_dir_commit - make an image the newest checkpoint of a directory.
 *
 * The data file is durable before the manifest is written, and the manifest
 * before anything older goes. keep complete checkpoints of this run stay;
 * those of other runs are set aside. On failure those that were there still
 * are.
 *
 * seal  [in,out]  step and run id; length and hash are set */
tr_status tr__run_dir_commit(const tr__run_dir *dir,
                             const tr__image *image,
                             tr__seal *seal,
                             int64_t world,
                             int keep);

/* tr__run_dir_load - read and verify the file of a manifest.
 *
 * bytes  [out]  the caller's to free, after out was released */
tr_status tr__run_dir_load(const tr__file_ops *ops,
                           const char *path,
                           const tr__manifest *manifest,
                           unsigned char **bytes,
                           tr__sealed *out);

#endif
