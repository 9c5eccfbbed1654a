/* Data sets (HDF5, IDX, arrays, text, drawn digits) and the loader, which
 * delivers each rank its samples of every global batch. */
#ifndef TRAIN_DATA_H
#define TRAIN_DATA_H

#include <train/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TR_MAX_INPUTS 4

/* The samples of one rank in a global batch, in host memory. Loaders fill it; a
 * program with its own arrays fills it by hand. */
typedef struct tr_batch {
  int64_t count;        /* samples of this rank; may be 0 */
  int64_t first;        /* position of the first one in the global batch */
  int64_t global_count; /* samples of all ranks together */
  /* (count, shape...) in the context's element type, for tr_input_ids() int32;
   * one array per model input */
  const void *inputs[TR_MAX_INPUTS];
  /* one array per loss: (count, target_values) class numbers as int32, or for
   * regression losses (count, shape...) in the context's element type */
  const void *targets[TR_MAX_INPUTS];
  /* (count) in the context's element type; NULL: every sample has weight 1. A
   * sample of weight 0 does not count in losses, accuracy and gradients,
   * whatever its targets are; the model reads 0 for non-finite numbers and
   * invalid ids in its inputs. The statistics of tr_batchnorm() count it. */
  const void *weights;
  /* class numbers per sample in each target, such as one per token of a text;
   * 0: 1, and none where targets are numbers */
  int64_t target_values[TR_MAX_INPUTS];
  /* bytes of one sample in each input, so that a model with another shape or
   * type refuses the batch; 0: what the model expects */
  size_t input_bytes[TR_MAX_INPUTS];
  /* likewise bytes of one sample in each target, to be set together with
   * target_values; 0: what the loss expects */
  size_t target_bytes[TR_MAX_INPUTS];
} tr_batch;

/* tr_batch_range - the samples of a global batch that belong to this rank.
 *
 * Loaders divide their batches in this way. A program that fills a tr_batch by
 * hand may divide it in any way, but with virtual shards (tr_context_opts) only
 * in this way.
 *
 * global_count  [in]   samples of all ranks together, 0 or more
 * first, count  [out]  range of this rank's samples; count may be 0
 *
 * Calls:     local
 * Errors:    none
 * Ownership: none
 * Threads:   any */
TR_API void tr_batch_range(const tr_context *ctx,
                           int64_t global_count,
                           int64_t *first,
                           int64_t *count);

/* A numbered set of samples, of which each rank reads some. All ranks see the
 * same set, except with distributed arrays (tr_array_open()). */
typedef struct tr_dataset tr_dataset;

/* Delivers this rank's batches of a data set, epoch after epoch. */
typedef struct tr_loader tr_loader;

/* tr_hdf5_open - samples from /<split>/x and /<split>/y of an HDF5 file.
 *
 *   x  (N, ...) uint8, scaled by 1/255, or float32 or float64 as it is. uint8
 *      of (N, H, W) becomes images of one channel: (1, H, W). Floats may be
 *      sequences and stay (H, W); tr_reshape() gives them a channel
 *   y  classes 0..K-1: (N) or (N, 1) integers, booleans or floats that are
 *      whole, or (N, K) rows of one 1 and zeros
 *
 * The data set reads samples when a batch needs them and never holds all of
 * them. It refuses a file that changes meanwhile. It reads contiguous, compact
 * and chunked arrays with the filters deflate, shuffle and fletcher32, in all
 * formats up to HDF5 2.0. It refuses links to elsewhere, virtual data sets and
 * external storage.
 *
 * The data set does not trust the file: it checks every address and size, and a
 * chunk must expand to exactly its size. It holds at most 4 bytes per label, 32
 * per chunk, 16 MB of class counts, and 64 MiB of expanded chunks, or two
 * chunks where these are larger (a chunk may have 1 GiB). Chunks of more than
 * 64 MiB cause a warning: each randomly drawn sample expands a whole chunk.
 *
 * The context's log gets a warning where classes have no sample, as with labels
 * from 1, and where samples look like (height, width, channels). The call
 * refuses labels with absurd gaps, such as a 255 among ten digits.
 *
 * split  [in]  "train" or "test", or any group with x and y
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_ENOINPUT (lists the existing names), TR_EDATA (names the data
 *            set, expected and got), TR_EIO, TR_ENOMEM; agreed
 * Ownership: *out is owned by the caller
 * Threads:   one thread per context; a loader's threads read at the same time,
 *            and none of them calls libhdf5 */
TR_API tr_status tr_hdf5_open(tr_context *ctx,
                              const char *path,
                              const char *split,
                              tr_dataset **out);

