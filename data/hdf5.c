/* tr_hdf5_open(): a data set in an HDF5 file. The labels are read when it is
 * opened; samples are read when they are needed, by any number of threads at
 * once. */
#include "hdf5/hdf5_impl.h"

#include "data/classes_impl.h"
#include "data/hdf5_labels_impl.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct hdf5 {
  tr__hdf5_file file;
  tr__hdf5_array x;
  int64_t elements; /* of one sample */
  int32_t *labels;
  tr__split split;
} hdf5;

static tr_status check_samples(const tr__hdf5_array *x)
{
  const tr__hdf5_type *type = &x->type;
  bool is_u8 =
      type->class == TR__HDF5_INT && type->size == 1 && !type->is_signed;
  bool is_float = type->class == TR__HDF5_FLOAT && type->size >= 4;
  TR_CHECK(is_u8 || is_float, TR_EDATA,
           "%s: the type has %d bytes and is not one of uint8, float32 and "
           "float64 (in Python: x.astype(\"float32\"))",
           x->where, type->size);
  TR_CHECK(x->ndim >= 1, TR_EDATA, "%s: is a single value, expected an array",
           x->where);
  return TR_OK;
}

/* Bytes of (N, H, W) are images of one channel, as in IDX files. */
static tr_shape shape_of(const tr__hdf5_array *x)
{
  if (x->ndim == 1) {
    return tr_shape_of(1, (int64_t[]){1});
  }
  if (x->ndim == 3 && x->type.class == TR__HDF5_INT) {
    return tr_shape_of(3, (int64_t[]){1, x->dims[1], x->dims[2]});
  }
  return tr_shape_of(x->ndim - 1, x->dims + 1);
}

/* Count the labels of /train and /test too: all splits must have the same
 * classes, even if one of them lacks some. */
static tr_status
add_other(tr__hdf5_file *file, const char *split, tr__classes *classes)
{
  static const char *const names[2][2] = {{"train", "/train/y"},
                                          {"test", "/test/y"}};
  for (int i = 0; i < 2; i++) {
    bool has = false;
    if (strcmp(split, names[i][0]) != 0) {
      TR_TRY(tr__hdf5_has(file, names[i][1], &has));
    }
    if (has) {
      TR_TRY(tr__hdf5_add_labels(file, names[i][1], NULL, NULL, classes));
    }
  }
  return TR_OK;
}

static tr_status load_labels(tr_context *ctx,
                             const char *split,
                             hdf5 *state,
                             int64_t *num_classes)
{
  char name[TR__HDF5_WHERE_BYTES];
  tr__classes classes = {0};
  tr_status status;
  snprintf(name, sizeof name, "/%s/y", split);
  TR_TRY_GOTO(tr__hdf5_add_labels(&state->file, name, &state->x, &state->labels,
                                  &classes),
              done);
  TR_TRY_GOTO(add_other(&state->file, split, &classes), done);
  snprintf(name, sizeof name, "%.400s: /%s/y", state->file.path, split);
  /* Train and test have the same classes, so only one of them warns. */
  bool is_told = strcmp(split, "test") != 0;
  TR_TRY_GOTO(tr__classes_judge(&classes, is_told ? ctx : NULL, name), done);
  *num_classes = tr__classes_count(&classes);
done:
  tr__classes_release(&classes);
  return status;
}

static tr_status check_split_name(const char *path, const char *split)
{
  TR_CHECK(split[0] != '\0' && strchr(split, '/') == NULL &&
               strcmp(split, ".") != 0,
           TR_EINVAL, "%s: \"%s\" is not the name of a group", path, split);
  return TR_OK;
}

static tr_status fill(tr_context *ctx,
                      const char *path,
                      const char *split,
                      hdf5 *state,
                      tr__dataset_info *info)
{
  char name[TR__HDF5_WHERE_BYTES], text[TR__MESSAGE_BYTES / 2];
  TR_TRY(tr__hdf5_open_file(path, &state->file));
  TR_TRY(check_split_name(path, split));
  snprintf(name, sizeof name, "/%s/x", split);
  TR_TRY(tr__hdf5_open_array(
      &state->file, name, &(tr__hdf5_want){.missing = TR_ENOINPUT}, &state->x));
  TR_TRY(check_samples(&state->x));
  TR_TRY(load_labels(ctx, split, state, &info->num_classes));
  info->num_samples = state->x.dims[0];
  info->shape = shape_of(&state->x);
  state->elements = tr_shape_count(&info->shape);
  if (strcmp(split, "test") != 0) {
    tr__warn_layout(ctx, state->x.where, &info->shape);
  }
  if (tr__hdf5_chunk_warning(&state->x, text, sizeof text)) {
    tr__warn_root(ctx, "%s", text);
  }
  return TR_OK;
}

