/* Opening a checkpoint directory: making it and holding its lock. */
#include "checkpoint/run_dir_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
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

/* A process. Containers may have the number and the name of a host in common.
 */
typedef struct holder {
  long pid;
  char host[HOST_BYTES];
  unsigned long long token; /* random */
} holder;

static unsigned long long token;

static void draw_token(void)
{
  (void)!getrandom(&token, sizeof token, 0);
}

/* Who holds the lock, as written by the holder. */
static bool read_holder(const tr__file_ops *ops, int fd, holder *out)
{
  char text[128] = "";
  ssize_t n = ops->read(fd, text, sizeof text - 1, 0);
  out->token = 0;
  return n > 0 && sscanf(text, "process %ld on %63s token %llx", &out->pid,
                         out->host, &out->token) >= 2;
}

static holder this_process(void)
{
  holder self = {.pid = (long)getpid()};
  if (gethostname(self.host, HOST_BYTES) != 0 || self.host[0] == '\0') {
    strcpy(self.host, "localhost");
  }
  self.host[HOST_BYTES - 1] = '\0';
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, draw_token);
  self.token = token;
  return self;
}

static bool is_same(const holder *a, const holder *b)
{
  return a->pid == b->pid && a->token == b->token &&
         strcmp(a->host, b->host) == 0;
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

/* What a process that is refused says, and by what one with several models
 * knows itself: a disk that is full does not stop the save here. */
static void write_holder(const tr__file_ops *ops, int fd)
{
  char text[128] = "";
  const holder self = this_process();
  snprintf(text, sizeof text, "process %ld on %s token %llx\n", self.pid,
           self.host, self.token);
  /* Of one length always, so that no rest of a longer text stays. */
  (void)!ops->write(fd, text, sizeof text, 0);
}

static tr_status wait_for_lock(tr__run_dir *dir, double wait_s)
{
  const holder self = this_process();
  holder other = {.host = "?"};
  double end = tr__now() + wait_s;
  int code;
  while ((code = try_lock(dir->ops, dir->lock)) == EWOULDBLOCK) {
    bool is_known = read_holder(dir->ops, dir->lock, &other);
    if (is_known && is_same(&other, &self)) {
      /* Another model of this process saves here too. */
      return TR_OK;
    }
    TR_CHECK(tr__now() < end, TR_ETEMPORARY,
             "%s: directory is in use by process %ld on %s", dir->path,
             other.pid, other.host);
    struct timespec pause = {0, 20000000};
    nanosleep(&pause, NULL);
  }
  if (code == 0) {
    dir->is_locked = true;
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
