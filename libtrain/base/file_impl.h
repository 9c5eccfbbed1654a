/* One careful way to open files and to write to them. */
#ifndef TR_FILE_IMPL_H
#define TR_FILE_IMPL_H

#include "base/base_impl.h"

#include <signal.h>
#include <sys/types.h>

/* tr__fd_above_stdio - the same file under a number above 2; -1 with errno,
 * and fd is closed, where there is none.
 *
 * A process that was started with a closed standard output hands that number
 * out again, and what it prints then lands in the file. fd may be -1. */
int tr__fd_above_stdio(int fd);

/* tr__open_fd - open(), closed by exec(), never below 3, not ended by a signal.
 * Errors as open()'s. */
int tr__open_fd(const char *path, int flags, mode_t mode);

/* tr__open_read - open a regular file for reading.
 *
 * bytes  [out]  its size; may be NULL
 *
 * Never waits for the writer of a pipe. TR_ENOINPUT where the file is missing,
 * TR_EDATA where it is something else than a regular file, and what
 * tr__errno_status() says of all else. */
tr_status tr__open_read(const char *path, int *fd, int64_t *bytes);

/* What a file that is written may be besides a regular one. */
typedef enum tr__destination {
  TR__TO_FILE,  /* a device such as /dev/null */
  TR__TO_STREAM /* that, or a pipe that has a reader, such as /dev/stdout */
} tr__destination;

/* tr__open_write - open or make a file for writing; flags: O_APPEND, O_TRUNC
 * or 0. *what, "log", is for the message.
 *
 * Never waits for the reader of a pipe. TR_EIO, or what tr__errno_status()
 * says.
 */
tr_status tr__open_write(
    const char *path, const char *what, int flags, tr__destination to, int *fd);

/* tr__errno_status - the status of a failed call of the system: TR_ENOINPUT
 * for a name that is not there, TR_ENOMEM for memory, TR_ETEMPORARY for file
 * descriptors, TR_EIO for all else. */
tr_status tr__errno_status(int code);

/* tr__read_full - as many bytes as there are, *got of them; 0, or an errno. */
int tr__read_full(int fd, void *out, size_t bytes, size_t *got);

/* The signals that a write may send to this thread, as they were. */
typedef struct tr__write_guard {
  sigset_t mask, pending;
} tr__write_guard;

/* tr__write_begin, tr__write_end - between them a write beyond the limit on
 * file sizes (SIGXFSZ) or to a pipe that nobody reads (SIGPIPE) fails with
 * EFBIG or EPIPE and does not end the process. */
void tr__write_begin(tr__write_guard *guard);
void tr__write_end(const tr__write_guard *guard);

/* tr__flush - fflush() under the guard. What cannot be written is dropped, so
 * that no later flush, that of exit() least of all, tries it again.
 * False, with errno, where something was dropped or had failed before. */
bool tr__flush(FILE *stream);

/* tr__print_line - a line of a message, flushed as tr__flush() does. */
void tr__print_line(FILE *stream, const char *prefix, const char *line);

#endif
