/* The trainer: a training loop with epochs, evaluation, checkpoints, roll-backs
 * and progress. */
#ifndef TRAIN_TRAINER_H
#define TRAIN_TRAINER_H

#include <train/checkpoint.h>
#include <train/data.h>
#include <train/model.h>
#include <train/optim.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tr_trainer tr_trainer;

typedef enum tr_on_save_error {
  TR_SAVE_ERROR_WARN = 0, /* a periodic save that fails (input and output, no
                             memory, another process has the directory) gives a
                             warning, and training continues */
  TR_SAVE_ERROR_STOP = 1  /* a failed periodic save ends the run */
} tr_on_save_error;

/* Options of a trainer. Zero-initialise; model, optimizer, loader and one of
 * epochs and steps are required, all else is optional.
 *
 * Where the optimizer's update.on_nonfinite is TR_NONFINITE_ROLLBACK, a loss,
 * gradient or state that is NaN or Inf on any rank takes all ranks back to the
 * newest complete checkpoint of this run in checkpoint_dir: parameters,
 * optimizer, schedule and position in the data. The trainer multiplies the
 * learning rate by rollback_factor, because a repeated run would fail again;
 * later checkpoints save the product of all factors. After max_rollbacks to the
 * same checkpoint the run ends with TR_ENUMERIC; without a checkpoint_dir it
 * does so at once. A run that is killed and resumed rolls back like an
 * undisturbed one. The trainer does not roll back objects that it does not
 * know, such as averages (tr_ema). */
typedef struct tr_trainer_opts {
  tr_model *model;         /* borrowed until tr_trainer_destroy() */
  tr_optimizer *optimizer; /* borrowed until tr_trainer_destroy() */
  tr_loader *loader;       /* borrowed until tr_trainer_destroy() */
  tr_loader *test_loader;  /* another loader, evaluated after every epoch; may
                              be NULL */
  int64_t epochs;          /* stop after this many epochs; 0: see steps */
  int64_t steps;           /* stop after this many steps; 0: see epochs */
  const char *checkpoint_dir; /* directory of the checkpoints; NULL: no
                                 checkpoints */
  int64_t save_every;         /* steps between saves; 0: once per epoch */
  tr_on_save_error on_save_error;
  int allow_changes;      /* as in tr_checkpoint, at tr_trainer_resume() */
  const char *log_path;   /* file for JSON lines of rank 0; NULL: none. A run
                             has one line "start", one for each "step",
                             "epoch_end" and "rollback", and one "final" */
  FILE *progress;         /* stream for progress on rank 0; NULL: none. A
                             terminal gets a bar that fits into it, anything
                             else plain lines. The first line says what is
                             trained where */
  double rollback_factor; /* factor of the learning rate at a roll-back; less
                             than 1; 0: 0.5 */
  int64_t max_rollbacks;  /* most roll-backs to the same checkpoint; 0: 3 */
  const char *title;      /* what is trained, such as "mlp", for the first line
                             of a run and for its log; NULL: left out */
  const char *command;    /* how the run was started, for its log; NULL: left
                             out */
  int take_over;          /* as in tr_checkpoint, at tr_trainer_resume() */
} tr_trainer_opts;

/* The results of tr_trainer_fit(), the same on all ranks. */
typedef struct tr_report {
  int64_t steps;        /* optimizer steps since the very first start */
  double train_loss;    /* loss of the last step */
  double test_loss;     /* mean over the test samples; NaN without a test */
  double test_accuracy; /* 0..1; NaN without a test, or classes */
  double samples_per_s; /* training throughput of this call */
  double peak_rss_mib;  /* largest resident memory of any rank */
  uint64_t params_hash; /* see tr_model_params_hash() */
  int64_t skipped;      /* number of these steps that TR_NONFINITE_SKIP
                           skipped */
  int64_t rollbacks;    /* roll-backs since the very first start */
} tr_report;

/* tr_trainer_create - create a trainer for a model, an optimizer, data and
 * checkpoints.
 *
 * The call creates the checkpoint directory where needed, tests it, and locks
 * it as tr_checkpoint_save() does, so that a job that cannot save fails at its
 * start.
 *
 * Calls:     collective on the model's communicator
 * Errors:    TR_EINVAL (also for roll-back options with an optimizer of another
 *            policy), TR_EIO (log file, checkpoint directory), TR_ETEMPORARY
 *            and TR_ESTATE as tr_checkpoint_save(), TR_ESHAPE where samples do
 *            not fit the model, TR_EMISMATCH where ranks give different options
 *            (names both sides); agreed on all ranks
 * Ownership: *out is owned by the caller; what opts points to is borrowed until
 *            tr_trainer_destroy()
 * Threads:   one thread per context */
