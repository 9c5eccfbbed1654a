/* Memory of the strict backend. Each block is followed by a page that is never
 * accessible, so that a read or write past its end ends the process. */
#include "backend/strict/strict_impl.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALIGNMENT = 64 };

tr_status tr__wall_alloc(tr__wall *wall, size_t bytes, void **out)
{
  *out = NULL;
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  TR_CHECK(bytes <= PTRDIFF_MAX - 2 * page, TR_ENOMEM,
           "cannot allocate %zu bytes of strict memory", bytes);
  size_t used = tr__align(bytes, ALIGNMENT);
  size_t open = tr__align(used > 0 ? used : 1, page);
  tr__wall_block *block = malloc(sizeof *block);
  TR_CHECK(block != NULL, TR_ENOMEM, "cannot allocate a block of memory");
  void *map = mmap(NULL, open + page, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) {
    free(block);
    return TR_FAIL(TR_ENOMEM, "cannot map %zu bytes of strict memory", bytes);
  }
  *block = (tr__wall_block){.map = map,
                            .map_bytes = open + page,
                            .data = (char *)map + open - used,
                            .bytes = bytes};
  *out = block->data;
  pthread_mutex_lock(&wall->mutex);
  block->next = wall->blocks;
  wall->blocks = block;
  pthread_mutex_unlock(&wall->mutex);
  return TR_OK;
}

void tr__wall_free(tr__wall *wall, void *data)
{
  if (data == NULL) {
    return;
  }
  pthread_mutex_lock(&wall->mutex);
  tr__wall_block **link = &wall->blocks;
  while (*link != NULL && (*link)->data != data) {
    link = &(*link)->next;
  }
  tr__wall_block *block = *link;
  TR_ASSERT(block != NULL);
  if (block != NULL) {
    *link = block->next;
    munmap(block->map, block->map_bytes);
    free(block);
  }
  pthread_mutex_unlock(&wall->mutex);
}

static void protect_all(const tr__wall *wall, int protection)
{
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  for (tr__wall_block *b = wall->blocks; b != NULL; b = b->next) {
    mprotect(b->map, b->map_bytes - page, protection);
  }
}

void tr__wall_open(tr__wall *wall)
{
  pthread_mutex_lock(&wall->mutex);
  protect_all(wall, PROT_READ | PROT_WRITE);
}

void tr__wall_shut(tr__wall *wall)
{
  protect_all(wall, PROT_NONE);
  pthread_mutex_unlock(&wall->mutex);
}

bool tr__wall_holds(const tr__wall *wall, const void *data, size_t bytes)
{
  const char *begin = data;
  for (tr__wall_block *b = wall->blocks; b != NULL; b = b->next) {
    if (begin >= b->data && begin <= b->data + b->bytes &&
        bytes <= (size_t)(b->data + b->bytes - begin)) {
      return true;
    }
  }
  return false;
}
