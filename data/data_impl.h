/* What the files of this folder share: making data sets, and the sampler. */
#ifndef TR_DATA_IMPL_H
#define TR_DATA_IMPL_H

#include "core/dataset_impl.h"
#include "data/deal_impl.h"

/* The most classes that labels may name: a wild label would otherwise ask for
 * a model of any size. */
#define TR__MAX_CLASSES 1000000

/* What a format's open function finds out; tr__dataset_new() takes it. */
typedef struct tr__dataset_info {
  const tr__dataset_type *type;
  tr_shape shape;
  int64_t num_samples;
  int64_t num_classes;   /* 0: targets are numbers of the context's type */
  int64_t target_values; /* per sample; 0: 1 */
  bool has_ids;          /* x is int32 */
  char *numbering;       /* see tr_dataset; taken on success; NULL: none */
} tr__dataset_info;

/* tr__dataset_new - a data set named "path (split)"; split may be NULL.
 *
 * state is taken on success, and released with type->close(). */
tr_status tr__dataset_new(tr_context *ctx,
                          const tr__dataset_info *info,
                          const char *path,
                          const char *split,
                          void *state,
                          tr_dataset **out);

/* The formats on one rank alone, for the collective calls to agree on. */
tr_status tr__idx_open_local(tr_context *ctx,
                             const char *dir,
                             const char *split,
                             tr_dataset **out);
tr_status tr__hdf5_open_local(tr_context *ctx,
                              const char *path,
                              const char *split,
                              tr_dataset **out);

/* tr__dataset_agree - end a collective open: data goes to *out where all ranks
 * have one, and is closed where one has not. */
tr_status tr__dataset_agree(tr_context *ctx,
                            tr_status status,
                            tr_dataset *data,
                            tr_dataset **out);

/* tr__alphabet_text - a text's numbering, see tr_dataset.numbering. Allocated
 * with malloc; NULL without memory. */
char *tr__alphabet_text(const tr_alphabet *alphabet);

/* tr__alphabet_parse - the alphabet of such a text; "" is one without
 * characters. TR_EDATA. */
tr_status tr__alphabet_parse(const char *text, tr_alphabet *out);

/* Train and test as parts of the same samples, in a fixed shuffled order; zero:
 * all samples as they are. */
typedef struct tr__split {
  int64_t total; /* 0: not split */
  int64_t first; /* place of sample 0 in the order */
} tr__split;

/* tr__split_of - 80 % of the samples for train, 20 % for test.
 *
 * num_samples  [in,out]  all -> those of this part; TR_EDATA where it has none
 */
tr_status tr__split_of(const char *path,
                       bool is_test,
                       int64_t *num_samples,
                       tr__split *out);

/* tr__split_id - which of all samples is sample id of a part. */
int64_t tr__split_id(const tr__split *split, int64_t id);

/* tr__text - a text that a caller may have left out: every format refuses "".
 */
static inline const char *tr__text(const char *text)
{
  return text != NULL ? text : "";
}

/* tr__at - the address of an element. */
static inline void *tr__at(void *x, tr_dtype dtype, int64_t element)
{
  return (char *)x + (size_t)element * tr_dtype_size(dtype);
}

/* Cuts the one order of each epoch into this rank's parts, or deals batches to
 * ranks that each have an order of their own samples. */
typedef struct tr__sampler {
  uint64_t seed;
  int64_t num_samples; /* of all ranks */
  int64_t batch;       /* global */
  bool shuffle;
  int64_t shards;   /* into which each batch is cut */
  int64_t shard[2]; /* this rank's: the first, and the end */
  int64_t most;     /* shards of any rank */
  tr__deal *deal;   /* of distributed data, borrowed; NULL: there is one order
                       for all ranks */
} tr__sampler;

/* One rank's part of one step. */
typedef struct tr__sampler_step {
  int64_t epoch;
  int64_t place;        /* of this rank's first sample in the epoch's order, or
                           in the order of its own samples */
  int64_t count;        /* samples of this rank */
  int64_t first;        /* of the first one in the global batch */
  int64_t global_count; /* samples of all ranks */
} tr__sampler_step;

/* tr__sampler_at - this rank's part of the step that begins where `done`
 * samples of an epoch have been delivered; done < num_samples. One thread at a
 * time. */
tr__sampler_step
tr__sampler_at(const tr__sampler *sampler, int64_t epoch, int64_t done);

/* tr__sampler_ids - the sample numbers of a step: (step->count) of them. */
void tr__sampler_ids(const tr__sampler *sampler,
                     const tr__sampler_step *step,
                     int64_t *ids);

/* tr__sampler_max_rows - the most samples that any rank gets in one step. */
int64_t tr__sampler_max_rows(const tr__sampler *sampler);

#endif
