/* The work queue of transfers of comm/queue_impl.h.
 *
 * The mutex guards who owns the collective. No thread holds it while it moves
 * transfers: a turn of a sum takes ten times as long as a push may. */
#include "base/thread_impl.h"
#include "comm/queue_impl.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

/* Least time between two polls: that of a turn of a sum. */
static const double poll_s = 30e-6;

/* The thread polls without rest for a medium transfer, then sleeps between
 * polls: the ranks it waits for may be a whole layer behind. */
static const double eager_s = 0.5e-3;
static const struct timespec rest = {.tv_nsec = 50000};

typedef struct entry {
  tr__transfer transfer;
  int label;
  double begin; /* tr__now() */
} entry;

typedef enum owner { NOBODY, CALLER, THREAD } owner;

struct tr__queue {
  tr__comm *comm;
  tr__threads *pool;
  tr__timeline *timeline;
  entry *entries;
  int capacity;
  atomic_int num_pushed; /* grows after the entry is written */

  /* For the owner alone. */
  int num_begun, num_done;
  tr__request *request; /* of the transfer that has begun and is not done */
  atomic_llong num_started;
  tr_status status; /* the first failure */
  char message[TR__MESSAGE_BYTES];

  /* For the caller alone. */
  double polled, longest_gap, spent;

  bool by_thread;
  pthread_t thread;
  pthread_mutex_t mutex;
  pthread_cond_t work, left;
  owner owner;
  bool is_waited_for; /* the caller finishes the transfers itself */
  bool ends;
};

static void fail(tr__queue *queue, tr_status status)
{
  queue->status = status;
  snprintf(queue->message, sizeof queue->message, "%s", tr_error_message());
}

static void keep_event(tr__queue *queue, const entry *e)
{
  if (queue->timeline == NULL) {
    return;
  }
  size_t element = tr_dtype_size(e->transfer.dtype);
  tr__event event = {.begin = e->begin,
                     .end = tr__now(),
                     .bytes = e->transfer.count * (int64_t)element,
                     .track = TR__TRACK_COMM,
                     .kind = "bucket"};
  bool is_gather = e->transfer.kind == TR__ALLGATHER;
  snprintf(event.name, sizeof event.name, "%s %d",
           is_gather ? "parameters" : "bucket", e->label);
  tr__timeline_add(queue->timeline, &event);
}

static void begin_next(tr__queue *queue)
{
  entry *e = &queue->entries[queue->num_begun++];
  atomic_fetch_add(&queue->num_started, 1);
  e->begin = tr__timeline_begin(queue->timeline);
  tr__comm *comm = queue->comm;
  tr_status status = comm->type->start(comm, &e->transfer, &queue->request);
  if (status != TR_OK) {
    fail(queue, status);
  }
}

static void end_this(tr__queue *queue)
{
  keep_event(queue, &queue->entries[queue->num_done++]);
}

/* For the owner: moves transfers along without waiting. */
static void advance(tr__queue *queue)
{
  tr__comm *comm = queue->comm;
  bool is_done = true;
  while (queue->status == TR_OK && is_done) {
    if (queue->num_begun == queue->num_done) {
      if (queue->num_begun == atomic_load(&queue->num_pushed)) {
        return;
      }
      begin_next(queue);
    }
    if (queue->status == TR_OK) {
      tr_status status = comm->type->test(comm, &queue->request, &is_done);
      if (status != TR_OK) {
        fail(queue, status);
      } else if (is_done) {
        end_this(queue);
      }
    }
  }
}

/* For the owner: waits until `count` transfers are done. */
static void finish(tr__queue *queue, int count)
{
  while (queue->status == TR_OK && queue->num_done < count) {
    if (queue->num_begun == queue->num_done) {
      begin_next(queue);
    }
    tr_status status = queue->status == TR_OK
                           ? tr__comm_wait(queue->comm, &queue->request)
                           : queue->status;
    if (status == TR_OK) {
      end_this(queue);
    } else if (queue->status == TR_OK) {
      fail(queue, status);
    }
  }
}

