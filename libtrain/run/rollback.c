/* Roll-back: the return to a checkpoint after a step that was not finite.
 *
 * All ranks have the same sums of loss and gradient, so all of them come here
 * in the same step. The scale of the learning rate is that of this process, not
 * that of the checkpoint, which was saved before the rate was known to be too
 * large. */
#include "run/rollback_impl.h"

#include "base/locale_impl.h"

#include <math.h>
#include <string.h>

enum { CAUSE_BYTES = 800 };

/* Add that the roll-back will read the bad sample again. */
static void add_sample(const tr__setback *cause, char out[CAUSE_BYTES])
{
  size_t length = strlen(out);
  if (cause->sample != NULL) {
    snprintf(out + length, CAUSE_BYTES - length,
             ": %s; going back reads it again", cause->sample);
  }
}

static const char *advice_on(const tr__setback *cause)
{
  return cause->sample != NULL ? "mend the data" : "lower the rate";
}

static void describe(const tr__setback *cause, char out[CAUSE_BYTES])
{
  long long step = (long long)cause->step;
  if (cause->is_state) {
    tr__format(out, CAUSE_BYTES,
               "the state after step %lld is not finite (loss %g, lr is %g)",
               step, cause->loss, cause->lr);
  } else if (isfinite(cause->loss)) {
    tr__format(out, CAUSE_BYTES,
               "the gradient of step %lld is not finite (loss %g, lr is %g)",
               step, cause->loss, cause->lr);
  } else {
    tr__format(out, CAUSE_BYTES, "the loss of step %lld is %g (lr is %g)", step,
               isnan(cause->loss) ? (double)NAN : cause->loss, cause->lr);
  }
  add_sample(cause, out);
}

static void count(tr__rollback *rollback, const tr__resumed *taken)
{
  bool is_same = rollback->save == taken->save;
  rollback->times = is_same ? rollback->times + 1 : 1;
  rollback->save = taken->save;
}

static tr_status check_limit(const tr__rollback *rollback,
                             const tr__resumed *taken,
                             const char *what,
                             const char *dir,
                             const char *advice)
{
  TR_CHECK(rollback->times <= rollback->most, TR_ENUMERIC,
           "%s, after %lld roll-backs to the checkpoint of step %lld, which "
           "stays in %s; %s",
           what, (long long)rollback->most, (long long)taken->step, dir,
           advice);
  return TR_OK;
}

/* Load the checkpoint on all ranks. TR_ENUMERIC if there is none. */
static tr_status go_back(tr_context *ctx,
                         const char *dir,
                         const tr_checkpoint *run,
                         const char *what,
                         const char *advice,
                         tr__resumed *taken)
{
  TR_CHECK(dir != NULL, TR_ENUMERIC,
           "%s, and no checkpoints are kept to go back to; %s", what, advice);
  tr_status status = tr__checkpoint_resume_from(ctx, dir, run, true, taken);
  if (status != TR_OK) {
    tr__warn_root(ctx, "%s, and going back to a checkpoint fails", what);
    return tr_error_push(status, __FILE__, __LINE__);
  }
  TR_CHECK(taken->save > 0, TR_ENUMERIC,
           "%s, and %s has no checkpoint of this run to go back to; %s", what,
           dir, advice);
  return TR_OK;
}

tr_status tr__roll_back(tr_context *ctx,
                        tr__rollback *rollback,
                        const char *dir,
                        const tr_checkpoint *run,
                        const tr__setback *cause,
                        int64_t *to_step)
{
  tr_optimizer *opt = run->optimizer;
  double scale = rollback->factor * opt->lr_scale;
  int64_t rollbacks = opt->num_rollbacks + 1;
  char what[CAUSE_BYTES];
  const char *advice = advice_on(cause);
  tr__resumed taken;
  describe(cause, what);
  TR_TRY(tr__agree(ctx->comm, go_back(ctx, dir, run, what, advice, &taken)));
  count(rollback, &taken);
  TR_TRY(
      tr__agree(ctx->comm, check_limit(rollback, &taken, what, dir, advice)));
  opt->num_rollbacks = rollbacks;
  TR_TRY(tr_optimizer_set_lr_scale(opt, scale));
  tr__warn_root(ctx,
                "%s: back to the checkpoint of step %lld with %g of the rate, "
                "%lld of at most %lld times",
                what, (long long)taken.step, rollback->factor,
                (long long)rollback->times, (long long)rollback->most);
  *to_step = taken.step;
  return TR_OK;
}
