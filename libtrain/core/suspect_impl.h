/* Bad samples: a rank finds the sample whose NaN, Inf, fill value or huge
 * number spoils a loss, so that a message can name it. */
#ifndef TR_SUSPECT_IMPL_H
#define TR_SUSPECT_IMPL_H

#include "core/context_impl.h"

#include <train/data.h>

#define TR__FAULT_BYTES 96

/* Limits from which on a loss counts as senseless even though it is finite. A
 * rank searches its batch where its own sum exceeds the first. Where the mean
 * over all ranks exceeds the second, all ranks report the sample they found.
 * The first is lower, so that some rank has searched. */
#define TR__SENSELESS_SUM  1e20
#define TR__SENSELESS_MEAN 1e25

/* tr__number_fault - describe what is wrong with a number of the data, for
 * example "is nan", where the model computes in type `compute`. Returns false
 * for a number without a fault.
 *
 * is_strict  also report numbers that are suspicious only after a senseless
 *            loss: missing values of conventions other than NetCDF's, and
 *            numbers whose square overflows */
bool tr__number_fault(double value,
                      tr_dtype compute,
                      bool is_strict,
                      char out[TR__FAULT_BYTES]);

/* An array of numbers of type TR_F32 or TR_F64. */
typedef struct tr__numbers {
  const void *values;
  tr_dtype dtype;
  int64_t count;
} tr__numbers;

/* tr__number_at - number i as a double. */
double tr__number_at(const tr__numbers *numbers, int64_t i);

/* tr__first_fault - the index of the first number with a fault; -1 where there
 * is none. */
int64_t
tr__first_fault(const tr__numbers *numbers, tr_dtype compute, bool is_strict);

/* One array of a batch. */
typedef struct tr__looked {
  const void *values;
  tr_dtype dtype;   /* type of the numbers on the host; int32 arrays are
                       skipped */
  int64_t elements; /* elements of one sample */
  bool is_target;
  int ordinal; /* index among inputs or targets */
} tr__looked;

/* tr__suspect_look - search this rank's batch and remember the first bad
 * sample. Returns false where there is none. Local.
 *
 * step  of the batch, from 1 */
bool tr__suspect_look(tr_context *ctx,
                      const tr_batch *batch,
                      const tr__looked *arrays,
                      int num_arrays,
                      int64_t step);

/* tr__suspect_glance - after a loss that makes sense, warn of a huge input that
 * a norm, a tanh or a maximum may hide from the loss. Local.
 *
 * Reads the inputs once, at the speed of memory. Stops for good when this rank
 * has given its maximum number of warnings or has searched often without a
 * fault. */
void tr__suspect_glance(tr_context *ctx,
                        const tr_batch *batch,
                        const tr__looked *arrays,
                        int num_arrays,
                        int64_t step);

/* tr__suspect_is_new - whether this rank has a bad sample that it has not
 * warned of. */
bool tr__suspect_is_new(const tr_context *ctx);

/* tr__suspect_warn - warn of this rank's bad sample and its consequence, unless
 * it has warned of it or there is none. */
void tr__suspect_warn(tr_context *ctx, const char *consequence);

/* A senseless loss or gradient, the same on all ranks. */
typedef struct tr__senseless {
  tr_status status;
  const char *what;   /* "loss" */
  int64_t step;       /* from 1; 0: an evaluation */
  double value;       /* not finite, or too large */
  const char *effect; /* "; nothing was changed" */
  double lr;
} tr__senseless;

/* tr__suspect_blame - fail with found->status and the bad sample of the lowest
 * rank that found one in this step or the step before. TR_OK where no rank has
 * found one. Collective, agreed. */
tr_status tr__suspect_blame(tr_context *ctx, const tr__senseless *found);

/* tr__suspect_fail - the same, but where no rank has a bad sample, fail with
 * advice instead. */
tr_status tr__suspect_fail(tr_context *ctx, const tr__senseless *found);

#endif
