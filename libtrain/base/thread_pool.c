/* The thread pool. Workers spin briefly for the next set of tasks, then sleep:
 * short ops do not pay for a wake-up, and idle ranks use no CPU. */
#include "base/thread_impl.h"
#include "base/thread_pool_impl.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

/* About 20 microseconds: longer than the gap between two ops of a step. */
#define SPINS 2000

typedef struct worker {
  tr__threads *pool;
  pthread_t thread;
  int index;
} worker;

struct tr__threads {
  int num_threads;
  worker *workers; /* of threads 1..num_threads-1 */
  int num_started;

  /* The current set of tasks. A new generation tells workers that there is a
   * new set; `next` assigns its tasks. */
  tr__task_fn fn;
  void *arg;
  int64_t num_tasks;
  atomic_llong next;
  atomic_int busy; /* workers that have not finished the set */
  atomic_uint generation;
  atomic_bool is_closing;
  atomic_int num_sleeping;
  bool may_spin; /* each thread has a CPU */

  void (*poll)(void *arg); /* thread 0 calls it between two tasks */
  void *poll_arg;

  pthread_mutex_t mutex;
  pthread_cond_t wake, done;
};

static inline void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

void tr__threads_set_poll(tr__threads *pool, void (*poll)(void *arg), void *arg)
{
  pool->poll = poll;
  pool->poll_arg = arg;
}

void tr__threads_poll(const tr__threads *pool, int thread)
{
  if (thread == 0 && pool->poll != NULL) {
    pool->poll(pool->poll_arg);
  }
}

static void run_tasks(tr__threads *pool, int thread)
{
  for (;;) {
    int64_t task = atomic_fetch_add(&pool->next, 1);
    if (task >= pool->num_tasks) {
      return;
    }
    pool->fn(pool->arg, task, thread);
    tr__threads_poll(pool, thread);
  }
}

/* Wait until the generation differs from `seen`. */
static unsigned await_generation(tr__threads *pool, unsigned seen)
{
  for (int i = 0; pool->may_spin && i < SPINS; i++) {
    if (atomic_load(&pool->generation) != seen) {
      return atomic_load(&pool->generation);
    }
    pause_cpu();
  }
  pthread_mutex_lock(&pool->mutex);
  atomic_fetch_add(&pool->num_sleeping, 1);
  while (atomic_load(&pool->generation) == seen) {
    pthread_cond_wait(&pool->wake, &pool->mutex);
  }
  atomic_fetch_sub(&pool->num_sleeping, 1);
  pthread_mutex_unlock(&pool->mutex);
  return atomic_load(&pool->generation);
}

static void *work(void *arg)
{
  worker *self = arg;
  tr__threads *pool = self->pool;
  unsigned seen = 0;
  for (;;) {
    seen = await_generation(pool, seen);
    if (atomic_load(&pool->is_closing)) {
      return NULL;
    }
    run_tasks(pool, self->index);
    if (atomic_fetch_sub(&pool->busy, 1) == 1) {
      pthread_mutex_lock(&pool->mutex);
      pthread_cond_signal(&pool->done);
      pthread_mutex_unlock(&pool->mutex);
    }
  }
}

/* Start a generation. Workers see it at once, asleep or spinning. */
static void next_generation(tr__threads *pool)
{
  pthread_mutex_lock(&pool->mutex);
  atomic_fetch_add(&pool->generation, 1);
  if (atomic_load(&pool->num_sleeping) > 0) {
    pthread_cond_broadcast(&pool->wake);
  }
  pthread_mutex_unlock(&pool->mutex);
}

tr_status tr__threads_create(int threads, tr__threads **out)
{
  *out = NULL;
  tr__threads *pool = calloc(1, sizeof *pool);
  TR_CHECK(pool != NULL, TR_ENOMEM, "no memory for a thread pool");
  pool->num_threads = threads > 1 ? threads : 1;
  pool->may_spin = pool->num_threads <= tr__num_cpus();
  pthread_mutex_init(&pool->mutex, NULL);
  pthread_cond_init(&pool->wake, NULL);
  pthread_cond_init(&pool->done, NULL);
  pool->workers = calloc((size_t)pool->num_threads, sizeof *pool->workers);
  if (pool->workers == NULL) {
    tr__threads_destroy(&pool);
    return TR_FAIL(TR_ENOMEM, "no memory for %d threads", threads);
  }
  for (int i = 1; i < pool->num_threads; i++) {
    worker *self = &pool->workers[pool->num_started];
    *self = (worker){.pool = pool, .index = i};
    char what[64];
    snprintf(what, sizeof what, "thread %d of %d", i, threads);
    tr_status status = tr__thread_start(what, work, self, &self->thread);
    if (status != TR_OK) {
      tr__threads_destroy(&pool);
      return status;
    }
    pool->num_started++;
  }
  *out = pool;
  return TR_OK;
}

void tr__threads_run(tr__threads *pool,
                     int64_t num_tasks,
                     tr__task_fn fn,
                     void *arg)
{
  if (pool->num_threads == 1 || num_tasks <= 1) {
    for (int64_t task = 0; task < num_tasks; task++) {
      fn(arg, task, 0);
      tr__threads_poll(pool, 0);
    }
    return;
  }
  pool->fn = fn;
  pool->arg = arg;
  pool->num_tasks = num_tasks;
  atomic_store(&pool->next, 0);
  atomic_store(&pool->busy, pool->num_threads - 1);
  next_generation(pool);
  run_tasks(pool, 0);
  for (int i = 0; pool->may_spin && i < SPINS; i++) {
    if (atomic_load(&pool->busy) == 0) {
      return;
    }
    pause_cpu();
  }
  pthread_mutex_lock(&pool->mutex);
  while (atomic_load(&pool->busy) > 0) {
    pthread_cond_wait(&pool->done, &pool->mutex);
  }
  pthread_mutex_unlock(&pool->mutex);
}

int tr__threads_count(const tr__threads *pool)
{
  return pool->num_threads;
}

void tr__threads_destroy(tr__threads **pool)
{
  if (pool == NULL || *pool == NULL) {
    return;
  }
  tr__threads *p = *pool;
  atomic_store(&p->is_closing, true);
  next_generation(p);
  for (int i = 0; i < p->num_started; i++) {
    pthread_join(p->workers[i].thread, NULL);
  }
  pthread_cond_destroy(&p->done);
  pthread_cond_destroy(&p->wake);
  pthread_mutex_destroy(&p->mutex);
  free(p->workers);
  free(p);
  *pool = NULL;
}

int tr__num_cpus(void)
{
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) {
    return 1;
  }
  int count = CPU_COUNT(&set);
  return count > 0 ? count : 1;
}