static bool has_work(const tr__queue *queue)
{
  return queue->owner == NOBODY && !queue->is_waited_for &&
         queue->status == TR_OK &&
         queue->num_done < atomic_load(&queue->num_pushed);
}

static void take_turn(tr__queue *queue)
{
  queue->owner = THREAD;
  pthread_mutex_unlock(&queue->mutex);
  advance(queue);
  pthread_mutex_lock(&queue->mutex);
  queue->owner = NOBODY;
  pthread_cond_signal(&queue->left);
}

static void *work(void *arg)
{
  tr__queue *queue = arg;
  double woken = tr__now();
  pthread_mutex_lock(&queue->mutex);
  while (!queue->ends) {
    if (!has_work(queue)) {
      pthread_cond_wait(&queue->work, &queue->mutex);
      woken = tr__now();
      continue;
    }
    take_turn(queue);
    pthread_mutex_unlock(&queue->mutex);
    if (tr__now() - woken > eager_s) {
      nanosleep(&rest, NULL);
    } else {
      sched_yield();
    }
    pthread_mutex_lock(&queue->mutex);
  }
  pthread_mutex_unlock(&queue->mutex);
  return NULL;
}

/* Makes the caller the owner of the collective until give_up(). */
static void take_over(tr__queue *queue)
{
  pthread_mutex_lock(&queue->mutex);
  queue->is_waited_for = true;
  while (queue->owner == THREAD) {
    pthread_cond_wait(&queue->left, &queue->mutex);
  }
  queue->owner = CALLER;
  pthread_mutex_unlock(&queue->mutex);
}

static void give_up(tr__queue *queue)
{
  pthread_mutex_lock(&queue->mutex);
  queue->owner = NOBODY;
  queue->is_waited_for = false;
  pthread_cond_signal(&queue->work);
  pthread_mutex_unlock(&queue->mutex);
}

static void look_in(void *arg)
{
  tr__queue_poll(arg);
}

/* Where the thread owns the collective, it goes on to the new transfer itself.
 */
static void begin_at_once(tr__queue *queue)
{
  pthread_mutex_lock(&queue->mutex);
  bool is_free = queue->owner == NOBODY;
  queue->owner = is_free ? CALLER : queue->owner;
  pthread_mutex_unlock(&queue->mutex);
  if (is_free) {
    double begin = tr__now();
    advance(queue);
    queue->spent += tr__now() - begin;
    give_up(queue);
  }
}

void tr__queue_push(tr__queue *queue, const tr__transfer *transfer, int label)
{
  int number = atomic_load(&queue->num_pushed);
  TR_ASSERT(number < queue->capacity);
  queue->entries[number] = (entry){.transfer = *transfer, .label = label};
  if (number == 0 && !queue->by_thread) {
    queue->polled = tr__now();
    tr__threads_set_poll(queue->pool, look_in, queue);
  }
  atomic_store(&queue->num_pushed, number + 1);
  begin_at_once(queue);
}

void tr__queue_poll(tr__queue *queue)
{
  if (queue->by_thread || tr__queue_is_empty(queue)) {
    return;
  }
  double now = tr__now(), gap = now - queue->polled;
  if (gap < poll_s) {
    return;
  }
  if (queue->num_done < atomic_load(&queue->num_pushed) &&
      gap > queue->longest_gap) {
    queue->longest_gap = gap;
  }
  advance(queue);
  queue->polled = tr__now();
  queue->spent += queue->polled - now;
}

/* Leaves the caller as the owner: give_up() must follow. */
static tr_status finish_timed(tr__queue *queue, int count)
{
  double begin = tr__now();
  take_over(queue);
  finish(queue, count);
  queue->spent += tr__now() - begin;
  return queue->status;
}

