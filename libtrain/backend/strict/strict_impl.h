/* The strict backend, for tests: the reference, with memory that is
 * inaccessible (PROT_NONE) except while one of its ops or transfers runs. Ops
 * run late, on another thread, in stream order. So host code that touches
 * backend memory, forgets to wait or frees memory too early fails at once. */
#ifndef TR_STRICT_IMPL_H
#define TR_STRICT_IMPL_H

#include "core/backend_impl.h"

#include <pthread.h>

extern const tr__backend_type tr__strict_type;

/* An allocation, accessible only from tr__wall_open() to tr__wall_shut(). */
typedef struct tr__wall_block {
  struct tr__wall_block *next;
  char *map; /* page-aligned; its last page is never accessible */
  size_t map_bytes;
  char *data; /* ends less than 64 bytes before that page */
  size_t bytes;
} tr__wall_block;

typedef struct tr__wall {
  pthread_mutex_t mutex;
  tr__wall_block *blocks;
} tr__wall;

tr_status tr__wall_alloc(tr__wall *wall, size_t bytes, void **out);
void tr__wall_free(tr__wall *wall, void *data);

/* tr__wall_open - make all blocks accessible until tr__wall_shut(). The mutex
 * is held in between: calls that allocate or free wait. */
void tr__wall_open(tr__wall *wall);
void tr__wall_shut(tr__wall *wall);

/* tr__wall_holds - true if these bytes lie in one block. Call it while the wall
 * is open. */
bool tr__wall_holds(const tr__wall *wall, const void *data, size_t bytes);

#endif
