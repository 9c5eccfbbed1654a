/* The fixed binary tree by which sums over samples are combined.
 *
 *   node(lo, hi) = leaf(lo)                        where hi - lo is 1
 *                = node(lo, mid) + node(mid, hi)   otherwise,
 *   mid = lo + the largest power of two below hi - lo
 *
 * over the numbers 0..total-1 of all shards of the global batch. A shard that
 * has no rows, or that another rank holds, is skipped: where one side is
 * skipped whole, the node is the other side. So the sum depends on the cut
 * into shards alone. */
#ifndef TR_TREE_IMPL_H
#define TR_TREE_IMPL_H

#include "base/tensor_impl.h"

typedef struct tr__tree {
  tr__shards shards;
  size_t bytes; /* of one sum */

  /* leaf - sum <- its value over the local rows begin..end-1, at least one;
   * with accumulate: sum <- sum + value. */
  void (*leaf)(
      void *arg, int64_t begin, int64_t end, void *sum, int accumulate);

  /* add - sum <- sum + other, element by element. */
  void (*add)(void *arg, void *sum, const void *other);
  void *arg;
} tr__tree;

/* tr__tree_bytes - scratch memory that tr__tree_sum() wants; 0 for one shard
 * in all. */
size_t tr__tree_bytes(const tr__shards *shards, size_t bytes);

/* tr__tree_sum - out <- (out +) the node over this rank's shards. */
void tr__tree_sum(const tr__tree *tree,
                  void *out,
                  int accumulate,
                  void *scratch);

#endif
