/* The trainer: epochs, evaluation, checkpoints, progress. */
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
                             memory, another process has the directory) warns,
                             training goes on */
  TR_SAVE_ERROR_STOP = 1  /* a failed periodic save ends the run */
} tr_on_save_error;

/* Zero-initialise; model, optimizer, loader and one of epochs and steps are
 * required, all else is optional.
 *
 * Where the optimizer's update.on_nonfinite is TR_NONFINITE_ROLLBACK, a loss,
 * gradient or state that is NaN or Inf on any rank takes all ranks back to the
 * newest complete checkpoint of this run in checkpoint_dir: parameters,
 * optimizer, schedule and place in the data. The rate is multiplied by
 * rollback_factor, for a run that repeats itself would come to the same end;
 * the product of all of them is part of later checkpoints. After max_rollbacks
 * to one and the same checkpoint the run ends with TR_ENUMERIC, as it does
 * where there is no checkpoint_dir. A run that is killed and resumed rolls back
 * as the undisturbed one does. What the trainer does not know, such as averages
 * (tr_ema), does not go back. */
typedef struct tr_trainer_opts {
  tr_model *model;         /* borrowed until tr_trainer_destroy() */
  tr_optimizer *optimizer; /* borrowed until tr_trainer_destroy() */
  tr_loader *loader;       /* borrowed until tr_trainer_destroy() */
  tr_loader *test_loader;  /* another one, evaluated after every epoch; may be
                              NULL */
  int64_t epochs;          /* stop after this many epochs; 0: see steps */
  int64_t steps;           /* stop after this many steps; 0: see epochs */
  const char *checkpoint_dir; /* NULL: no checkpoints */
  int64_t save_every;         /* steps between saves; 0: once per epoch */
  tr_on_save_error on_save_error;
  int allow_changes;      /* as in tr_checkpoint, at tr_trainer_resume() */
  const char *log_path;   /* JSON lines of rank 0; NULL: none. One that begins
                             the run with "start", then one of each "step",
                             "epoch_end" and "rollback", and a "final" one */
  FILE *progress;         /* progress on rank 0; NULL: none. A terminal gets a
                             bar that fits into it, anything else plain lines;
                             first comes a line on what is trained where */
  double rollback_factor; /* of the rate, at a roll-back; less than 1; 0: 0.5 */
  int64_t max_rollbacks;  /* to the same checkpoint; 0: 3 */
  const char *title;      /* what is trained, such as "mlp", for the line that
                             begins a run, and for its log; NULL: no word on
                             it */
  const char *command;    /* how the run was started, for its log; NULL: no word
                             on it */
  int take_over;          /* as in tr_checkpoint, at tr_trainer_resume() */
} tr_trainer_opts;

/* What tr_trainer_fit() reports; the same on all ranks. */
typedef struct tr_report {
  int64_t steps;        /* optimizer steps since the very first start */
  double train_loss;    /* of the last step */
  double test_loss;     /* mean over the test samples; NaN without a test */
  double test_accuracy; /* 0..1; NaN without a test, or classes */
  double samples_per_s; /* training throughput of this call */
  double peak_rss_mib;  /* largest resident memory of any rank */
  uint64_t params_hash; /* see tr_model_params_hash() */
  int64_t skipped;      /* steps of those that TR_NONFINITE_SKIP left out */
  int64_t rollbacks;    /* since the very first start */
} tr_report;

/* tr_trainer_create - bind model, optimizer, data and checkpoints.
 *
 * The checkpoint directory is made where needed, tried, and held from here on,
 * as by tr_checkpoint_save(): a job that cannot save learns so at its start.
 *
 * Calls:     collective on the model's communicator
 * Errors:    TR_EINVAL (with roll-back options also where the optimizer has
 *            another policy), TR_EIO (log file, checkpoint directory),
 *            TR_ETEMPORARY and TR_ESTATE as tr_checkpoint_save(), TR_ESHAPE
 *            where samples do not fit the model, TR_EMISMATCH where ranks give
 *            different options (names both sides); agreed on all ranks
 * Ownership: *out is owned by the caller; what opts points to is borrowed until
 *            tr_trainer_destroy()
 * Threads:   one thread per context */