TR_API tr_status tr_trainer_create(tr_context *ctx,
                                   const tr_trainer_opts *opts,
                                   tr_trainer **out);

/* tr_trainer_resume - continue from checkpoint_dir; without a checkpoint there
 * nothing changes.
 *
 * Calls:     collective on the model's communicator
 * Errors:    as tr_checkpoint_resume(); TR_EMISMATCH where other ranks call
 *            tr_trainer_fit()
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API tr_status tr_trainer_resume(tr_trainer *trainer);

/* tr_trainer_step - forward, backward, all-reduce and update on one batch.
 *
 * The same as the four calls of the explicit loop, but faster: the ranks reduce
 * gradients while backward still computes others. Where the policy is
 * roll-back, the call may roll back: then tr_optimizer_num_steps() and the
 * trainer's loader are at the position of the checkpoint, and batch is no
 * longer valid.
 *
 * Calls:     collective on the model's communicator
 * Errors:    as tr_model_forward(), tr_model_backward(),
 *            tr_model_allreduce_grads(), tr_optimizer_step(); TR_ENUMERIC where
 *            the loss is not finite, unless the policy skips such steps, and
 *            TR_EDATA where the loss is finite but above 1e25 because of a bad
 *            sample, such as a fill value. The message names the sample, the
 *            gradients are cleared, and the caller may continue
 * Ownership: batch is borrowed for the call
 * Threads:   one thread per context
 * Exact:     bitwise repeatable for fixed ranks and backend; where ranks share
 *            memory, the same bits as the explicit loop */
TR_API tr_status tr_trainer_step(tr_trainer *trainer, const tr_batch *batch);

/* tr_trainer_fit - train until the end, with evaluation, saves and progress.
 *
 * A run that was not resumed begins here: it gets an identity of its own, which
 * is durable in checkpoint_dir before the first step, see
 * tr_checkpoint_resume(). The call saves every save_every steps (or once per
 * epoch) and at the end. With TR_NONFINITE_ROLLBACK it also saves before its
 * first step, unless the trainer has saved or resumed before, so that a
 * checkpoint to go back to always exists. A request to stop
 * (tr_context_request_stop() on any rank) ends the call after the current step,
 * with a checkpoint.
 *
 * report  [out]  may be NULL
 *
 * Calls:     collective on the model's communicator
 * Errors:    those of the calls that it makes; TR_ENUMERIC where the loss is
 *            not finite, unless the policy skips or rolls back such steps, and
 *            where roll-backs do not help; TR_EDATA for a bad sample of the
 *            test (after a save); TR_ESTOPPED after a requested stop (after a
 *            save); TR_EIO where the last save fails. Agreed on all ranks.
 * Ownership: nothing is created or kept
 * Threads:   one thread per context
 * Exact:     bitwise repeatable for fixed ranks and backend, over any number of
 *            stops and resumes. With roll-backs a requested stop has an effect:
 *            its checkpoint is another one to go back to */
TR_API tr_status tr_trainer_fit(tr_trainer *trainer, tr_report *report);

/* tr_trainer_evaluate - exact mean loss and accuracy over a loader's samples.
 *
 * loss, accuracy  [out]  over every sample once, the same on all ranks; the
 *                        accuracy is NaN where the first loss is a regression
 *                        loss
 *
 * Calls:     collective on the model's communicator
 * Errors:    TR_EDATA and others of the data set, also where a bad sample makes
 *            the loss non-finite or greater than 1e25; TR_ECOMM; agreed
 * Ownership: loader is borrowed for the call, which advances it by one epoch
 * Threads:   one thread per context; waits for the device */
TR_API tr_status tr_trainer_evaluate(tr_trainer *trainer,
                                     tr_loader *loader,
                                     double *loss,
                                     double *accuracy);

/* tr_trainer_destroy - release a trainer and close its log.
 *
 * Calls:     local
 * Errors:    none; trainer and *trainer may be NULL
 * Ownership: *trainer is released and set to NULL; what it borrowed is not
 * Threads:   one thread per context */
TR_API void tr_trainer_destroy(tr_trainer **trainer);

#ifdef __cplusplus
}
#endif

#endif
