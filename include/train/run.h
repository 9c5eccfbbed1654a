/* Running a job: contexts, checkpoints and the trainer. */
#ifndef TRAIN_RUN_H
#define TRAIN_RUN_H

#include <train/base.h>
#include <train/data.h>
#include <train/model.h>
#include <train/optim.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tr_log_level { TR_LOG_INFO = 0, TR_LOG_WARNING = 1 } tr_log_level;

/* Receives one line without its line end. */
typedef void (*tr_log_fn)(void *user, tr_log_level level, const char *line);

/* Zero-initialise; every zero is the default. */
typedef struct tr_context_opts {
  int threads;        /* threads of this rank; 0: this rank's share of the CPUs
                         that it may run on */
  uint64_t seed;      /* of everything random in this context */
  const char *device; /* "cpu" (default), "reference" (plain C) or "strict"
                         (the reference behind a memory wall, for tests) */
  tr_dtype dtype;     /* TR_F32 (default), TR_F64, or TR_BF16 or TR_F16: mixed
                         precision, see tr_context_create_f() */
  tr_log_fn log;      /* where lines go; NULL: stdout, warnings to stderr */
  void *log_user;     /* passed to log */
  int64_t virtual_shards; /* cut every batch into so many parts, whatever the
                             number of ranks: see tr_context_create_f(); 0: none
                             */
  const char *trace_path; /* what all ranks did when, as JSON for the trace
                             viewers of browsers; rank 0 writes it at the end
                             of tr_trainer_fit() and of the context. The newest
                             65,536 events of each rank; NULL: no trace */
  tr_dtype wire; /* in which gradients travel between ranks: TR_BF16, or 0: as
                    they are; see tr_context_create_f() */
  double stall_timeout; /* seconds that ranks may wait for one that does not
                           come; 0: 120, negative: for ever. See below */
} tr_context_opts;

/* tr_context_create_f - a context on a Fortran communicator handle.
 *
 * The process' OpenBLAS has one thread while there are contexts of the device
 * "cpu", whose own threads do the work, so a host's own calls of BLAS between
 * two steps have one thread too; the last tr_context_destroy() gives it back
 * the number that it had. A host that sets another number in between has to set
 * it back to 1 before the next step. Each thread of a context maps a buffer of
 * OpenBLAS' of 128 MiB, of which it uses a part; without room for them the
 * context is refused with TR_ENOMEM.
 *
 * A host may trap IEEE exceptions (feenableexcept(), gfortran's -ffpe-trap):
 * finite numbers raise no invalid operation, division by zero or overflow but
 * where the result itself is none. Inf and NaN do: of a loss that diverges, and
 * with TR_F16 of a loss scale that is too large.
 *
 * A job whose ranks wait in vain ends by itself. With more than one rank a
 * thread of each watches, mostly asleep and without a message: where the rank
 * has waited in one collective call for opts->stall_timeout while nothing got
 * on, one line on stderr names the rank that has not come and the phase that it
 * is in, and the process ends with 71 by _exit(), upon which the launcher ends
 * the job. Ranks of a node that wait in different calls can never meet: they
 * end with 78 at once. Of ranks of other nodes only the one is known whose
 * message is awaited.
 *
 * Only waiting counts, not computing: set the limit to more than the longest
 * time by which one rank may come later than another, such as a solver's work
 * between two steps that only some ranks have, or say so by
 * tr_context_work_begin(). Saving and resuming may take ten times as long, an
 * evaluation as long as its batches get on, inference as long as calls of it
 * end, the work of a rank that others wait for in tr_context_destroy() as long
 * as its process runs; and time in which the whole job is suspended does not
 * count.
 *
 * Mixed precision, opts->dtype TR_BF16 or TR_F16: values between layers, their
 * gradients, and the weights that products read are of 16 bits, sums are of 32.
 * Parameters, their gradients, losses, statistics, and every array that the
 * caller gives or gets are float, as with TR_F32, and so are checkpoints.
 * TR_F16 scales its losses: see tr_optimizer_loss_scale().
 *
 * With opts->wire TR_BF16 each rank's gradients are rounded to bfloat16 (to the
 * nearest, ties to even) for their way to the rank that adds them, summed in
 * float, and rounded once more for the way back, so that messages have half the
 * bytes; all ranks get the same. Only what travels is rounded: in the shared
 * memory of a node nothing is, and over several nodes the sums of each node
 * are. Losses, weights of samples, BatchNorm's sums and the parameters that
 * shard_state hands round are never. The bits depend on the number of ranks, so
 * it is refused in reproducible mode.
 *
 * Reproducible mode, opts->virtual_shards V: the global batch is cut into V
 * parts, and all sums over samples follow one fixed tree over these parts, so
 * that the same seed gives the same parameters, bit for bit, on any number of
 * ranks up to V, on the same type of CPU. V is at least the number of ranks;
 * ranks are loaded evenly where it is a power of two times theirs. BatchNorm
 * takes its statistics over all ranks then. Callers who make their own batches
 * ask tr_batch_part() which samples are theirs.
 *
 * Where a launcher says that it started several processes, but MPI_COMM_WORLD
 * is one rank, the launcher is that of another MPI, and every process would
 * train for itself: TR_EMISMATCH, exit code 78. A context on MPI_COMM_SELF is
 * meant to be alone, and LIBTRAIN_ALLOW_SINGLE_RANK=1 in the environment allows
 * all others too, for a program of one rank inside another launcher's job.
 *
 * comm  [in]   MPI_Comm_c2f() of an intracommunicator; it is duplicated
 * opts  [in]   options, or NULL for the defaults
 * out   [out]  the new context, NULL on failure
 *
 * Calls:     collective on comm
 * Errors:    as tr_context_create() in train/mpi.h
 * Ownership: *out is owned by the caller
 * Threads:   one thread per context */
