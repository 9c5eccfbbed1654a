/* Sums over samples in the order of the fixed binary tree (tree_impl.h). */
#include "backend/tree_impl.h"

#include <string.h>

enum { ALIGNMENT = 64 };

static int depth(int64_t total)
{
  int levels = 0;
  while (total > 1) {
    total = tr__tree_half(total);
    levels++;
  }
  return levels;
}

size_t tr__tree_bytes(const tr__shards *shards, size_t bytes)
{
  /* One sum per level below the root, and one for the root itself, which an
   * accumulating call adds to the output at the end. */
  return shards->total == 1
             ? 0
             : ((size_t)depth(shards->total) + 1) * tr__align(bytes, ALIGNMENT);
}

static bool leaf(const tr__tree *tree, int64_t shard, char *sum)
{
  int64_t local = shard - tree->shards.first;
  int64_t begin = tr__shard_begin(&tree->shards, local);
  int64_t end = tr__shard_begin(&tree->shards, local + 1);
  if (begin == end) {
    return false;
  }
  tree->leaf(tree->arg, begin, end, sum, 0);
  return true;
}

/* Returns false if no row lies below this node; `sum` is then not set. */
static bool
node(const tr__tree *tree, int64_t lo, int64_t hi, char *sum, char *spare)
{
  const tr__shards *shards = &tree->shards;
  if (hi <= shards->first || lo >= shards->first + shards->count) {
    return false;
  }
  if (hi - lo == 1) {
    return leaf(tree, lo, sum);
  }
  int64_t mid = lo + tr__tree_half(hi - lo);
  if (!node(tree, lo, mid, sum, spare)) {
    return node(tree, mid, hi, sum, spare);
  }
  if (node(tree, mid, hi, spare, spare + tr__align(tree->bytes, ALIGNMENT))) {
    tree->add(tree->arg, sum, spare);
  }
  return true;
}

void tr__tree_sum(const tr__tree *tree,
                  void *out,
                  int accumulate,
                  void *scratch)
{
  const tr__shards *shards = &tree->shards;
  if (shards->total == 1 && shards->rows > 0) {
    tree->leaf(tree->arg, 0, tr__shard_begin(shards, 1), out, accumulate);
    return;
  }
  char *root = accumulate ? scratch : out;
  char *spare = scratch;
  if (accumulate && shards->total > 1) {
    spare += tr__align(tree->bytes, ALIGNMENT);
  }
  bool any = shards->total > 1 && node(tree, 0, shards->total, root, spare);
  if (any && accumulate) {
    tree->add(tree->arg, out, root);
  }
  if (!any && !accumulate) {
    memset(out, 0, tree->bytes);
  }
}

/* Write the steps of one node and return their number. The last step of the
 * right child also adds the sum of the left child. */
static int64_t
list(const tr__shards *shards, int64_t lo, int64_t hi, tr__tree_step *steps)
{
  if (hi <= shards->first || lo >= shards->first + shards->count) {
    return 0;
  }
  if (hi - lo == 1) {
    int64_t begin = tr__shard_begin(shards, lo - shards->first);
    int64_t end = tr__shard_begin(shards, lo - shards->first + 1);
    if (begin < end) {
      *steps = (tr__tree_step){begin, end, 0};
    }
    return begin < end ? 1 : 0;
  }
  int64_t mid = lo + tr__tree_half(hi - lo);
  int64_t left = list(shards, lo, mid, steps);
  int64_t right = list(shards, mid, hi, steps + left);
  if (left > 0 && right > 0) {
    steps[left + right - 1].adds++;
  }
  return left + right;
}

int64_t tr__tree_steps(const tr__shards *shards, tr__tree_step *steps)
{
  return list(shards, 0, shards->total, steps);
}
