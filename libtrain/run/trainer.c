/* The trainer: the training loop over model, optimizer, data and checkpoints,
 * with evaluation, saves, resume, roll-back and stop on request. */
#include "base/locale_impl.h"
#include "core/dataset_impl.h"
#include "core/suspect_impl.h"
#include "model/model_impl.h"
#include "optim/optimizer_impl.h"
#include "run/announce_impl.h"
#include "run/evaluate_impl.h"
#include "run/joblog_impl.h"
#include "run/patience_impl.h"
#include "run/progress_impl.h"
#include "run/rollback_impl.h"
#include "run/trace_impl.h"
#include "sync/sync_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

struct tr_trainer {
  tr_context *ctx;
  tr_trainer_opts opts;
  char *checkpoint_dir; /* owned copy, NULL: none */
  tr__joblog log;
  tr__progress progress;
  tr__rollback rollback;
  int64_t saved_step;     /* of this run's newest checkpoint; -1: none */
  int64_t evaluated_step; /* step of test_loss and test_accuracy; -1: none */
  double train_seconds;   /* spent in steps */
  int64_t train_samples;
  bool may_defer;        /* another step follows: see tr__optimizer_step() */
  tr__patience patience; /* detects steps that outlast the launcher */
  tr_report report;
};

static bool rolls_back(const tr_trainer_opts *opts)
{
  return opts->optimizer->on_nonfinite == TR_NONFINITE_ROLLBACK;
}

static tr_status check_rollback(const tr_trainer_opts *opts)
{
  double factor = opts->rollback_factor;
  TR_CHECK((factor > 0 && factor < 1) || tr__is_default(factor), TR_EINVAL,
           "tr_trainer_create: rollback_factor is %g, expected more than 0 "
           "and less than 1, or 0 for the default",
           opts->rollback_factor);
  TR_CHECK(opts->max_rollbacks >= 0, TR_EINVAL,
           "tr_trainer_create: max_rollbacks is %lld, expected at least 0",
           (long long)opts->max_rollbacks);
  TR_CHECK(rolls_back(opts) ||
               (opts->rollback_factor == 0 && opts->max_rollbacks == 0),
           TR_EINVAL,
           "tr_trainer_create: rollback_factor is %g and max_rollbacks %lld, "
           "but the optimizer's on_nonfinite is not TR_NONFINITE_ROLLBACK",
           opts->rollback_factor, (long long)opts->max_rollbacks);
  return TR_OK;
}

static tr_status check_opts(const tr_trainer_opts *opts)
{
  TR_CHECK(
      opts->model != NULL && opts->optimizer != NULL && opts->loader != NULL,
      TR_EINVAL, "tr_trainer_create: model, optimizer and loader are required");
  TR_CHECK(opts->test_loader != opts->loader, TR_EINVAL,
           "tr_trainer_create: loader and test_loader are one loader, and an "
           "evaluation would end its epochs: create another one, of the same "
           "data set if need be");
  TR_CHECK(opts->epochs >= 0 && opts->steps >= 0 &&
               opts->epochs + opts->steps > 0,
           TR_EINVAL,
           "tr_trainer_create: epochs is %lld and steps %lld, expected one of "
           "them to be at least 1",
           (long long)opts->epochs, (long long)opts->steps);
  TR_CHECK(opts->save_every >= 0, TR_EINVAL,
           "tr_trainer_create: save_every is %lld, expected at least 0",
           (long long)opts->save_every);
  TR_TRY(check_rollback(opts));
  TR_TRY(tr__check_samples(opts->model, opts->loader));
  TR_TRY(tr__check_samples(opts->model, opts->test_loader));
  return TR_OK;
}

