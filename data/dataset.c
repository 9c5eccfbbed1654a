/* What all data sets have in common: create, query, read, close, and the split
 * of one set of samples into train and test. */
#include "base/file_impl.h"
#include "base/random_impl.h"
#include "data/data_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Seed of the shuffle that splits one set of samples. It never changes: another
 * seed would move old training samples into new tests. */
#define SPLIT_SEED UINT64_C(20111)

/* "path (split)" in memory of its own; NULL without memory. */
static char *make_name(const char *path, const char *split)
{
  size_t bytes = strlen(path) + (split != NULL ? strlen(split) + 4 : 1);
  char *name = malloc(bytes);
  if (name != NULL && split != NULL) {
    snprintf(name, bytes, "%s (%s)", path, split);
  }
  if (name != NULL && split == NULL) {
    snprintf(name, bytes, "%s", path);
  }
  return name;
}

tr_status tr__dataset_new(tr_context *ctx,
                          const tr__dataset_info *info,
                          const char *path,
                          const char *split,
                          void *state,
                          tr_dataset **out)
{
  *out = NULL;
  tr_dataset *data = calloc(1, sizeof *data);
  char *name = make_name(path, split);
  if (data == NULL || name == NULL) {
    free(data);
    free(name);
    return TR_FAIL(TR_ENOMEM, "%s: out of memory", path);
  }
  *data = (tr_dataset){
      .type = info->type,
      .ctx = ctx,
      .dtype = info->has_ids ? TR_I32 : ctx->dtype,
      .shape = info->shape,
      .target_dtype = info->num_classes > 0 ? TR_I32 : ctx->dtype,
      .target_values = tr__max(info->target_values, 1),
      .num_samples = info->num_samples,
      .num_classes = info->num_classes,
      .name = name,
      .numbering = info->numbering,
      .state = state,
  };
  *out = data;
  return TR_OK;
}

tr_status tr__dataset_agree(tr_context *ctx,
                            tr_status status,
                            tr_dataset *data,
                            tr_dataset **out)
{
  status = tr__agree(ctx->comm, status);
  if (status != TR_OK) {
    tr_dataset_destroy(&data);
  }
  *out = data;
  return status;
}

/* A folder is read as IDX files, a regular file as HDF5. */
static tr_status open_path(tr_context *ctx,
                           const char *path,
                           const char *split,
                           tr_dataset **out)
{
  struct stat info;
  int failed = stat(path, &info);
  TR_CHECK(!failed, tr__errno_status(errno), "%s: %s", path, strerror(errno));
  if (S_ISDIR(info.st_mode)) {
    return tr__idx_open_local(ctx, path, split, out);
  }
  TR_CHECK(S_ISREG(info.st_mode), TR_EDATA,
           "%s: neither a folder of IDX files nor a regular HDF5 file", path);
  return tr__hdf5_open_local(ctx, path, split, out);
}

tr_status tr_dataset_open(tr_context *ctx,
                          const char *path,
                          const char *split,
                          tr_dataset **out)
{
  tr_dataset *data = NULL;
  tr_status status = path == NULL
                         ? tr_digits_open(ctx, split, &data)
                         : open_path(ctx, path, tr__text(split), &data);
  return tr__dataset_agree(ctx, status, data, out);
}

tr_shape tr_dataset_shape(const tr_dataset *data)
{
  return data->shape;
}

int64_t tr_dataset_num_samples(const tr_dataset *data)
{
  return data->num_samples;
}

int64_t tr_dataset_num_classes(const tr_dataset *data)
{
  return data->num_classes;
}

int64_t tr_dataset_target_values(const tr_dataset *data)
{
  return data->target_values;
}

tr_status tr_dataset_read(
    const tr_dataset *data, const int64_t *ids, int64_t count, void *x, void *y)
{
  TR_CHECK(count >= 0, TR_EINVAL, "%s: count is %lld, expected 0 or more",
           data->name, (long long)count);
  for (int64_t i = 0; i < count; i++) {
    TR_CHECK(ids[i] >= 0 && ids[i] < data->num_samples, TR_EINVAL,
             "%s: sample number is %lld, expected 0 to %lld", data->name,
             (long long)ids[i], (long long)data->num_samples - 1);
  }
  if (count == 0) {
    return TR_OK;
  }
  return data->type->read(data, ids, count, x, y);
}

void tr_dataset_sample_bytes(const tr_dataset *data, size_t *x, size_t *y)
{
  int64_t targets = tr__max(data->target_values, 1);
  *x = (size_t)tr_shape_count(&data->shape) * tr_dtype_size(data->dtype);
  *y = (size_t)targets * tr_dtype_size(data->target_dtype);
}

void tr_dataset_destroy(tr_dataset **data)
{
  if (data == NULL || *data == NULL) {
    return;
  }
  (*data)->type->close(*data);
  free((*data)->counts);
  free((*data)->name);
  free((*data)->numbering);
  free(*data);
  *data = NULL;
}

tr_status tr__split_of(const char *path,
                       bool is_test,
                       int64_t *num_samples,
                       tr__split *out)
{
  int64_t total = *num_samples, cut = tr__even_split(total, 4, 5);
  *out = (tr__split){.total = total, .first = is_test ? cut : 0};
  *num_samples = is_test ? total - cut : cut;
  TR_CHECK(*num_samples > 0, TR_EDATA,
           "%s: %lld sample is too few to split into train and test", path,
           (long long)total);
  return TR_OK;
}

int64_t tr__split_id(const tr__split *split, int64_t id)
{
  if (split->total == 0) {
    return id;
  }
  tr__permutation order = tr__permutation_of(SPLIT_SEED, 0, split->total);
  return tr__permute(&order, split->first + id);
}
