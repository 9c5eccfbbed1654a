/* Opening a checkpoint directory: making it and holding its lock. */
#include "checkpoint/run_dir_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define HOST_BYTES 64

/* All missing folders of a path, each made durable in its parent. */
static tr_status make_dirs(const tr__file_ops *ops, const char *path)
{
  char part[TR__PATH_BYTES], parent[TR__PATH_BYTES];
  for (const char *at = path; at != NULL;) {
    at = strchr(at + 1, '/');
    size_t length = at != NULL ? (size_t)(at - path) : strlen(path);
    memcpy(part, path, length);
    part[length] = '\0';
    if (ops->make_dir(part, 0777) < 0) {
      TR_CHECK(errno == EEXIST, TR_EIO, "%s: cannot make the directory %s: %s",
               path, part, strerror(errno));
      continue;
    }
    strcpy(parent, part);
    char *slash = strrchr(parent, '/');
    strcpy(slash != NULL ? slash : parent, slash != NULL ? "" : ".");
    TR_TRY(tr__sync_dir(ops, parent));
  }
  return TR_OK;
}

/* Who holds the lock, as written by the holder. */
static bool
read_holder(const tr__file_ops *ops, int fd, long *pid, char host[HOST_BYTES])
{
  char text[128] = "";
  ssize_t n = ops->read(fd, text, sizeof text - 1, 0);
  return n > 0 && sscanf(text, "process %ld on %63s", pid, host) == 2;
}

static void host_name(char host[HOST_BYTES])
{
  if (gethostname(host, HOST_BYTES) != 0 || host[0] == '\0') {
    strcpy(host, "localhost");
  }
  host[HOST_BYTES - 1] = '\0';
}

/* 0 or an errno. */
static int try_lock(const tr__file_ops *ops, int fd)
{
  int code;
  do {
    code = ops->lock(fd, LOCK_EX | LOCK_NB) < 0 ? errno : 0;
  } while (code == EINTR);
  return code;
}

/* Only the message of a process that is refused reads this, so a disk that is
 * full does not stop the save here. */
static void write_holder(const tr__file_ops *ops, int fd)
{
  char text[128] = "", host[HOST_BYTES];
  host_name(host);
  snprintf(text, sizeof text, "process %ld on %s\n", (long)getpid(), host);
  /* Of one length always, so that no rest of a longer text stays. */
  (void)!ops->write(fd, text, sizeof text, 0);
}

static tr_status wait_for_lock(tr__run_dir *dir, double wait_s)
{
  char host[HOST_BYTES], holder[HOST_BYTES] = "?";
  long pid = 0;
  double end = tr__now() + wait_s;
  int code;
  host_name(host);
  while ((code = try_lock(dir->ops, dir->lock)) == EWOULDBLOCK) {
    bool known = read_holder(dir->ops, dir->lock, &pid, holder);
    if (known && pid == (long)getpid() && strcmp(host, holder) == 0) {
      /* Another model of this process saves here too. */
      return TR_OK;
    }
    TR_CHECK(tr__now() < end, TR_ETEMPORARY,
             "%s: directory is in use by process %ld on %s", dir->path, pid,
             holder);
    struct timespec pause = {0, 20000000};
    nanosleep(&pause, NULL);
  }
  if (code == 0) {
    write_holder(dir->ops, dir->lock);
    return TR_OK;
  }
  /* Some network file systems have no locks; they must do without. */
  TR_CHECK(code == ENOLCK || code == ENOSYS || code == EOPNOTSUPP, TR_EIO,
           "%s/run.lock: cannot lock: %s", dir->path, strerror(code));
  return TR_OK;
}

tr_status tr__run_dir_open(const tr__file_ops *ops,
                           const char *path,
                           double wait_s,
                           tr__run_dir *out)
{
  tr_status status;
  char lock[TR__PATH_BYTES + 16];
  memset(out, 0, sizeof *out);
  out->ops = ops;
  out->lock = -1;
  TR_CHECK(path != NULL && path[0] != '\0', TR_EINVAL,
           "checkpoint: expected the name of a directory, got none");
  TR_CHECK(tr__copy_name(out->path, sizeof out->path, path), TR_EINVAL,
           "%.60s...: the path is longer than %d bytes", path, TR__PATH_BYTES);
  TR_TRY(make_dirs(ops, out->path));
  snprintf(lock, sizeof lock, "%s/run.lock", out->path);
  out->lock = ops->open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  TR_CHECK(out->lock >= 0, TR_EIO, "%s: cannot open: %s", lock,
           strerror(errno));
  TR_TRY_GOTO(wait_for_lock(out, wait_s), failed);
  return TR_OK;

failed:
  tr__run_dir_close(out);
  return status;
}

void tr__run_dir_close(tr__run_dir *dir)
{
  if (dir->lock >= 0) {
    dir->ops->close(dir->lock);
    dir->lock = -1;
  }
}
