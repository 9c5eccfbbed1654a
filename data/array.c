/* tr_array_open(): a data set over arrays that the program holds in memory. */
#include "data/array_impl.h"
#include "data/classes_impl.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct array {
  const char *x, *y;       /* both borrowed */
  size_t x_bytes, y_bytes; /* of one sample */
  int64_t elements;        /* of one sample's input */
  tr_dtype dtype;          /* of x, and of targets that are numbers */
} array;

/* Copy n numbers, converted where the types differ. */
static void copy_numbers(
    tr_dtype to_type, void *to, tr_dtype from_type, const void *from, int64_t n)
{
  if (to_type == from_type) {
    memcpy(to, from, (size_t)n * tr_dtype_size(to_type));
  } else if (to_type == TR_F64) {
    for (int64_t i = 0; i < n; i++) {
      ((double *)to)[i] = ((const float *)from)[i];
    }
  } else {
    for (int64_t i = 0; i < n; i++) {
      ((float *)to)[i] = (float)((const double *)from)[i];
    }
  }
}

static tr_status array_read(
    const tr_dataset *data, const int64_t *ids, int64_t count, void *x, void *y)
{
  const array *state = data->state;
  bool has_classes = data->target_dtype == TR_I32;
  for (int64_t i = 0; i < count; i++) {
    size_t from = (size_t)ids[i];
    copy_numbers(data->dtype, tr__at(x, data->dtype, i * state->elements),
                 state->dtype, state->x + from * state->x_bytes,
                 state->elements);
    void *to = tr__at(y, data->target_dtype, i * data->target_values);
    const char *target = state->y + from * state->y_bytes;
    if (has_classes) {
      memcpy(to, target, state->y_bytes);
    } else {
      copy_numbers(data->target_dtype, to, state->dtype, target,
                   data->target_values);
    }
  }
  return TR_OK;
}

static void array_close(tr_dataset *data)
{
  free(data->state);
}

static const tr__dataset_type array_type = {
    .name = "array", .read = array_read, .close = array_close};

static tr_status
open_local(tr_context *ctx, const tr_array_opts *opts, tr_dataset **out)
{
  TR_TRY(tr__array_check(ctx, opts));
  TR_CHECK(!opts->distributed || ctx->comm->shards.total == 0, TR_EINVAL,
           "array: distributed excludes virtual_shards: which rank holds a "
           "sample decides its batch, so results depend on the number of "
           "ranks");
  array *state = malloc(sizeof *state);
  TR_CHECK(state != NULL, TR_ENOMEM, "array: out of memory");
  bool has_classes = tr__array_has_classes(opts);
  int64_t inputs = tr_shape_count(&opts->shape);
  int64_t values = has_classes ? 1 : tr_shape_count(&opts->target_shape);
  tr_dtype dtype = tr__array_dtype(ctx, opts);
  size_t width = tr_dtype_size(dtype);
  *state =
      (array){.x = opts->x,
              .y = has_classes ? (const void *)opts->y : opts->targets,
              .x_bytes = (size_t)inputs * width,
              .y_bytes = has_classes ? sizeof *opts->y : (size_t)values * width,
              .elements = inputs,
              .dtype = dtype};
  const tr__dataset_info info = {.type = &array_type,
                                 .shape = opts->shape,
                                 .num_samples = opts->num_samples,
                                 .num_classes = opts->num_classes,
                                 .target_values = values};
  tr_status status = tr__dataset_new(ctx, &info, "array", NULL, state, out);
  if (status != TR_OK) {
    free(state);
    return status;
  }
  tr__warn_layout(ctx, "array", &opts->shape);
  return TR_OK;
}

static unsigned long long
hash(const tr_dataset *data, const char *values, size_t bytes)
{
  return XXH3_64bits(values, (size_t)data->num_samples * bytes);
}

/* All ranks must give the same arrays, or with distributed arrays samples of
 * the same form. */
static tr_status agree_on_arrays(const tr_dataset *data, int distributed)
{
  const array *state = data->state;
  tr__comm *comm = data->ctx->comm;
  char shape[TR__SHAPE_BYTES], text[TR__SHAPE_BYTES + 256];
  int length =
      snprintf(text, sizeof text,
               "distributed %d\nshape %s\nclasses %lld\nvalues of a "
               "target %lld\n",
               distributed, tr__shape_text(&data->shape, shape),
               (long long)data->num_classes, (long long)data->target_values);
  if (!distributed && comm->size > 1) {
    snprintf(text + length, sizeof text - (size_t)length,
             "samples %lld\nx of the hash %016llx\ntargets of the hash "
             "%016llx\n",
             (long long)data->num_samples, hash(data, state->x, state->x_bytes),
             hash(data, state->y, state->y_bytes));
  }
  tr_status status = tr__agree_text(comm, "arrays", text);
  if (status != TR_EMISMATCH) {
    return status;
  }
  char message[TR__MESSAGE_BYTES];
  snprintf(message, sizeof message,
           "%.800s; ranks that each hold samples of their own set "
           "tr_array_opts.distributed, on all of them",
           tr_error_message());
  TR_FAIL(status, "%s", message);
  tr__error_set_agreed(0, comm->rank == 0, message);
  return status;
}

/* data->counts <- the number of samples of each rank, by an all-reduce. */
static tr_status gather_counts(tr_dataset *data)
{
  tr__comm *comm = data->ctx->comm;
  int64_t *counts = calloc((size_t)comm->size, sizeof *counts), total = 0;
  data->counts = counts;
  TR_TRY(tr__agree(comm, counts != NULL
                             ? TR_OK
                             : TR_FAIL(TR_ENOMEM,
                                       "array: no memory for the counts "
                                       "of %d ranks",
                                       comm->size)));
  counts[comm->rank] = data->num_samples;
  TR_TRY(comm->type->reduce_i64(comm, counts, comm->size, TR__SUM));
  for (int r = 0; r < comm->size; r++) {
    total += counts[r];
  }
  return tr__agree(
      comm,
      total > 0 ? TR_OK : TR_FAIL(TR_EDATA, "array: no rank has a sample"));
}

tr_status
tr_array_open(tr_context *ctx, const tr_array_opts *opts, tr_dataset **out)
{
  tr_dataset *data = NULL;
  tr_status status = open_local(ctx, opts, &data);
  TR_TRY(tr__dataset_agree(ctx, status, data, out));
  status = agree_on_arrays(*out, opts->distributed);
  if (status == TR_OK && opts->distributed) {
    status = gather_counts(*out);
  }
  if (status != TR_OK) {
    tr_dataset_destroy(out);
  }
  return tr_error_push(status, __FILE__, __LINE__);
}
