/* The strict backend: a queue of ops and uploads, and one worker thread that
 * runs them in order on the reference. */
#include "backend/cpu_ref/reference_impl.h"
#include "backend/strict/strict_impl.h"
#include "base/thread_impl.h"
#include "core/ops/operands_impl.h"

#include <stdlib.h>
#include <string.h>

/* The worker starts by itself when QUEUE_STARTS calls are queued, and leaves
 * the last QUEUE_LEAVES: an op never runs before its call has returned. */
enum { QUEUE_STARTS = 64, QUEUE_LEAVES = 8 };

enum { UPLOAD = TR__NUM_OPS };

/* A queued op, with its arguments in `bytes`, or a queued upload, with its
 * data. */
typedef struct entry {
  struct entry *next;
  int what;  /* a tr__op, or UPLOAD */
  void *dst; /* of an upload */
  size_t size;
  _Alignas(16) char bytes[];
} entry;

typedef struct strict_backend {
  tr__backend base;
  tr__wall wall;
  pthread_t worker;
  pthread_mutex_t mutex;
  pthread_cond_t work, done;
  entry *first, **last; /* the queue */
  int queued;
  bool wanted; /* a thread waits until the queue is empty */
  bool busy;   /* the worker runs an entry */
  bool ends;
  tr_status status; /* sticky */
  char message[TR__MESSAGE_BYTES];
} strict_backend;

/* Check that an operand lies wholly in live memory; else the backend fails with
 * TR_EDEVICE. */
static bool is_held(strict_backend *self,
                    const char *name,
                    int operand,
                    const void *data,
                    size_t bytes)
{
  if (tr__wall_holds(&self->wall, data, bytes)) {
    return true;
  }
  pthread_mutex_lock(&self->mutex);
  if (self->status == TR_OK) {
    self->status = TR_EDEVICE;
    snprintf(self->message, sizeof self->message,
             "strict: %s: the %zu bytes of operand %d at %p do not lie in one "
             "live allocation",
             name, bytes, operand, data);
  }
  pthread_mutex_unlock(&self->mutex);
  return false;
}

/* Check that all tensors lie in live memory, and fill scratch memory with NaNs:
 * an op that reads it before it writes it then gives NaN. */
static bool prepare(strict_backend *self, const entry *e)
{
  const tr__op_info *info = tr__op_info_of((tr__op)e->what);
  const tr__tensor *tensors = (const tr__tensor *)e->bytes;
  for (int i = 0; i < info->num_operands; i++) {
    size_t bytes =
        (size_t)tr__tensor_count(&tensors[i]) * tr_dtype_size(tensors[i].dtype);
    if (tensors[i].data == NULL) {
      continue;
    }
    if (!is_held(self, info->name, i, tensors[i].data, bytes)) {
      return false;
    }
    if (info->operands[i].direction == TR__SCRATCH) {
      memset(tensors[i].data, 0xff, bytes);
    }
  }
  return true;
}

static void run_entry(strict_backend *self, const entry *e)
{
  tr__wall_open(&self->wall);
  if (e->what == UPLOAD) {
    if (is_held(self, "upload", 0, e->dst, e->size)) {
      memcpy(e->dst, e->bytes, e->size);
    }
  } else if (prepare(self, e)) {
    tr__ref_run((tr__op)e->what, e->bytes);
  }
  tr__wall_shut(&self->wall);
}

/* Wait for the next entry that may run; NULL when the backend is destroyed. */
static entry *take(strict_backend *self)
{
  pthread_mutex_lock(&self->mutex);
  self->busy = false;
  if (self->queued == 0) {
    self->wanted = false;
    pthread_cond_broadcast(&self->done);
  }
  while (!self->ends && !(self->wanted && self->queued > 0) &&
         self->queued <= QUEUE_LEAVES) {
    pthread_cond_wait(&self->work, &self->mutex);
  }
  entry *e = self->ends ? NULL : self->first;
  if (e != NULL) {
    self->first = e->next;
    self->last = self->first == NULL ? &self->first : self->last;
    self->queued--;
    self->busy = true;
  }
  pthread_mutex_unlock(&self->mutex);
  return e;
}

static void *work(void *arg)
{
  strict_backend *self = arg;
  for (entry *e = take(self); e != NULL; e = take(self)) {
    run_entry(self, e);
    free(e);
  }
  return NULL;
}

static strict_backend *self_of(tr__stream *stream)
{
  return (strict_backend *)stream->backend;
}

