/* Reads arrays of numbers from HDF5 files that anybody may have written.
 * Nothing that a file says is trusted. */
#ifndef TR_HDF5_IMPL_H
#define TR_HDF5_IMPL_H

#include "base/base_impl.h"

typedef struct tr__hdf5_file {
  const char *path; /* borrowed */
  int fd;           /* -1: not open */
  int64_t bytes;
  int64_t changed_s, changed_ns; /* time of its last write, as of open */
  int64_t base;                  /* byte of the file at which address 0 is */
  int address_bytes; /* width of an address, and of a length below */
  int length_bytes;
  uint64_t root;  /* address of the root group */
  int64_t budget; /* bytes of structure that may still be read */
} tr__hdf5_file;

/* tr__hdf5_open_file - open for reading. The caller calls
 * tr__hdf5_close_file(), also after failure. */
tr_status tr__hdf5_open_file(const char *path, tr__hdf5_file *out);
void tr__hdf5_close_file(tr__hdf5_file *file);

/* tr__hdf5_check_unchanged - TR_EDATA where the file was written to after it
 * was opened: its labels and samples might not belong together. */
tr_status tr__hdf5_check_unchanged(const tr__hdf5_file *file,
                                   const char *where);

/* tr__hdf5_pread - read bytes of the file from an offset on; `where` is for
 * messages. */
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
  bool is_big; /* big-endian */
  const char *name;
} tr__hdf5_type;

#define TR__HDF5_MAX_FILTERS 8

typedef struct tr__hdf5_filter {
  int id;
  uint32_t value; /* its first parameter */
} tr__hdf5_filter;

typedef struct tr__hdf5_chunk {
  int64_t offset; /* in the file; -1: not stored */
  int64_t bytes;  /* stored */
  uint32_t mask;  /* bit i: filter i was not applied */
  int32_t slot;   /* in the cache; -1: not in it */
} tr__hdf5_chunk;

#define TR__HDF5_WHERE_BYTES 512

typedef struct tr__hdf5_cache tr__hdf5_cache;

/* An open array, which has passed all checks of tr__hdf5_open_array(). */
typedef struct tr__hdf5_array {
  char where[TR__HDF5_WHERE_BYTES]; /* "file.h5: /train/x", for messages */
  const tr__hdf5_file *file;        /* borrowed */
  tr__hdf5_type type;
  int ndim;
  int64_t dims[TR_MAX_DIMS];
  int64_t row;      /* elements of one sample: the product of all extents but
                       the first */
  int64_t offset;   /* in the file, of contiguous values */
  uint8_t *compact; /* owned: the values themselves; NULL: in the file */
  tr__hdf5_chunk *chunks; /* owned; NULL: no chunks */
  int64_t num_chunks;
  int64_t chunk_dims[TR_MAX_DIMS];
  int64_t grid[TR_MAX_DIMS]; /* chunks along each axis */
  int64_t chunk_bytes;       /* size of an expanded chunk */
  int num_filters;
  tr__hdf5_filter filters[TR__HDF5_MAX_FILTERS];
  tr__hdf5_cache *cache; /* owned; NULL: chunks are read in place */
} tr__hdf5_array;

/* tr__hdf5_has - whether there is a link at a path, "/train/x", whatever it
 * leads to. */
tr_status tr__hdf5_has(tr__hdf5_file *file, const char *name, bool *out);

#define TR__HDF5_LIST_BYTES 256 /* of the list of a group's names in messages */

/* What the caller of tr__hdf5_open_array() expects. */
typedef struct tr__hdf5_want {
  tr_status missing;     /* the status where the array does not exist */
  const tr_shape *shape; /* the extents that it must have; NULL: any */
} tr__hdf5_want;

/* tr__hdf5_open_array - find and check an array, "/train/x".
 *
 * It accepts hard links, numbers of a fixed size, values in this file, known
 * filters and extents that the stored bytes can fill, and refuses all else,
 * such as a chunk that was never written. A number without axes has ndim 0. The
 * caller calls tr__hdf5_close_array(), also after failure. */
tr_status tr__hdf5_open_array(tr__hdf5_file *file,
                              const char *name,
                              const tr__hdf5_want *want,
                              tr__hdf5_array *out);
void tr__hdf5_close_array(tr__hdf5_array *array);

/* The type that values are read as. Bytes read as floats are scaled by 1/255.
 */
typedef enum tr__hdf5_as {
  TR__HDF5_AS_F32,
  TR__HDF5_AS_F64,
  TR__HDF5_AS_I64
} tr__hdf5_as;

/* tr__hdf5_read - read samples first..first+count-1 of an array; a number
 * without axes is sample 0. Any number of threads at once. */
tr_status tr__hdf5_read(const tr__hdf5_array *array,
                        int64_t first,
                        int64_t count,
                        tr__hdf5_as as,
                        void *out);

/* tr__hdf5_chunk_warning - a text that says why random samples will be slow;
 * false where they will not. */
bool tr__hdf5_chunk_warning(const tr__hdf5_array *array,
                            char *out,
                            size_t bytes);

#endif
