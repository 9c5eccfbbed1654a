/* The image of a checkpoint: an HDF5 file in memory, laid out once, whose data
 * sets each save overwrites in place. */
#ifndef TR_IMAGE_IMPL_H
#define TR_IMAGE_IMPL_H

#include "base/base_impl.h"

/* Bytes before the HDF5 superblock (the user block), reserved for the seal. */
#define TR__IMAGE_USER_BLOCK 512

/* tr__hdf5_name - the version of libhdf5 at run time. Returns out. */
const char *tr__hdf5_name(char *out, size_t bytes);

/* The types of data sets in a checkpoint, all little-endian. */
typedef enum tr__view_type {
  TR__VIEW_F32 = TR_F32,
  TR__VIEW_F64 = TR_F64,
  TR__VIEW_I64 = 16,
  TR__VIEW_TEXT = 17 /* one string; dims[0] counts its bytes with the NUL */
} tr__view_type;

#define TR__VIEW_NAME_BYTES 256

/* The name, type and shape of one data set. */
typedef struct tr__view {
  char name[TR__VIEW_NAME_BYTES]; /* "/params/fc1.weight" */
  tr__view_type type;
  int ndim; /* 0: a scalar */
  int64_t dims[TR_MAX_DIMS];
} tr__view;

/* tr__view_bytes - bytes of a view's values; -1 if an extent is below 1 or the
 * product overflows. */
int64_t tr__view_bytes(const tr__view *view);

typedef struct tr__image_entry {
  tr__view view;
  size_t offset; /* of the first value, from the start of the file */
  size_t bytes;
} tr__image_entry;

typedef struct tr__image {
  unsigned char *bytes; /* the whole file; the user block is zero */
  size_t length;
  tr__image_entry *entries; /* in the order of the views */
  int *by_offset;           /* indices into entries, by ascending offset */
  int num_entries;
} tr__image;

/* tr__image_create - lay out a file with these data sets, all values zero.
 *
 * Data sets are contiguous, of IEEE little-endian types and without time
 * stamps, so the same views give the same bytes. libhdf5 works in memory alone.
 * Afterwards this library owns the bytes and copies values straight into them.
 */
tr_status
tr__image_create(const tr__view *views, int num_views, tr__image **out);

/* tr__image_matches - whether the image was laid out for just these views. */
bool tr__image_matches(const tr__image *image,
                       const tr__view *views,
                       int num_views);

/* tr__image_at - the address of the values of entry i. Numbers are aligned. */
void *tr__image_at(tr__image *image, int i);

void tr__image_destroy(tr__image **image);

#endif
