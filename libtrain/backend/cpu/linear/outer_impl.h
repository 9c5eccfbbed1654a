/* Kernels for sums of outer products. Fully connected layers with few samples
 * compute all three products with them: a block of the output stays in
 * registers during
 *
 *   out[r][c] <- (out[r][c] +) sum over i of a(i, r) b(i, c)
 *
 * The sum runs over i in ascending order for blocks of any extents, so its bits
 * do not depend on how many rows or columns a call computes.
 *
 * i may also number the samples of several shards, whose sums are added in the
 * order of the fixed tree (backend/tree_impl.h), with a small stack. A shard of
 * four samples then costs little more than its products: an OpenBLAS product
 * over four samples would read and write the whole output. */
#ifndef TR_CPU_OUTER_IMPL_H
#define TR_CPU_OUTER_IMPL_H

#include "backend/tree_impl.h"

/* Largest extents of a block. */
enum { TR__OUTER_ROWS = 8, TR__OUTER_COLUMNS = 32 };
enum { TR__OUTER_BLOCK = TR__OUTER_ROWS * TR__OUTER_COLUMNS };

typedef struct tr__cpu_outer {
  const float *a; /* a(i, r) is a[r * a_row + i] */
  int64_t a_row;
  const float *b; /* b(i, c) is b[i * b_step + c] */
  int64_t b_step;
  int64_t count; /* i is 0..count-1 */

  /* With shards, a is (i, TR__OUTER_ROWS), and steps give the ranges of i. */
  const tr__tree_step *steps;
  int64_t num_steps; /* 0 without shards */
  float *stack;      /* TR__OUTER_BLOCK floats for each level of the tree */
} tr__cpu_outer;

/* A block of the output, whose rows are stride elements apart. */
typedef struct tr__cpu_block {
  float *data;
  int64_t stride;
  int64_t rows, columns; /* at least 1, at most those above */
  int accumulate;
} tr__cpu_block;

typedef void (*tr__cpu_outer_fn)(const tr__cpu_outer *sum,
                                 const tr__cpu_block *out);

/* One kernel per kind of vector. Where the CPU can, a kernel rounds a product
 * and its addition once (FMA), so the bits differ between CPUs. */
typedef struct tr__cpu_outer_kind {
  const char *name;
  bool (*is_supported)(void);
  tr__cpu_outer_fn run;
} tr__cpu_outer_kind;

/* tr__cpu_outer_kinds - all kernels of this build, the widest vectors first,
 * ended by a NULL name. The last kernel runs on every CPU. */
extern const tr__cpu_outer_kind tr__cpu_outer_kinds[];

/* tr__cpu_outer_best - the first kernel that this CPU supports. */
tr__cpu_outer_fn tr__cpu_outer_best(void);

#endif
