/* Samples from an HDF5 file, read when they are needed.
 *
 * Values that lie in the file as they do in memory are read with pread(), by
 * any number of threads at once; all others by libhdf5, one thread at a time.
 * Only the labels are held. */
#include "data/hdf5_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

/* Values pass through a buffer of this size where they change their type. */
#define PIECE_BYTES 16384

#define LABELS_AT_ONCE 4096

typedef struct hdf5 {
  tr__hdf5_file file;
  tr__hdf5_array x;
  int64_t elements; /* of one sample */
  int32_t *labels;
} hdf5;

static size_t kind_size(tr__hdf5_kind kind)
{
  return kind == TR__HDF5_U8 ? 1 : kind == TR__HDF5_F32 ? 4 : 8;
}

static tr_status check_label(const tr__hdf5_array *y, int64_t i, int64_t label)
{
  TR_CHECK(label >= 0 && label < TR__MAX_CLASSES, TR_EDATA,
           "%s: label of sample %lld is %lld, expected 0 to %d", y->where,
           (long long)i, (long long)label, TR__MAX_CLASSES - 1);
  return TR_OK;
}

/* Labels into out, unless that is NULL; *num_classes grows to the largest. */
static tr_status
read_labels(const tr__hdf5_array *y, int32_t *out, int64_t *num_classes)
{
  int64_t piece[LABELS_AT_ONCE];
  for (int64_t i = 0; i < y->dims[0]; i += LABELS_AT_ONCE) {
    int64_t count = tr__min(LABELS_AT_ONCE, y->dims[0] - i);
    TR_TRY(tr__hdf5_read(y, i, count, H5T_NATIVE_INT64, piece));
    for (int64_t j = 0; j < count; j++) {
      TR_TRY(check_label(y, i + j, piece[j]));
      *num_classes = tr__max(*num_classes, piece[j] + 1);
      if (out != NULL) {
        out[i + j] = (int32_t)piece[j];
      }
    }
  }
  return TR_OK;
}

static tr_status load_labels(hdf5 *state, const tr__hdf5_array *y, int64_t *k)
{
  int64_t count = state->x.dims[0];
  TR_CHECK(y->dims[0] == count, TR_EDATA,
           "%s: has %lld labels, expected %lld as in x", y->where,
           (long long)y->dims[0], (long long)count);
  state->labels = malloc((size_t)count * sizeof *state->labels);
  TR_CHECK(state->labels != NULL, TR_ENOMEM, "%s: no memory for %lld labels",
           y->where, (long long)count);
  return read_labels(y, state->labels, k);
}

/* Both splits must name the same classes, also those that one of them does
 * not have. */
static tr_status
look_at_other(const tr__hdf5_file *file, const char *split, int64_t *classes)
{
  static const char *const splits[] = {"train", "test"};
  for (int i = 0; i < 2; i++) {
    if (strcmp(split, splits[i]) == 0 || !tr__hdf5_has(file, splits[i], "y")) {
      continue;
    }
    tr__hdf5_array y;
    tr_status status = tr__hdf5_open_array(file, splits[i], "y", true, &y);
    if (status == TR_OK) {
      status = read_labels(&y, NULL, classes);
    }
    tr__hdf5_close(y.id);
    TR_TRY(status);
  }
  return TR_OK;
}

static tr_status
fill(const char *path, const char *split, hdf5 *state, tr__dataset_info *info)
{
  tr__hdf5_array y;
  TR_TRY(tr__hdf5_open_file(path, &state->file));
  TR_TRY(tr__hdf5_open_array(&state->file, split, "x", false, &state->x));
  tr_status status = tr__hdf5_open_array(&state->file, split, "y", true, &y);
  info->num_classes = 2;
  if (status == TR_OK) {
    status = load_labels(state, &y, &info->num_classes);
  }
  tr__hdf5_close(y.id);
  TR_TRY(status);
  TR_TRY(look_at_other(&state->file, split, &info->num_classes));
  info->num_samples = state->x.dims[0];
  info->shape = tr_shape_of(state->x.ndim - 1, state->x.dims + 1);
  if (state->x.ndim == 1) {
    info->shape = tr_shape_of(1, (int64_t[]){1});
  }
  state->elements = tr_shape_count(&info->shape);
  if (state->x.offset >= 0) {
    /* From here on libhdf5 is not needed. */
    tr__hdf5_close(state->x.id);
    tr__hdf5_close(state->file.id);
    state->x.id = state->file.id = -1;
  }
  return TR_OK;
}

static tr_status fill_locked(const char *path,
                             const char *split,
                             hdf5 *state,
                             tr__dataset_info *info)
{
  tr__hdf5_section section;
  tr__hdf5_begin(&section);
  tr_status status = fill(path, split, state, info);
  tr__hdf5_end(&section);
  return status;
}

static tr_status
pread_all(const hdf5 *state, void *out, size_t bytes, int64_t offset)
{
  size_t done = 0;
  while (done < bytes) {
    ssize_t n = pread(state->file.fd, (char *)out + done, bytes - done,
                      offset + (int64_t)done);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    TR_CHECK(n >= 0, TR_EIO, "%s: %s", state->x.where, strerror(errno));
    TR_CHECK(n > 0, TR_EIO, "%s: the file ends at byte %lld while it is read",
             state->x.where, (long long)(offset + (int64_t)done));
    done += (size_t)n;
  }
  return TR_OK;
}

