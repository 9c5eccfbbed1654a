/* The other processes that the launcher started on this machine, read from
 * /proc: before MPI is initialised nothing else knows them. */
#include "comm/mpi/comm_mpi_impl.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ENVIRONMENT_BYTES = 256 << 10, STAT_BYTES = 512 };

typedef struct process {
  char state; /* as in /proc/N/stat: 'T' and 't' are stopped */
  long parent;
  char *environment; /* strings one behind the other, then an empty one */
} process;

static ssize_t
read_file(const char *number, const char *name, char *out, size_t bytes)
{
  char path[300];
  snprintf(path, sizeof path, "/proc/%s/%s", number, name);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t used = 0, now = file >= 0 ? 1 : -1;
  while (now > 0 && (size_t)used + 2 < bytes) {
    now = read(file, out + used, bytes - 2 - (size_t)used);
    used += now > 0 ? now : 0;
  }
  if (file >= 0) {
    close(file);
  }
  out[used] = out[used + 1] = '\0';
  return used;
}

/* /proc/N/stat: "4711 (a name, with anything in it) S 4710 ..." */
static bool read_process(const char *number, process *out)
{
  char text[STAT_BYTES];
  bool is_there =
      read_file(number, "stat", text, sizeof text) > 0 &&
      read_file(number, "environ", out->environment, ENVIRONMENT_BYTES) > 0;
  const char *behind = is_there ? strrchr(text, ')') : NULL;
  return behind != NULL &&
         sscanf(behind + 1, " %c %ld", &out->state, &out->parent) == 2;
}

/* The value of a variable; NULL: it is not set. */
static const char *variable(const process *of, const char *name)
{
  size_t length = strlen(name);
  for (const char *at = of->environment; *at != '\0'; at += strlen(at) + 1) {
    if (strncmp(at, name, length) == 0 && at[length] == '=') {
      return at + length + 1;
    }
  }
  return NULL;
}

/* PMIx gives each job a name; without PMIx the processes of a job have the same
 * parent. */
static bool is_of_this_job(const process *other)
{
  const char *mine = getenv("PMIX_NAMESPACE");
  const char *theirs = variable(other, "PMIX_NAMESPACE");
  if (mine != NULL) {
    return theirs != NULL && strcmp(mine, theirs) == 0;
  }
  return other->parent == (long)getppid();
}

static int lower(int rank, int than)
{
  return than < 0 || rank < than ? rank : than;
}

static void note(const process *other, const char *name, tr__peers *out)
{
  const char *text = variable(other, name);
  if (text == NULL || !is_of_this_job(other)) {
    return;
  }
  int rank = atoi(text);
  if (other->state == 'T' || other->state == 't') {
    out->stopped = lower(rank, out->stopped);
  } else {
    out->running = lower(rank, out->running);
  }
}

void tr__launcher_peers(tr__peers *out)
{
  *out = (tr__peers){.stopped = -1, .running = -1};
  const char *name = tr__launcher_rank_name();
  process other = {.environment = malloc(ENVIRONMENT_BYTES)};
  DIR *all = name != NULL ? opendir("/proc") : NULL;
  struct dirent *entry;
  while (all != NULL && other.environment != NULL &&
         (entry = readdir(all)) != NULL) {
    bool is_process = entry->d_name[0] >= '1' && entry->d_name[0] <= '9';
    if (is_process && read_process(entry->d_name, &other)) {
      note(&other, name, out);
    }
  }
  if (all != NULL) {
    closedir(all);
  }
  free(other.environment);
}