/* tr_idx_open - images and labels from a folder of IDX files (MNIST's format).
 *
 * The call looks for train-images-idx3-ubyte and t10k-images-idx3-ubyte and
 * their labels, each also with .gz. Where only one pair exists, a fixed shuffle
 * assigns 80 % of its samples to "train" and 20 % to "test", and each split
 * holds its own samples. Bytes are scaled by 1/255; images get one channel: (1,
 * H, W). The rules for labels are those of tr_hdf5_open().
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

/* tr_digits_open - the embedded digits, which the library draws and does not
 * store.
 *
 * Stroke digits with random slant, scale, thickness, shift and noise, (1, 28,
 * 28) in [0, 1], 10 classes. A sample is a function of its number alone.
 * "train" has 8,000 samples and "test" 2,000, from disjoint number ranges.
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

/* tr_dataset_open - open a path as the kind of data set found there.
 *
 * NULL gives the embedded digits, a folder is IDX files, a file is HDF5. An
 * HDF5 file with /train and without /test is split like a single pair of IDX
 * files.
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_ENOINPUT where the path does not exist; those of the formats;
 *            agreed
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
  int64_t num_samples;   /* samples of this rank */
  int64_t num_classes;   /* number of classes in y */
  tr_shape shape;        /* extents of one sample's input */
  const void *targets;   /* instead of y, for regression: (num_samples,
                            target_shape...), of dtype below */
  tr_shape target_shape; /* extents of one sample's target */
  int distributed;       /* 1: each rank holds its own samples; 0: all ranks
                            hold the same */
  tr_dtype dtype;        /* type of x and targets: TR_F64 for double in any
                            context; 0: the context's element type */
  int single;            /* 1: x and targets are float, even in a context of
                            TR_F64 */
} tr_array_opts;

/* tr_array_open - a data set over arrays of the caller.
 *
 * With y the targets are classes; with targets they are numbers for a
 * regression, such as the state of a field some time after the one in x.
 * Reading converts samples to the context's element type.
 *
 * Without distributed every rank gives the same arrays, because a rank may read
 * any sample. With several ranks the call compares a hash of the arrays (XXH3)
 * and therefore reads them once, at the speed of memory (measured: 6 GB/s on
 * one core).
 *
 * Distributed arrays are for solvers: each rank trains on the samples that it
 * holds, and no sample travels. Ranks may hold different numbers of samples,
 * also 0 (then x, y and targets may be NULL; shape, and num_classes or
 * target_shape, are given on all ranks). Sample numbers and
 * tr_dataset_num_samples() are local to the rank. tr_loader_create() says which
 * samples a step takes; this depends on where samples lie, so the call refuses
 * virtual_shards. The numbers of x may change between two epochs, such as those
 * of a solver that continues.
 *
 * The call reads targets once and refuses NaN, Inf, numbers beyond the
 * context's type and NetCDF's fill value. It does not search x: when a loss
 * becomes senseless, a message names the bad number in x. It checks the first
 * numbers of x and refuses doubles that are declared as floats. Where samples
 * look like (height, width, channels), the context's log gets a warning.
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_EINVAL; TR_EDATA for a label out of range, a bad target, or
 *            where no rank has a sample; TR_EMISMATCH where ranks give
 *            different arrays without distributed; agreed
 * Ownership: x, y and targets are borrowed until tr_dataset_destroy(); *out is
 *            owned by the caller
 * Threads:   one thread per context */
TR_API tr_status tr_array_open(tr_context *ctx,
                               const tr_array_opts *opts,
                               tr_dataset **out);

#define TR_MAX_CODES 256

/* An alphabet numbers characters: id i is the byte codes[i]. */
typedef struct tr_alphabet {
  int count; /* number of ids; 0: no alphabet */
  unsigned char codes[TR_MAX_CODES];
} tr_alphabet;

typedef struct tr_text_opts {
  int64_t context;   /* characters of one sample; required */
  int64_t stride;    /* distance between the beginnings of two samples; 0:
                        context */
  const char *split; /* "train": the first 90 % of the text; "test": the rest */
  const tr_alphabet *alphabet; /* alphabet for the text, borrowed for the call;
                                  NULL or empty: the text's own */
} tr_text_opts;

/* tr_text_open - the characters of a text file, for a model that predicts each
 * character from those before it.
 *
 *   x  (N, context) int32: ids of characters; for tr_input_ids()
 *   y  (N, context) int32: ids of the characters one place later
 *
 * Characters are bytes. The ids 0..K-1 number the characters of the whole file
 * in the order of their codes, or those of opts->alphabet in its order; K is
 * the number of classes. A model trained on one text can read another only in
 * the alphabet of the first, which checkpoints save: see
 * tr_checkpoint_get_alphabet().
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_ENOINPUT, TR_EDATA where the split has no more characters than
 *            the context, TR_EMISMATCH where a character of the text is not in
 *            the alphabet, TR_EINVAL; agreed on all ranks
 * Ownership: *out is owned by the caller; the call closes the file
 * Threads:   one thread per context
 * Source:    Karpathy's char-rnn and nanoGPT */
