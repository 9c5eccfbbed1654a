/* The cache of an array's expanded chunks, with CLOCK replacement. */
#include "hdf5/hdf5_cache_impl.h"

#include <pthread.h>
#include <stdlib.h>

/* Memory for the chunks of one array, filled as they are wanted. Random samples
 * return to the same chunks, and one sample may lie in a hundred of them. */
#define MOST_BYTES ((int64_t)64 << 20)

/* Unfiltered chunks with contiguous rows of so many bytes, or larger than
 * MOST_BYTES, are not cached: each row is read from the file when it is wanted.
 */
#define LONG_ROW 4096

/* The largest chunk that the cache takes. */
#define MAX_CHUNK ((int64_t)1 << 30)

typedef struct slot {
  int64_t chunk; /* -1: empty */
  int pins;
  bool is_ready;  /* false: a thread is still reading it */
  bool is_recent; /* wanted since the clock's hand last passed */
  uint8_t *bytes;
} slot;

struct tr__hdf5_cache {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  int count, hand;
  slot slots[];
};

static bool is_read_in_place(const tr__hdf5_array *array)
{
  int64_t row = array->type.size;
  for (int i = array->ndim - 1; i >= 0; i--) {
    row *= tr__min(array->chunk_dims[i], array->dims[i]);
    if (array->chunk_dims[i] != array->dims[i]) {
      break;
    }
  }
  return array->num_filters == 0 &&
         (row >= LONG_ROW || array->chunk_bytes > MOST_BYTES);
}

tr_status tr__hdf5_cache_create(tr__hdf5_array *array)
{
  if (is_read_in_place(array)) {
    return TR_OK;
  }
  TR_CHECK(array->chunk_bytes <= MAX_CHUNK, TR_EDATA,
           "%s: a chunk has %lld bytes, expected at most %lld: rewrite it with "
           "smaller ones",
           array->where, (long long)array->chunk_bytes, (long long)MAX_CHUNK);
  /* At least two, so that two threads need not wait for each other. */
  int64_t count = tr__max(MOST_BYTES / array->chunk_bytes, 2);
  count = tr__min(tr__min(count, array->num_chunks), 1 << 16);
  tr__hdf5_cache *cache =
      calloc(1, sizeof *cache + (size_t)count * sizeof cache->slots[0]);
  TR_CHECK(cache != NULL, TR_ENOMEM, "%s: no memory for a cache of %lld chunks",
           array->where, (long long)count);
  pthread_mutex_init(&cache->lock, NULL);
  pthread_cond_init(&cache->changed, NULL);
  cache->count = (int)count;
  for (int i = 0; i < cache->count; i++) {
    cache->slots[i].chunk = -1;
  }
  array->cache = cache;
  return TR_OK;
}

void tr__hdf5_cache_destroy(tr__hdf5_array *array)
{
  tr__hdf5_cache *cache = array->cache;
  if (cache == NULL) {
    return;
  }
  for (int i = 0; i < cache->count; i++) {
    free(cache->slots[i].bytes);
  }
  pthread_cond_destroy(&cache->changed);
  pthread_mutex_destroy(&cache->lock);
  free(cache);
  array->cache = NULL;
}

/* A chunk may have a checksum behind it while its filters are undone. */
static int64_t buffer_bytes(const tr__hdf5_array *array)
{
  return array->chunk_bytes + TR__HDF5_SUM_BYTES;
}

/* Read the stored bytes of a chunk and expand them into out. */
static tr_status load(const tr__hdf5_array *array, int64_t chunk, uint8_t *out)
{
  const tr__hdf5_chunk *c = &array->chunks[chunk];
  /* The filters use it as work space too, so it is at least as large as out. */
  size_t bytes = (size_t)tr__max(c->bytes, buffer_bytes(array));
  uint8_t *stored = malloc(bytes);
  TR_CHECK(stored != NULL, TR_ENOMEM, "%s: no memory for %zu bytes",
           array->where, bytes);
  tr_status status = tr__hdf5_pread(array->file, array->where, c->offset,
                                    (size_t)c->bytes, stored);
  if (status == TR_OK) {
    status = tr__hdf5_unfilter(array, chunk, stored, out);
  }
  free(stored);
  return status;
}

