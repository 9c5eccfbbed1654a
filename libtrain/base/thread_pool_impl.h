/* The one thread pool of a context. */
#ifndef TR_POOL_IMPL_H
#define TR_POOL_IMPL_H

#include "base/base_impl.h"

typedef struct tr__threads tr__threads;

/* Works on one task; thread is 0..num_threads-1, for per-thread scratch. A
 * task's result must not depend on the thread. */
typedef void (*tr__task_fn)(void *arg, int64_t task, int thread);

/* tr__threads_create - a pool of threads, the caller of tr__threads_run
 * included. */
tr_status tr__threads_create(int threads, tr__threads **out);

/* tr__threads_run - work on tasks 0..num_tasks-1 and wait for all of them. Not
 * reentrant: one call at a time per pool, never from inside a task. */
void tr__threads_run(tr__threads *pool,
                     int64_t num_tasks,
                     tr__task_fn fn,
                     void *arg);

int tr__threads_count(const tr__threads *pool);

/* tr__threads_set_poll - what thread 0, which calls tr__threads_run(), does
 * between two of its tasks; NULL: nothing. It must be short, and leave the pool
 * alone. Set by that thread while no tasks run. tr__threads_poll - the same
 * from within a long task; nothing on other threads. */
void tr__threads_set_poll(tr__threads *pool,
                          void (*poll)(void *arg),
                          void *arg);
void tr__threads_poll(const tr__threads *pool, int thread);

void tr__threads_destroy(tr__threads **pool);

/* tr__num_cpus - CPUs that this process may run on (cpuset, affinity). */
int tr__num_cpus(void);

#endif
