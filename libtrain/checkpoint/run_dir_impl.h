/* A directory of checkpoints: who may write, what is there, how one is added.
 *
 * One process writes at a time: it holds run.lock (flock, which ends with the
 * process, however that ends). So every temporary that the holder finds is a
 * leftover of a dead process. */
#ifndef TR_RUN_DIR_IMPL_H
#define TR_RUN_DIR_IMPL_H

#include "checkpoint/durable_impl.h"
#include "checkpoint/manifest_impl.h"

/* A path that is used for one call. */
typedef struct tr__joined {
  char text[TR__PATH_BYTES + 260];
} tr__joined;

tr__joined tr__join(const char *dir, const char *name);

typedef struct tr__run_dir {
  const tr__file_ops *ops;
  char path[TR__PATH_BYTES];
  int lock;       /* file descriptor of run.lock; -1: closed */
  bool is_locked; /* by it; not where locks are not supported */
  bool has_begun; /* the identity of the run is written there */

  /* Saves that a resume has found damaged, refused_after < save <=
   * refused_to: they do not count among those that stay. */
  int64_t refused_after, refused_to;
  char moved[512]; /* what was set aside, in words; "": nothing */
} tr__run_dir;

/* tr__run_dir_open - make the directory where needed and lock it.
 *
 * wait_s  how long to wait for another process, in seconds: a job that was
 *         killed needs a moment to disappear
 *
 * TR_ETEMPORARY where another process keeps it, TR_ESTATE where another model
 * of this process does, TR_EIO. */
tr_status tr__run_dir_open(const tr__file_ops *ops,
                           const char *path,
                           double wait_s,
                           tr__run_dir *out);

void tr__run_dir_close(tr__run_dir *dir);

/* tr__run_dir_is_held - whether the lock that is held is still the
 * directory's. */
bool tr__run_dir_is_held(const tr__run_dir *dir);

typedef struct tr__listed {
  char name[TR__FILE_NAME_BYTES]; /* of the manifest's own file */
  tr__manifest manifest;          /* only the step where it is not readable */
  bool is_readable;
  bool is_gone; /* removed since it was listed */
  bool has_run; /* run_id is known, from the manifest or from the seal of
                   its data file */
  unsigned char run_id[TR__SEAL_RUN_BYTES];
  char problem[256]; /* why it is not readable */
} tr__listed;

typedef struct tr__listing {
  tr__listed *items; /* owned; unreadable ones first, then by save, newest
                        first */
  int count;
  int64_t last_save; /* of the manifests that can be read */
} tr__listing;

/* tr__run_dir_list - all manifests; none where there is no directory.
 *
 * A manifest that is damaged or no file is an item that is not readable. One
 * that could not be looked at (no permission, a failing disk, no memory) may be
 * whole: then the call fails. */
tr_status
tr__run_dir_list(const tr__file_ops *ops, const char *path, tr__listing *out);

/* tr__data_name - of an item's data file; a guess where that is not readable.
 */
void tr__data_name(const tr__listed *item, char out[TR__FILE_NAME_BYTES]);

/* tr__is_of_run, tr__is_foreign - whether a checkpoint is known to be a run's,
 * or another's. */
bool tr__is_of_run(const tr__listed *item, const unsigned char *run_id);
bool tr__is_foreign(const tr__listed *item, const unsigned char *run_id);

void tr__listing_release(tr__listing *listing);

/* tr__run_dir_each - call visit for every name in a directory, none where there
 * is no directory; stops at its first failure. */
tr_status tr__run_dir_each(const char *path,
                           tr_status (*visit)(void *user,
                                              const char *path,
                                              const char *name),
                           void *user);

/* The first bytes of a data file that is not finished. */
#define TR__UNFINISHED_MARK "libtrain unfinished\n"

/* The file that says whose directory it is. */
#define TR__IDENTITY_NAME "run.identity"

/* tr__run_dir_clean - remove the leftovers of saves that did not end. */
tr_status tr__run_dir_clean(const tr__file_ops *ops,
                            const char *path,
                            const tr__listing *listing);

/* tr__run_dir_remove - remove item i of a listing, and its data file where no
 * other item names it. */
void tr__run_dir_remove(const tr__file_ops *ops,
                        const char *path,
                        tr__listing *listing,
                        int i);

/* tr__run_dir_remove_old - remove what is older than a run's newest `keep`
 * complete ones, and those of a step that was saved again. What cannot be
 * removed stays for the next time, and so do copies that somebody made. */
tr_status tr__run_dir_remove_old(const tr__run_dir *dir,
                                 const unsigned char *run_id,
                                 int keep);

/* Where a run puts what it finds of other runs: previous, previous-2, ... */
#define TR__PREVIOUS_DIR "previous"

/* tr__run_dir_set_aside - move checkpoints of other runs to DIR/previous, or
 * the first such folder, by number, that holds nothing of any other run.
 *
 * Called when a checkpoint of this run is durable and newer than all of them,
 * so a kill or a failure at any moment loses nothing: a name goes when the new
 * one is durable, and what is not moved now is moved at the next save. What was
 * moved is added to dir->moved.
 *
 * found  what was there before this run's save */
tr_status tr__run_dir_set_aside(tr__run_dir *dir,
                                const tr__listing *found,
                                const unsigned char *run_id);

/* tr__run_dir_commit - make an image the newest checkpoint of a directory.
 *
 * Data file and manifest are durable before they get their names, the data file
 * first, and both before anything older goes. keep complete checkpoints of this
 * run stay; those of other runs are set aside. No file that is there is
 * replaced. On failure those that were there still are.
 *
 * seal  [in,out]  step and run id; length and hash are set */
tr_status tr__run_dir_commit(tr__run_dir *dir,
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
