/* Starting a thread with a fixed stack size and blocked signals. */
#ifndef TR_THREAD_IMPL_H
#define TR_THREAD_IMPL_H

#include "base/base_impl.h"

#include <pthread.h>

/* tr__thread_start - start a thread; *what, for example "a reader", names it in
 * messages.
 *
 * The stack size does not depend on the process' limit (ulimit -s), which may
 * be too small. The thread blocks all signals except those of its own faults
 * and SIGPROF: the program's own threads handle signals. TR_ENOMEM without
 * memory for the stack, TR_ESYSTEM for too many threads. */
tr_status tr__thread_start(const char *what,
                           void *(*run)(void *arg),
                           void *arg,
                           pthread_t *out);

#endif
