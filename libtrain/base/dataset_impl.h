/* The interface of a data set, and of a loader's position in it. */
#ifndef TR_DATASET_IMPL_H
#define TR_DATASET_IMPL_H

#include "base/context_impl.h"

#include <train/data.h>

typedef struct tr__dataset_type {
  const char *name;

  /* read - samples by number into x (count, shape...) of data->dtype and y
   * (count, target_values) of data->target_dtype; ids are in range. Called from
   * several threads at once. */
  tr_status (*read)(const tr_dataset *data,
                    const int64_t *ids,
                    int64_t count,
                    void *x,
                    void *y);
  void (*close)(tr_dataset *data); /* releases data->state */

  /* hash - of what is held in memory, such as the labels, so that ranks whose
   * files differ are found; NULL: nothing is. */
  uint64_t (*hash)(const tr_dataset *data);
} tr__dataset_type;

struct tr_dataset {
  const tr__dataset_type *type;
  tr_context *ctx; /* borrowed */
  tr_dtype dtype;  /* of what read() delivers: the context's, or TR_I32 */
  tr_shape shape;
  tr_dtype target_dtype; /* TR_I32 for classes, the context's for numbers */
  int64_t target_values; /* of one sample; 0: 1 */
  int64_t num_samples;   /* that this rank can read */
  int64_t *counts; /* (ranks) of all ranks where each holds samples of its own;
                      owned; NULL: all hold the same */
  int64_t num_classes;
  char *name;      /* path and split, for messages; owned */
  char *numbering; /* how its own numbers are made from what it holds, such as
                      a text's from its characters; NULL: they are in the data.
                      Checkpoints keep it. Owned */
  void *state;     /* the type's own */
};

/* The batch that a loader last gave out, so that a sample of it has a name. */
typedef struct tr__source {
  const tr_dataset *data;
  const void *x;      /* the batch's array; NULL: there is none */
  const int64_t *ids; /* of its samples */
  struct tr__source *next;
} tr__source;

/* Where a loader stands: enough to continue on any number of ranks. */
typedef struct tr__loader_state {
  uint64_t seed;
  int64_t epoch;       /* finished epochs */
  int64_t done;        /* samples of the current epoch that were delivered */
  int64_t num_samples; /* of all ranks, to refuse another data set */
  int64_t batch;       /* global */
  int64_t shuffle;
  int64_t deal; /* hash of the counts that distributed data has per rank; 0:
                   the data are not distributed */
} tr__loader_state;

/* tr__loader_dataset - what a loader reads. */
const tr_dataset *tr__loader_dataset(const tr_loader *loader);

/* tr__loader_get_state - the position after the batch last delivered. */
tr__loader_state tr__loader_get_state(const tr_loader *loader);

/* tr__loader_fits_deal - whether a position means the same samples here: in the
 * middle of an epoch distributed data need the counts per rank that they had.
 */
bool tr__loader_fits_deal(const tr_loader *loader,
                          const tr__loader_state *state);

/* tr__loader_set_state - continue from a position. TR_EMISMATCH where the
 * data set has another number of samples. A different batch or seed counts
 * from the state's done samples: those of the epoch still come once each, as
 * long as seed and shuffle are the state's, which therefore replace the
 * loader's own. */
tr_status tr__loader_set_state(tr_loader *loader,
                               const tr__loader_state *state);

#endif