static tr_status
make_trainer(tr_context *ctx, const tr_trainer_opts *opts, tr_trainer **out)
{
  TR_TRY(check_opts(opts));
  tr_trainer *trainer = calloc(1, sizeof *trainer);
  TR_CHECK(trainer != NULL, TR_ENOMEM, "no memory for a trainer");
  *out = trainer;
  trainer->ctx = ctx;
  trainer->opts = *opts;
  trainer->rollback = (tr__rollback){
      .factor = opts->rollback_factor > 0 ? opts->rollback_factor : 0.5,
      .most = opts->max_rollbacks > 0 ? opts->max_rollbacks : 3};
  trainer->saved_step = -1;
  trainer->evaluated_step = -1;
  trainer->report.test_loss = NAN;
  trainer->report.test_accuracy = NAN;
  if (opts->checkpoint_dir != NULL) {
    trainer->checkpoint_dir = strdup(opts->checkpoint_dir);
    TR_CHECK(trainer->checkpoint_dir != NULL, TR_ENOMEM, "no memory");
  }
  const char *path = ctx->comm->rank == 0 ? opts->log_path : NULL;
  return tr__joblog_open(path, ctx->dtype, &trainer->log);
}

static tr_checkpoint checkpoint_of(const tr_trainer *trainer)
{
  return (tr_checkpoint){.model = trainer->opts.model,
                         .optimizer = trainer->opts.optimizer,
                         .loader = trainer->opts.loader,
                         .allow_changes = trainer->opts.allow_changes,
                         .take_over = trainer->opts.take_over};
}

/* Try what a save will need before there is anything to lose. */
static tr_status claim(const tr_trainer *trainer)
{
  if (trainer->checkpoint_dir == NULL || trainer->ctx->comm->rank != 0) {
    return TR_OK;
  }
  const tr_checkpoint run = checkpoint_of(trainer);
  return tr__checkpoint_claim(tr__file_ops_system(), trainer->checkpoint_dir,
                              &run);
}

/* Before the first step, write durably which run owns the directory. */
static tr_status begin_run(const tr_trainer *trainer)
{
  if (trainer->checkpoint_dir == NULL || trainer->ctx->comm->rank != 0) {
    return TR_OK;
  }
  const tr_checkpoint run = checkpoint_of(trainer);
  return tr__checkpoint_begin(tr__file_ops_system(), trainer->checkpoint_dir,
                              &run);
}

tr_status tr_trainer_create(tr_context *ctx,
                            const tr_trainer_opts *opts,
                            tr_trainer **out)
{
  *out = NULL;
  tr_status status = tr__agree(ctx->comm, make_trainer(ctx, opts, out));
  if (status == TR_OK) {
    char text[320];
    tr__format(text, sizeof text,
               "epochs %lld\nsteps %lld\nsave_every %lld\ncheckpoints %d\n"
               "on_save_error %d\ntest %d\nrollback_factor %.17g\n"
               "max_rollbacks %lld\nallow_changes %d\ntake_over %d\n",
               (long long)opts->epochs, (long long)opts->steps,
               (long long)opts->save_every, opts->checkpoint_dir != NULL,
               (int)opts->on_save_error, opts->test_loader != NULL,
               opts->rollback_factor, (long long)opts->max_rollbacks,
               opts->allow_changes, opts->take_over);
    status = tr__agree_text(ctx->comm, "options of the trainer", text);
  }
  if (status == TR_OK) {
    status = tr__agree(ctx->comm, claim(*out));
  }
  if (status != TR_OK) {
    tr_trainer_destroy(out);
  }
  return status;
}

void tr_trainer_destroy(tr_trainer **trainer)
{
  if (trainer == NULL || *trainer == NULL) {
    return;
  }
  tr_trainer *t = *trainer;
  if (tr__joblog_check(&t->log) != TR_OK) {
    tr__warn_root(t->ctx, "%s", tr_error_message());
  }
  tr__joblog_close(&t->log);
  free(t->checkpoint_dir);
  free(t);
  *trainer = NULL;
}

tr_status tr_trainer_resume(tr_trainer *trainer)
{
  TR_CHECK(trainer->checkpoint_dir != NULL, TR_EINVAL,
           "tr_trainer_resume: the trainer has no checkpoint_dir");
  /* A rank that does not resume would leave the others waiting. */
  TR_TRY(tr__agree_text(trainer->ctx->comm, "calls of the trainer",
                        "tr_trainer_resume\n"));
  const tr_checkpoint run = checkpoint_of(trainer);
  tr__resumed taken;
  TR_TRY(tr__checkpoint_resume_from(trainer->ctx, trainer->checkpoint_dir, &run,
                                    false, &taken));
  if (taken.save > 0) {
    trainer->saved_step = taken.step;
  }
  return TR_OK;
}

