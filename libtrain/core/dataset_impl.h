/* The interface of a data set. */
#ifndef TR_DATASET_IMPL_H
#define TR_DATASET_IMPL_H

#include "core/context_impl.h"

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

#endif
