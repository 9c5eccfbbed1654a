/* The interface of a data set. Each format implements it. */
#ifndef TR_DATASET_IMPL_H
#define TR_DATASET_IMPL_H

#include "core/context_impl.h"

#include <train/data.h>

typedef struct tr__dataset_type {
  const char *name;

  /* read - read samples by number into x (count, shape...) of data->dtype and y
   * (count, target_values) of data->target_dtype. ids are in range. Several
   * threads call it at once. */
  tr_status (*read)(const tr_dataset *data,
                    const int64_t *ids,
                    int64_t count,
                    void *x,
                    void *y);
  void (*close)(tr_dataset *data); /* releases data->state */

  /* hash - of the data held in memory, such as the labels, by which ranks
   * detect that their files differ. NULL: none is held. */
  uint64_t (*hash)(const tr_dataset *data);
} tr__dataset_type;

struct tr_dataset {
  const tr__dataset_type *type;
  tr_context *ctx; /* borrowed */
  tr_dtype dtype;  /* type of x in read(): the context's type, or TR_I32 */
  tr_shape shape;
  tr_dtype target_dtype; /* TR_I32 for classes, the context's type for
                            numbers */
  int64_t target_values; /* targets of one sample; 0: 1 */
  int64_t num_samples;   /* samples that this rank can read */
  int64_t *counts; /* (ranks) samples of each rank, where each holds its own;
                      owned; NULL: all ranks hold the same samples */
  int64_t num_classes;
  char *name;      /* path and split, for messages; owned */
  char *numbering; /* how its numbers follow from the file, such as the ids of a
                      text from its characters; NULL: the file holds them.
                      Checkpoints save it. Owned */
  void *state;     /* private to the format */
};

/* The last batch of a loader, by which messages name a row's sample. */
typedef struct tr__source {
  const tr_dataset *data;
  const void *x;      /* inputs of the batch; NULL: there is no batch */
  const int64_t *ids; /* sample numbers of the batch */
  struct tr__source *next;
} tr__source;

#endif