TR_API tr_status tr_text_open(tr_context *ctx,
                              const char *path,
                              const tr_text_opts *opts,
                              tr_dataset **out);

/* tr_text_code - the byte of an id of tr_text_open().
 *
 * Calls:     local
 * Errors:    none; -1 for an id without a byte
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

/* tr_dataset_num_samples - the number of samples; with distributed arrays, the
 * number on this rank.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API int64_t tr_dataset_num_samples(const tr_dataset *data);

/* tr_dataset_num_classes - the number of classes; 0 where targets are numbers.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API int64_t tr_dataset_num_classes(const tr_dataset *data);

/* tr_dataset_target_values - the number of labels or numbers in the target of
 * one sample; mostly 1.
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

/* tr_dataset_sample_bytes - the bytes that tr_dataset_read() writes for each
 * sample.
 *
 * x, y  [out]  bytes of one sample in x and in y
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API void
tr_dataset_sample_bytes(const tr_dataset *data, size_t *x, size_t *y);

/* tr_dataset_destroy - close a data set, after its loaders.
 *
 * Calls:     local
 * Errors:    none; data and *data may be NULL
 * Ownership: *data is released and set to NULL
 * Threads:   one thread per context */
TR_API void tr_dataset_destroy(tr_dataset **data);

/* Zero-initialise; batch is required. */
typedef struct tr_loader_opts {
  int64_t batch; /* samples of the global batch: of all ranks together in one
                    step */
  int shuffle;   /* 1: a new order each epoch, from (seed, epoch) */
  int threads;   /* threads that read or draw samples; 0: 1 */
  int depth;     /* number of batches that the loader prefetches; 0: 3 */
} tr_loader_opts;

/* tr_loader_create - distribute the epochs of a data set over the ranks.
 *
 * Step k of an epoch takes the places [k*batch, min((k+1)*batch, N)) of the
 * epoch's global order, and rank r of P takes the range [r*n/P, (r+1)*n/P) of
 * these n places. So an epoch uses every sample exactly once, every rank makes
 * the same number of steps, and the last batch may be smaller.
 *
 * With distributed arrays each rank has an order of its own samples, and
 * contributes to each batch in proportion to the samples that it holds: a rank
 * with n_r of N samples gives n_r/N of each batch, rounded so that the sum is
 * the batch and each sample comes once per epoch. A rank may have no sample in
 * a step. All of the above holds for the global batch, and gradients are the
 * mean over it. A checkpoint resumes only with the same counts on the same
 * ranks.
 *
 * Calls:     collective on the context's communicator
 * Errors:    TR_EINVAL, TR_EDATA where the data set has fewer samples than
 *            there are ranks (except distributed arrays), TR_EMISMATCH where
 *            ranks give different options or data (the call compares a hash of
 *            labels and other data held in memory); agreed on all ranks
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
 * The epoch ends at the same call on every rank, and the call after it begins
 * the next epoch. Once the ranks have agreed in a step on a
 * tr_context_request_stop(), the next call ends on all ranks with TR_ESTOPPED:
 * save, and exit with 85. A rank that cannot read its samples gets an empty
 * batch; the step's all-reduce of gradients (or tr_trainer_evaluate()) returns
 * the failure on all ranks.
 *
 * Calls:     local
 * Errors:    see tr_loader_status()
 * Ownership: the batch is borrowed until the next call on the loader
 * Threads:   one thread per context; waits for the loader's threads */
TR_API int tr_loader_next(tr_loader *loader, tr_batch *batch);

/* tr_loader_status - the reason why tr_loader_next() ended: TR_OK at the end of
 * an epoch.
 *
 * Calls:     local
 * Errors:    the status of a failed read; TR_ESTOPPED after a request to stop,
 *            agreed on all ranks
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API tr_status tr_loader_status(const tr_loader *loader);

/* tr_loader_epoch - the number of finished epochs.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   one thread per context */
TR_API int64_t tr_loader_epoch(const tr_loader *loader);

/* tr_loader_num_steps - the steps of one epoch, the same on every rank.
 *
 * Calls:     local
 * Errors:    none
 * Ownership: nothing is created or kept
 * Threads:   any thread */
TR_API int64_t tr_loader_num_steps(const tr_loader *loader);

/* tr_loader_num_samples - the samples of one epoch over all ranks.
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
