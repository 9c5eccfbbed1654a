/* Going back to a checkpoint after a step that was not finite. */
#ifndef TR_ROLLBACK_IMPL_H
#define TR_ROLLBACK_IMPL_H

#include "checkpoint/checkpoint_impl.h"

typedef struct tr__rollback {
  double factor; /* of the rate */
  int64_t most;  /* times to the same checkpoint */
  int64_t save;  /* of the one last gone back to; 0: none */
  int64_t times; /* in a row to that one */
} tr__rollback;

/* What was not finite. */
typedef struct tr__setback {
  int64_t step;
  bool is_state; /* found when it was to be saved, after the step */
  double loss, lr;
  const char *sample; /* that is to blame, and why; NULL: none is known */
} tr__setback;

/* tr__roll_back - load the newest checkpoint of this run on all ranks, lower
 * the rate and warn.
 *
 * dir      where it is; NULL: there is none
 * to_step  [out]  the step of the checkpoint
 *
 * Collective. TR_ENUMERIC, agreed, where there is none or the limit is
 * reached. In the latter case the state is that of the checkpoint. */
tr_status tr__roll_back(tr_context *ctx,
                        tr__rollback *rollback,
                        const char *dir,
                        const tr_checkpoint *run,
                        const tr__setback *cause,
                        int64_t *to_step);

#endif
