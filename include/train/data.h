/* Data sets and the loader that shards them over ranks. */
#ifndef TRAIN_DATA_H
#define TRAIN_DATA_H

#include <train/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TR_MAX_INPUTS 4

/* One rank's part of a global batch, in host memory. Loaders fill it; a
 * program that holds its own arrays fills it by hand. */
typedef struct tr_batch {
  int64_t count;        /* samples of this rank; may be 0 */
  int64_t first;        /* position of the first one in the global batch */
  int64_t global_count; /* samples of all ranks together */
  /* (count, shape...) in the context's element type, for tr_input_ids() int32;
   * one per model input */
  const void *inputs[TR_MAX_INPUTS];
  /* one array per loss: (count, target_values) class numbers as int32, or for
   * losses of regression (count, shape...) in the context's element type */
  const void *targets[TR_MAX_INPUTS];
  /* (count) in the context's element type; NULL: every sample weighs 1. A
   * sample of weight 0 is left out of losses, accuracy and gradients, whatever
   * its targets are; what is not finite in its inputs, and ids that name
   * nothing, are taken for 0. tr_batchnorm()'s statistics count it. */
  const void *weights;
  /* class numbers per sample in each target, as of the tokens of a text; 0: 1,
   * and where targets are numbers, none */
  int64_t target_values[TR_MAX_INPUTS];
  /* bytes of one sample in each input, so that a model which wants another
   * shape or type refuses it; 0: what the model wants */
  size_t input_bytes[TR_MAX_INPUTS];
  /* likewise bytes of one sample in each target, together with target_values;
   * 0: what the loss wants */
  size_t target_bytes[TR_MAX_INPUTS];
} tr_batch;

/* tr_batch_range - which samples of a global batch are this rank's.
 *
 * Loaders cut their batches like this. Programs that fill a tr_batch by hand
 * may cut theirs as they like, but with virtual shards (tr_context_opts) only
 * like this.
 *
 * global_count  [in]   samples of all ranks together, 0 or more
 * first, count  [out]  of this rank's part; count may be 0
 *
 * Calls:     local
 * Errors:    none
 * Ownership: none
 * Threads:   any */
TR_API void tr_batch_range(const tr_context *ctx,
                           int64_t global_count,
                           int64_t *first,
                           int64_t *count);

/* A numbered set of samples, read in parts: the same on every rank, but for
 * distributed arrays (tr_array_open()). */
typedef struct tr_dataset tr_dataset;

/* Batches of a data set for this rank, epoch after epoch. */
typedef struct tr_loader tr_loader;

/* tr_hdf5_open - samples from /<split>/x and /<split>/y of an HDF5 file.
 *
 *   x  (N, ...) uint8, scaled by 1/255, or float32 or float64 as it is; bytes
 *      of (N, H, W) are images of one channel: (1, H, W). Floats may as well be
 *      sequences and stay (H, W): tr_reshape() gives them a channel
 *   y  classes 0..K-1: (N) or (N, 1) integers, booleans or floats that are
 *      whole, or (N, K) rows of one 1 and zeros
 *
 * Samples are read when they are needed; the data set is never held. A file
 * that is written to meanwhile is refused. Contiguous, compact and chunked
 * arrays are read, with the filters deflate, shuffle and fletcher32, of all
 * formats up to HDF5 2.0; links to elsewhere, virtual data sets and external
 * storage are refused.
 *
 * The file is not believed: every address and size is checked, and a chunk must
 * expand to exactly its size. What it may make this process hold is at most 4
 * bytes per label, 32 per chunk, 16 MB of counts of classes, and 64 MiB of
 * expanded chunks, or two of them where those are larger (a chunk may have
 * 1 GiB). A data set whose chunks have more than 64 MiB is read, with a
 * warning: samples drawn at random unpack one each.
 *
 * Warnings go to the context's log where classes have no sample, as with labels
 * from 1, and where samples look like (height, width, channels). Labels with
 * gaps that nobody can mean, as one of 255 among ten digits, are refused.
 *
 * split  [in]  "train" or "test", or any group with x and y
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_ENOINPUT (with the names that are there), TR_EDATA (names the
 *            data set, expected and got), TR_EIO, TR_ENOMEM; agreed
 * Ownership: *out is owned by the caller
 * Threads:   one thread per context; a loader's threads read at the same time,
 *            and none of them calls libhdf5 */
