/* Internals of data sets: creating them, splitting samples into train and test,
 * and the sampler that assigns the samples of each step to ranks. */
#ifndef TR_DATA_IMPL_H
#define TR_DATA_IMPL_H

#include "core/dataset_impl.h"
#include "data/deal_impl.h"

/* The most classes that labels may name. Without a limit, one wild label would
 * ask for a model of any size. */
#define TR__MAX_CLASSES 1000000

/* What a format's open function finds out, for tr__dataset_new(). */
typedef struct tr__dataset_info {
  const tr__dataset_type *type;
  tr_shape shape;
  int64_t num_samples;
  int64_t num_classes;   /* 0: targets are numbers of the context's type */
  int64_t target_values; /* per sample; 0: 1 */
  bool has_ids;          /* x is int32 */
  char *numbering;       /* see tr_dataset; taken on success; NULL: none */
} tr__dataset_info;

/* tr__dataset_new - create a data set named "path (split)"; split may be NULL.
 *
 * state is taken on success. type->close() releases it. */
tr_status tr__dataset_new(tr_context *ctx,
                          const tr__dataset_info *info,
                          const char *path,
                          const char *split,
                          void *state,
                          tr_dataset **out);

/* Open a format on this rank alone. The collective calls agree on the status
 * afterwards. */
tr_status tr__idx_open_local(tr_context *ctx,
                             const char *dir,
                             const char *split,
                             tr_dataset **out);
tr_status tr__hdf5_open_local(tr_context *ctx,
                              const char *path,
                              const char *split,
                              tr_dataset **out);

/* tr__dataset_agree - end a collective open: *out <- data where every rank has
 * opened it; otherwise data is closed and *out <- NULL. */
tr_status tr__dataset_agree(tr_context *ctx,
                            tr_status status,
                            tr_dataset *data,
                            tr_dataset **out);

/* tr__alphabet_text - an alphabet as text, for tr_dataset.numbering. The caller
 * frees it with free(); NULL without memory. */
char *tr__alphabet_text(const tr_alphabet *alphabet);

/* tr__alphabet_parse - the alphabet that such a text describes; "" is the empty
 * alphabet. TR_EDATA for any other text. */
tr_status tr__alphabet_parse(const char *text, tr_alphabet *out);

/* A train/test split of one set of samples: each takes a contiguous range of
 * one fixed shuffled order. Zero-initialised: no split, samples in their stored
 * order. */
typedef struct tr__split {
  int64_t total; /* samples of both; 0: no split */
  int64_t first; /* position of sample 0 in the shuffled order */
} tr__split;

/* tr__split_of - 80 % of the samples for train, 20 % for test.
 *
 * num_samples  [in,out]  all samples -> those of this split; TR_EDATA where it
 *              has none */
tr_status tr__split_of(const char *path,
                       bool is_test,
                       int64_t *num_samples,
                       tr__split *out);

/* tr__split_id - the number, among all samples, of a split's sample id. */
int64_t tr__split_id(const tr__split *split, int64_t id);

/* tr__text - an argument that the caller may leave out: NULL becomes "", which
 * every format refuses. */
static inline const char *tr__text(const char *text)
{
  return text != NULL ? text : "";
}

/* tr__at - the address of an element. */
static inline void *tr__at(void *x, tr_dtype dtype, int64_t element)
{
  return (char *)x + (size_t)element * tr_dtype_size(dtype);
}

/* The sampler decides which samples this rank reads in each step. Usually all
 * ranks follow one order per epoch, and each rank reads its shards of the
 * global batch. Distributed data has one order per rank, and tr__deal_at() says
 * how many samples each rank gives to the global batch. */
typedef struct tr__sampler {
  uint64_t seed;
  int64_t num_samples; /* of all ranks */
  int64_t batch;       /* global */
  bool shuffle;
  int64_t shards;   /* number of shards of a global batch */
  int64_t shard[2]; /* this rank's: the first, and the end */
  int64_t most;     /* the most shards of any rank */
  tr__deal *deal;   /* of distributed data, borrowed; NULL: all ranks follow one
                       order */
} tr__sampler;

/* The samples of one rank in one step. */
typedef struct tr__sampler_step {
  int64_t epoch;
  int64_t place;        /* position of this rank's first sample in the epoch's
                           order, or in the order of its own samples */
  int64_t count;        /* samples of this rank */
  int64_t first;        /* position of the first one in the global batch */
  int64_t global_count; /* samples of all ranks */
} tr__sampler_step;

/* tr__sampler_at - this rank's samples of the step that begins after `done`
 * samples of an epoch; done < num_samples. One thread at a time, because
 * distributed data uses the scratch memory of `deal`. */
tr__sampler_step
tr__sampler_at(const tr__sampler *sampler, int64_t epoch, int64_t done);

/* tr__sampler_ids - write the step->count sample numbers of a step. */
void tr__sampler_ids(const tr__sampler *sampler,
                     const tr__sampler_step *step,
                     int64_t *ids);

/* tr__sampler_max_rows - the most samples that any rank gets in one step. */
int64_t tr__sampler_max_rows(const tr__sampler *sampler);

#endif
