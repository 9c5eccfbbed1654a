/* Prefetch: threads read batches ahead, in order, into a ring buffer.
 *
 * Tickets number the batches. A thread takes the next ticket as soon as its
 * slot is free, writes down the batch's position under the lock, and reads the
 * samples without it. The caller waits for the slot of its ticket. A batch has
 * the same contents whichever thread reads it. */
#include "data/prefetch_impl.h"

#include "base/thread_impl.h"

#include <stdlib.h>
#include <string.h>

#define BUFFER_ALIGN 64

struct tr__prefetch {
  const tr_dataset *data;
  int64_t rows;
  tr__prefetched *slots;
  int num_slots; /* the batches read ahead, and the one in use */
  pthread_t *threads;
  int num_threads;

  pthread_mutex_t lock; /* guards everything below, and the slots' is_ready */
  pthread_cond_t may_read, is_read;
  tr__sampler sampler;
  int64_t epoch, done;        /* position of the next ticket */
  int64_t given;              /* tickets that threads have taken */
  int64_t taken;              /* tickets that the caller has taken */
  int num_busy;               /* threads that are reading */
  bool is_running, is_closed; /* threads may take tickets; threads must end */
};

static void read_slot(const tr__prefetch *ring, tr__prefetched *slot)
{
  tr__sampler_ids(&ring->sampler, &slot->step, slot->ids);
  slot->status = tr_dataset_read(ring->data, slot->ids, slot->step.count,
                                 slot->x, slot->y);
  if (slot->status != TR_OK) {
    snprintf(slot->message, sizeof slot->message, "%s", tr_error_message());
  }
}

/* The caller still uses the slot of ticket `taken` - 1. Threads may take
 * tickets below `taken` - 1 + num_slots, the next one in that slot. */
static bool has_work(const tr__prefetch *ring)
{
  return ring->is_running && ring->given < ring->taken + ring->num_slots - 1;
}

static tr__prefetched *give_ticket(tr__prefetch *ring)
{
  tr__prefetched *slot = &ring->slots[ring->given++ % ring->num_slots];
  slot->is_ready = false;
  slot->step = tr__sampler_at(&ring->sampler, ring->epoch, ring->done);
  ring->done += slot->step.global_count;
  if (ring->done == ring->sampler.num_samples) {
    ring->epoch++;
    ring->done = 0;
  }
  return slot;
}

static void *run_thread(void *arg)
{
  tr__prefetch *ring = arg;
  pthread_mutex_lock(&ring->lock);
  while (!ring->is_closed) {
    if (!has_work(ring)) {
      pthread_cond_wait(&ring->may_read, &ring->lock);
      continue;
    }
    tr__prefetched *slot = give_ticket(ring);
    ring->num_busy++;
    pthread_mutex_unlock(&ring->lock);
    read_slot(ring, slot);
    pthread_mutex_lock(&ring->lock);
    ring->num_busy--;
    slot->is_ready = true;
    pthread_cond_broadcast(&ring->is_read);
  }
  pthread_mutex_unlock(&ring->lock);
  return NULL;
}

static tr_status alloc_slots(tr__prefetch *ring)
{
  int64_t elements, bytes, targets;
  bool overflows =
      tr__mul_overflows(ring->rows, tr_shape_count(&ring->data->shape),
                        &elements) ||
      tr__mul_overflows(elements, (int64_t)tr_dtype_size(ring->data->dtype),
                        &bytes) ||
      tr__mul_overflows(ring->rows, tr__max(ring->data->target_values, 1),
                        &targets);
  TR_CHECK(!overflows, TR_EINVAL,
           "loader: a batch of %lld samples of %s is "
           "larger than any memory",
           (long long)ring->rows, ring->data->name);
  ring->slots = calloc((size_t)ring->num_slots, sizeof *ring->slots);
  TR_CHECK(ring->slots != NULL, TR_ENOMEM, "loader: out of memory");
  for (int i = 0; i < ring->num_slots; i++) {
    tr__prefetched *slot = &ring->slots[i];
    slot->ids = calloc((size_t)ring->rows, sizeof *slot->ids);
    slot->y = calloc((size_t)targets, tr_dtype_size(ring->data->target_dtype));
    int failed = posix_memalign(&slot->x, BUFFER_ALIGN, (size_t)bytes);
    slot->x = failed ? NULL : slot->x;
    TR_CHECK(slot->ids != NULL && slot->y != NULL && slot->x != NULL, TR_ENOMEM,
             "loader: no memory for %d batches of %lld bytes", ring->num_slots,
             (long long)bytes);
  }
  return TR_OK;
}

