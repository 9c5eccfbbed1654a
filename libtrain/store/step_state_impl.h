/* The state machine of a training step: which call may come next.
 *
 * The state is what the activations hold and what the gradients hold. Calls
 * that need gradients check it first and change it when they succeed. */
#ifndef TR_STEP_STATE_IMPL_H
#define TR_STEP_STATE_IMPL_H

#include "base/base_impl.h"

/* What the activations hold. */
typedef enum tr__activations_state {
  TR__ACTIVATIONS_NONE,    /* no forward since the build */
  TR__ACTIVATIONS_FORWARD, /* the values of a batch, ready for backward */
  TR__ACTIVATIONS_BACKWARD /* backward has used them; the outputs remain */
} tr__activations_state;

/* What the gradient arena holds. */
typedef enum tr__gradients_state {
  TR__GRADIENTS_CLEAR,   /* nothing valid: the next backward sets them */
  TR__GRADIENTS_LOCAL,   /* this rank's sums: the next backward adds to them */
  TR__GRADIENTS_REDUCED, /* the sums over all ranks */
  TR__GRADIENTS_PARTITIONED, /* the sums over all ranks, in this rank's slices
                                alone (ZeRO) */
  TR__GRADIENTS_COUNT
} tr__gradients_state;

/* Calls that are allowed in some states of the gradients only. */
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
  bool has_micro_batch_sums; /* reproducible mode: the store's micro_batch_sums
                                hold earlier micro-batches of this step */
  bool has_global_sums;      /* the model knows the sums of loss and weight over
                                all ranks for its last batch */
  double planned;            /* weight by which backward divides d(loss) in this
                                step */
  int64_t num_forwards;      /* forwards in training since the last update */
  int64_t num_steps; /* updates so far; the all-reduce checks that they are
                        equal on all ranks */
} tr__step_state;

/* tr__step_check - TR_ESTATE, with the reason as message, where the state does
 * not allow this call.
 *
 * is_exempt allows TR__STEP_UPDATE in two more cases: the gradients are local
 * and there is one rank, or they are partitioned for this optimizer. */
tr_status
tr__step_check(const tr__step_state *step, tr__step_call call, bool is_exempt);

/* tr__step_begin_forward - a forward begins. While the gradients are clear it
 * sets `planned`. So the last forward before the first backward of a step fixes
 * the weight by which all gradients up to the next update are divided. */
void tr__step_begin_forward(tr__step_state *step, double weight);

/* tr__step_end_forward, tr__step_end_backward, tr__step_end_allreduce - change
 * the state after the call has succeeded. */
void tr__step_end_forward(tr__step_state *step);
void tr__step_end_backward(tr__step_state *step);
void tr__step_end_allreduce(tr__step_state *step, bool is_partitioned);

/* tr__step_clear - discard the gradients, after an update or an abandoned
 * step. */
void tr__step_clear(tr__step_state *step);

#endif
