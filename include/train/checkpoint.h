/* Checkpoints: saving a training run, resuming it on any number of ranks, and
 * loading parameters from HDF5 files. */
#ifndef TRAIN_CHECKPOINT_H
#define TRAIN_CHECKPOINT_H

#include <train/data.h>
#include <train/model.h>
#include <train/optim.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The objects of a run, for tr_checkpoint_save() and tr_checkpoint_resume(),
 * which borrow them for the call. */
typedef struct tr_checkpoint {
  tr_model *model;
  tr_optimizer *optimizer; /* may be NULL: parameters only */
  tr_loader *loader;       /* may be NULL: no position in the data */
  int keep;                /* number of complete checkpoints to keep; 0: 2 */
  int allow_changes;       /* 1: options of layers, virtual shards, and the
                              samples per rank of distributed arrays may differ
                              from the saved ones */
  tr_ema *ema;             /* may be NULL: no averages; must not be swapped
                              in */
  int must_exist;          /* 1: resuming fails where there is no checkpoint */
  int take_over;           /* 1: resuming may take another run's checkpoint */
} tr_checkpoint;

/* tr_checkpoint_save - make the state of a run durable.
 *
 * The call writes one sealed HDF5 file with the whole state, then the manifest
 * that commits it. At every instant the newest complete checkpoint stays
 * loadable. The call creates directory and files as needed and replaces none.
 * Once the new checkpoint is durable, it removes older ones beyond run->keep,
 * and moves those of other runs (which this process neither resumed nor wrote)
 * to dir/previous, or dir/previous-2 and so on, one folder per run; a line in
 * the log says so. It leaves files alone that libtrain did not write.
 *
 * From then on the directory belongs to this model: saving from another
 * process, or from another model of this one, fails. Another model of this
 * process may resume from it.
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_EIO (disk full, no permission, a manifest that cannot be read),
 *            TR_ETEMPORARY where another process keeps its checkpoints there,
 *            TR_ENUMERIC where a parameter or an optimizer slot is not finite,
 *            TR_ESYSTEM where the parameters of ranks differ (the call compares
 *            their hashes, and the message names the ranks that differ from
 *            most), TR_ENOMEM, TR_ESTATE after a failed step, and where another
 *            model of this process keeps its checkpoints there; agreed on all
 *            ranks. The previous checkpoint is untouched.
 * Ownership: nothing is kept
 * Threads:   one thread per context; waits for the device */
TR_API tr_status tr_checkpoint_save(tr_context *ctx,
                                    const char *dir,
                                    const tr_checkpoint *run);

/* tr_checkpoint_resume - continue from the newest complete checkpoint.
 *
 * The call refuses a damaged checkpoint with a warning that names the damaged
 * data set, and takes the one before it. A checkpoint that it cannot read now,
 * for whatever reason (I/O, permission, memory), ends the call, because it may
 * be intact. Where dir holds no checkpoint, nothing changes, or with
 * run->must_exist the call fails. Any number of ranks can resume what any other
 * number saved.
 *
 * With an optimizer the call continues or begins a run. It creates, locks and
 * tests the directory before there is anything to lose, and dir/run.identity
 * durably names the run that owns it from then on. The call resumes the newest
 * checkpoint of the run that was started last in dir, by whatever process.
 * Where that run has saved nothing yet, it begins anew, and a warning names the
 * run that owns the checkpoints in dir. To continue those, set run->take_over:
 * it takes the newest of all checkpoints and logs whose it is, even in a
 * read-only directory. In a directory of version 0.1 the call takes the newest.
 *
 * The model must equal the saved one in all options of its layers and losses,
 * except for two that do not change the function of a trained model: the p of
 * tr_dropout() and the std of tr_position(). Where the call reads parameters
 * alone, it ignores losses. The context must have the saved number of virtual
 * shards, and the data must number their content as saved, such as a text its
 * characters. In the middle of an epoch the ranks must hold as many samples of
 * distributed arrays as before. run->allow_changes lets options and shards
 * differ and restarts that epoch. With an optimizer the saved seed replaces the
 * context's, and with a loader the saved seed and shuffling replace the
 * loader's; learning rate, batch, clipping, decay and schedule are those of
 * this run. The log says which checkpoint was taken, or that there is none,
 * what is ignored and what changes; where the call reads only parameters, it
 * says nothing. A checkpoint of version 0.1 has no options; a warning says so.
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_EDATA where all checkpoints are damaged, TR_EMISMATCH where
 *            model, optimizer or data differ from the saved ones (names both
 *            sides), TR_ENOINPUT with must_exist, TR_ETEMPORARY where another
 *            process keeps its checkpoints there, TR_ESTATE where another model
 *            of this process does, TR_EIO, TR_ENOMEM; agreed on all ranks. On
 *            failure nothing changes.
 * Ownership: nothing is kept
 * Threads:   one thread per context; waits for the device */
TR_API tr_status tr_checkpoint_resume(tr_context *ctx,
                                      const char *dir,
                                      const tr_checkpoint *run);

/* tr_checkpoint_get_alphabet - the alphabet by which the newest checkpoint of a
 * directory numbers the characters of its text; for tr_text_opts, before
 * tr_model_build().
 *
 * out  [out]  empty where there is no checkpoint or its data are no text
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
 * The file needs no seal. Where it has one, as every checkpoint file does, the
 * call verifies it first. The file must have every parameter and buffer of the
 * model with its shape. The call converts floating-point values to the model's
 * type. A PyTorch state dict written under its own names is such a file:
 * BatchNorm's num_batches_tracked may be int64, as in PyTorch.
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_ENOINPUT, TR_EDATA, TR_ESHAPE, TR_EMISMATCH; agreed. On failure
 *            no parameter changes.
 * Ownership: nothing is kept
 * Threads:   one thread per context; waits for the device */
TR_API tr_status tr_model_load(tr_model *net, const char *path);

/* Zero-initialise; every zero is the default. */
typedef struct tr_load_opts {
  const char *pattern; /* pattern of parameter names, as in tr_model_freeze();
                          NULL: "*" */
  int allow_missing;   /* 1: leave parameters alone that the file does not
                          have */
} tr_load_opts;

/* tr_model_load_matching - set the parameters whose names match a pattern.
 *
 * For fine-tuning: take the filters of an older network, whatever its last
 * layer is, and train a new last layer behind them.
 *
 *   int num_loaded;
 *   tr_model_freeze(net, "conv*", 1);
 *   tr_model_build(net, NULL);
 *   tr_model_load_matching(net, "old/step-00000100.h5",
 *                          &(tr_load_opts){.pattern = "conv*"}, &num_loaded);
 *   tr_adamw_create(net, &adamw, &opt);
 *
 * opts        [in]   may be NULL
 * num_loaded  [out]  number of parameters and buffers set; the same on all
 *                    ranks, 0 on failure; may be NULL
 *
 * Calls:     collective on the context's communicator
 * Errors:    as tr_model_load(); TR_ESHAPE names the parameter and both shapes,
 *            with allow_missing too; TR_EINVAL where no parameter of the model
 *            matches. Agreed; on failure no parameter changes.
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
