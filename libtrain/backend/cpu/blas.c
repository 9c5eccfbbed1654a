/* OpenBLAS state that belongs to the whole process: its number of threads and
 * its buffers. */
#include "backend/cpu/cpu_impl.h"

#include <cblas.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

/* Each OpenBLAS call takes a buffer of this size and, if it cannot map one,
 * tries for ever (OpenBLAS 0.3, driver/others/memory.c: BUFFER_SIZE,
 * alloc_mmap). */
#define BUFFER_BYTES (((size_t)128 << 20) + 4096)

/* OpenBLAS has slots for at least 50 buffers. */
enum { MOST_BUFFERS = 48 };

/* Internal functions of OpenBLAS; weak, because not every BLAS has them. */
void *blas_memory_alloc(int position) __attribute__((weak));
void blas_memory_free(void *buffer) __attribute__((weak));

/* OpenBLAS has one number of threads per process, so all contexts use these
 * variables. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int num_users;
static int threads_before;

/* Returns how many of `count` buffers can be mapped at the same time. */
static int count_free(int count)
{
  void *buffers[2 * MOST_BUFFERS];
  int mapped = 0;
  while (mapped < count &&
         (buffers[mapped] = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) !=
             MAP_FAILED) {
    mapped++;
  }
  for (int i = 0; i < mapped; i++) {
    munmap(buffers[i], BUFFER_BYTES);
  }
  return mapped;
}

static bool is_limited(void)
{
  struct rlimit limit;
  return getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
}

/* OpenBLAS' own threads start when the library is loaded, perhaps just now, and
 * each takes a buffer; a late one would take one of ours. If memory is scarce,
 * give them 0.2 s to take theirs, then check that enough is left for us. */
static tr_status check_memory(int count, int own_threads)
{
  int all = count + own_threads;
  if (own_threads > 0 && (is_limited() || count_free(all) < all)) {
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
  }
  int mapped = count_free(count);
  TR_CHECK(mapped == count, TR_ENOMEM,
           "no memory for OpenBLAS: %d of %d buffers of %zu MiB, one per "
           "thread",
           mapped, count, BUFFER_BYTES >> 20);
  return TR_OK;
}

static int at_most(int count)
{
  return count < MOST_BUFFERS ? count : MOST_BUFFERS;
}

/* Allocate the buffers now, so that nothing else takes their memory before the
 * first product. OpenBLAS keeps freed buffers for its next calls. */
static tr_status take_buffers(int count)
{
  void *buffers[MOST_BUFFERS];
  if (blas_memory_alloc == NULL || blas_memory_free == NULL) {
    return TR_OK;
  }
  TR_TRY(check_memory(count, at_most(openblas_get_num_threads() - 1)));
  for (int i = 0; i < count; i++) {
    buffers[i] = blas_memory_alloc(0);
  }
  for (int i = 0; i < count; i++) {
    blas_memory_free(buffers[i]);
  }
  return TR_OK;
}

tr_status tr__blas_begin(int threads)
{
  pthread_mutex_lock(&mutex);
  tr_status status = take_buffers(at_most(threads));
  if (status == TR_OK && num_users++ == 0) {
    threads_before = openblas_get_num_threads();
    openblas_set_num_threads(1);
  }
  pthread_mutex_unlock(&mutex);
  return status;
}

void tr__blas_end(void)
{
  pthread_mutex_lock(&mutex);
  /* Any number but 1 was set by other code: leave it. */
  if (--num_users == 0 && openblas_get_num_threads() == 1) {
    openblas_set_num_threads(threads_before);
  }
  pthread_mutex_unlock(&mutex);
}

/* Includes the core whose kernels run: the build's configuration does not name
 * it. */
const char *tr__blas_name(char *out, size_t bytes)
{
  snprintf(out, bytes, "%s, kernels for %s", openblas_get_config(),
           openblas_get_corename());
  return out;
}
