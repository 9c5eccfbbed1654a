/* Test helper: a classification data set whose read function the test supplies.
 */
#ifndef TR_OWN_DATA_H
#define TR_OWN_DATA_H

#include "test.h"

#include "core/dataset_impl.h"

/* own_data_close - the close function of a tr__dataset_type whose state
 * own_data_open() allocated. */
static void own_data_close(tr_dataset *data)
{
  free(data->state);
}

/* own_data_open - a data set of this type. as: its shape, num_samples and
 * num_classes. The data set owns a copy of the `bytes` bytes of state.
 * tr_dataset_destroy() releases all of it, so it is allocated as the library
 * does. */
static tr_dataset *own_data_open(tr_context *ctx,
                                 const tr__dataset_type *type,
                                 const tr_dataset *as,
                                 const void *state,
                                 size_t bytes)
{
  tr_dataset *data = malloc(sizeof *data);
  void *copy = malloc(bytes);
  ASSERT(data != NULL && copy != NULL);
  memcpy(copy, state, bytes);
  *data = *as;
  data->type = type;
  data->ctx = ctx;
  data->dtype = ctx->dtype;
  data->target_dtype = TR_I32;
  data->name = strdup(type->name);
  data->state = copy;
  return data;
}

#endif
