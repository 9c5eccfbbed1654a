/* Opening and writing files. */
#include "base/file_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio_ext.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int tr__fd_above_stdio(int fd)
{
  if (fd < 0 || fd > STDERR_FILENO) {
    return fd;
  }
  int higher = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  int code = errno;
  close(fd);
  errno = code;
  return higher;
}

int tr__open_fd(const char *path, int flags, mode_t mode)
{
  int fd;
  do {
    fd = open(path, flags | O_CLOEXEC | O_NOCTTY, mode);
  } while (fd < 0 && errno == EINTR);
  return tr__fd_above_stdio(fd);
}

tr_status tr__errno_status(int code)
{
  switch (code) {
  case ENOENT:
  case ENOTDIR:
    return TR_ENOINPUT;
  case ENOMEM:
    return TR_ENOMEM;
  case EMFILE:
  case ENFILE:
    return TR_ETEMPORARY;
  default:
    return TR_EIO;
  }
}

static const char *kind_of(mode_t mode)
{
  switch (mode & S_IFMT) {
  case S_IFREG:
    return "a regular file";
  case S_IFDIR:
    return "a directory";
  case S_IFIFO:
    return "a pipe";
  case S_IFSOCK:
    return "a socket";
  case S_IFCHR:
  case S_IFBLK:
    return "a device";
  default:
    return "of an unknown kind";
  }
}

static tr_status
check_regular(const char *path, int failed, const struct stat *info)
{
  TR_CHECK(!failed, tr__errno_status(errno), "%s: %s", path, strerror(errno));
  TR_CHECK(S_ISREG(info->st_mode), TR_EDATA,
           "%s: is %s, expected a regular file", path, kind_of(info->st_mode));
  return TR_OK;
}

/* Check the file before opening it too: opening a device may start it. */
tr_status tr__open_read(const char *path, int *fd, int64_t *bytes)
{
  struct stat info;
  *fd = -1;
  TR_TRY(check_regular(path, stat(path, &info), &info));
  int file = tr__open_fd(path, O_RDONLY | O_NONBLOCK, 0);
  TR_CHECK(file >= 0, tr__errno_status(errno), "%s: %s", path, strerror(errno));
  tr_status status = check_regular(path, fstat(file, &info), &info);
  if (status != TR_OK) {
    close(file);
    return status;
  }
  *fd = file;
  if (bytes != NULL) {
    *bytes = (int64_t)info.st_size;
  }
  return TR_OK;
}

static bool takes(tr__destination to, mode_t mode)
{
  return S_ISREG(mode) || S_ISCHR(mode) ||
         (to == TR__TO_STREAM && S_ISFIFO(mode));
}

/* Check a file before opening it too: O_TRUNC must not empty what cannot be
 * written to. */
static tr_status check_destination(const char *path,
                                   const char *what,
                                   tr__destination to,
                                   int fd)
{
  struct stat info;
  if (fd >= 0 ? fstat(fd, &info) != 0 : stat(path, &info) != 0) {
    return TR_OK;
  }
  TR_CHECK(takes(to, info.st_mode), TR_EIO,
           "cannot write the %s %s: it is %s, expected a regular file", what,
           path, kind_of(info.st_mode));
  return TR_OK;
}

tr_status tr__open_write(
    const char *path, const char *what, int flags, tr__destination to, int *fd)
{
  *fd = -1;
  TR_TRY(check_destination(path, what, to, -1));
  int file = tr__open_fd(path, O_WRONLY | O_CREAT | O_NONBLOCK | flags, 0666);
  if (file < 0) {
    int code = errno;
    tr_status status = tr__errno_status(code);
    return TR_FAIL(status == TR_ENOINPUT ? TR_EIO : status,
                   "cannot write the %s %s: %s", what, path,
                   code == ENXIO ? "it is a pipe that nobody reads"
                                 : strerror(code));
  }
  tr_status status = check_destination(path, what, to, file);
  int mode = fcntl(file, F_GETFL);
  if (status == TR_OK && fcntl(file, F_SETFL, mode & ~O_NONBLOCK) < 0) {
    status = TR_FAIL(TR_EIO, "cannot write the %s %s: %s", what, path,
                     strerror(errno));
  }
  if (status != TR_OK) {
    close(file);
    return status;
  }
  *fd = file;
  return TR_OK;
}

int tr__read_full(int fd, void *out, size_t bytes, size_t *got)
{
  *got = 0;
  while (*got < bytes) {
    ssize_t n = read(fd, (char *)out + *got, bytes - *got);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return errno;
    }
    if (n == 0) {
      break;
    }
    *got += (size_t)n;
  }
  return 0;
}

static sigset_t write_signals(void)
{
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGXFSZ);
  sigaddset(&set, SIGPIPE);
  return set;
}

void tr__write_begin(tr__write_guard *guard)
{
  const sigset_t ours = write_signals();
  sigpending(&guard->pending);
  pthread_sigmask(SIG_BLOCK, &ours, &guard->mask);
}

/* Both signals go to the thread that wrote, so it can consume them here. A
 * signal that was pending before stays: it is the caller's. */
void tr__write_end(const tr__write_guard *guard)
{
  const int signals[] = {SIGXFSZ, SIGPIPE};
  const struct timespec now = {0, 0};
  const int code = errno;
  for (int i = 0; i < 2; i++) {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, signals[i]);
    while (sigismember(&guard->pending, signals[i]) == 0 &&
           sigtimedwait(&one, NULL, &now) == signals[i]) {
    }
  }
  pthread_sigmask(SIG_SETMASK, &guard->mask, NULL);
  errno = code;
}

bool tr__flush(FILE *stream)
{
  tr__write_guard guard;
  tr__write_begin(&guard);
  bool is_whole = fflush(stream) == 0 && !ferror(stream);
  int code = errno;
  if (!is_whole) {
    __fpurge(stream);
    clearerr(stream);
  }
  tr__write_end(&guard);
  errno = code;
  return is_whole;
}

void tr__print_line(FILE *stream, const char *prefix, const char *line)
{
  tr__write_guard guard;
  tr__write_begin(&guard);
  fprintf(stream, "%s%s\n", prefix, line);
  tr__flush(stream);
  tr__write_end(&guard);
}
