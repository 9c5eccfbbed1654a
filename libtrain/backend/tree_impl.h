/* The fixed binary tree in whose order sums over samples are added.
 *
 *   node(lo, hi) = leaf(lo)                        where hi - lo is 1
 *                = node(lo, mid) + node(mid, hi)   otherwise,
 *   mid = lo + the largest power of two below hi - lo
 *
 * The leaves are the shards 0..total-1 of the global batch. A shard that has no
 * rows, or that another rank holds, is skipped. If all shards on one side of a
 * node are skipped, the node is the other side. So the bits of the sum depend
 * only on how the batch is divided into shards. */
#ifndef TR_TREE_IMPL_H
#define TR_TREE_IMPL_H

#include "core/tensor_impl.h"

typedef struct tr__tree {
  tr__shards shards;
  size_t bytes; /* of one sum */

  /* leaf - sum <- the sum over the local rows begin..end-1, at least one row;
   * with accumulate: sum <- sum + that. */
  void (*leaf)(
      void *arg, int64_t begin, int64_t end, void *sum, int accumulate);

  /* add - sum <- sum + other, element by element. */
  void (*add)(void *arg, void *sum, const void *other);
  void *arg;
} tr__tree;

/* tr__tree_bytes - scratch bytes that tr__tree_sum() needs; 0 if total is 1. */
size_t tr__tree_bytes(const tr__shards *shards, size_t bytes);

/* tr__tree_sum - out <- (out +) the node over this rank's shards, 0 without
 * rows. */
void tr__tree_sum(const tr__tree *tree,
                  void *out,
                  int accumulate,
                  void *scratch);

/* The same sum as a list of steps, for code with a stack of partial sums. A
 * step computes the sum of rows begin..end-1, pops `adds` sums and adds them to
 * it, the latest first, then pushes the result. After the last step one sum is
 * left: the result. */
typedef struct tr__tree_step {
  int64_t begin, end;
  int adds;
} tr__tree_step;

/* tr__tree_steps - write the steps over this rank's shards that have rows.
 * Returns their number, at most tr__shards.count and at most the rows. */
int64_t tr__tree_steps(const tr__shards *shards, tr__tree_step *steps);

#endif