TR_API tr_status tr_context_create_f(int comm,
                                     const tr_context_opts *opts,
                                     tr_context **out);

/* tr_context_create_auto - a context for whatever started this program.
 *
 * Under a launcher (mpirun, srun) the context is on all of its processes, and
 * MPI is initialised here, and finalised by tr_context_destroy(), if nobody has
 * done so. Without a launcher the context is one rank and MPI is not
 * initialised, unless the program did. Where creating fails, MPI that was
 * initialised here is finalised at the program's end.
 *
 * Calls:     collective on all processes of the launcher
 * Errors:    as tr_context_create() in train/mpi.h
 * Ownership: *out is owned by the caller
 * Threads:   one thread per context */
TR_API tr_status tr_context_create_auto(const tr_context_opts *opts,
                                        tr_context **out);

/* tr_context_destroy - release a context; the last object to go.
 *
 * No rank returns before all have come; one that works on for itself, such as
 * one that writes or plots what was learnt, is waited for without a limit, as
 * long as its process runs.
 *
 * Calls:     collective on the context's communicator
 * Errors:    none; ctx and *ctx may be NULL
 * Ownership: *ctx is released and set to NULL
 * Threads:   one thread per context */
TR_API void tr_context_destroy(tr_context **ctx);

/* What a run is made of, for tr_checkpoint_save() and tr_checkpoint_resume().
 * All are borrowed for the call. */
typedef struct tr_checkpoint {
  tr_model *model;
  tr_optimizer *optimizer; /* may be NULL: parameters only */
  tr_loader *loader;       /* may be NULL: no position in the data */
  int keep;                /* complete checkpoints that stay; 0: 2 */
  int allow_changes;       /* 1: options of layers, virtual shards, and the
                              samples per rank of distributed arrays may differ
                              from the saved ones */
  tr_ema *ema;             /* may be NULL: no averages; not swapped in */
  int must_exist;          /* 1: resuming fails where there is no checkpoint */
  int take_over;           /* 1: resuming may take another run's checkpoint */
} tr_checkpoint;

/* tr_checkpoint_save - make the state of a run durable.
 *
 * Writes one sealed HDF5 file with everything in it, then the manifest that
 * commits it; at every instant the newest complete checkpoint stays loadable.
 * Directory and files are created as needed, and nothing that is there is
 * replaced; older checkpoints beyond run->keep are removed once the new one is
 * durable. Those of other runs (this process neither resumed nor wrote them)
 * then go to dir/previous, or dir/previous-2 and so on, a folder per run; a
 * line says so. Files that libtrain did not write stay as they are.
 *
 * The directory is this model's from then on: another process, or another model
 * of this one, is refused. Another model of this process may resume from it.
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_EIO (disk full, no permission, a manifest that cannot be read),
 *            TR_ETEMPORARY where another process keeps its checkpoints there,
 *            TR_ENUMERIC where a parameter or an optimizer slot is not finite,
 *            TR_ESYSTEM where ranks have drifted apart (their parameters are
 *            hashed and compared, and the message names the odd ranks),
 *            TR_ENOMEM, TR_ESTATE after a failed step, and where another model
 *            of this process keeps its checkpoints there; agreed on all ranks.
 *            The previous checkpoint is untouched.
 * Ownership: nothing is kept
 * Threads:   one thread per context; waits for the device */
TR_API tr_status tr_checkpoint_save(tr_context *ctx,
                                    const char *dir,
                                    const tr_checkpoint *run);

