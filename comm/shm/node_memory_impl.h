/* Segments: memory that the ranks of a node share. */
#ifndef TR_NODE_MEMORY_IMPL_H
#define TR_NODE_MEMORY_IMPL_H

#include "base/base_impl.h"

#include <mpi.h>

/* One mapping of `size` areas of equal length, one area per rank of the node.
 */
typedef struct tr__segment {
  char *base;    /* address of the mapping in this process; NULL: none */
  size_t stride; /* bytes from one area to the next */
  size_t part;   /* bytes of an area that the caller asked for */
  int size, rank;
} tr__segment;

/* tr__segment_create - zeroed memory for all ranks of a node.
 *
 * Collective on `node`, which must hold ranks of one node only. Where any rank
 * cannot map it (the node has no shared memory, or it is full), no rank gets
 * it: base is NULL, and that is no failure. The only failure is TR_ECOMM. */
tr_status tr__segment_create(MPI_Comm node, size_t part, tr__segment *out);

/* tr__segment_release - unmap it in this process; other ranks keep their
 * mapping. */
void tr__segment_release(tr__segment *segment);

/* tr__segment_part - the area of a rank. */
static inline char *tr__segment_part(const tr__segment *segment, int rank)
{
  return segment->base + (size_t)rank * segment->stride;
}

/* tr__segment_holds - do these bytes lie in this rank's own area? */
static inline bool
tr__segment_holds(const tr__segment *segment, const void *data, size_t bytes)
{
  const char *own = tr__segment_part(segment, segment->rank);
  const char *begin = data;
  return segment->base != NULL && begin >= own &&
         begin + bytes <= own + segment->part;
}

#endif
