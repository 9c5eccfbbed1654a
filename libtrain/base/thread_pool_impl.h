/* The one thread pool of a context. */
#ifndef TR_POOL_IMPL_H
#define TR_POOL_IMPL_H

#include "base/base_impl.h"

typedef struct tr__pool tr__pool;

/* Works on one task; thread is 0..num_threads-1, for per-thread scratch. A
 * task's result must not depend on the thread. */
typedef void (*tr__task_fn)(void *arg, int64_t task, int thread);

/* tr__pool_create - a pool of threads, the caller of tr__pool_run included. */
tr_status tr__pool_create(int threads, tr__pool **out);

/* tr__pool_run - work on tasks 0..num_tasks-1 and wait for all of them. Not
 * reentrant: one call at a time per pool, never from inside a task. */
void tr__pool_run(tr__pool *pool, int64_t num_tasks, tr__task_fn fn, void *arg);

int tr__pool_num_threads(const tr__pool *pool);

/* tr__pool_set_poll - what thread 0, which calls tr__pool_run(), does between
 * two of its tasks; NULL: nothing. It must be short, and leave the pool alone.
 * Set by that thread while no tasks run.
 * tr__pool_poll - the same from within a long task; nothing on other threads.
 */
void tr__pool_set_poll(tr__pool *pool, void (*poll)(void *arg), void *arg);
void tr__pool_poll(const tr__pool *pool, int thread);

void tr__pool_destroy(tr__pool **pool);

/* tr__num_cpus - CPUs that this process may run on (cpuset, affinity). */
int tr__num_cpus(void);

#endif
