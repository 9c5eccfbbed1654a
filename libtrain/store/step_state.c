/* The state machine of a training step: what each call does to the state of the
 * gradients, or why it is refused.
 *
 *   gradients:     clear        local            reduced      partitioned
 *
 *   forward        stays        stays            stays        stays
 *   backward       -> local     -> local         refused      refused
 *   all-reduce     refused      -> reduced (1)   refused      refused
 *   update         refused      -> clear (2)     -> clear     -> clear (3)
 *   read gradient  refused      stays            stays        refused
 *   clear          -> clear     -> clear         -> clear     -> clear
 *
 *   (1) with shard_state -> partitioned
 *   (2) with one rank; with several it is refused
 *   (3) by the optimizer that owns the slices; by any other it is refused
 *
 * Backward also needs the activations of a forward that no backward has used
 * yet. A forward may come at any time: an evaluation between two calls of a
 * step does not change the gradients. */
#include "store/step_state_impl.h"

static const char *const refusals[TR__STEP_CALLS][TR__GRADIENTS_COUNT] = {
    [TR__STEP_BACKWARD] =
        {[TR__GRADIENTS_REDUCED] =
             "tr_model_backward after tr_model_allreduce_grads(): call "
             "tr_optimizer_step() first",
         [TR__GRADIENTS_PARTITIONED] =
             "tr_model_backward after tr_model_allreduce_grads(): call "
             "tr_optimizer_step() first"},
    [TR__STEP_ALLREDUCE] =
        {[TR__GRADIENTS_CLEAR] =
             "tr_model_allreduce_grads before tr_model_backward()",
         [TR__GRADIENTS_REDUCED] =
             "tr_model_allreduce_grads: called twice for one step",
         [TR__GRADIENTS_PARTITIONED] =
             "tr_model_allreduce_grads: called twice for one step"},
    [TR__STEP_UPDATE] =
        {[TR__GRADIENTS_CLEAR] = "tr_optimizer_step before tr_model_backward()",
         [TR__GRADIENTS_LOCAL] =
             "tr_optimizer_step before tr_model_allreduce_grads()",
         [TR__GRADIENTS_PARTITIONED] =
             "tr_optimizer_step: another optimizer of the model has "
             "shard_state, and every rank the gradients of its slices only"},
    [TR__STEP_READ_GRADIENT] =
        {[TR__GRADIENTS_CLEAR] = "tr_model_get_grad before tr_model_backward()",
         [TR__GRADIENTS_PARTITIONED] =
             "tr_model_get_grad after tr_model_allreduce_grads(): the "
             "optimizer has shard_state, and every rank the sums of its "
             "slices only"},
};

tr_status
tr__step_check(const tr__step_state *step, tr__step_call call, bool is_exempt)
{
  bool needs_forward =
      call == TR__STEP_BACKWARD && step->activations != TR__ACTIVATIONS_FORWARD;
  TR_CHECK(!needs_forward, TR_ESTATE,
           "tr_model_backward before tr_model_forward()");
  bool is_lifted = is_exempt && call == TR__STEP_UPDATE &&
                   step->gradients != TR__GRADIENTS_CLEAR;
  const char *refusal = refusals[call][step->gradients];
  TR_CHECK(refusal == NULL || is_lifted, TR_ESTATE, "%s", refusal);
  return TR_OK;
}

void tr__step_begin_forward(tr__step_state *step, double weight)
{
  if (step->gradients == TR__GRADIENTS_CLEAR) {
    step->planned = weight;
  }
  step->has_global_sums = false;
}

void tr__step_end_forward(tr__step_state *step)
{
  step->activations = TR__ACTIVATIONS_FORWARD;
}

void tr__step_end_backward(tr__step_state *step)
{
  step->activations = TR__ACTIVATIONS_BACKWARD;
  step->gradients = TR__GRADIENTS_LOCAL;
}

void tr__step_end_allreduce(tr__step_state *step, bool is_partitioned)
{
  step->gradients =
      is_partitioned ? TR__GRADIENTS_PARTITIONED : TR__GRADIENTS_REDUCED;
  step->has_global_sums = true;
}

void tr__step_clear(tr__step_state *step)
{
  step->gradients = TR__GRADIENTS_CLEAR;
  step->has_micro_batch_sums = false;
  step->num_forwards = 0;
}