TR_API tr_status tr_hdf5_open(tr_context *ctx,
                              const char *path,
                              const char *split,
                              tr_dataset **out);

/* tr_idx_open - images and labels from a folder of IDX files (MNIST's format).
 *
 * Looks for train-images-idx3-ubyte and t10k-images-idx3-ubyte and their
 * labels, each also with .gz. Where only one pair is there, a fixed shuffle of
 * it gives 80 % to "train" and 20 % to "test", each of which holds its part.
 * Bytes are scaled by 1/255; images get one channel: (1, H, W). Labels are
 * judged as those of tr_hdf5_open().
 *
 * split  [in]  "train" or "test"
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_ENOINPUT, TR_EDATA (file, expected and got); agreed
 * Ownership: *out is owned by the caller
 * Threads:   one thread per context
 * Source:    LeCun, Cortes, Burges: the MNIST database, file formats */
TR_API tr_status tr_idx_open(tr_context *ctx,
                             const char *dir,
                             const char *split,
                             tr_dataset **out);

/* tr_digits_open - the embedded digits: drawn by the library, nothing stored.
 *
 * Stroke digits with random slant, scale, thickness, shift and noise, (1, 28,
 * 28) in [0, 1], 10 classes: a function of the sample number alone. "train"
 * has 8,000 samples and "test" 2,000, from disjoint number ranges.
 *
 * split  [in]  "train" or "test"
 *
 * Calls:     local
 * Errors:    TR_EINVAL for another split
 * Ownership: *out is owned by the caller
 * Threads:   one thread per context
 * Exact:     the same bits on every machine */
TR_API tr_status tr_digits_open(tr_context *ctx,
                                const char *split,
                                tr_dataset **out);

/* tr_dataset_open - the data set that a path names, by what is found there.
 *
 * NULL gives the embedded digits, a folder IDX files, a file HDF5. Where an
 * HDF5 file has /train and no /test, it is split as a lone pair of IDX files
 * is.
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_ENOINPUT where nothing is there; those of the formats; agreed
 * Ownership: *out is owned by the caller
 * Threads:   one thread per context */
TR_API tr_status tr_dataset_open(tr_context *ctx,
                                 const char *path,
                                 const char *split,
                                 tr_dataset **out);

/* Zero-initialise; x, num_samples, shape and either y or targets are required.
 */
typedef struct tr_array_opts {
  const void *x;         /* (num_samples, shape...), of dtype below */
  const int32_t *y;      /* (num_samples) classes 0..num_classes-1 */
  int64_t num_samples;   /* of this rank */
  int64_t num_classes;   /* with y */
  tr_shape shape;        /* of one sample's input */
  const void *targets;   /* instead of y, for regression: (num_samples,
                            target_shape...), of dtype below */
  tr_shape target_shape; /* of one sample's target */
  int distributed;       /* 1: each rank holds samples of its own; 0: all ranks
                            hold the same ones */
  tr_dtype dtype;        /* of x and targets: TR_F64 for double in any context;
                            0: the context's element type */
  int single;            /* 1: x and targets are float, in a context of TR_F64
                            too */
} tr_array_opts;

/* tr_array_open - a data set over the caller's own arrays.
 *
 * With y its targets are classes, with targets they are numbers: those of a
 * regression, say the state of a field some time after the one in x. Samples
 * are converted to the context's element type when they are read.
 *
 * Without distributed every rank gives the same arrays, since a rank's part of
 * a batch may be any of its samples. With several ranks a hash of the arrays
 * (XXH3) is compared: they are read once, at the speed of memory (6 GB/s were
 * measured on one core).
 *
 * Distributed arrays are for solvers: each rank trains on what it holds, no
 * sample travels, and its counts may differ from those of other ranks, also be
 * 0 (then x, y and targets may be NULL; shape, and num_classes or target_shape,
 * are given on all ranks). Sample numbers are the rank's own, and so is
 * tr_dataset_num_samples(). See tr_loader_create() for what a step takes. It
 * depends on where samples lie, so virtual_shards are refused. The numbers of x
 * may change between two epochs, as those of a solver that goes on.
 *
 * Targets are read once, and those that are NaN, Inf, beyond the context's type
 * or NetCDF's fill value are refused. x is not searched: a bad number in it is
 * named when a loss has no sense. Of x the first numbers are looked at: doubles
 * that are taken for floats are refused. Where samples look like (height,
 * width, channels) a warning goes to the context's log.
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_EINVAL; TR_EDATA for a label out of range, a bad target, or
 *            where no rank has a sample; TR_EMISMATCH where ranks give other
 *            arrays without distributed; agreed
 * Ownership: x, y and targets are borrowed until tr_dataset_destroy(); *out is
 *            owned by the caller
 * Threads:   one thread per context */
