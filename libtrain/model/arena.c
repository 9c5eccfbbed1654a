/* Placement of items in an arena: offsets from lifetimes, so that items that
 * are not needed at the same time can use the same memory.
 *
 * Source: Pisarchyk and Lee 2020, arXiv:2001.03288, "greedy by size". */
#include "model/model_impl.h"

#include <stdlib.h>

static int by_size(const void *a, const void *b)
{
  const tr__arena_item *x = *(tr__arena_item *const *)a;
  const tr__arena_item *y = *(tr__arena_item *const *)b;
  if (x->bytes != y->bytes) {
    return x->bytes < y->bytes ? 1 : -1;
  }
  /* Ties keep the order of the items, so that the plan is reproducible. */
  return x < y ? -1 : x > y;
}

static bool overlaps(const tr__arena_item *a, const tr__arena_item *b)
{
  return a->begin <= b->end && b->begin <= a->end;
}

/* The lowest offset at which an item overlaps none of the placed items that are
 * needed at the same time. */
static size_t
lowest_offset(tr__arena_item *const *placed, int count, tr__arena_item *item)
{
  size_t offset = 0;
  for (bool moved = true; moved;) {
    moved = false;
    for (int i = 0; i < count; i++) {
      const tr__arena_item *other = placed[i];
      size_t end = other->offset + tr__align(other->bytes, TR__ARENA_ALIGN);
      if (overlaps(item, other) && other->offset < offset + item->bytes &&
          offset < end) {
        offset = end;
        moved = true;
      }
    }
  }
  return offset;
}

bool tr__arena_place(tr__arena_item *items, int count, size_t *total)
{
  *total = 0;
  tr__arena_item **order = malloc((size_t)(count + 1) * sizeof *order);
  if (order == NULL) {
    return false;
  }
  for (int i = 0; i < count; i++) {
    order[i] = &items[i];
  }
  qsort(order, (size_t)count, sizeof *order, by_size);
  for (int i = 0; i < count; i++) {
    order[i]->offset = lowest_offset(order, i, order[i]);
    size_t end = order[i]->offset + tr__align(order[i]->bytes, TR__ARENA_ALIGN);
    *total = end > *total ? end : *total;
  }
  free(order);
  return true;
}