/* count values of a kind -> the element type of x. */
static void convert(
    const void *in, tr__hdf5_kind kind, int64_t count, tr_dtype dtype, void *x)
{
  if (kind == TR__HDF5_U8) {
    tr__scale_bytes(in, count, dtype, x);
  } else if (kind == TR__HDF5_F64) {
    for (int64_t i = 0; i < count; i++) {
      ((float *)x)[i] = (float)((const double *)in)[i];
    }
  } else {
    for (int64_t i = 0; i < count; i++) {
      ((double *)x)[i] = ((const float *)in)[i];
    }
  }
}

static bool is_same_type(tr__hdf5_kind kind, tr_dtype dtype)
{
  return kind == (dtype == TR_F64 ? TR__HDF5_F64 : TR__HDF5_F32);
}

/* `count` neighbouring samples from the file itself. */
static tr_status
read_direct(const tr_dataset *data, int64_t first, int64_t count, void *x)
{
  const hdf5 *state = data->state;
  int64_t size = (int64_t)kind_size(state->x.kind);
  int64_t values = count * state->elements;
  int64_t offset = state->x.offset + first * state->elements * size;
  if (is_same_type(state->x.kind, data->dtype)) {
    return pread_all(state, x, (size_t)(values * size), offset);
  }
  double piece[PIECE_BYTES / sizeof(double)];
  int64_t at_once = PIECE_BYTES / size;
  for (int64_t i = 0; i < values; i += at_once) {
    int64_t n = tr__min(at_once, values - i);
    TR_TRY(pread_all(state, piece, (size_t)(n * size), offset + i * size));
    convert(piece, state->x.kind, n, data->dtype, tr__at(x, data->dtype, i));
  }
  return TR_OK;
}

/* `count` neighbouring samples through libhdf5, which converts floats. Bytes
 * go to the end of their place in x and are spread out from there. */
static tr_status read_through_library(const tr_dataset *data,
                                      int64_t first,
                                      int64_t count,
                                      void *x)
{
  const hdf5 *state = data->state;
  bool is_u8 = state->x.kind == TR__HDF5_U8;
  int64_t values = count * state->elements;
  size_t size = tr_dtype_size(data->dtype);
  uint8_t *bytes = (uint8_t *)x + (size_t)values * (size - 1);
  tr__hdf5_section section;
  tr__hdf5_begin(&section);
  hid_t type = is_u8                   ? H5T_NATIVE_UCHAR
               : data->dtype == TR_F64 ? H5T_NATIVE_DOUBLE
                                       : H5T_NATIVE_FLOAT;
  tr_status status =
      tr__hdf5_read(&state->x, first, count, type, is_u8 ? (void *)bytes : x);
  tr__hdf5_end(&section);
  TR_TRY(status);
  uint8_t piece[PIECE_BYTES];
  for (int64_t i = 0; i < values && is_u8; i += PIECE_BYTES) {
    int64_t n = tr__min(PIECE_BYTES, values - i);
    memcpy(piece, bytes + i, (size_t)n);
    tr__scale_bytes(piece, n, data->dtype, tr__at(x, data->dtype, i));
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
  for (int64_t i = 0; i < count;) {
    int64_t run = 1;
    while (i + run < count && ids[i + run] == ids[i] + run) {
      run++;
    }
    void *out = tr__at(x, data->dtype, i * state->elements);
    TR_TRY(state->x.offset >= 0 ? read_direct(data, ids[i], run, out)
                                : read_through_library(data, ids[i], run, out));
    i += run;
  }
  for (int64_t i = 0; i < count; i++) {
    y[i] = state->labels[ids[i]];
  }
  return TR_OK;
}

static void release(hdf5 *state)
{
  tr__hdf5_section section;
  tr__hdf5_begin(&section);
  tr__hdf5_close(state->x.id);
  tr__hdf5_close_file(&state->file);
  tr__hdf5_end(&section);
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
                     (size_t)data->num_samples * sizeof *state->labels);
}

static const tr__dataset_type hdf5_type = {
    .name = "hdf5", .read = hdf5_read, .close = hdf5_close, .hash = hdf5_hash};

tr_status tr__hdf5_open_local(tr_context *ctx,
                              const char *path,
                              const char *split,
                              tr_dataset **out)
{
  *out = NULL;
  hdf5 *state = calloc(1, sizeof *state);
  TR_CHECK(state != NULL, TR_ENOMEM, "%s: out of memory", path);
  state->x.id = state->file.id = state->file.fd = -1;
  tr__dataset_info info = {.type = &hdf5_type};
  tr_status status;
  TR_TRY_GOTO(fill_locked(path, split, state, &info), failed);
  TR_TRY_GOTO(tr__dataset_new(ctx, &info, path, split, state, out), failed);
  /* The path was borrowed; messages have it in x.where. */
  state->file.path = (*out)->name;
  return TR_OK;
failed:
  release(state);
  return status;
}

tr_status tr_hdf5_open(tr_context *ctx,
                       const char *path,
                       const char *split,
                       tr_dataset **out)
{
  tr_dataset *data = NULL;
  tr_status status =
      tr__hdf5_open_local(ctx, tr__text(path), tr__text(split), &data);
  return tr__dataset_agree(ctx, status, data, out);
}
