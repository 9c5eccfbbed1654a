/* Restores the saved position in the data and the saved numbers of the
 * optimizer. */
#include "checkpoint/resume_impl.h"

#include <string.h>

static tr__loader_state state_of(const tr__run_numbers *numbers)
{
  return (tr__loader_state){
      .seed = (uint64_t)numbers->loader_seed,
      .epoch = numbers->epoch,
      .done = numbers->done,
      .num_samples = numbers->num_samples,
      .batch = numbers->batch,
      .shuffle = numbers->shuffle,
      .deal = numbers->deal,
  };
}

tr_status tr__resume_place(const tr__saved_run *saved,
                           const tr_checkpoint *run,
                           tr__run_numbers *numbers,
                           FILE *notes)
{
  const tr__loader_state state = state_of(numbers);
  if (run->loader == NULL || tr__loader_fits_deal(run->loader, &state)) {
    return TR_OK;
  }
  TR_CHECK(
      run->allow_changes == 1, TR_EMISMATCH,
      "%s: %lld of the %lld samples of an epoch are done, and here the "
      "ranks hold other numbers of samples than there: which ones are left "
      "is not known; allow_changes (--allow-changes) begins that epoch "
      "again",
      saved->path, (long long)state.done, (long long)state.num_samples);
  fprintf(notes,
          "resume begins epoch %lld again: the ranks hold other numbers of "
          "samples\n",
          (long long)state.epoch);
  numbers->done = 0;
  return TR_OK;
}

tr_status tr__resume_loader(tr__comm *comm,
                            tr_loader *loader,
                            const tr__run_numbers *numbers)
{
  if (loader == NULL) {
    return TR_OK;
  }
  const tr__loader_state before = tr__loader_get_state(loader);
  const tr__loader_state state = state_of(numbers);
  tr_status mine = tr__loader_set_state(loader, &state);
  tr_status status = tr__agree(comm, mine);
  if (status != TR_OK && mine == TR_OK) {
    tr__loader_set_state(loader, &before);
  }
  return status;
}

/* Only the plateau schedule has a state. It starts afresh if none is saved. */
static void move_plateau(tr_optimizer *opt, const tr__run_numbers *numbers)
{
  tr__plateau *plateau = &opt->plateau;
  *plateau = (tr__plateau){.scale = 1};
  if (opt->schedule.kind != TR_SCHEDULE_PLATEAU ||
      numbers->plateau_reports == 0) {
    return;
  }
  memcpy(&plateau->best, &numbers->plateau_best, sizeof plateau->best);
  memcpy(&plateau->scale, &numbers->plateau_scale, sizeof plateau->scale);
  plateau->num_bad = numbers->plateau_bad;
  plateau->cooldown = numbers->plateau_cooldown;
  plateau->num_reports = numbers->plateau_reports;
}

/* If the saved run had no loss scale, this run keeps its initial one. */
static tr_status move_scaler(tr_optimizer *opt, const tr__run_numbers *numbers)
{
  tr__scaler scaler;
  TR_TRY(tr__optimizer_get_scaler(opt, &scaler));
  scaler.num_skipped = (double)numbers->skipped;
  if (opt->growth_interval > 0 && numbers->loss_scale != 0) {
    memcpy(&scaler.loss_scale, &numbers->loss_scale, sizeof scaler.loss_scale);
    scaler.good_steps = (double)numbers->good_steps;
  }
  tr__optimizer_set_scaler(opt, &scaler);
  return TR_OK;
}

tr_status tr__resume_optimizer(tr_optimizer *opt,
                               const tr__run_numbers *numbers)
{
  tr__optimizer_set_steps(opt, numbers->step);
  move_plateau(opt, numbers);
  opt->lr_scale = 1;
  if (numbers->lr_scale != 0) {
    memcpy(&opt->lr_scale, &numbers->lr_scale, sizeof opt->lr_scale);
  }
  opt->num_rollbacks = numbers->rollbacks;
  return move_scaler(opt, numbers);
}
