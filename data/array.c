/* A data set over arrays that the program holds. */
#include "data/data_impl.h"

#include <stdlib.h>
#include <string.h>

typedef struct array {
  const char *x, *y;       /* both borrowed */
  size_t x_bytes, y_bytes; /* of one sample */
} array;

static tr_status array_read(
    const tr_dataset *data, const int64_t *ids, int64_t count, void *x, void *y)
{
  const array *state = data->state;
  size_t x_bytes = state->x_bytes, y_bytes = state->y_bytes;
  for (int64_t i = 0; i < count; i++) {
    size_t to = (size_t)i, from = (size_t)ids[i];
    memcpy((char *)x + to * x_bytes, state->x + from * x_bytes, x_bytes);
    memcpy((char *)y + to * y_bytes, state->y + from * y_bytes, y_bytes);
  }
  return TR_OK;
}

static void array_close(tr_dataset *data)
{
  free(data->state);
}

static const tr__dataset_type array_type = {"array", array_read, array_close};

static tr_status check_classes(const tr_array_opts *opts)
{
  TR_CHECK(opts->num_classes > 0 && opts->num_classes <= TR__MAX_CLASSES,
           TR_EINVAL, "array: num_classes is %lld, expected 1 to %d",
           (long long)opts->num_classes, TR__MAX_CLASSES);
  for (int64_t i = 0; i < opts->num_samples; i++) {
    TR_CHECK(opts->y[i] >= 0 && opts->y[i] < opts->num_classes, TR_EDATA,
             "array: label of sample %lld is %d, expected 0 to %lld",
             (long long)i, opts->y[i], (long long)opts->num_classes - 1);
  }
  return TR_OK;
}

static tr_status check_opts(const tr_array_opts *opts)
{
  TR_CHECK(opts != NULL, TR_EINVAL, "array: options are missing");
  TR_CHECK(opts->x != NULL && (opts->y != NULL) != (opts->targets != NULL),
           TR_EINVAL, "array: x and either y or targets are required");
  TR_CHECK(opts->num_samples > 0, TR_EINVAL,
           "array: num_samples is %lld, expected 1 or more",
           (long long)opts->num_samples);
  TR_CHECK(tr__shape_is_valid(&opts->shape), TR_EINVAL,
           "array: shape has an extent that is not positive, or too many");
  if (opts->y != NULL) {
    return check_classes(opts);
  }
  TR_CHECK(tr__shape_is_valid(&opts->target_shape), TR_EINVAL,
           "array: target_shape has an extent that is not positive, or too "
           "many");
  TR_CHECK(opts->num_classes == 0, TR_EINVAL,
           "array: num_classes is %lld, expected 0 with targets",
           (long long)opts->num_classes);
  return TR_OK;
}

static tr_status
array_open(tr_context *ctx, const tr_array_opts *opts, tr_dataset **out)
{
  TR_TRY(check_opts(opts));
  array *state = malloc(sizeof *state);
  TR_CHECK(state != NULL, TR_ENOMEM, "array: out of memory");
  bool has_classes = opts->y != NULL;
  int64_t values = has_classes ? 1 : tr_shape_count(&opts->target_shape);
  size_t width = tr_dtype_size(ctx->dtype);
  *state = (array){.x = opts->x,
                   .y = has_classes ? (const void *)opts->y : opts->targets,
                   .x_bytes = (size_t)tr_shape_count(&opts->shape) * width,
                   .y_bytes =
                       has_classes ? sizeof *opts->y : (size_t)values * width};
  const tr__dataset_info info = {.type = &array_type,
                                 .shape = opts->shape,
                                 .num_samples = opts->num_samples,
                                 .num_classes = opts->num_classes,
                                 .target_values = values};
  tr_status status = tr__dataset_new(ctx, &info, "array", NULL, state, out);
  if (status != TR_OK) {
    free(state);
  }
  return status;
}

tr_status
tr_array_open(tr_context *ctx, const tr_array_opts *opts, tr_dataset **out)
{
  tr_dataset *data = NULL;
  tr_status status = array_open(ctx, opts, &data);
  return tr__dataset_agree(ctx, status, data, out);
}
