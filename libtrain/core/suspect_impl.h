/* Samples that cannot be computed with. */
#ifndef TR_SUSPECT_IMPL_H
#define TR_SUSPECT_IMPL_H

#include "core/context_impl.h"

#include <train/data.h>

#define TR__FAULT_BYTES 96

/* Losses that have no sense, even where they are finite: of a rank's sum the
 * batch is looked at, of a mean over all ranks these are asked. The first is
 * lower, so that some rank has looked. */
#define TR__SENSELESS_SUM  1e20
#define TR__SENSELESS_MEAN 1e25

/* tr__number_fault - what is wrong with a number of data, as "is nan", for a
 * type that computes with it; false where nothing is.
 *
 * is_strict  numbers count too that only a loss without sense makes suspicious:
 *            missing values of other conventions than NetCDF's own, and what
 *            has no square */
bool tr__number_fault(double value,
                      tr_dtype compute,
                      bool is_strict,
                      char out[TR__FAULT_BYTES]);

/* Numbers of a type, TR_F32 or TR_F64. */
typedef struct tr__numbers {
  const void *values;
  tr_dtype dtype;
  int64_t count;
} tr__numbers;

/* tr__number_at - one of them. */
double tr__number_at(const tr__numbers *numbers, int64_t i);

/* tr__first_fault - the index of the first that has a fault; -1: none has. */
int64_t
tr__first_fault(const tr__numbers *numbers, tr_dtype compute, bool is_strict);

/* One array of a batch. */
typedef struct tr__looked {
  const void *values;
  tr_dtype dtype;   /* of the host's numbers; int32 is passed over */
  int64_t elements; /* of one sample */
  bool is_target;
  int ordinal; /* among inputs or targets */
} tr__looked;

/* tr__suspect_look - remember the first sample of this rank's batch that cannot
 * be computed with; false where there is none. Local.
 *
 * step  that the batch is for, from 1 */
bool tr__suspect_look(tr_context *ctx,
                      const tr_batch *batch,
                      const tr__looked *arrays,
                      int num_arrays,
                      int64_t step);

/* tr__suspect_glance - while losses have sense: warn of an input that no loss
 * may show, since a norm, a tanh or a maximum hides it. Local.
 *
 * Reads the inputs once, at the speed of memory, until a rank has warned of as
 * many samples as it may, or has often looked in vain. */
void tr__suspect_glance(tr_context *ctx,
                        const tr_batch *batch,
                        const tr__looked *arrays,
                        int num_arrays,
                        int64_t step);

/* tr__suspect_is_new - this rank has a sample that it has not told of. */
bool tr__suspect_is_new(const tr_context *ctx);

/* tr__suspect_warn - this rank's warning of a sample that it has not told of
 * yet, with what comes of it; nothing where there is none. */
void tr__suspect_warn(tr_context *ctx, const char *consequence);

/* A loss or a gradient without sense, on all ranks alike. */
typedef struct tr__senseless {
  tr_status status;
  const char *what;   /* "loss" */
  int64_t step;       /* from 1; 0: of an evaluation */
  double value;       /* not finite, or too large */
  const char *effect; /* "; nothing was changed" */
  double lr;
} tr__senseless;

/* tr__suspect_blame - its status with the lowest rank's bad sample of this step
 * or the one before, TR_OK where no rank has one. Collective, and agreed. */
tr_status tr__suspect_blame(tr_context *ctx, const tr__senseless *found);

/* tr__suspect_fail - the same, and where no rank has a bad sample its status
 * with advice. */
tr_status tr__suspect_fail(tr_context *ctx, const tr__senseless *found);

#endif
