/* The thread pool of a context: the work of an op as tasks. */
#ifndef TR_POOL_IMPL_H
#define TR_POOL_IMPL_H

#include "base/base_impl.h"

typedef struct tr__threads tr__threads;

/* Executes one task. thread is 0..num_threads-1, to select per-thread scratch.
 * The result of a task must not depend on the thread. */
typedef void (*tr__task_fn)(void *arg, int64_t task, int thread);

/* tr__threads_create - a pool of `threads` threads, including the caller of
 * tr__threads_run(). */
tr_status tr__threads_create(int threads, tr__threads **out);

/* tr__threads_run - execute tasks 0..num_tasks-1 and wait for all of them. Not
 * reentrant: one call at a time per pool, never from a task. */
void tr__threads_run(tr__threads *pool,
                     int64_t num_tasks,
                     tr__task_fn fn,
                     void *arg);

int tr__threads_count(const tr__threads *pool);

/* tr__threads_set_poll - the function that thread 0, the caller of
 * tr__threads_run(), calls between two of its tasks; NULL: none. It must be
 * short and must not use the pool. Thread 0 sets it while no tasks run.
 * tr__threads_poll - call this function from within a long task; does nothing
 * on other threads. */
void tr__threads_set_poll(tr__threads *pool,
                          void (*poll)(void *arg),
                          void *arg);
void tr__threads_poll(const tr__threads *pool, int thread);

void tr__threads_destroy(tr__threads **pool);

/* tr__num_cpus - the number of CPUs on which this process may run (cpuset,
 * affinity). */
int tr__num_cpus(void);

#endif
