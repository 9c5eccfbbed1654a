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

#include "core/tensor_impl.h"

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

/* The same sum as a list of steps, for code that keeps sums in registers: make
 * the sum of rows begin..end-1, then add to it the sums that wait, `adds` of
 * them, the latest first; then it waits itself, and is the result after the
 * last step. */
typedef struct tr__tree_step {
  int64_t begin, end;
  int adds;
} tr__tree_step;

/* tr__tree_steps - the steps over this rank's shards that have rows; their
 * number, at most tr__shards.count and at most the rows. */
int64_t tr__tree_steps(const tr__shards *shards, tr__tree_step *steps);

#endif