static int64_t num_steps(const tr_trainer *trainer)
{
  return tr_optimizer_num_steps(trainer->opts.optimizer);
}

/* The sample that the optimizer blames for this step, the same on all ranks. */
static const char *sample_of(const tr_trainer *trainer, bool is_state)
{
  const tr__suspect *suspect = &trainer->ctx->suspect;
  bool is_blamed = !is_state && suspect->blamed == num_steps(trainer) + 1;
  return is_blamed ? suspect->text : NULL;
}

static tr_status roll_back(tr_trainer *trainer, bool is_state)
{
  const tr_optimizer *opt = trainer->opts.optimizer;
  const tr_checkpoint run = checkpoint_of(trainer);
  const tr__setback cause = {.step = num_steps(trainer) + !is_state,
                             .is_state = is_state,
                             .loss = trainer->report.train_loss,
                             .lr = tr_optimizer_lr(opt),
                             .sample = sample_of(trainer, is_state)};
  int64_t step;
  tr__progress_end(&trainer->progress);
  TR_TRY(tr__roll_back(trainer->ctx, &trainer->rollback,
                       trainer->checkpoint_dir, &run, &cause, &step));
  trainer->ctx->suspect.blamed = 0; /* the step will be repeated */
  tr__joblog_rollback(&trainer->log,
                      &(tr__joblog_back){.from_step = cause.step,
                                         .to_step = step,
                                         .loss = cause.loss,
                                         .lr_scale = opt->lr_scale});
  trainer->saved_step = step;
  trainer->evaluated_step = -1;
  return TR_OK;
}

/* Checks the loss where the optimizer does not check. The sums of the loss are
 * the same on all ranks, so every rank comes here. A finite loss of senseless
 * size ends the run if a sample is to blame, for example one with a fill value:
 * no policy would skip that step, and the optimizer's slots would keep the
 * effect. */
static tr_status check_loss(const tr_trainer *trainer, double loss)
{
  const tr_optimizer *opt = trainer->opts.optimizer;
  bool is_finite = isfinite(loss);
  if (fabs(loss) < TR__SENSELESS_MEAN ||
      (!is_finite && opt->on_nonfinite != TR_NONFINITE_IGNORE)) {
    return TR_OK;
  }
  const tr__senseless found = {.status = is_finite ? TR_EDATA : TR_ENUMERIC,
                               .what = "loss",
                               .step = tr_optimizer_num_steps(opt) + 1,
                               .value = loss,
                               .effect = "",
                               .lr = tr_optimizer_lr(opt)};
  tr_status status = is_finite ? tr__suspect_blame(trainer->ctx, &found)
                               : tr__suspect_fail(trainer->ctx, &found);
  if (status != TR_OK) {
    tr__step_clear(opt->step);
  }
  return tr_error_push(status, __FILE__, __LINE__);
}

/* is_back  [out]  the state is that of a checkpoint instead */
static tr_status
try_step(tr_trainer *trainer, const tr_batch *batch, bool *is_back)
{
  tr_model *net = trainer->opts.model;
  *is_back = false;
  TR_TRY(tr_model_forward(net, batch));
  TR_TRY(tr__sync_backward(net));
  TR_TRY(tr__loss_mean(net, &trainer->report.train_loss));
  TR_TRY(check_loss(trainer, trainer->report.train_loss));
  tr_status status =
      tr__optimizer_step(trainer->opts.optimizer, trainer->may_defer);
  if (status == TR_ENUMERIC && rolls_back(&trainer->opts)) {
    *is_back = true;
    return roll_back(trainer, false);
  }
  return tr_error_push(status, __FILE__, __LINE__);
}

tr_status tr_trainer_step(tr_trainer *trainer, const tr_batch *batch)
{
  bool is_back;
  return try_step(trainer, batch, &is_back);
}