/* tr_checkpoint_resume - continue from the newest complete checkpoint.
 *
 * A damaged checkpoint is refused with a warning that names the damaged data
 * set, and the one before it is taken. One that cannot be read now, for
 * whatever reason (I/O, permission, memory), ends the call: it may be whole.
 * Where dir holds no checkpoint, nothing changes, or with run->must_exist the
 * call fails. Any number of ranks can read what any other number wrote.
 *
 * With an optimizer a run goes on or begins: the directory is made, locked and
 * tried before there is anything to lose, and dir/run.identity says durably
 * whose it is from then on. What is resumed is the newest checkpoint of the run
 * that was started last in dir, by whatever process. Where that run has saved
 * nothing yet, it begins anew, and a warning names the run whose checkpoints
 * are there: those go on only with run->take_over, which takes the newest of
 * all and tells whose it is, also from a directory that cannot be written. In a
 * directory of version 0.1 the newest is taken.
 *
 * The model must be the saved one with all options of its layers and losses.
 * Two options change no function of a trained model and may differ: the p of
 * tr_dropout() and the std of tr_position(). Where parameters alone are read,
 * losses do not count. The virtual shards of the context must be the saved
 * ones, and how the data number what they hold, such as a text its characters.
 * In the middle of an epoch the ranks must hold as many samples of distributed
 * arrays as they held. run->allow_changes lets options and shards differ, and
 * begins that epoch again. With an optimizer the seed of the saved run goes on,
 * whatever the context's, and with a loader its seed and whether it shuffles;
 * rate, batch, clipping, decay and schedule are those of this run. The log
 * tells which checkpoint was taken, or that there is none, what is ignored and
 * what changes; where only parameters are read, nothing. A checkpoint of
 * version 0.1 has no options: a warning says so.
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_EDATA where all checkpoints are damaged, TR_EMISMATCH where
 *            model, optimizer or data differ from the saved ones (names both
 *            sides), TR_ENOINPUT with must_exist, TR_ETEMPORARY where another
 *            process keeps its checkpoints there, TR_ESTATE where another
 *            model of this process does, TR_EIO, TR_ENOMEM; agreed on all
 *            ranks. On failure nothing has changed.
 * Ownership: nothing is kept
 * Threads:   one thread per context; waits for the device */
TR_API tr_status tr_checkpoint_resume(tr_context *ctx,
                                      const char *dir,
                                      const tr_checkpoint *run);

/* tr_checkpoint_get_alphabet - how the newest checkpoint of a directory numbers
 * the characters of its text; for tr_text_opts, before the model is built.
 *
 * out  [out]  empty where there is no checkpoint, or none of a text
 *
 * Calls:     collective on the context's communicator
 * Errors:    as tr_checkpoint_resume()
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API tr_status tr_checkpoint_get_alphabet(tr_context *ctx,
                                            const char *dir,
                                            tr_alphabet *out);

/* tr_model_load - set parameters from /params/<name> of any HDF5 file.
 *
 * The file needs no seal; where it has one, as every file of a checkpoint, the
 * seal is checked first. Every parameter and buffer of the model must be there
 * with its shape; floating-point values are converted to the model's type. A
 * PyTorch state dict written under its own names is such a file: BatchNorm's
 * num_batches_tracked may be int64, as it is there.
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_ENOINPUT, TR_EDATA, TR_ESHAPE, TR_EMISMATCH; agreed. On
 *            failure no parameter has changed.
 * Ownership: nothing is kept
 * Threads:   one thread per context; waits for the device */
TR_API tr_status tr_model_load(tr_model *net, const char *path);

/* Zero-initialise; every zero is the default. */
typedef struct tr_load_opts {
  const char *pattern; /* of parameter names, as tr_model_freeze(); NULL: "*" */
  int allow_missing;   /* 1: leave alone what the file does not have */
} tr_load_opts;

/* tr_model_load_matching - set the parameters whose names match a pattern.
 *
 * Fine-tuning: take the filters of an older network, whatever its last layer
 * is, and train a new last layer on them.
 *
 *   int num_loaded;
 *   tr_model_freeze(net, "conv*", 1);
 *   tr_model_build(net, NULL);
 *   tr_model_load_matching(net, "old/step-00000100.h5",
 *                          &(tr_load_opts){.pattern = "conv*"}, &num_loaded);
 *   tr_adamw_create(net, &adamw, &opt);
 *
 * opts        [in]   may be NULL
 * num_loaded  [out]  parameters and buffers that were set; the same on all
 *                    ranks, 0 on failure; may be NULL
 *
 * Calls:     collective on the context's communicator
 * Errors:    as tr_model_load(); TR_ESHAPE names the parameter and both shapes,
 *            with allow_missing too; TR_EINVAL where no parameter of the model
 *            matches. Agreed; on failure no parameter has changed.
 * Ownership: nothing is kept
 * Threads:   one thread per context; waits for the device */
TR_API tr_status tr_model_load_matching(tr_model *net,
                                        const char *path,
                                        const tr_load_opts *opts,
                                        int *num_loaded);

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