static void
enqueue(tr__stream *stream, int what, void *dst, const void *bytes, size_t size)
{
  strict_backend *self = self_of(stream);
  entry *e = malloc(sizeof *e + size);
  pthread_mutex_lock(&self->mutex);
  if (e == NULL) {
    if (self->status == TR_OK) {
      self->status = TR_ENOMEM;
      snprintf(self->message, sizeof self->message,
               "strict: no memory for a queued call of %zu bytes", size);
    }
    pthread_mutex_unlock(&self->mutex);
    return;
  }
  *e = (entry){.what = what, .dst = dst, .size = size};
  memcpy(e->bytes, bytes, size);
  *self->last = e;
  self->last = &e->next;
  self->queued++;
  if (self->queued >= QUEUE_STARTS) {
    pthread_cond_signal(&self->work);
  }
  pthread_mutex_unlock(&self->mutex);
}

#define ENQUEUE(op)                                                            \
  static void op(tr__stream *stream, const tr__##op##_args *args)              \
  {                                                                            \
    enqueue(stream, TR__OP_##op, NULL, args, sizeof *args);                    \
  }
TR__OPS(ENQUEUE)
#undef ENQUEUE

static tr_status alloc(tr__backend *backend, size_t bytes, void **out)
{
  return tr__wall_alloc(&((strict_backend *)backend)->wall, bytes, out);
}

static void free_memory(tr__backend *backend, void *data, size_t bytes)
{
  (void)bytes;
  tr__wall_free(&((strict_backend *)backend)->wall, data);
}

static void upload(tr__stream *stream, void *dst, const void *src, size_t bytes)
{
  if (bytes > 0) {
    enqueue(stream, UPLOAD, dst, src, bytes);
  }
}

static tr_status wait_for_all(tr__stream *stream)
{
  strict_backend *self = self_of(stream);
  pthread_mutex_lock(&self->mutex);
  while (self->queued > 0 || self->busy) {
    self->wanted = true;
    pthread_cond_signal(&self->work);
    pthread_cond_wait(&self->done, &self->mutex);
  }
  tr_status status = self->status;
  pthread_mutex_unlock(&self->mutex);
  TR_CHECK(status == TR_OK, status, "%s", self->message);
  return TR_OK;
}

static tr_status
download(tr__stream *stream, void *dst, const void *src, size_t bytes)
{
  TR_TRY(wait_for_all(stream));
  strict_backend *self = self_of(stream);
  tr__wall_open(&self->wall);
  if (bytes > 0 && is_held(self, "download", 0, src, bytes)) {
    memcpy(dst, src, bytes);
  }
  tr__wall_shut(&self->wall);
  return wait_for_all(stream);
}

static void *host_view(tr__backend *backend, void *data)
{
  (void)backend;
  (void)data;
  return NULL;
}

static tr_status create(tr__threads *pool, tr__backend **out)
{
  *out = NULL;
  strict_backend *self = calloc(1, sizeof *self);
  TR_CHECK(self != NULL, TR_ENOMEM, "cannot allocate the strict backend");
#define SLOT(op) .op = op,
  self->base = (tr__backend){
      .type = &tr__strict_type,
      .ops = {.version = TR__OPS_VERSION, TR__OPS(SLOT)},
      .pool = pool,
  };
#undef SLOT
  self->base.stream.backend = &self->base;
  self->last = &self->first;
  pthread_mutex_init(&self->wall.mutex, NULL);
  pthread_mutex_init(&self->mutex, NULL);
  pthread_cond_init(&self->work, NULL);
  pthread_cond_init(&self->done, NULL);
  tr_status status = tr__thread_start("the thread of the strict device", work,
                                      self, &self->worker);
  if (status != TR_OK) {
    free(self);
    return status;
  }
  *out = &self->base;
  return TR_OK;
}

static void destroy(tr__backend *backend)
{
  strict_backend *self = (strict_backend *)backend;
  if (self == NULL) {
    return;
  }
  pthread_mutex_lock(&self->mutex);
  self->ends = true;
  pthread_cond_signal(&self->work);
  pthread_mutex_unlock(&self->mutex);
  pthread_join(self->worker, NULL);
  for (entry *e = self->first; e != NULL;) {
    entry *next = e->next;
    free(e);
    e = next;
  }
  while (self->wall.blocks != NULL) {
    tr__wall_free(&self->wall, self->wall.blocks->data);
  }
  pthread_cond_destroy(&self->done);
  pthread_cond_destroy(&self->work);
  pthread_mutex_destroy(&self->mutex);
  pthread_mutex_destroy(&self->wall.mutex);
  free(self);
}

const tr__backend_type tr__strict_type = {
    .name = "strict",
    .create = create,
    .destroy = destroy,
    .alloc = alloc,
    .free = free_memory,
    .upload = upload,
    .download = download,
    .wait = wait_for_all,
    .host_view = host_view,
    .workspace = tr__ref_workspace,
};