static bool is_done(const tr_trainer *trainer)
{
  const tr_trainer_opts *opts = &trainer->opts;
  return (opts->steps > 0 && num_steps(trainer) >= opts->steps) ||
         (opts->epochs > 0 && tr_loader_epoch(opts->loader) >= opts->epochs);
}

/* A full or failing disk, another process in the directory, or lack of memory
 * may have passed by the next save. */
static bool may_pass(tr_status status)
{
  return status == TR_EIO || status == TR_ETEMPORARY || status == TR_ENOMEM;
}

static tr_status save(tr_trainer *trainer, bool is_last)
{
  if (trainer->checkpoint_dir == NULL ||
      trainer->saved_step == num_steps(trainer)) {
    return TR_OK;
  }
  const tr_checkpoint run = checkpoint_of(trainer);
  tr_status status =
      tr_checkpoint_save(trainer->ctx, trainer->checkpoint_dir, &run);
  if (status == TR_OK) {
    trainer->saved_step = num_steps(trainer);
    return TR_OK;
  }
  if (status == TR_ENUMERIC && rolls_back(&trainer->opts)) {
    return roll_back(trainer, true);
  }
  bool goes_on = !is_last && may_pass(status) &&
                 trainer->opts.on_save_error == TR_SAVE_ERROR_WARN;
  if (!goes_on) {
    return tr_error_push(status, __FILE__, __LINE__);
  }
  tr__progress_end(&trainer->progress);
  tr__warn_root(trainer->ctx,
                "no checkpoint of step %lld, training goes on: %s",
                (long long)num_steps(trainer), tr_error_message());
  return TR_OK;
}

tr_status tr_trainer_evaluate(tr_trainer *trainer,
                              tr_loader *loader,
                              double *loss,
                              double *accuracy)
{
  return tr__evaluate(trainer->opts.model, loader, loss, accuracy);
}

/* Saves what training has reached, although the test data are bad. */
static tr_status save_in_spite(tr_trainer *trainer, tr_status status)
{
  const tr__origin origin = *tr__error_origin();
  bool here = !tr__error_is_elsewhere();
  if (status != TR_EDATA || !origin.agreed) {
    return tr_error_push(status, __FILE__, __LINE__);
  }
  if (save(trainer, true) != TR_OK) {
    tr__progress_end(&trainer->progress);
    tr__warn_root(trainer->ctx, "no checkpoint of step %lld: %s",
                  (long long)num_steps(trainer), tr_error_message());
  }
  tr__error_restore(&origin, here);
  return status;
}

static tr_status evaluate(tr_trainer *trainer)
{
  if (trainer->opts.test_loader == NULL ||
      trainer->evaluated_step == num_steps(trainer)) {
    return TR_OK;
  }
  tr_status status = tr_trainer_evaluate(trainer, trainer->opts.test_loader,
                                         &trainer->report.test_loss,
                                         &trainer->report.test_accuracy);
  if (status != TR_OK) {
    return save_in_spite(trainer, status);
  }
  trainer->evaluated_step = num_steps(trainer);
  return TR_OK;
}

static void show_epoch(tr_trainer *trainer)
{
  const tr_report *report = &trainer->report;
  char accuracy[32] = "";
  if (tr__has_accuracy(trainer->opts.model)) {
    tr__format(accuracy, sizeof accuracy, "  accuracy %.4f",
               report->test_accuracy);
  }
  tr__progress_line(&trainer->progress,
                    "epoch %lld  step %lld  loss %.5g  test loss %.5g%s",
                    (long long)tr_loader_epoch(trainer->opts.loader),
                    (long long)num_steps(trainer), report->train_loss,
                    report->test_loss, accuracy);
}

static tr_status end_epoch(tr_trainer *trainer)
{
  TR_TRY(tr_loader_status(trainer->opts.loader));
  TR_TRY(evaluate(trainer));
  bool is_tested = trainer->opts.test_loader != NULL;
  tr__joblog_epoch(&trainer->log, tr_loader_epoch(trainer->opts.loader),
                   &trainer->report, is_tested);
  if (is_tested) {
    show_epoch(trainer);
  }
  if (trainer->opts.save_every == 0 && !is_done(trainer)) {
    return save(trainer, false);
  }
  return TR_OK;
}

