/* Durable files: a file appears under its name with all of its bytes or not at
 * all, even if the process or the machine stops in between. */
#ifndef TR_DURABLE_IMPL_H
#define TR_DURABLE_IMPL_H

#include "base/file_impl.h"

#define TR__PATH_BYTES 1024

/* Every system call that changes a checkpoint directory. It is a table so that
 * tests can make each call fail in turn. All calls set errno as the system
 * does. */
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

/* tr__file_ops_system - the table of the system's own calls. */
const tr__file_ops *tr__file_ops_system(void);

/* A file that is being written under a temporary name. */
typedef struct tr__durable {
  const tr__file_ops *ops;
  int fd; /* -1: none */
  char path[TR__PATH_BYTES];
  char temporary[TR__PATH_BYTES]; /* "": none */
  tr__write_guard guard;          /* from open to the end */
} tr__durable;

/* The names of temporary files begin with this. */
#define TR__TEMPORARY_PREFIX ".tmp-"

/* tr__create_status - the status of a file that cannot be created. A missing
 * folder is TR_EIO, because it is a failed output and no missing input. */
tr_status tr__create_status(int code);

/* tr__durable_open - begin the file dir/name, of exactly this many bytes.
 *
 * Reserves the space at once if the file system can. A failure of any of the
 * following calls is TR_EIO; if the file cannot be created, it is what
 * tr__create_status() says. The message names file and reason. Except for
 * tr__durable_publish() the failing call has already removed the temporary, and
 * nothing is left to do. From open to the end (publish, abort or a failure)
 * this thread blocks SIGXFSZ, so that a file-size limit fails the call and does
 * not end the process. */
tr_status tr__durable_open(const tr__file_ops *ops,
                           const char *dir,
                           const char *name,
                           size_t bytes,
                           tr__durable *out);

/* tr__durable_write - write bytes at an offset. */
tr_status tr__durable_write(tr__durable *file,
                            size_t offset,
                            const void *data,
                            size_t bytes);

/* tr__durable_finish - fsync and close. The content is durable, still under the
 * temporary name. */
tr_status tr__durable_finish(tr__durable *file);

/* tr__durable_publish - rename a finished file to its name and fsync the
 * directory. If only that fsync fails, the file has its name, which may not
 * survive a crash, and file->temporary is empty. On any other failure the
 * temporary stays until tr__durable_abort(). */
tr_status tr__durable_publish(tr__durable *file);

/* tr__durable_abort - remove the temporary. Does nothing once published. */
void tr__durable_abort(tr__durable *file);

/* tr__write_durably - all of the above for a small file. */
tr_status tr__write_durably(const tr__file_ops *ops,
                            const char *dir,
                            const char *name,
                            const void *data,
                            size_t bytes);

/* tr__link_new - give a file another name that is not in use. Never overwrites.
 * TR__LINKED: the file has both names. TR__RENAMED: it has only the new one,
 * because the file system has no hard links. -1 with errno on failure, EEXIST
 * if the name is taken. */
enum { TR__LINKED = 0, TR__RENAMED = 1 };
int tr__link_new(const tr__file_ops *ops, const char *from, const char *to);

/* tr__sync_dir - fsync a directory, which makes the names in it durable. */
tr_status tr__sync_dir(const tr__file_ops *ops, const char *dir);

/* tr__read_file - read a whole regular file of at most `limit` bytes into
 * memory that the caller frees. TR_ENOINPUT if it is missing, TR_EDATA if it is
 * too large or no regular file, TR_ENOMEM, TR_EIO. */
tr_status tr__read_file(const tr__file_ops *ops,
                        const char *path,
                        size_t limit,
                        unsigned char **out,
                        size_t *length);

/* tr__read_head - read the first bytes of a regular file, fewer if it is
 * shorter. Follows no symbolic link. TR_ENOINPUT if the file is missing,
 * TR_EDATA if it is no regular file, TR_EIO. */
tr_status tr__read_head(const tr__file_ops *ops,
                        const char *path,
                        void *to,
                        size_t bytes,
                        size_t *length);

#endif
