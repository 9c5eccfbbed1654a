/* Memory that the ranks of a node share. */
#ifndef TR_NODE_MEMORY_IMPL_H
#define TR_NODE_MEMORY_IMPL_H

#include "base/base_impl.h"

#include <mpi.h>

/* One mapping of `size` parts of equal length, one per rank of the node. */
typedef struct tr__segment {
  char *base;    /* where the mapping begins in this process; NULL: none */
  size_t stride; /* from one part to the next */
  size_t part;   /* bytes of a part that were asked for */
  int size, rank;
} tr__segment;

/* tr__segment_create - zeroed memory for all ranks of a node.
 *
 * Collective on `node`, which must hold ranks of one node only. Where any rank
 * cannot have it (no shared memory here, or it is full), none has: then base
 * is NULL, and that is no failure. What is returned is TR_ECOMM. */
tr_status tr__segment_create(MPI_Comm node, size_t part, tr__segment *out);

/* tr__segment_release - this process' mapping; the others keep theirs. */
void tr__segment_release(tr__segment *segment);

/* tr__segment_part - the part of a rank. */
static inline char *tr__segment_part(const tr__segment *segment, int rank)
{
  return segment->base + (size_t)rank * segment->stride;
}

/* tr__segment_holds - do these bytes lie in this rank's own part? */
static inline bool
tr__segment_holds(const tr__segment *segment, const void *data, size_t bytes)
{
  const char *own = tr__segment_part(segment, segment->rank);
  const char *begin = data;
  return segment->base != NULL && begin >= own &&
         begin + bytes <= own + segment->part;
}

#endif
