/* Roll-back: the return to a checkpoint after a step whose loss, gradient or
 * state is not finite. */
#ifndef TR_ROLLBACK_IMPL_H
#define TR_ROLLBACK_IMPL_H

#include "checkpoint/checkpoint_impl.h"

typedef struct tr__rollback {
  double factor; /* of the learning rate, at each roll-back */
  int64_t most;  /* roll-backs to the same checkpoint */
  int64_t save;  /* of the last roll-back; 0: none */
  int64_t times; /* in a row to that checkpoint */
} tr__rollback;

/* The step that was not finite. */
typedef struct tr__setback {
  int64_t step;
  bool is_state; /* the state was, found when it was to be saved */
  double loss, lr;
  const char *sample; /* the sample to blame, and why; NULL: none is known */
} tr__setback;

/* tr__roll_back - load the newest checkpoint of this run on all ranks, lower
 * the learning rate and warn.
 *
 * dir      the directory; NULL: there is none
 * to_step  [out]  the step of the checkpoint
 *
 * Collective. TR_ENUMERIC on all ranks if there is no checkpoint or the limit
 * is reached. In the latter case the state is that of the checkpoint. */
tr_status tr__roll_back(tr_context *ctx,
                        tr__rollback *rollback,
                        const char *dir,
                        const tr_checkpoint *run,
                        const tr__setback *cause,
                        int64_t *to_step);

#endif