static tr_status start_threads(tr__prefetch *ring, int threads)
{
  ring->threads = calloc((size_t)threads, sizeof *ring->threads);
  TR_CHECK(ring->threads != NULL, TR_ENOMEM, "loader: out of memory");
  while (ring->num_threads < threads) {
    char what[64];
    snprintf(what, sizeof what, "the loader's thread %d of %d",
             ring->num_threads + 1, threads);
    TR_TRY(tr__thread_start(what, run_thread, ring,
                            &ring->threads[ring->num_threads]));
    ring->num_threads++;
  }
  return TR_OK;
}

tr_status tr__prefetch_create(const tr__prefetch_opts *opts, tr__prefetch **out)
{
  *out = NULL;
  tr__prefetch *ring = calloc(1, sizeof *ring);
  TR_CHECK(ring != NULL, TR_ENOMEM, "loader: out of memory");
  ring->data = opts->data;
  ring->rows = opts->rows;
  ring->num_slots = opts->depth + 1;
  pthread_mutex_init(&ring->lock, NULL);
  pthread_cond_init(&ring->may_read, NULL);
  pthread_cond_init(&ring->is_read, NULL);
  tr_status status;
  TR_TRY_GOTO(alloc_slots(ring), failed);
  TR_TRY_GOTO(start_threads(ring, opts->threads), failed);
  *out = ring;
  return TR_OK;
failed:
  tr__prefetch_destroy(&ring);
  return status;
}

void tr__prefetch_start(tr__prefetch *ring,
                        const tr__sampler *sampler,
                        int64_t epoch,
                        int64_t done)
{
  pthread_mutex_lock(&ring->lock);
  ring->is_running = false;
  while (ring->num_busy > 0) {
    pthread_cond_wait(&ring->is_read, &ring->lock);
  }
  ring->sampler = *sampler;
  ring->epoch = epoch;
  ring->done = done;
  ring->given = ring->taken = 0;
  ring->is_running = true;
  for (int i = 0; i < ring->num_slots; i++) {
    ring->slots[i].is_ready = false;
  }
  pthread_cond_broadcast(&ring->may_read);
  pthread_mutex_unlock(&ring->lock);
}

const tr__prefetched *tr__prefetch_take(tr__prefetch *ring)
{
  pthread_mutex_lock(&ring->lock);
  int64_t ticket = ring->taken++;
  tr__prefetched *slot = &ring->slots[ticket % ring->num_slots];
  pthread_cond_broadcast(&ring->may_read);
  while (ring->given <= ticket || !slot->is_ready) {
    pthread_cond_wait(&ring->is_read, &ring->lock);
  }
  pthread_mutex_unlock(&ring->lock);
  return slot;
}

static void free_slots(tr__prefetch *ring)
{
  for (int i = 0; ring->slots != NULL && i < ring->num_slots; i++) {
    free(ring->slots[i].ids);
    free(ring->slots[i].x);
    free(ring->slots[i].y);
  }
  free(ring->slots);
}

void tr__prefetch_destroy(tr__prefetch **ring_of)
{
  tr__prefetch *ring = ring_of != NULL ? *ring_of : NULL;
  if (ring == NULL) {
    return;
  }
  pthread_mutex_lock(&ring->lock);
  ring->is_closed = true;
  pthread_cond_broadcast(&ring->may_read);
  pthread_mutex_unlock(&ring->lock);
  for (int i = 0; i < ring->num_threads; i++) {
    pthread_join(ring->threads[i], NULL);
  }
  pthread_cond_destroy(&ring->is_read);
  pthread_cond_destroy(&ring->may_read);
  pthread_mutex_destroy(&ring->lock);
  free_slots(ring);
  free(ring->threads);
  free(ring);
  *ring_of = NULL;
}
