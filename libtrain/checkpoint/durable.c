/* The write protocol of durable files: temporary name, space reserved first,
 * full writes, fsync, close, rename, fsync of the directory.
 *
 * A failed fsync is never repeated: the kernel may have dropped the pages, and
 * a second call would succeed without them (fsyncgate, 2018). The file is given
 * up and the next save writes a new one. */
#include "checkpoint/durable_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_NAMES = 100 };

static int system_open(const char *path, int flags, mode_t mode)
{
  return tr__open_fd(path, flags, mode);
}

static int system_allocate(int fd, off_t bytes)
{
  /* posix_fallocate() would write to every block where the file system cannot
   * reserve space, and the data will do that anyway. */
  return fallocate(fd, 0, 0, bytes);
}

static int system_mkdir(const char *path, mode_t mode)
{
  return mkdir(path, mode);
}

const tr__file_ops *tr__file_ops_system(void)
{
  static const tr__file_ops ops = {
      .open = system_open,
      .allocate = system_allocate,
      .write = pwrite,
      .read = pread,
      .sync = fsync,
      .close = close,
      .rename = rename,
      .unlink = unlink,
      .make_dir = system_mkdir,
      .lock = flock,
      .link = link,
  };
  return &ops;
}

void tr__durable_abort(tr__durable *file)
{
  if (file->temporary[0] == '\0') {
    return;
  }
  if (file->fd >= 0) {
    file->ops->close(file->fd);
    file->fd = -1;
  }
  /* If this fails, the next save recognises the leftover by its first bytes. */
  file->ops->unlink(file->temporary);
  file->temporary[0] = '\0';
  tr__write_end(&file->guard);
}

/* Remove the temporary and fail with a message. code is the call's errno. */
static tr_status give_up(tr__durable *file, const char *what, int code)
{
  tr__durable_abort(file);
  return TR_FAIL(TR_EIO, "%s: cannot %s: %s", file->path, what, strerror(code));
}