tr_status tr__queue_wait(tr__queue *queue)
{
  if (tr__queue_is_empty(queue)) {
    return TR_OK;
  }
  tr_status status = finish_timed(queue, atomic_load(&queue->num_pushed));
  queue->status = TR_OK;
  queue->num_begun = queue->num_done = 0;
  atomic_store(&queue->num_pushed, 0);
  tr__threads_set_poll(queue->pool, NULL, NULL);
  give_up(queue);
  TR_CHECK(status == TR_OK, status, "%s", queue->message);
  return TR_OK;
}

tr_status tr__queue_wait_for(tr__queue *queue, int count)
{
  tr_status status = finish_timed(queue, count);
  give_up(queue);
  TR_CHECK(status == TR_OK, status, "%s", queue->message);
  return TR_OK;
}

bool tr__queue_is_empty(const tr__queue *queue)
{
  return atomic_load(&queue->num_pushed) == 0;
}

tr_status tr__queue_reserve(tr__queue *queue, int count)
{
  if (count <= queue->capacity) {
    return TR_OK;
  }
  entry *entries = realloc(queue->entries, (size_t)count * sizeof *entries);
  TR_CHECK(entries != NULL, TR_ENOMEM, "no memory for %d transfers", count);
  queue->entries = entries;
  queue->capacity = count;
  return TR_OK;
}

static void end_thread(tr__queue *queue)
{
  if (!queue->by_thread) {
    return;
  }
  pthread_mutex_lock(&queue->mutex);
  queue->ends = true;
  pthread_cond_signal(&queue->work);
  pthread_mutex_unlock(&queue->mutex);
  pthread_join(queue->thread, NULL);
  queue->by_thread = queue->ends = false;
}

tr_status tr__queue_set_thread(tr__queue *queue, bool by_thread)
{
  TR_CHECK(tr__queue_is_empty(queue), TR_ESTATE, "transfers are under way");
  if (by_thread == queue->by_thread) {
    return TR_OK;
  }
  end_thread(queue);
  if (by_thread) {
    TR_TRY(tr__thread_start("the thread that moves transfers along", work,
                            queue, &queue->thread));
  }
  queue->by_thread = by_thread;
  return TR_OK;
}

/* A CPU for each thread of the ranks of this node, and one more. */
static bool has_spare_cpu(const tr__comm *comm, const tr__threads *pool)
{
  return tr__num_cpus() > comm->cpu_sharers * tr__threads_count(pool);
}

tr_status tr__queue_create(tr__comm *comm,
                           tr__threads *pool,
                           tr__timeline *timeline,
                           tr__queue **out)
{
  *out = NULL;
  tr__queue *queue = calloc(1, sizeof *queue);
  TR_CHECK(queue != NULL, TR_ENOMEM, "no memory for a queue of transfers");
  queue->comm = comm;
  queue->pool = pool;
  queue->timeline = timeline;
  pthread_mutex_init(&queue->mutex, NULL);
  pthread_cond_init(&queue->work, NULL);
  pthread_cond_init(&queue->left, NULL);
  bool wants_thread =
      comm->size > 1 && comm->may_change_thread && has_spare_cpu(comm, pool);
  tr_status status = tr__queue_set_thread(queue, wants_thread);
  if (status != TR_OK) {
    tr__queue_destroy(&queue);
  }
  *out = queue;
  return status;
}

void tr__queue_destroy(tr__queue **queue)
{
  if (*queue == NULL) {
    return;
  }
  end_thread(*queue);
  pthread_cond_destroy(&(*queue)->left);
  pthread_cond_destroy(&(*queue)->work);
  pthread_mutex_destroy(&(*queue)->mutex);
  free((*queue)->entries);
  free(*queue);
  *queue = NULL;
}

int64_t tr__queue_num_started(const tr__queue *queue)
{
  return atomic_load(&queue->num_started);
}

double tr__queue_longest_gap(const tr__queue *queue)
{
  return queue->longest_gap;
}

double tr__queue_spent(const tr__queue *queue)
{
  return queue->spent;
}
