/* The strict backend: the reference behind a wall, for tests. Its memory has
 * no access except while one of its ops or transfers runs, and ops run late,
 * on another thread, in stream order. So a host that touches backend memory,
 * forgets to wait or frees too early fails at once. */
#ifndef TR_STRICT_IMPL_H
#define TR_STRICT_IMPL_H

#include "core/backend_impl.h"

#include <pthread.h>

extern const tr__backend_type tr__strict_type;

/* A block of memory that is open only between unlock and lock. */
typedef struct tr__wall_block {
  struct tr__wall_block *next;
  char *map; /* page-aligned; the last page stays shut */
  size_t map_bytes;
  char *data; /* ends where the shut page begins, up to 64 bytes */
  size_t bytes;
} tr__wall_block;

typedef struct tr__wall {
  pthread_mutex_t mutex;
  tr__wall_block *blocks;
} tr__wall;

tr_status tr__wall_alloc(tr__wall *wall, size_t bytes, void **out);
void tr__wall_free(tr__wall *wall, void *data);

/* tr__wall_open - let all blocks be touched, until tr__wall_shut(). Nothing is
 * allocated or freed meanwhile. */
void tr__wall_open(tr__wall *wall);
void tr__wall_shut(tr__wall *wall);

/* tr__wall_holds - do these bytes lie in one block? While it is open. */
bool tr__wall_holds(const tr__wall *wall, const void *data, size_t bytes);

#endif
