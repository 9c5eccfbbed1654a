/* Checkpoints of a run, and parameters from any HDF5 file. */
#ifndef TRAIN_CHECKPOINT_H
#define TRAIN_CHECKPOINT_H

#include <train/data.h>
#include <train/model.h>
#include <train/optim.h>

#ifdef __cplusplus
extern "C" {
#endif

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

#ifdef __cplusplus
}
#endif

#endif
