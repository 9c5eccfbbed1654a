/* Files that are either wholly there or not there at all. */
#ifndef TR_DURABLE_IMPL_H
#define TR_DURABLE_IMPL_H

#include "base/file_impl.h"

#define TR__PATH_BYTES 1024

/* Every system call that changes a checkpoint directory. A table, so that
 * tests can make each call fail in turn. All set errno as the system does. */
typedef struct tr__file_ops {
  int (*open)(const char *path, int flags, mode_t mode);
  int (*allocate)(int fd, off_t bytes);
  ssize_t (*write)(int fd, const void *data, size_t bytes, off_t offset);
  ssize_t (*read)(int fd, void *data, size_t bytes, off_t offset);
  int (*sync)(int fd);
  int (*close)(int fd);
  int (*rename)(const char *from, const char *to);
  int (*unlink)(const char *path);
  int (*make_dir)(const char *path, mode_t mode);
  int (*lock)(int fd, int operation);
  int (*link)(const char *from, const char *to);
} tr__file_ops;

/* tr__file_ops_system - the system's own calls. */
const tr__file_ops *tr__file_ops_system(void);

/* A file on its way to its name. */
typedef struct tr__durable {
  const tr__file_ops *ops;
  int fd; /* -1: none */
  char path[TR__PATH_BYTES];
  char temporary[TR__PATH_BYTES]; /* "" where there is none */
  tr__write_guard guard;          /* from open to the end */
} tr__durable;

/* What the names of temporaries in a directory begin with. */
#define TR__TEMPORARY_PREFIX ".tmp-"

/* tr__create_status - the status of a file that cannot be created: a folder
 * that is gone is a failed output, no missing input. */
tr_status tr__create_status(int code);

/* tr__durable_open - begin the file dir/name, of exactly this many bytes.
 *
 * The space is taken at once where the file system can. A failure of any of
 * these calls is TR_EIO, names file and reason, and has already removed the
 * temporary, publishing apart; nothing is left to do then. Between open and the
 * end (its name, abort or a failure) this thread blocks SIGXFSZ, so that a
 * file-size limit is a failure and not the end of the process. */
tr_status tr__durable_open(const tr__file_ops *ops,
                           const char *dir,
                           const char *name,
                           size_t bytes,
                           tr__durable *out);

/* tr__durable_write - bytes at an offset. */
tr_status tr__durable_write(tr__durable *file,
                            size_t offset,
                            const void *data,
                            size_t bytes);

/* tr__durable_finish - fsync and close: what it holds is durable, and it has
 * its temporary name. */
tr_status tr__durable_finish(tr__durable *file);

/* tr__durable_publish - rename a finished file, fsync the directory. Where only
 * the last of these fails the file has its name, perhaps not for ever, and
 * file->temporary is empty. Otherwise the temporary stays until
 * tr__durable_abort(). */
tr_status tr__durable_publish(tr__durable *file);

/* tr__durable_abort - remove the temporary; nothing to do where it has its
 * name. */
void tr__durable_abort(tr__durable *file);

/* tr__write_durably - all of the above for a small file. */
tr_status tr__write_durably(const tr__file_ops *ops,
                            const char *dir,
                            const char *name,
                            const void *data,
                            size_t bytes);

/* tr__link_new - give a file another name that nobody has; never overwrites.
 * TR__LINKED: it has both names. TR__RENAMED, where the file system has no hard
 * links: it has the new one. -1 with errno, EEXIST where the name is taken. */
enum { TR__LINKED = 0, TR__RENAMED = 1 };
int tr__link_new(const tr__file_ops *ops, const char *from, const char *to);

/* tr__sync_dir - make the names in a directory durable. */
tr_status tr__sync_dir(const tr__file_ops *ops, const char *dir);

/* tr__read_file - a whole regular file of at most `limit` bytes, in memory
 * that is the caller's to free. TR_ENOINPUT where it is missing, TR_EDATA where
 * it is too large or no regular file, TR_EIO. */
tr_status tr__read_file(const tr__file_ops *ops,
                        const char *path,
                        size_t limit,
                        unsigned char **out,
                        size_t *length);

/* tr__read_head - the first bytes of a regular file, fewer where it is shorter;
 * no link is followed. TR_ENOINPUT where it is missing, TR_EDATA where it is no
 * regular file, TR_EIO. */
tr_status tr__read_head(const tr__file_ops *ops,
                        const char *path,
                        void *to,
                        size_t bytes,
                        size_t *length);

#endif
