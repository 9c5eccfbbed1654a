/* One way to start threads. */
#ifndef TR_THREAD_IMPL_H
#define TR_THREAD_IMPL_H

#include "base/base_impl.h"

#include <pthread.h>

/* tr__thread_start - start a thread; *what, "a reader", is for the message.
 *
 * Its stack does not depend on the process' limit, which may be too small
 * (ulimit -s). It blocks all signals but those of its own faults: signals are
 * for the program's own threads. TR_ENOMEM without memory for the stack,
 * TR_ESYSTEM where the system has no more threads. */
tr_status tr__thread_start(const char *what,
                           void *(*run)(void *arg),
                           void *arg,
                           pthread_t *out);

#endif