static tr_status hdf5_read(const tr_dataset *data,
                           const int64_t *ids,
                           int64_t count,
                           void *x,
                           void *targets)
{
  int32_t *y = targets;
  const hdf5 *state = data->state;
  tr__hdf5_as as = data->dtype == TR_F64 ? TR__HDF5_AS_F64 : TR__HDF5_AS_F32;
  for (int64_t i = 0; i < count;) {
    int64_t first = tr__split_id(&state->split, ids[i]), run = 1;
    while (i + run < count &&
           tr__split_id(&state->split, ids[i + run]) == first + run) {
      run++;
    }
    TR_TRY(tr__hdf5_read(&state->x, first, run, as,
                         tr__at(x, data->dtype, i * state->elements)));
    memcpy(y + i, state->labels + first, (size_t)run * sizeof *y);
    i += run;
  }
  return tr__hdf5_check_unchanged(&state->file, state->x.where);
}

static void release(hdf5 *state)
{
  tr__hdf5_close_array(&state->x);
  tr__hdf5_close_file(&state->file);
  free(state->labels);
  free(state);
}

static void hdf5_close(tr_dataset *data)
{
  release(data->state);
}

static uint64_t hdf5_hash(const tr_dataset *data)
{
  const hdf5 *state = data->state;
  return XXH3_64bits(state->labels,
                     (size_t)state->x.dims[0] * sizeof *state->labels);
}

static const tr__dataset_type hdf5_type = {
    .name = "hdf5", .read = hdf5_read, .close = hdf5_close, .hash = hdf5_hash};

/* A file with /train/x and without /test is split into train and test. */
static tr_status share_train(const char *path, bool *is_shared)
{
  tr__hdf5_file file;
  bool has_train = false, has_test = true;
  tr_status status;
  TR_TRY_GOTO(tr__hdf5_open_file(path, &file), done);
  TR_TRY_GOTO(tr__hdf5_has(&file, "/train/x", &has_train), done);
  TR_TRY_GOTO(tr__hdf5_has(&file, "/test", &has_test), done);
done:
  tr__hdf5_close_file(&file);
  *is_shared = has_train && !has_test;
  return status;
}

static tr_status open_split(tr_context *ctx,
                            const char *path,
                            const char *split,
                            const char *group,
                            bool is_shared,
                            tr_dataset **out)
{
  *out = NULL;
  hdf5 *state = calloc(1, sizeof *state);
  TR_CHECK(state != NULL, TR_ENOMEM, "%s: out of memory", path);
  state->file.fd = -1;
  tr__dataset_info info = {.type = &hdf5_type};
  tr_status status;
  TR_TRY_GOTO(fill(ctx, path, group, state, &info), failed);
  if (is_shared) {
    TR_TRY_GOTO(tr__split_of(path, strcmp(split, "test") == 0,
                             &info.num_samples, &state->split),
                failed);
  }
  TR_TRY_GOTO(tr__dataset_new(ctx, &info, path, split, state, out), failed);
  /* `path` is borrowed for the call, so the file refers to the data set's name.
   * Messages have the path in x.where. */
  state->file.path = (*out)->name;
  return TR_OK;
failed:
  release(state);
  return status;
}

tr_status tr__hdf5_open_local(tr_context *ctx,
                              const char *path,
                              const char *split,
                              tr_dataset **out)
{
  *out = NULL;
  bool is_shared = false;
  if (strcmp(split, "train") == 0 || strcmp(split, "test") == 0) {
    TR_TRY(share_train(path, &is_shared));
  }
  return open_split(ctx, path, split, is_shared ? "train" : split, is_shared,
                    out);
}

tr_status tr_hdf5_open(tr_context *ctx,
                       const char *path,
                       const char *split,
                       tr_dataset **out)
{
  tr_dataset *data = NULL;
  split = tr__text(split);
  tr_status status =
      open_split(ctx, tr__text(path), split, split, false, &data);
  return tr__dataset_agree(ctx, status, data, out);
}
