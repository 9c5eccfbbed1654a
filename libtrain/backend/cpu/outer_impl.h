/* Sums of outer products over few samples, as the gradients of weights are:
 *
 *   out[k][d] <- (out[k][d] +) sum over the samples n of a[n][k] x[n][d],
 *
 * where the samples are those of shards, whose sums are added as the fixed tree
 * says (backend/tree_impl.h). A block of the output stays in registers for all
 * of its samples, so that a shard of four costs hardly more than its products:
 * a library's product of four samples reads and writes the output instead. */
#ifndef TR_CPU_OUTER_IMPL_H
#define TR_CPU_OUTER_IMPL_H

#include "backend/tree_impl.h"

/* Extents of a block of the output. */
enum { TR__OUTER_ROWS = 8, TR__OUTER_COLUMNS = 32 };

/* What one block needs. */
typedef struct tr__cpu_outer {
  const float *a; /* (samples, TR__OUTER_ROWS) */
  const float *x; /* (samples, TR__OUTER_COLUMNS), rows x_stride apart */
  int64_t x_stride;
  const tr__tree_step *steps;
  int64_t num_steps; /* at least one */
  float *stack;      /* a block for each level of the tree */
} tr__cpu_outer;

/* out <- (out +) a block; rows of out are stride elements apart. */
typedef void (*tr__cpu_outer_fn)(const tr__cpu_outer *block,
                                 float *out,
                                 int64_t stride,
                                 int accumulate);

/* The same for other vectors, the widest first. Their bits may differ, as a
 * product and its addition are rounded together where the CPU can. */
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
