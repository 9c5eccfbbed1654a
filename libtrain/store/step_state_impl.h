/* Where a model stands in a step, and which call may come next.
 *
 * Two things are known: what the activations hold and what the gradients hold.
 * Every call that changes either asks here first. */
#ifndef TR_STEP_STATE_IMPL_H
#define TR_STEP_STATE_IMPL_H

#include "base/base_impl.h"

/* What the activations hold. */
typedef enum tr__activations_state {
  TR__ACTIVATIONS_NONE,    /* nothing was computed since the build */
  TR__ACTIVATIONS_FORWARD, /* the values of a batch, ready for backward */
  TR__ACTIVATIONS_BACKWARD /* backward has used them; outputs are still there */
} tr__activations_state;

/* What the gradient arena holds. */
typedef enum tr__gradients_state {
  TR__GRADIENTS_CLEAR,   /* nothing: the next backward sets them */
  TR__GRADIENTS_LOCAL,   /* this rank's sums: the next backward adds to them */
  TR__GRADIENTS_REDUCED, /* the sums over all ranks */
  TR__GRADIENTS_PARTITIONED, /* those of this rank's slices alone (ZeRO) */
  TR__GRADIENTS_COUNT
} tr__gradients_state;

/* Calls that need the gradients in some state. */
typedef enum tr__step_call {
  TR__STEP_BACKWARD,
  TR__STEP_ALLREDUCE,
  TR__STEP_UPDATE,
  TR__STEP_READ_GRADIENT,
  TR__STEP_CALLS
} tr__step_call;

typedef struct tr__step_state {
  tr__activations_state activations;
  tr__gradients_state gradients;
  bool has_micro_batch_sums; /* earlier micro-batches have been summed over the
                                ranks, in an arena of their own */
  bool has_global_sums;      /* the model knows the sums of loss and weight over
                                all ranks for its last batch */
  double planned;            /* weight that the seeds of this step divided by */
  int64_t num_forwards;      /* in training, since the last update */
  int64_t num_steps; /* updates; all-reduce compares them over the ranks */
} tr__step_state;

/* tr__step_check - may this call come now? TR_ESTATE with the reason if not.
 *
 * is_exempt lifts two conditions of TR__STEP_UPDATE: gradients that are local
 * on the only rank, and gradients that are partitioned for this optimizer. */
tr_status
tr__step_check(const tr__step_state *step, tr__step_call call, bool is_exempt);

/* tr__step_begin_forward - a batch is about to be computed. The first one after
 * an update fixes the weight that all gradients up to the next update are
 * divided by. */
void tr__step_begin_forward(tr__step_state *step, double weight);

/* tr__step_end_forward, tr__step_end_backward, tr__step_end_allreduce - the
 * call has succeeded. */
void tr__step_end_forward(tr__step_state *step);
void tr__step_end_backward(tr__step_state *step);
void tr__step_end_allreduce(tr__step_state *step, bool is_partitioned);

/* tr__step_clear - forget the gradients: after an update, or after a step that
 * is given up. */
void tr__step_clear(tr__step_state *step);

#endif