static int open_again(const tr__file_ops *ops, const char *path, int flags)
{
  int fd;
  do {
    fd = ops->open(path, flags, 0666);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

/* Use the first name that is free: an earlier process may have had the same
 * number, and its leftover may be a user's file. */
static bool
create_temporary(tr__durable *file, const char *dir, const char *name)
{
  errno = EEXIST;
  for (int i = 0; i < MOST_NAMES && file->fd < 0 && errno == EEXIST; i++) {
    char number[16] = "";
    if (i > 0) {
      snprintf(number, sizeof number, ".%d", i);
    }
    int length = snprintf(file->temporary, sizeof file->temporary,
                          "%s/" TR__TEMPORARY_PREFIX "%ld%s-%s", dir,
                          (long)getpid(), number, name);
    if (length >= TR__PATH_BYTES) {
      errno = ENAMETOOLONG;
      break;
    }
    file->fd = open_again(file->ops, file->temporary,
                          O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW);
  }
  return file->fd >= 0;
}

tr_status tr__create_status(int code)
{
  const tr_status status = tr__errno_status(code);
  return status == TR_ENOINPUT ? TR_EIO : status;
}

tr_status tr__durable_open(const tr__file_ops *ops,
                           const char *dir,
                           const char *name,
                           size_t bytes,
                           tr__durable *out)
{
  memset(out, 0, sizeof *out);
  out->ops = ops;
  out->fd = -1;
  int length = snprintf(out->path, sizeof out->path, "%s/%s", dir, name);
  TR_CHECK(length < TR__PATH_BYTES, TR_EIO,
           "%s: the path is longer than %d bytes", dir, TR__PATH_BYTES);
  tr__write_begin(&out->guard);
  if (!create_temporary(out, dir, name)) {
    int code = errno;
    /* The file under the last name tried does not belong to this save. */
    out->temporary[0] = '\0';
    tr__write_end(&out->guard);
    return TR_FAIL(tr__create_status(code),
                   "%s: cannot create a temporary file: %s", out->path,
                   strerror(code));
  }
  int code;
  do {
    code = ops->allocate(out->fd, (off_t)bytes) < 0 ? errno : 0;
  } while (code == EINTR);
  if (code != 0 && code != EOPNOTSUPP && code != ENOSYS && code != EINVAL) {
    return give_up(out, "take space on the disk", code);
  }
  return TR_OK;
}

tr_status tr__durable_write(tr__durable *file,
                            size_t offset,
                            const void *data,
                            size_t bytes)
{
  const char *from = data;
  while (bytes > 0) {
    ssize_t n = file->ops->write(file->fd, from, bytes, (off_t)offset);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      return give_up(file, "write", n < 0 ? errno : ENOSPC);
    }
    from += n;
    offset += (size_t)n;
    bytes -= (size_t)n;
  }
  return TR_OK;
}

tr_status tr__durable_finish(tr__durable *file)
{
  if (file->ops->sync(file->fd) < 0) {
    return give_up(file, "make it durable (fsync)", errno);
  }
  int closed = file->ops->close(file->fd);
  int code = errno;
  file->fd = -1;
  return closed < 0 ? give_up(file, "close", code) : TR_OK;
}

tr_status tr__durable_publish(tr__durable *file)
{
  char dir[TR__PATH_BYTES];
  int failed = file->ops->rename(file->temporary, file->path) < 0;
  TR_CHECK(!failed, TR_EIO, "%s: cannot rename the temporary file: %s",
           file->path, strerror(errno));
  file->temporary[0] = '\0';
  tr__write_end(&file->guard);
  strcpy(dir, file->path);
  *strrchr(dir, '/') = '\0';
  return tr__sync_dir(file->ops, dir);
}

tr_status tr__write_durably(const tr__file_ops *ops,
                            const char *dir,
                            const char *name,
                            const void *data,
                            size_t bytes)
{
  tr_status status;
  tr__durable file;
  TR_TRY(tr__durable_open(ops, dir, name, bytes, &file));
  TR_TRY(tr__durable_write(&file, 0, data, bytes));
  TR_TRY(tr__durable_finish(&file));
  TR_TRY_GOTO(tr__durable_publish(&file), done);
done:
  tr__durable_abort(&file);
  return status;
}

/* Whether the errno of link() says that the file system has no hard links. */
static bool has_no_links(int code)
{
  return code == EPERM || code == EOPNOTSUPP || code == ENOSYS ||
         code == EMLINK || code == EXDEV;
}

int tr__link_new(const tr__file_ops *ops, const char *from, const char *to)
{
  struct stat info;
  if (ops->link(from, to) == 0) {
    return TR__LINKED;
  }
  if (!has_no_links(errno)) {
    return -1;
  }
  if (lstat(to, &info) == 0) {
    errno = EEXIST;
    return -1;
  }
  return errno == ENOENT && ops->rename(from, to) == 0 ? TR__RENAMED : -1;
}

tr_status tr__sync_dir(const tr__file_ops *ops, const char *dir)
{
  const char *path = dir[0] == '\0' ? "/" : dir;
  int fd = open_again(ops, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  TR_CHECK(fd >= 0, TR_EIO, "%s: cannot open the directory: %s", path,
           strerror(errno));
  int code = ops->sync(fd) < 0 ? errno : 0;
  ops->close(fd);
  /* EINVAL: this file system cannot sync directories. */
  TR_CHECK(code == 0 || code == EINVAL, TR_EIO,
           "%s: cannot make the directory durable (fsync): %s", path,
           strerror(code));
  return TR_OK;
}

static tr_status read_all(const tr__file_ops *ops,
                          const char *path,
                          int fd,
                          unsigned char *to,
                          size_t bytes)
{
  size_t done = 0;
  while (done < bytes) {
    ssize_t n = ops->read(fd, to + done, bytes - done, (off_t)done);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    TR_CHECK(n >= 0, tr__errno_status(errno), "%s: cannot read: %s", path,
             strerror(errno));
    TR_CHECK(n > 0, TR_EDATA, "%s: ends after %zu bytes, expected %zu", path,
             done, bytes);
    done += (size_t)n;
  }
  return TR_OK;
}

tr_status tr__read_file(const tr__file_ops *ops,
                        const char *path,
                        size_t limit,
                        unsigned char **out,
                        size_t *length)
{
  tr_status status = TR_OK;
  struct stat info;
  *out = NULL;
  *length = 0;
  /* O_NONBLOCK: a pipe of this name must not block the open. */
  int fd = open_again(ops, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  TR_CHECK(fd >= 0, tr__errno_status(errno), "%s: cannot open: %s", path,
           strerror(errno));
  if (fstat(fd, &info) < 0) {
    status = TR_FAIL(tr__errno_status(errno), "%s: cannot look at it: %s", path,
                     strerror(errno));
    goto done;
  }
  if (!S_ISREG(info.st_mode)) {
    status = TR_FAIL(TR_EDATA, "%s: is no regular file", path);
    goto done;
  }
  if (info.st_size < 0 || (uint64_t)info.st_size > limit) {
    status = TR_FAIL(TR_EDATA, "%s: has %lld bytes, at most %zu are expected",
                     path, (long long)info.st_size, limit);
    goto done;
  }
  unsigned char *bytes = malloc((size_t)info.st_size + 1);
  if (bytes == NULL) {
    status = TR_FAIL(TR_ENOMEM, "%s: no memory for %lld bytes", path,
                     (long long)info.st_size);
    goto done;
  }
  status = read_all(ops, path, fd, bytes, (size_t)info.st_size);
  if (status != TR_OK) {
    free(bytes);
    goto done;
  }
  bytes[info.st_size] = '\0';
  *out = bytes;
  *length = (size_t)info.st_size;

done:
  ops->close(fd);
  return status;
}

tr_status tr__read_head(const tr__file_ops *ops,
                        const char *path,
                        void *to,
                        size_t bytes,
                        size_t *length)
{
  struct stat info;
  tr_status status = TR_OK;
  *length = 0;
  int fd =
      open_again(ops, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  TR_CHECK(fd >= 0, errno == ELOOP ? TR_EDATA : tr__errno_status(errno),
           "%s: cannot open: %s", path, strerror(errno));
  if (fstat(fd, &info) < 0) {
    status = TR_FAIL(tr__errno_status(errno), "%s: cannot look at it: %s", path,
                     strerror(errno));
  } else if (!S_ISREG(info.st_mode)) {
    status = TR_FAIL(TR_EDATA, "%s: is no regular file", path);
  } else {
    *length = (uint64_t)info.st_size < bytes ? (size_t)info.st_size : bytes;
    status = read_all(ops, path, fd, to, *length);
  }
  ops->close(fd);
  return status;
}
