/* tr_idx_open(): a data set of images and labels in a folder of IDX files
 * (MNIST's format), held in memory. */
#include "base/bytes_impl.h"
#include "base/file_impl.h"
#include "data/classes_impl.h"
#include "data/idx_impl.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

enum { TRAIN, TEST, NUM_PAIRS };

typedef struct idx {
  tr__idx images, labels; /* the bytes of this split's samples alone */
} idx;

/* A file of the folder, with or without .gz. */
typedef struct file_name {
  char path[PATH_MAX];
  bool is_there, is_gz;
} file_name;

/* A symbolic link to nothing counts as present, and a failed look-up is an
 * error. If either counted as absent, the other pair of files would be split
 * into train and test. */
static tr_status find_file(const char *dir, const char *name, file_name *out)
{
  struct stat info;
  for (int i = 0; i < 2; i++) {
    out->is_gz = i == 1;
    int length = snprintf(out->path, sizeof out->path, "%s/%s%s", dir, name,
                          out->is_gz ? ".gz" : "");
    TR_CHECK(length < PATH_MAX, TR_EINVAL, "%s: the path is too long", dir);
    out->is_there = lstat(out->path, &info) == 0;
    if (out->is_there) {
      return TR_OK;
    }
    TR_CHECK(errno == ENOENT || errno == ENOTDIR, tr__errno_status(errno),
             "%s: cannot look whether it is there: %s", out->path,
             strerror(errno));
  }
  return TR_OK;
}

static const char *const image_names[NUM_PAIRS] = {"train-images-idx3-ubyte",
                                                   "t10k-images-idx3-ubyte"};
static const char *const label_names[NUM_PAIRS] = {"train-labels-idx1-ubyte",
                                                   "t10k-labels-idx1-ubyte"};

static tr_status load_labels(const char *dir, int pair, tr__idx *out)
{
  file_name labels;
  TR_TRY(find_file(dir, label_names[pair], &labels));
  TR_CHECK(labels.is_there, TR_ENOINPUT, "%s: found %s but not %s", dir,
           image_names[pair], label_names[pair]);
  TR_TRY(tr__idx_load(labels.path, labels.is_gz, 1, out));
  return TR_OK;
}

static tr_status load_pair(const char *dir, int pair, idx *state)
{
  file_name images;
  TR_TRY(find_file(dir, image_names[pair], &images));
  TR_CHECK(images.is_there, TR_ENOINPUT, "%s: no %s", dir, image_names[pair]);
  TR_TRY(tr__idx_load(images.path, images.is_gz, 3, &state->images));
  TR_TRY(load_labels(dir, pair, &state->labels));
  TR_CHECK(state->images.dims[0] == state->labels.dims[0], TR_EDATA,
           "%s: %s has %lld labels, expected %lld as in %s", dir,
           label_names[pair], (long long)state->labels.dims[0],
           (long long)state->images.dims[0], image_names[pair]);
  return TR_OK;
}

static tr_status
add_labels(const char *where, const tr__idx *labels, tr__classes *classes)
{
  for (int64_t i = 0; i < labels->dims[0]; i++) {
    TR_TRY(tr__classes_add(classes, where, i, labels->bytes[i]));
  }
  return TR_OK;
}

/* Count the labels of both splits: they must have the same classes, even if one
 * of them lacks some. */
static tr_status add_all_labels(const char *dir,
                                int pair,
                                bool has_other,
                                const tr__idx *labels,
                                tr__classes *classes)
{
  TR_TRY(add_labels(dir, labels, classes));
  if (!has_other) {
    return TR_OK;
  }
  tr__idx other;
  TR_TRY(load_labels(dir, TRAIN + TEST - pair, &other));
  tr_status status = add_labels(dir, &other, classes);
  free(other.bytes);
  return status;
}

static tr_status count_classes(tr_context *ctx,
                               const char *dir,
                               int pair,
                               bool has_other,
                               const tr__idx *labels,
                               int64_t *out)
{
  tr__classes classes = {0};
  char where[PATH_MAX];
  tr_status status;
  snprintf(where, sizeof where, "%s/%s", dir, label_names[pair]);
  TR_TRY_GOTO(add_all_labels(dir, pair, has_other, labels, &classes), done);
  TR_TRY_GOTO(tr__classes_judge(&classes, ctx, where), done);
  *out = tr__classes_count(&classes);
done:
  tr__classes_release(&classes);
  return status;
}

