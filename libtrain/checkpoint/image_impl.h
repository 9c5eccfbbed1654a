/* An HDF5 file in memory whose data sets can be overwritten in place. */
#ifndef TR_IMAGE_IMPL_H
#define TR_IMAGE_IMPL_H

#include "base/base_impl.h"

/* Bytes before the HDF5 superblock, for the seal. */
#define TR__IMAGE_USER_BLOCK 512

/* tr__hdf5_name - the version of libhdf5 that runs. Returns out. */
const char *tr__hdf5_name(char *out, size_t bytes);

/* Types that a checkpoint holds, all little-endian. */
typedef enum tr__view_type {
  TR__VIEW_F32 = TR_F32,
  TR__VIEW_F64 = TR_F64,
  TR__VIEW_I64 = 16,
  TR__VIEW_TEXT = 17 /* one string; dims[0] is its bytes, NUL included */
} tr__view_type;

#define TR__VIEW_NAME_BYTES 256

/* One data set: what it is called and what it looks like. */
typedef struct tr__view {
  char name[TR__VIEW_NAME_BYTES]; /* "/params/fc1.weight" */
  tr__view_type type;
  int ndim; /* 0: a scalar */
  int64_t dims[TR_MAX_DIMS];
} tr__view;

/* tr__view_bytes - bytes of a view's values; -1 where they do not fit. */
int64_t tr__view_bytes(const tr__view *view);

typedef struct tr__image_entry {
  tr__view view;
  size_t offset; /* of the first value, from the start of the file */
  size_t bytes;
} tr__image_entry;

typedef struct tr__image {
  unsigned char *bytes; /* the whole file; the user block is zero */
  size_t length;
  tr__image_entry *entries; /* as the views were given */
  int *by_offset;           /* indices into entries, ascending in the file */
  int num_entries;
} tr__image;

/* tr__image_create - lay out a file with these data sets, all values zero.
 *
 * Contiguous data sets, IEEE little-endian types, no times: the same views
 * give the same bytes. libhdf5 works in memory alone; afterwards the bytes are
 * ours and values are copied straight into them. */
tr_status
tr__image_create(const tr__view *views, int num_views, tr__image **out);

/* tr__image_matches - whether it was laid out for exactly these views. */
bool tr__image_matches(const tr__image *image,
                       const tr__view *views,
                       int num_views);

/* tr__image_at - where the values of entry i lie; numbers are aligned. */
void *tr__image_at(tr__image *image, int i);

void tr__image_destroy(tr__image **image);

#endif
