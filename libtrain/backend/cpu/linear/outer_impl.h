/* Sums of outer products, as all three products of a layer with few samples
 * are: a block of the output stays in registers while
 *
 *   out[r][c] <- (out[r][c] +) sum over i of a(i, r) b(i, c)
 *
 * runs over i, in that order, whatever the extents of the block are: its bits
 * do not depend on how many rows or columns are worked on at once.
 *
 * The i may also be the samples of shards, whose sums are added as the fixed
 * tree says (backend/tree_impl.h). They wait on a small stack, so that a shard
 * of four costs little more than its products: a library's product over four
 * samples reads and writes the whole output instead. */
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

  /* Where there are shards, a is (i, TR__OUTER_ROWS) and steps say which i. */
  const tr__tree_step *steps;
  int64_t num_steps; /* 0 without shards */
  float *stack;      /* TR__OUTER_BLOCK floats for each level of the tree */
} tr__cpu_outer;

/* A block of the output, its rows stride elements apart. */
typedef struct tr__cpu_block {
  float *data;
  int64_t stride;
  int64_t rows, columns; /* at least one, at most those above */
  int accumulate;
} tr__cpu_block;

typedef void (*tr__cpu_outer_fn)(const tr__cpu_outer *sum,
                                 const tr__cpu_block *out);

/* The same with other vectors, the widest first. Where the CPU can, a product
 * and its addition are rounded together: so the bits differ between CPUs. */
typedef struct tr__cpu_outer_kind {
  const char *name;
  bool (*is_supported)(void);
  tr__cpu_outer_fn run;
} tr__cpu_outer_kind;

/* tr__cpu_outer_kinds - all of this build, ended by a row without a name; the
 * last runs everywhere. */
extern const tr__cpu_outer_kind tr__cpu_outer_kinds[];

/* tr__cpu_outer_best - the first that this CPU supports. */
tr__cpu_outer_fn tr__cpu_outer_best(void);

#endif