static tr_status idx_read(const tr_dataset *data,
                          const int64_t *ids,
                          int64_t count,
                          void *x,
                          void *targets)
{
  int32_t *y = targets;
  const idx *state = data->state;
  int64_t pixels = tr_shape_count(&data->shape);
  for (int64_t i = 0; i < count; i++) {
    tr__scale_bytes(state->images.bytes + ids[i] * pixels, pixels, data->dtype,
                    tr__at(x, data->dtype, i * pixels));
    y[i] = state->labels.bytes[ids[i]];
  }
  return TR_OK;
}

/* Keep only the samples of this split in memory, so that train and test
 * together hold each sample once. */
static tr_status keep_part(const tr__split *split, int64_t count, tr__idx *all)
{
  size_t each = 1;
  for (int i = 1; i < all->ndim; i++) {
    each *= (size_t)all->dims[i];
  }
  uint8_t *part = malloc((size_t)count * each);
  TR_CHECK(part != NULL, TR_ENOMEM, "no memory for %lld samples",
           (long long)count);
  for (int64_t i = 0; i < count; i++) {
    memcpy(part + (size_t)i * each,
           all->bytes + (size_t)tr__split_id(split, i) * each, each);
  }
  free(all->bytes);
  all->bytes = part;
  return TR_OK;
}

static void release(idx *state)
{
  free(state->images.bytes);
  free(state->labels.bytes);
  free(state);
}

static void idx_close(tr_dataset *data)
{
  release(data->state);
}

/* Images are held in memory too, so the hash covers images and labels. */
static uint64_t idx_hash(const tr_dataset *data)
{
  const idx *state = data->state;
  const tr__idx *images = &state->images;
  size_t pixels = (size_t)(images->dims[1] * images->dims[2]);
  uint64_t labels = XXH3_64bits(state->labels.bytes, (size_t)data->num_samples);
  return XXH3_64bits_withSeed(images->bytes, (size_t)data->num_samples * pixels,
                              labels);
}

static const tr__dataset_type idx_type = {
    .name = "idx", .read = idx_read, .close = idx_close, .hash = idx_hash};

static tr_status find_pairs(const char *dir, bool *has)
{
  file_name name;
  for (int i = 0; i < NUM_PAIRS; i++) {
    TR_TRY(find_file(dir, image_names[i], &name));
    has[i] = name.is_there;
  }
  TR_CHECK(has[TRAIN] || has[TEST], TR_ENOINPUT,
           "%s: no IDX files: neither %s nor %s, with or without .gz", dir,
           image_names[TRAIN], image_names[TEST]);
  return TR_OK;
}

static tr_status fill(tr_context *ctx,
                      const char *dir,
                      const char *split,
                      idx *state,
                      tr__dataset_info *info)
{
  bool is_test = strcmp(split, "test") == 0, has[NUM_PAIRS];
  TR_CHECK(is_test || strcmp(split, "train") == 0, TR_EINVAL,
           "%s: split is \"%s\", expected \"train\" or \"test\"", dir, split);
  TR_TRY(find_pairs(dir, has));
  bool has_both = has[TRAIN] && has[TEST];
  int pair = has_both ? (is_test ? TEST : TRAIN) : (has[TRAIN] ? TRAIN : TEST);
  TR_TRY(load_pair(dir, pair, state));
  TR_TRY(count_classes(is_test ? NULL : ctx, dir, pair, has_both,
                       &state->labels, &info->num_classes));
  info->num_samples = state->images.dims[0];
  if (!has_both) {
    tr__split part;
    TR_TRY(tr__split_of(dir, is_test, &info->num_samples, &part));
    TR_TRY(keep_part(&part, info->num_samples, &state->images));
    TR_TRY(keep_part(&part, info->num_samples, &state->labels));
  }
  info->shape = tr_shape_of(
      3, (int64_t[]){1, state->images.dims[1], state->images.dims[2]});
  return TR_OK;
}

tr_status tr__idx_open_local(tr_context *ctx,
                             const char *dir,
                             const char *split,
                             tr_dataset **out)
{
  *out = NULL;
  idx *state = calloc(1, sizeof *state);
  TR_CHECK(state != NULL, TR_ENOMEM, "%s: out of memory", dir);
  tr__dataset_info info = {.type = &idx_type};
  tr_status status;
  TR_TRY_GOTO(fill(ctx, dir, split, state, &info), failed);
  TR_TRY_GOTO(tr__dataset_new(ctx, &info, dir, split, state, out), failed);
  return TR_OK;
failed:
  release(state);
  return status;
}

tr_status tr_idx_open(tr_context *ctx,
                      const char *dir,
                      const char *split,
                      tr_dataset **out)
{
  tr_dataset *data = NULL;
  tr_status status =
      tr__idx_open_local(ctx, tr__text(dir), tr__text(split), &data);
  return tr__dataset_agree(ctx, status, data, out);
}