TR_API tr_status tr_trainer_create(tr_context *ctx,
                                   const tr_trainer_opts *opts,
                                   tr_trainer **out);

/* tr_trainer_resume - continue from checkpoint_dir; nothing there: unchanged.
 *
 * Calls:     collective on the model's communicator
 * Errors:    as tr_checkpoint_resume(); TR_EMISMATCH where other ranks call
 *            tr_trainer_fit()
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API tr_status tr_trainer_resume(tr_trainer *trainer);

/* tr_trainer_step - forward, backward, all-reduce and update on one batch.
 *
 * The same as the four calls of the explicit loop, but gradients are summed
 * over the ranks while backward still computes others: the fast way. With it
 * comes a roll-back where that is the policy: then tr_optimizer_num_steps() and
 * the trainer's loader stand where the checkpoint was saved, and batch is no
 * longer there.
 *
 * Calls:     collective on the model's communicator
 * Errors:    as tr_model_forward(), tr_model_backward(),
 *            tr_model_allreduce_grads(), tr_optimizer_step(); TR_ENUMERIC
 *            where the loss is not finite, unless such steps are skipped, and
 *            TR_EDATA where it is finite, above 1e25 and a sample is to blame,
 *            such as a fill value; the message names it: the gradients are
 *            cleared, and the caller may go on
 * Ownership: batch is borrowed for the call
 * Threads:   one thread per context
 * Exact:     bitwise repeatable for fixed ranks and backend; where ranks share
 *            memory the bits of the explicit loop */
TR_API tr_status tr_trainer_step(tr_trainer *trainer, const tr_batch *batch);

/* tr_trainer_fit - train until the end, with evaluation, saves and progress.
 *
 * A run that was not resumed begins here: it gets an identity of its own, which
 * is durable in checkpoint_dir before the first step, see
 * tr_checkpoint_resume(). Saves every save_every steps (or once per epoch), and
 * at the end. With
 * TR_NONFINITE_ROLLBACK it also saves before its first step, unless the trainer
 * has saved or resumed before, so that there is always a checkpoint to go back
 * to. A request to stop (tr_context_request_stop() on any rank) ends it after
 * the current step, with a checkpoint.
 *
 * report  [out]  may be NULL
 *
 * Calls:     collective on the model's communicator
 * Errors:    those of its parts; TR_ENUMERIC where the loss is not finite,
 *            unless such steps are skipped or rolled back, and where roll-backs
 *            do not help; TR_EDATA for a sample of the test that cannot be
 *            computed with (a checkpoint is saved before); TR_ESTOPPED after a
 *            requested stop (checkpoint saved); TR_EIO where the last save
 *            fails. Agreed on all ranks.
 * Ownership: nothing is created or kept
 * Threads:   one thread per context
 * Exact:     bitwise repeatable for fixed ranks and backend, over any number
 *            of stops and resumes. With roll-backs a requested stop is not
 *            without trace: its checkpoint is one more to go back to */
TR_API tr_status tr_trainer_fit(tr_trainer *trainer, tr_report *report);

/* tr_trainer_evaluate - exact mean loss and accuracy over a loader's samples.
 *
 * loss, accuracy  [out]  over every sample once, the same on all ranks; the
 *                        accuracy is NaN where the first loss is one of
 *                        regression
 *
 * Calls:     collective on the model's communicator
 * Errors:    TR_EDATA and others of the data set, also where a sample that
 *            cannot be computed with makes a loss that is not finite or above
 *            1e25; TR_ECOMM; agreed
 * Ownership: loader is borrowed for the call; it ends one epoch further on
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