/* A slot for a chunk that is in none; -1 where all are in use. CLOCK: the hand
 * skips a slot once if it was wanted since the hand last passed. */
static int free_slot(tr__hdf5_cache *cache)
{
  for (int tries = 0; tries < 2 * cache->count; tries++) {
    slot *s = &cache->slots[cache->hand];
    int at = cache->hand;
    cache->hand = (cache->hand + 1) % cache->count;
    if (s->chunk < 0 || (s->pins == 0 && !s->is_recent)) {
      return at;
    }
    s->is_recent = false;
  }
  return -1;
}

/* The caller holds the lock, which is released while the chunk is read. */
static tr_status fill_slot(const tr__hdf5_array *array, int64_t chunk, int at)
{
  tr__hdf5_cache *cache = array->cache;
  slot *s = &cache->slots[at];
  if (s->chunk >= 0) {
    array->chunks[s->chunk].slot = -1;
  }
  s->chunk = chunk;
  s->pins = 1;
  s->is_ready = false;
  array->chunks[chunk].slot = at;
  pthread_mutex_unlock(&cache->lock);
  if (s->bytes == NULL) {
    s->bytes = malloc((size_t)buffer_bytes(array));
  }
  tr_status status =
      s->bytes != NULL
          ? load(array, chunk, s->bytes)
          : TR_FAIL(TR_ENOMEM, "%s: no memory for a chunk of %lld bytes",
                    array->where, (long long)array->chunk_bytes);
  pthread_mutex_lock(&cache->lock);
  s->is_ready = status == TR_OK;
  if (status != TR_OK) {
    array->chunks[chunk].slot = -1;
    s->chunk = -1;
    s->pins = 0;
  }
  pthread_cond_broadcast(&cache->changed);
  return status;
}

tr_status
tr__hdf5_pin(const tr__hdf5_array *array, int64_t chunk, const uint8_t **out)
{
  tr__hdf5_cache *cache = array->cache;
  tr_status status = TR_OK;
  int at;
  pthread_mutex_lock(&cache->lock);
  for (;;) {
    at = array->chunks[chunk].slot;
    if (at >= 0 && cache->slots[at].is_ready) {
      cache->slots[at].pins++;
      break;
    }
    if (at < 0) {
      at = free_slot(cache);
      if (at >= 0) {
        status = fill_slot(array, chunk, at);
        break;
      }
    }
    pthread_cond_wait(&cache->changed, &cache->lock);
  }
  cache->slots[at].is_recent = true;
  *out = cache->slots[at].bytes;
  pthread_mutex_unlock(&cache->lock);
  return status;
}

void tr__hdf5_unpin(const tr__hdf5_array *array, int64_t chunk)
{
  tr__hdf5_cache *cache = array->cache;
  pthread_mutex_lock(&cache->lock);
  cache->slots[array->chunks[chunk].slot].pins--;
  pthread_cond_broadcast(&cache->changed);
  pthread_mutex_unlock(&cache->lock);
}

bool tr__hdf5_chunk_warning(const tr__hdf5_array *array,
                            char *out,
                            size_t bytes)
{
  if (array->cache == NULL || array->chunk_bytes <= MOST_BYTES ||
      array->cache->count >= array->num_chunks) {
    return false;
  }
  snprintf(out, bytes,
           "%s: its chunks have %lld MiB, of which %d are kept: most samples "
           "that are drawn at random unpack one anew; write it with chunks of "
           "about 1 MiB",
           array->where, (long long)(array->chunk_bytes >> 20),
           array->cache->count);
  return true;
}
