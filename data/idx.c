/* Images and labels in a folder of IDX files. */
#include "base/random_impl.h"
#include "data/data_impl.h"
#include "data/idx_impl.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

/* The shuffle that splits a lone pair of files. Part of the format: another
 * number would mix old training samples into new tests. */
#define SPLIT_SEED UINT64_C(20111)

enum { TRAIN, TEST, NUM_PAIRS };

typedef struct idx {
  tr__idx images, labels;
  int64_t total;  /* images in the file */
  int64_t first;  /* place of sample 0 in the order below */
  bool is_shared; /* train and test come from one pair, shuffled */
} idx;

/* A file of the folder, with or without .gz. */
typedef struct file_name {
  char path[PATH_MAX];
  bool is_gz;
} file_name;

static bool find_file(const char *dir, const char *name, file_name *out)
{
  for (int i = 0; i < 2; i++) {
    out->is_gz = i == 1;
    int length = snprintf(out->path, sizeof out->path, "%s/%s%s", dir, name,
                          out->is_gz ? ".gz" : "");
    if (length < PATH_MAX && access(out->path, F_OK) == 0) {
      return true;
    }
  }
  return false;
}

static const char *const image_names[NUM_PAIRS] = {"train-images-idx3-ubyte",
                                                   "t10k-images-idx3-ubyte"};
static const char *const label_names[NUM_PAIRS] = {"train-labels-idx1-ubyte",
                                                   "t10k-labels-idx1-ubyte"};

static tr_status load_labels(const char *dir, int pair, tr__idx *out)
{
  file_name labels;
  TR_CHECK(find_file(dir, label_names[pair], &labels), TR_ENOINPUT,
           "%s: found %s but not %s", dir, image_names[pair],
           label_names[pair]);
  TR_TRY(tr__idx_load(labels.path, labels.is_gz, 1, out));
  return TR_OK;
}

static tr_status load_pair(const char *dir, int pair, idx *state)
{
  file_name images;
  TR_CHECK(find_file(dir, image_names[pair], &images), TR_ENOINPUT, "%s: no %s",
           dir, image_names[pair]);
  TR_TRY(tr__idx_load(images.path, images.is_gz, 3, &state->images));
  TR_TRY(load_labels(dir, pair, &state->labels));
  TR_CHECK(state->images.dims[0] == state->labels.dims[0], TR_EDATA,
           "%s: %s has %lld labels, expected %lld as in %s", dir,
           label_names[pair], (long long)state->labels.dims[0],
           (long long)state->images.dims[0], image_names[pair]);
  state->total = state->images.dims[0];
  return TR_OK;
}

static int64_t count_classes(const tr__idx *labels)
{
  int64_t classes = 2;
  for (int64_t i = 0; i < labels->dims[0]; i++) {
    classes = tr__max(classes, labels->bytes[i] + 1);
  }
  return classes;
}

/* Both splits must name the same classes, also those that one of them does
 * not have. */
static tr_status
count_all_classes(const char *dir, int pair, const idx *state, int64_t *out)
{
  *out = count_classes(&state->labels);
  if (state->is_shared) {
    return TR_OK;
  }
  tr__idx other;
  TR_TRY(load_labels(dir, TRAIN + TEST - pair, &other));
  *out = tr__max(*out, count_classes(&other));
  free(other.bytes);
  return TR_OK;
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
  tr__permutation order = tr__permutation_of(SPLIT_SEED, 0, state->total);
  for (int64_t i = 0; i < count; i++) {
    int64_t image = state->first + ids[i];
    if (state->is_shared) {
      image = tr__permute(&order, image);
    }
    tr__scale_bytes(state->images.bytes + image * pixels, pixels, data->dtype,
                    tr__at(x, data->dtype, i * pixels));
    y[i] = state->labels.bytes[image];
  }
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

/* Images are held too, so they are compared with the labels. */
static uint64_t idx_hash(const tr_dataset *data)
{
  const idx *state = data->state;
  const tr__idx *images = &state->images;
  size_t pixels = (size_t)(images->dims[1] * images->dims[2]);
  uint64_t labels = XXH3_64bits(state->labels.bytes, (size_t)state->total);
  return XXH3_64bits_withSeed(images->bytes, (size_t)state->total * pixels,
                              labels);
}

static const tr__dataset_type idx_type = {
    .name = "idx", .read = idx_read, .close = idx_close, .hash = idx_hash};

static tr_status
fill(const char *dir, const char *split, idx *state, tr__dataset_info *info)
{
  bool is_test = strcmp(split, "test") == 0;
  TR_CHECK(is_test || strcmp(split, "train") == 0, TR_EINVAL,
           "%s: split is \"%s\", expected \"train\" or \"test\"", dir, split);
  file_name name;
  bool has[NUM_PAIRS];
  for (int i = 0; i < NUM_PAIRS; i++) {
    has[i] = find_file(dir, image_names[i], &name);
  }
  TR_CHECK(has[TRAIN] || has[TEST], TR_ENOINPUT,
           "%s: no IDX files: neither %s nor %s, with or without .gz", dir,
           image_names[TRAIN], image_names[TEST]);
  state->is_shared = !(has[TRAIN] && has[TEST]);
  int pair =
      state->is_shared ? (has[TRAIN] ? TRAIN : TEST) : (is_test ? TEST : TRAIN);
  TR_TRY(load_pair(dir, pair, state));
  TR_TRY(count_all_classes(dir, pair, state, &info->num_classes));
  int64_t cut = tr__part(state->total, 4, 5);
  state->first = state->is_shared && is_test ? cut : 0;
  info->num_samples = state->total;
  if (state->is_shared) {
    info->num_samples = is_test ? state->total - cut : cut;
  }
  TR_CHECK(info->num_samples > 0, TR_EDATA,
           "%s: %lld image is too few to split into train and test", dir,
           (long long)state->total);
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
  TR_TRY_GOTO(fill(dir, split, state, &info), failed);
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
