/* Opens a checkpoint directory: creates it and holds its lock. */
#include "checkpoint/run_dir_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HOST_BYTES 64
#define LOCK_NAME  "run.lock"

enum { MOST_TRIES = 100 };

/* Make all missing folders of a path, each durable in its parent. */
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

/* A process. The random token tells containers apart, which may agree in
 * process number and host name. */
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

/* The process that holds the lock, as it wrote itself into the lock file. */
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

/* Returns 0 or an errno. */
static int try_lock(const tr__file_ops *ops, int fd)
{
  int code;
  do {
    code = ops->lock(fd, LOCK_EX | LOCK_NB) < 0 ? errno : 0;
  } while (code == EINTR);
  return code;
}

/* Write the text that a refused process quotes. A full disk does not stop the
 * save here. A user's file of that name keeps its content. */
static void write_holder(const tr__run_dir *dir)
{
  char text[128] = "", before[8];
  const holder self = this_process();
  ssize_t n = dir->ops->read(dir->lock, before, sizeof before, 0);
  bool is_ours = n == 0 || (n == sizeof before &&
                            memcmp(before, "process ", sizeof before) == 0);
  if (!dir->is_locked || !is_ours) {
    return;
  }
  snprintf(text, sizeof text, "process %ld on %s token %llx\n", self.pid,
           self.host, self.token);
  /* The length is always the same, so that no rest of a longer text stays. */
  (void)!dir->ops->write(dir->lock, text, sizeof text, 0);
}

/* Whether the lock file is still the one of that name. If somebody has removed
 * it, or the directory, another process may lock a new file. */
bool tr__run_dir_is_held(const tr__run_dir *dir)
{
  struct stat held, there;
  return dir->lock >= 0 && fstat(dir->lock, &held) == 0 &&
         lstat(tr__join(dir->path, LOCK_NAME).text, &there) == 0 &&
         held.st_dev == there.st_dev && held.st_ino == there.st_ino;
}

/* Follow no links and write only to a regular file with a single name: the
 * folder may belong to another user. */
static tr_status open_lock(tr__run_dir *dir)
{
  struct stat info;
  const tr__joined path = tr__join(dir->path, LOCK_NAME);
  dir->lock = dir->ops->open(
      path.text, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
  TR_CHECK(dir->lock >= 0, tr__create_status(errno), "%s: cannot open: %s",
           path.text,
           errno == ELOOP ? "it is a symbolic link" : strerror(errno));
  TR_CHECK(fstat(dir->lock, &info) == 0, TR_EIO, "%s: cannot look at it: %s",
           path.text, strerror(errno));
  TR_CHECK(S_ISREG(info.st_mode) && info.st_nlink <= 1, TR_EIO,
           "%s: is no file of its own, a lock must be", path.text);
  return TR_OK;
}

static tr_status refuse(const tr__run_dir *dir, const holder *other)
{
  const holder self = this_process();
  TR_CHECK(!is_same(other, &self), TR_ESTATE,
           "%s: another model of this process keeps its checkpoints there",
           dir->path);
  return TR_FAIL(TR_ETEMPORARY, "%s: directory is in use by process %ld on %s",
                 dir->path, other->pid, other->host);
}

static tr_status wait_for_lock(tr__run_dir *dir, double wait_s)
{
  const holder self = this_process();
  holder other = {.host = "?"};
  double end = tr__now() + wait_s;
  int code;
  while ((code = try_lock(dir->ops, dir->lock)) == EWOULDBLOCK) {
    bool is_own =
        read_holder(dir->ops, dir->lock, &other) && is_same(&other, &self);
    if (is_own || tr__now() >= end) {
      return refuse(dir, &other);
    }
    struct timespec pause = {0, 20000000};
    nanosleep(&pause, NULL);
  }
  if (code == 0) {
    dir->is_locked = true;
    return TR_OK;
  }
  /* Some network file systems have no locks. There the run goes without. */
  TR_CHECK(code == ENOLCK || code == ENOSYS || code == EOPNOTSUPP, TR_EIO,
           "%s/" LOCK_NAME ": cannot lock: %s", dir->path, strerror(code));
  return TR_OK;
}

tr_status tr__run_dir_open(const tr__file_ops *ops,
                           const char *path,
                           double wait_s,
                           tr__run_dir *out)
{
  tr_status status;
  memset(out, 0, sizeof *out);
  out->ops = ops;
  out->lock = -1;
  TR_CHECK(path != NULL && path[0] != '\0', TR_EINVAL,
           "checkpoint: expected the name of a directory, got none");
  TR_CHECK(tr__copy_name(out->path, sizeof out->path, path), TR_EINVAL,
           "%.60s...: the path is longer than %d bytes", path, TR__PATH_BYTES);
  for (int i = 0; i < MOST_TRIES; i++) {
    TR_TRY(make_dirs(ops, out->path));
    TR_TRY_GOTO(open_lock(out), failed);
    TR_TRY_GOTO(wait_for_lock(out, wait_s), failed);
    if (tr__run_dir_is_held(out)) {
      write_holder(out);
      return TR_OK;
    }
    /* The lock file was removed between the two calls. */
    tr__run_dir_close(out);
  }
  return TR_FAIL(TR_ETEMPORARY, "%s/" LOCK_NAME ": somebody keeps removing it",
                 out->path);

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
  dir->is_locked = false;
}