TR_API tr_status tr_array_open(tr_context *ctx,
                               const tr_array_opts *opts,
                               tr_dataset **out);

#define TR_MAX_CODES 256

/* How characters are numbered: id i is the byte codes[i]. */
typedef struct tr_alphabet {
  int count; /* of ids; 0: no alphabet */
  unsigned char codes[TR_MAX_CODES];
} tr_alphabet;

typedef struct tr_text_opts {
  int64_t context;   /* characters of one sample; required */
  int64_t stride;    /* from one sample's beginning to the next; 0: context */
  const char *split; /* "train": the first 90 % of the text; "test": the rest */
  const tr_alphabet *alphabet; /* that the text is written in, borrowed for the
                                  call; NULL or empty: the text's own */
} tr_text_opts;

/* tr_text_open - the characters of a text file, to learn each from those
 * before it.
 *
 *   x  (N, context) int32: ids of characters; for tr_input_ids()
 *   y  (N, context) int32: ids of the characters one place later
 *
 * Characters are bytes; the ids 0..K-1 number those of the whole file in the
 * order of their codes, or those of opts->alphabet in its order, and K is the
 * number of classes. A model that was trained on one text reads another one
 * only in the first one's alphabet, which checkpoints keep: see
 * tr_checkpoint_get_alphabet().
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_ENOINPUT, TR_EDATA where the split has no more characters than
 *            the context, TR_EMISMATCH where the text has a character that the
 *            alphabet has not, TR_EINVAL; agreed on all ranks
 * Ownership: *out is owned by the caller; the file is not kept open
 * Threads:   one thread per context
 * Source:    Karpathy's char-rnn and nanoGPT */
TR_API tr_status tr_text_open(tr_context *ctx,
                              const char *path,
                              const tr_text_opts *opts,
                              tr_dataset **out);

/* tr_text_code - the byte that an id of tr_text_open() stands for.
 *
 * Calls:     local
 * Errors:    none; -1 where there is none
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API int tr_text_code(const tr_dataset *data, int64_t id);

/* tr_dataset_shape - the extents of one sample's input.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API tr_shape tr_dataset_shape(const tr_dataset *data);

/* tr_dataset_num_samples - how many samples the data set has; of distributed
 * arrays, how many this rank has.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API int64_t tr_dataset_num_samples(const tr_dataset *data);

/* tr_dataset_num_classes - how many classes its labels name; 0 where its
 * targets are numbers.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API int64_t tr_dataset_num_classes(const tr_dataset *data);

/* tr_dataset_target_values - how many labels or numbers the target of one
 * sample has; mostly 1.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API int64_t tr_dataset_target_values(const tr_dataset *data);

/* tr_dataset_read - read samples by number, in the order given.
 *
 * ids    [in]   (count) sample numbers, 0 <= id < num_samples
 * x      [out]  (count, shape...) in the context's element type, or int32
 *               ids of a text
 * y      [out]  (count, target_values) classes as int32, or numbers in the
 *               context's element type
 *
 * Calls:     local
 * Errors:    TR_EINVAL, TR_EDATA, TR_EIO
 * Ownership: x and y are the caller's
 * Threads:   any thread, several at once */
TR_API tr_status tr_dataset_read(const tr_dataset *data,
                                 const int64_t *ids,
                                 int64_t count,
                                 void *x,
                                 void *y);

