/* Opening and writing files, protected against closed standard streams, pipes
 * without a reader, and signals of writes. */
#ifndef TR_FILE_IMPL_H
#define TR_FILE_IMPL_H

#include "base/base_impl.h"

#include <signal.h>
#include <sys/types.h>

/* tr__fd_above_stdio - move a file descriptor above 2. Returns the new one, or
 * -1 with errno and fd closed where there is none. fd may be -1.
 *
 * In a process that was started with a closed standard output, open() returns
 * that number again, and what the process prints lands in the file. */
int tr__fd_above_stdio(int fd);

/* tr__open_fd - open() whose descriptor is above 2 and closed by exec(), and
 * which signals do not interrupt. Errors as open(). */
int tr__open_fd(const char *path, int flags, mode_t mode);

/* tr__open_read - open a regular file for reading.
 *
 * bytes  [out]  its size; may be NULL
 *
 * The call never waits for the writer of a pipe. Returns TR_ENOINPUT for a
 * missing file, TR_EDATA for anything that is no regular file, otherwise the
 * status of tr__errno_status(). */
tr_status tr__open_read(const char *path, int *fd, int64_t *bytes);

/* What a destination may be besides a regular file. */
typedef enum tr__destination {
  TR__TO_FILE,  /* a device such as /dev/null */
  TR__TO_STREAM /* a device, or a pipe with a reader, such as /dev/stdout */
} tr__destination;

/* tr__open_write - open or create a file for writing; flags: O_APPEND, O_TRUNC
 * or 0. *what, for example "log", names it in messages.
 *
 * The call never waits for the reader of a pipe. Returns TR_EIO or the status
 * of tr__errno_status(). */
tr_status tr__open_write(
    const char *path, const char *what, int flags, tr__destination to, int *fd);

/* tr__errno_status - the status for an errno: TR_ENOINPUT for a name that does
 * not exist, TR_ENOMEM for memory, TR_ETEMPORARY for too many file descriptors,
 * TR_EIO for all others. */
tr_status tr__errno_status(int code);

/* tr__read_full - read up to `bytes` bytes; fewer only at the end of the file.
 * *got is their number. Returns 0 or an errno. */
int tr__read_full(int fd, void *out, size_t bytes, size_t *got);

/* State of the signals that a write may send to this thread. */
typedef struct tr__write_guard {
  sigset_t mask, pending;
} tr__write_guard;

/* tr__write_begin, tr__write_end - between the two, a write beyond the file
 * size limit (SIGXFSZ) or to a pipe without a reader (SIGPIPE) fails with EFBIG
 * or EPIPE and does not end the process. */
void tr__write_begin(tr__write_guard *guard);
void tr__write_end(const tr__write_guard *guard);

/* tr__flush - fflush() under the guard. It discards what it cannot write, so
 * that no later flush, least of all that of exit(), writes it again. Returns
 * false with errno where it discarded data or an earlier write failed. */
bool tr__flush(FILE *stream);

/* tr__print_line - write a line and flush it as tr__flush() does. */
void tr__print_line(FILE *stream, const char *prefix, const char *line);

#endif
