/* Shared memory without a name that could outlive the job: one rank makes a
 * file without a name, and the others open it through that rank's descriptor.
 */
#include "base/file_impl.h"
#include "comm/mpi/mpi_impl.h"
#include "comm/shm/node_memory_impl.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PATH_BYTES = 64, HUGE_PAGE = 2 << 20 };

/* A file beyond the limit of file sizes would end the process with SIGXFSZ. */
static bool is_within_limit(size_t bytes)
{
  struct rlimit limit;
  return getrlimit(RLIMIT_FSIZE, &limit) != 0 ||
         limit.rlim_cur == RLIM_INFINITY || bytes <= limit.rlim_cur;
}

/* How the other ranks find the file, and its device and inode number. */
typedef struct place {
  char path[PATH_BYTES]; /* "": there is no file */
  int64_t device, number;
} place;

/* A file without a name: nothing remains if the process ends now. */
static int open_unnamed(place *at)
{
#ifdef O_TMPFILE
  int file = tr__fd_above_stdio(
      open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  snprintf(at->path, sizeof at->path, "/proc/%ld/fd/%d", (long)getpid(), file);
  return file;
#else
  (void)at;
  return -1;
#endif
}

/* For ranks that cannot see each other's processes, as in containers. */
static int open_named(place *at)
{
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  snprintf(at->path, sizeof at->path, "/libtrain-%ld-%ld-%ld", (long)getpid(),
           (long)now.tv_sec, (long)now.tv_nsec);
  return tr__fd_above_stdio(
      shm_open(at->path, O_RDWR | O_CREAT | O_EXCL, 0600));
}

/* posix_fallocate() reserves the memory now: if it ran out during a step,
 * SIGBUS would end the process. */
static int make_file(size_t bytes, bool is_named, place *at)
{
  struct stat found;
  int file = -1;
  if (is_within_limit(bytes)) {
    file = is_named ? open_named(at) : open_unnamed(at);
  }
  if (file >= 0 && (posix_fallocate(file, 0, (off_t)bytes) != 0 ||
                    fstat(file, &found) != 0)) {
    close(file);
    if (is_named) {
      shm_unlink(at->path);
    }
    file = -1;
  }
  if (file < 0) {
    at->path[0] = '\0';
    return -1;
  }
  at->device = (int64_t)found.st_dev;
  at->number = (int64_t)found.st_ino;
  return file;
}

/* The process number in the path may be another process where this rank runs,
 * so device and inode must match. */
static int open_file(const place *at, bool is_named)
{
  struct stat found;
  int file = tr__fd_above_stdio(is_named ? shm_open(at->path, O_RDWR, 0)
                                         : open(at->path, O_RDWR | O_CLOEXEC));
  if (file >= 0 &&
      (fstat(file, &found) != 0 || (int64_t)found.st_dev != at->device ||
       (int64_t)found.st_ino != at->number)) {
    close(file);
    file = -1;
  }
  return file;
}

static char *map_file(int file, size_t bytes)
{
  void *base =
      file >= 0 ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
                : MAP_FAILED;
  if (base == MAP_FAILED) {
    return NULL;
  }
#ifdef MADV_HUGEPAGE
  madvise(base, bytes, MADV_HUGEPAGE); /* a hint; a refusal does no harm */
#endif
  return base;
}

/* Shares memory in one of two ways. base stays NULL on all ranks where any rank
 * cannot. */
static tr_status share(MPI_Comm node, bool is_named, tr__segment *out)
{
  size_t bytes = (size_t)out->size * out->stride;
  place at = {.path = ""};
  int file = out->rank == 0 ? make_file(bytes, is_named, &at) : -1;
  int code = MPI_Bcast(&at, (int)sizeof at, MPI_BYTE, 0, node);
  if (code == MPI_SUCCESS && out->rank != 0 && at.path[0] != '\0') {
    file = open_file(&at, is_named);
  }
  out->base = map_file(file, bytes);
  int is_there = out->base != NULL, all = 0;
  if (code == MPI_SUCCESS) {
    code = MPI_Allreduce(&is_there, &all, 1, MPI_INT, MPI_MIN, node);
  }
  if (out->rank == 0 && is_named && at.path[0] != '\0') {
    shm_unlink(at.path);
  }
  if (file >= 0) {
    close(file); /* the other ranks have opened it */
  }
  if (code != MPI_SUCCESS || !all) {
    tr__segment_release(out);
  }
  TR_TRY_MPI(code);
  return TR_OK;
}

tr_status tr__segment_create(MPI_Comm node, size_t part, tr__segment *out)
{
  *out = (tr__segment){.part = part};
  MPI_Comm_rank(node, &out->rank);
  MPI_Comm_size(node, &out->size);
  size_t alignment = part >= HUGE_PAGE ? HUGE_PAGE : 4096;
  out->stride = tr__align(part > 0 ? part : 1, alignment);
  TR_TRY(share(node, false, out));
  if (out->base == NULL) {
    TR_TRY(share(node, true, out));
  }
  return TR_OK;
}

void tr__segment_release(tr__segment *segment)
{
  if (segment->base != NULL) {
    munmap(segment->base, (size_t)segment->size * segment->stride);
  }
  segment->base = NULL;
}
