/* Merges the BatchNorm moments of all ranks in the order of the fixed tree. */
#include "backend/cpu_ref/moments_impl.h"

#include <string.h>

typedef struct merge {
  double *parts;
  int64_t channels, stride;
} merge;

/* Row a <- the moments of rows a and b. */
static void add(const merge *m, int64_t a, int64_t b)
{
  int64_t C = m->channels;
  double *to = m->parts + a * m->stride;
  const double *from = m->parts + b * m->stride;
  for (int64_t c = 0; c < C; c++) {
    tr__moments_add(to + c, to + C + c, to[2 * C], from[c], from[C + c],
                    from[2 * C]);
  }
  to[2 * C] += from[2 * C];
}

/* Row `begin` <- the moments of ranks begin..end-1, which hold `shards` shards.
 */
static void node(const merge *m, int64_t shards, int64_t begin, int64_t end)
{
  if (end - begin == 1) {
    return;
  }
  int64_t left = tr__tree_half(shards);
  int64_t mid = begin + tr__tree_left(shards, end - begin);
  node(m, left, begin, mid);
  node(m, shards - left, mid, end);
  add(m, begin, mid);
}

void tr__moments_merge(double *sums,
                       const tr__tensor *parts,
                       int64_t channels,
                       int64_t num_shards)
{
  const merge m = {parts->data, channels, tr__tensor_row(parts)};
  node(&m, num_shards, 0, parts->dims[0]);
  memmove(sums, parts->data, (size_t)(2 * channels + 1) * sizeof *sums);
}
