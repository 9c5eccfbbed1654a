/* A small checkpoint that the tests of this room share. */
#ifndef TR_CHECKPOINT_SAMPLE_H
#define TR_CHECKPOINT_SAMPLE_H

#include "checkpoint/seal_impl.h"
#include "test.h"

/* A whole file in memory; what tr__seal_emit() fills. */
typedef struct sample_file {
  unsigned char *bytes;
  size_t length;
} sample_file;

static inline tr_status
sample_sink(void *user, size_t offset, const void *data, size_t bytes)
{
  sample_file *file = user;
  ASSERT(offset + bytes <= file->length);
  memcpy(file->bytes + offset, data, bytes);
  return TR_OK;
}

static inline tr__view
sample_view(const char *name, tr__view_type type, int64_t rows, int64_t columns)
{
  tr__view view = {.type = type, .ndim = 2, .dims = {rows, columns}};
  snprintf(view.name, sizeof view.name, "%s", name);
  return view;
}

enum { SAMPLE_VIEWS = 6 };

/* Parameters, a slot, a number and a text. */
static inline tr__image *sample_image(void)
{
  tr__view views[SAMPLE_VIEWS] = {
      sample_view("/params/fc1.weight", TR__VIEW_F32, 7, 5),
      sample_view("/params/fc1.bias", TR__VIEW_F64, 1, 7),
      sample_view("/optim/momentum/fc1.weight", TR__VIEW_F32, 7, 5),
      {.name = "/state/step", .type = TR__VIEW_I64},
      {.name = "/state/model", .type = TR__VIEW_TEXT, .ndim = 1, .dims = {20}},
      {.name = "/state/odd", .type = TR__VIEW_TEXT, .ndim = 1, .dims = {3}},
  };
  tr__image *image;
  ASSERT_OK(tr__image_create(views, SAMPLE_VIEWS, &image));
  return image;
}

/* Values that tell one version of the sample from another. */
static inline void sample_fill(tr__image *image, int version)
{
  for (int i = 0; i < image->num_entries; i++) {
    const tr__view *view = &image->entries[i].view;
    int64_t count = tr__view_bytes(view);
    switch (view->type) {
    case TR__VIEW_F32:
      for (int64_t k = 0; k < count / 4; k++) {
        ((float *)tr__image_at(image, i))[k] = (float)(version + 100 * i + k);
      }
      break;
    case TR__VIEW_F64:
      for (int64_t k = 0; k < count / 8; k++) {
        ((double *)tr__image_at(image, i))[k] =
            (double)(version + 100 * i + k) / 3;
      }
      break;
    case TR__VIEW_I64:
      *(int64_t *)tr__image_at(image, i) = version;
      break;
    case TR__VIEW_TEXT:
      snprintf(tr__image_at(image, i), (size_t)count, "text %d", version);
      break;
    }
  }
}

static inline sample_file sample_sealed(int version)
{
  tr__image *image = sample_image();
  tr__seal seal = {.step = version, .run_id = "sample run 0001"};
  sample_fill(image, version);
  sample_file file = {NULL, tr__seal_length(image)};
  file.bytes = calloc(1, file.length);
  ASSERT(file.bytes != NULL);
  ASSERT_OK(tr__seal_emit(image, &seal, sample_sink, &file));
  ASSERT_EQ(seal.length, file.length);
  tr__image_destroy(&image);
  return file;
}

static inline void sample_store(const char *path, const void *bytes, size_t n)
{
  FILE *stream = fopen(path, "wb");
  ASSERT(stream != NULL);
  ASSERT_EQ(fwrite(bytes, 1, n, stream), n);
  ASSERT_EQ(fclose(stream), 0);
}

#endif