static void note_time(tr_trainer *trainer, double seconds)
{
  char advice[TR__MESSAGE_BYTES];
  if (trainer->checkpoint_dir != NULL &&
      tr__patience_note(&trainer->patience, seconds, advice)) {
    tr__progress_end(&trainer->progress);
    tr__warn_root(trainer->ctx, "%s", advice);
  }
}

static tr_status one_step(tr_trainer *trainer, const tr_batch *batch)
{
  double lr = tr_optimizer_lr(trainer->opts.optimizer), begin = tr__now();
  int64_t count = batch->global_count;
  bool is_back;
  TR_TRY(try_step(trainer, batch, &is_back));
  if (is_back) {
    return TR_OK;
  }
  double seconds = tr__now() - begin;
  trainer->train_seconds += seconds;
  note_time(trainer, seconds);
  trainer->train_samples += count;
  double rate = seconds > 0 ? (double)count / seconds : 0;
  tr__joblog_step(
      &trainer->log,
      &(tr__joblog_entry){.step = num_steps(trainer),
                          .epoch = tr_loader_epoch(trainer->opts.loader),
                          .loss = trainer->report.train_loss,
                          .lr = lr,
                          .samples_per_s = rate});
  tr__progress_step(
      &trainer->progress,
      &(tr__progress_now){.step = num_steps(trainer),
                          .epoch = tr_loader_epoch(trainer->opts.loader),
                          .loss = trainer->report.train_loss,
                          .samples_per_s = (double)trainer->train_samples /
                                           trainer->train_seconds});
  return TR_OK;
}

static tr_status stop(tr_trainer *trainer)
{
  TR_TRY(save(trainer, true));
  return tr__agree(trainer->ctx->comm,
                   TR_FAIL(TR_ESTOPPED, "stopped on request after step %lld%s",
                           (long long)num_steps(trainer),
                           trainer->checkpoint_dir != NULL
                               ? "; a checkpoint is saved"
                               : "; nothing is saved"));
}

static bool wants_save(const tr_trainer *trainer)
{
  int64_t save_every = trainer->opts.save_every;
  return save_every > 0 && num_steps(trainer) % save_every == 0;
}

/* Takes steps until something else is due. Between two steps the all-gather of
 * parameters may still be in progress (may_defer). */
static tr_status steps(tr_trainer *trainer, bool *is_epoch_over)
{
  tr_status status = TR_OK;
  bool goes_on = true;
  trainer->may_defer = true;
  while (goes_on) {
    tr_batch batch;
    *is_epoch_over = !tr_loader_next(trainer->opts.loader, &batch);
    status = *is_epoch_over ? TR_OK : one_step(trainer, &batch);
    goes_on = !*is_epoch_over && status == TR_OK && !is_done(trainer) &&
              !trainer->ctx->stop_agreed && !wants_save(trainer);
  }
  trainer->may_defer = false;
  TR_TRY(status);
  return tr__sync_wait_values(trainer->opts.model);
}

static tr_status train(tr_trainer *trainer)
{
  while (!is_done(trainer)) {
    bool is_epoch_over;
    TR_TRY(steps(trainer, &is_epoch_over));
    if (is_epoch_over) {
      TR_TRY(end_epoch(trainer));
      continue;
    }
    if (trainer->ctx->stop_agreed) {
      return stop(trainer);
    }
    if (wants_save(trainer)) {
      TR_TRY(save(trainer, false));
    }
  }
  return TR_OK;
}

/* The largest resident memory of any rank so far, in MiB. */
static tr_status peak_rss(tr_context *ctx, double *mib)
{
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  int64_t kib = usage.ru_maxrss;
  TR_TRY(ctx->comm->type->reduce_i64(ctx->comm, &kib, 1, TR__MAX));
  *mib = (double)kib / 1024.0;
  return TR_OK;
}

