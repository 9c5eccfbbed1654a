/* Shared memory without a name that could outlive the job: the file is made by
 * one rank, opened by the others, and unlinked before anybody uses it. */
#include "base/file_impl.h"
#include "comm/mpi_impl.h"
#include "comm/node_memory_impl.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { NAME_BYTES = 64, HUGE_PAGE = 2 << 20 };

/* A file beyond the limit of files would end the process with SIGXFSZ. */
static bool is_within_limit(size_t bytes)
{
  struct rlimit limit;
  return getrlimit(RLIMIT_FSIZE, &limit) != 0 ||
         limit.rlim_cur == RLIM_INFINITY || bytes <= limit.rlim_cur;
}

/* The blocks are reserved now: memory that runs out in a step would end the
 * process with SIGBUS. */
static int make_file(size_t bytes, char name[NAME_BYTES])
{
  if (!is_within_limit(bytes)) {
    return -1;
  }
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  snprintf(name, NAME_BYTES, "/libtrain-%ld-%ld-%ld", (long)getpid(),
           (long)now.tv_sec, (long)now.tv_nsec);
  int file =
      tr__fd_above_stdio(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
  if (file >= 0 && posix_fallocate(file, 0, (off_t)bytes) != 0) {
    close(file);
    shm_unlink(name);
    file = -1;
  }
  if (file < 0) {
    name[0] = '\0';
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
  madvise(base, bytes, MADV_HUGEPAGE); /* a wish; refusal does no harm */
#endif
  return base;
}

tr_status tr__segment_create(MPI_Comm node, size_t part, tr__segment *out)
{
  *out = (tr__segment){.part = part};
  MPI_Comm_rank(node, &out->rank);
  MPI_Comm_size(node, &out->size);
  size_t alignment = part >= HUGE_PAGE ? HUGE_PAGE : 4096;
  out->stride = tr__align(part > 0 ? part : 1, alignment);
  size_t bytes = (size_t)out->size * out->stride;
  char name[NAME_BYTES] = "";
  int file = out->rank == 0 ? make_file(bytes, name) : -1;
  TR_TRY_MPI(MPI_Bcast(name, NAME_BYTES, MPI_CHAR, 0, node));
  if (out->rank != 0 && name[0] != '\0') {
    file = tr__fd_above_stdio(shm_open(name, O_RDWR, 0));
  }
  out->base = map_file(file, bytes);
  if (file >= 0) {
    close(file);
  }
  int is_there = out->base != NULL, all = 0;
  int code = MPI_Allreduce(&is_there, &all, 1, MPI_INT, MPI_MIN, node);
  if (out->rank == 0 && name[0] != '\0') {
    shm_unlink(name);
  }
  if (code != MPI_SUCCESS || !all) {
    tr__segment_release(out);
  }
  TR_TRY_MPI(code);
  return TR_OK;
}

void tr__segment_release(tr__segment *segment)
{
  if (segment->base != NULL) {
    munmap(segment->base, (size_t)segment->size * segment->stride);
  }
  segment->base = NULL;
}
