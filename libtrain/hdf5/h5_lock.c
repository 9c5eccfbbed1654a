/* The process-wide lock of libhdf5. */
#include "hdf5/h5_lock_impl.h"

#include <pthread.h>

/* libhdf5 keeps its state (identifiers, caches, the error stack) per process
 * and not per context, and not every build of it is thread-safe. Its lock must
 * therefore be per process too: a static mutex. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void tr__h5_lock(void)
{
  pthread_mutex_lock(&lock);
}

void tr__h5_unlock(void)
{
  pthread_mutex_unlock(&lock);
}