static tr_status fill_report(tr_trainer *trainer)
{
  tr_report *report = &trainer->report;
  const tr_optimizer *opt = trainer->opts.optimizer;
  report->steps = num_steps(trainer);
  report->samples_per_s =
      trainer->train_seconds > 0
          ? (double)trainer->train_samples / trainer->train_seconds
          : 0;
  TR_TRY(tr_model_params_hash(trainer->opts.model, &report->params_hash));
  report->rollbacks = opt->num_rollbacks;
  tr__scaler scaler;
  TR_TRY(tr__optimizer_get_scaler(opt, &scaler));
  report->skipped = (int64_t)scaler.num_skipped;
  return peak_rss(trainer->ctx, &report->peak_rss_mib);
}

/* A last state that cannot be saved may cause a roll-back: then the run
 * continues. */
static tr_status finish(tr_trainer *trainer, bool *is_over)
{
  TR_TRY(evaluate(trainer));
  tr_status saved = save(trainer, true);
  if (saved == TR_OK && !is_done(trainer)) {
    return TR_OK;
  }
  *is_over = true;
  TR_TRY(fill_report(trainer));
  tr__joblog_final(&trainer->log, &trainer->report);
  return saved;
}

/* With roll-backs there must always be a checkpoint to return to. */
static tr_status save_first(tr_trainer *trainer)
{
  bool wants = rolls_back(&trainer->opts) && trainer->saved_step < 0;
  return wants ? save(trainer, false) : TR_OK;
}

static tr__progress_total total_of(const tr_trainer *trainer)
{
  const tr_trainer_opts *opts = &trainer->opts;
  int64_t per_epoch = tr_loader_num_steps(opts->loader);
  int64_t steps = opts->epochs * per_epoch;
  if (opts->steps > 0 && (steps == 0 || opts->steps < steps)) {
    steps = opts->steps;
  }
  return (tr__progress_total){.steps = steps,
                              .epochs = opts->epochs,
                              .batch =
                                  tr__loader_get_state(opts->loader).batch};
}

/* A program may end after a failure, so write the trace. If the failure is not
 * agreed, the other ranks may not take part, and no trace is written. */
static tr_status write_trace(tr_trainer *trainer, tr_status status)
{
  if (status == TR_OK) {
    return tr__context_write_trace(trainer->ctx);
  }
  const tr__origin origin = *tr__error_origin();
  bool here = !tr__error_is_elsewhere();
  if (origin.agreed && tr__context_write_trace(trainer->ctx) != TR_OK) {
    tr__warn_root(trainer->ctx, "the trace is lost: %s", tr_error_message());
    tr__error_restore(&origin, here);
  }
  return status;
}

static tr_status fit(tr_trainer *trainer, tr_report *report)
{
  TR_TRY(tr__agree_text(trainer->ctx->comm, "calls of the trainer",
                        "tr_trainer_fit\n"));
  TR_TRY(tr__agree(trainer->ctx->comm, tr_loader_status(trainer->opts.loader)));
  TR_TRY(tr__agree(trainer->ctx->comm, begin_run(trainer)));
  tr__progress_total total = total_of(trainer);
  bool is_root = trainer->ctx->comm->rank == 0;
  tr__progress_begin(&trainer->progress,
                     is_root ? trainer->opts.progress : NULL, &total);
  if (num_steps(trainer) == 0) {
    tr__joblog_restart(&trainer->log);
  }
  tr__announce(trainer->ctx, &trainer->opts, &trainer->log, &trainer->progress);
  bool is_over = false;
  tr_status status = save_first(trainer);
  while (status == TR_OK && !is_over) {
    status = train(trainer);
    if (status == TR_OK) {
      status = finish(trainer, &is_over);
    }
  }
  tr__progress_end(&trainer->progress);
  if (report != NULL) {
    *report = trainer->report;
  }
  if (status == TR_OK) {
    status = tr__agree(trainer->ctx->comm, tr__joblog_check(&trainer->log));
  }
  return write_trace(trainer, status);
}

tr_status tr_trainer_fit(tr_trainer *trainer, tr_report *report)
{
  const tr__status_board *board = trainer->ctx->comm->board;
  tr__work before = tr__work_begin(board, TR__WORK_TRAINER, 0);
  tr_status status = fit(trainer, report);
  tr__work_end(board, before);
  return status;
}