/* tr_dataset_sample_bytes - what tr_dataset_read() writes for each sample.
 *
 * x, y  [out]  bytes of one sample in x and in y
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API void
tr_dataset_sample_bytes(const tr_dataset *data, size_t *x, size_t *y);

/* tr_dataset_destroy - close a data set; after its loaders.
 *
 * Calls:     local
 * Errors:    none; data and *data may be NULL
 * Ownership: *data is released and set to NULL
 * Threads:   one thread per context */
TR_API void tr_dataset_destroy(tr_dataset **data);

/* Zero-initialise; batch is required. */
typedef struct tr_loader_opts {
  int64_t batch; /* global: samples of all ranks together in one step */
  int shuffle;   /* 1: a new order each epoch, from (seed, epoch) */
  int threads;   /* that read and draw samples; 0: 1 */
  int depth;     /* batches prepared ahead; 0: 3 */
} tr_loader_opts;

/* tr_loader_create - shard a data set's epochs over the ranks.
 *
 * Step k of an epoch takes places [k*batch, min((k+1)*batch, N)) of the
 * epoch's one global order; rank r of P takes the part [r*n/P, (r+1)*n/P) of
 * those n places. So every sample is used exactly once per epoch, every rank
 * makes the same number of steps, and the last batch may be smaller.
 *
 * Of distributed arrays each rank has an order of its own samples, and a batch
 * is dealt to the ranks in proportion to what they hold: of n_r samples of N a
 * rank gives n_r/N of each batch, rounded so that the sum is the batch and
 * each sample comes once per epoch; a rank may have none in a step. All of the
 * above holds for the whole, and gradients are the mean over the global batch.
 * A checkpoint goes on with the same counts on the same ranks alone.
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_EINVAL, TR_EDATA where the data set has fewer samples than
 *            there are ranks (but distributed ones), TR_EMISMATCH where ranks
 *            give other options or other data: labels, and what else is held in
 *            memory, are compared by a hash; agreed on all ranks
 * Ownership: data is borrowed until tr_loader_destroy(); *out is owned by the
 *            caller
 * Threads:   one thread per context */
TR_API tr_status tr_loader_create(tr_context *ctx,
                                  const tr_dataset *data,
                                  const tr_loader_opts *opts,
                                  tr_loader **out);

/* tr_loader_next - the next batch of this epoch; false at its end.
 *
 * batch  [out]  borrowed until the next call on the loader
 *
 * The end of the epoch comes at the same call on every rank, and the call
 * after it begins the next epoch. Once a rank's tr_context_request_stop() has
 * been agreed in the step of the last batch, the next call ends on all ranks
 * with TR_ESTOPPED: save, and exit with 85. A rank that cannot read its samples
 * gets an empty batch; its failure is agreed in the step's gradient all-reduce
 * (or in tr_trainer_evaluate()), which returns it on all ranks.
 *
 * Calls:     local
 * Errors:    see tr_loader_status()
 * Ownership: the batch is borrowed until the next call on the loader
 * Threads:   one thread per context; waits for the loader's threads */
TR_API int tr_loader_next(tr_loader *loader, tr_batch *batch);

/* tr_loader_status - why tr_loader_next() ended: TR_OK at an epoch's end.
 *
 * Calls:     local
 * Errors:    what reading failed with; TR_ESTOPPED after a request to stop,
 *            agreed on all ranks
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API tr_status tr_loader_status(const tr_loader *loader);

/* tr_loader_epoch - the number of epochs that have been finished.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API int64_t tr_loader_epoch(const tr_loader *loader);

/* tr_loader_num_steps - steps of one epoch, the same on every rank.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API int64_t tr_loader_num_steps(const tr_loader *loader);

/* tr_loader_num_samples - samples of one epoch over all ranks.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API int64_t tr_loader_num_samples(const tr_loader *loader);

/* tr_loader_destroy - stop the loader's threads and release its buffers.
 *
 * Calls:     local
 * Errors:    none; loader and *loader may be NULL
 * Ownership: *loader is released and set to NULL; the data set is not
 * Threads:   one thread per context */
TR_API void tr_loader_destroy(tr_loader **loader);

#ifdef __cplusplus
}
#endif

#endif
