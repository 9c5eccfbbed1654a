/* Reading arrays of numbers from HDF5 files, which are not believed. */
#ifndef TR_HDF5_IMPL_H
#define TR_HDF5_IMPL_H

#include "base/base_impl.h"

typedef struct tr__hdf5_file {
  const char *path; /* borrowed */
  int fd;           /* -1: not open */
  int64_t bytes;
  int64_t changed_s, changed_ns; /* when it was last written, at open */
  int64_t base;      /* byte of the file from which addresses count */
  int address_bytes; /* of an address, and of a length below */
  int length_bytes;
  uint64_t root;  /* address of the root group */
  int64_t budget; /* bytes of structure that may still be read */
} tr__hdf5_file;

/* tr__hdf5_open_file - for reading; tr__hdf5_close_file() also after failure.
 */
tr_status tr__hdf5_open_file(const char *path, tr__hdf5_file *out);
void tr__hdf5_close_file(tr__hdf5_file *file);

/* tr__hdf5_check_unchanged - TR_EDATA where the file was written to since it
 * was opened: labels and samples that were read would not belong together. */
tr_status tr__hdf5_check_unchanged(const tr__hdf5_file *file,
                                   const char *where);

/* tr__hdf5_pread - bytes of the file from an offset on; `where` for messages.
 */
tr_status tr__hdf5_pread(const tr__hdf5_file *file,
                         const char *where,
                         int64_t offset,
                         size_t bytes,
                         void *out);

typedef enum tr__hdf5_class {
  TR__HDF5_INT,
  TR__HDF5_FLOAT, /* IEEE, of 2, 4 or 8 bytes */
  TR__HDF5_OTHER
} tr__hdf5_class;

typedef struct tr__hdf5_type {
  tr__hdf5_class class;
  int size; /* bytes */
  bool is_signed;
  bool is_big; /* the highest byte first */
  const char *name;
} tr__hdf5_type;

#define TR__HDF5_MAX_FILTERS 8

typedef struct tr__hdf5_filter {
  int id;
  uint32_t value; /* the first of its own numbers */
} tr__hdf5_filter;

typedef struct tr__hdf5_chunk {
  int64_t offset; /* in the file; -1: not stored */
  int64_t bytes;  /* stored */
  uint32_t mask;  /* bit i: filter i was left out */
  int32_t slot;   /* of the cache; -1: not there */
} tr__hdf5_chunk;

#define TR__HDF5_WHERE_BYTES 512

typedef struct tr__hdf5_cache tr__hdf5_cache;

/* One array of a file that has been found to be plain and complete. */
typedef struct tr__hdf5_array {
  char where[TR__HDF5_WHERE_BYTES]; /* "file.h5: /train/x", for messages */
  const tr__hdf5_file *file;        /* borrowed */
  tr__hdf5_type type;
  int ndim;
  int64_t dims[TR_MAX_DIMS];
  int64_t row;      /* elements of one sample: all extents but the first */
  int64_t offset;   /* of the values in the file where they are contiguous */
  uint8_t *compact; /* owned: the values themselves; NULL: in the file */
  tr__hdf5_chunk *chunks; /* owned; NULL: no chunks */
  int64_t num_chunks;
  int64_t chunk_dims[TR_MAX_DIMS];
  int64_t grid[TR_MAX_DIMS]; /* chunks along each axis */
  int64_t chunk_bytes;       /* expanded */
  int num_filters;
  tr__hdf5_filter filters[TR__HDF5_MAX_FILTERS];
  tr__hdf5_cache *cache; /* owned; NULL: chunks are read in place */
} tr__hdf5_array;

/* tr__hdf5_has - whether a name of a group, "/train/x", is there, whatever it
 * leads to. */
tr_status tr__hdf5_has(tr__hdf5_file *file, const char *name, bool *out);

#define TR__HDF5_LIST_BYTES 256 /* of the names in a group, in messages */

/* What the caller of tr__hdf5_open_array() expects. */
typedef struct tr__hdf5_want {
  tr_status missing;     /* the status where the array is not there */
  const tr_shape *shape; /* what its extents must be; NULL: any */
} tr__hdf5_want;

/* tr__hdf5_open_array - find and check an array, "/train/x".
 *
 * Only what cannot surprise is let through: hard links, numbers of a fixed
 * size, values in this file, known filters, extents that the stored bytes can
 * fill, and no chunk that was never written. A number without axes has ndim
 * 0. tr__hdf5_close_array() also after failure. */
tr_status tr__hdf5_open_array(tr__hdf5_file *file,
                              const char *name,
                              const tr__hdf5_want *want,
                              tr__hdf5_array *out);
void tr__hdf5_close_array(tr__hdf5_array *array);

/* What values are read as: bytes as floats are scaled by 1/255. */
typedef enum tr__hdf5_as {
  TR__HDF5_AS_F32,
  TR__HDF5_AS_F64,
  TR__HDF5_AS_I64
} tr__hdf5_as;

/* tr__hdf5_read - samples first..first+count-1 of an array; of a number
 * without axes sample 0. Any number of threads at once. */
tr_status tr__hdf5_read(const tr__hdf5_array *array,
                        int64_t first,
                        int64_t count,
                        tr__hdf5_as as,
                        void *out);

/* tr__hdf5_chunk_warning - why samples drawn at random will be slow; false
 * where they are not. */
bool tr__hdf5_chunk_warning(const tr__hdf5_array *array,
                            char *out,
                            size_t bytes);

#endif
