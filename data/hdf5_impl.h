/* How this folder calls libhdf5: locked, silent, every array checked. */
#ifndef TR_HDF5_IMPL_H
#define TR_HDF5_IMPL_H

#include "data/data_impl.h"

#include <hdf5.h>

/* A section in which libhdf5 is called. */
typedef struct tr__hdf5_section {
  H5E_auto2_t handler; /* the program's own, given back at the end */
  void *handler_data;
} tr__hdf5_section;

/* tr__hdf5_begin, tr__hdf5_end - take the process-wide lock and keep libhdf5
 * from printing; give both back. */
void tr__hdf5_begin(tr__hdf5_section *section);
void tr__hdf5_end(tr__hdf5_section *section);

/* tr__hdf5_fail - as tr__fail(), with libhdf5's innermost reason behind it. */
tr_status tr__hdf5_fail(tr_status status,
                        const char *file,
                        int line,
                        const char *format,
                        ...) TR_PRINTF(4, 5);

/* A call of libhdf5 that returns a negative number on failure. */
#define TR_TRY_H5(call, status, ...)                                           \
  do {                                                                         \
    if ((call) < 0) {                                                          \
      return tr__hdf5_fail((status), __FILE__, __LINE__, __VA_ARGS__);         \
    }                                                                          \
  } while (0)

/* tr__hdf5_close - release any identifier; negative ones are none. */
void tr__hdf5_close(hid_t id);

typedef struct tr__hdf5_file {
  const char *path; /* borrowed */
  int fd;           /* -1: not open */
  int64_t bytes;
  hid_t id; /* negative: not open */
} tr__hdf5_file;

/* tr__hdf5_open_file - for reading; tr__hdf5_close_file() also after failure.
 */
tr_status tr__hdf5_open_file(const char *path, tr__hdf5_file *out);
void tr__hdf5_close_file(tr__hdf5_file *file);

typedef enum tr__hdf5_kind {
  TR__HDF5_U8,
  TR__HDF5_F32,
  TR__HDF5_F64,
  TR__HDF5_LABELS /* integers of any size */
} tr__hdf5_kind;

#define TR__HDF5_WHERE_BYTES 512

/* One array of a file that has been found to be plain and complete. */
typedef struct tr__hdf5_array {
  char where[TR__HDF5_WHERE_BYTES]; /* "file.h5: /train/x", for messages */
  hid_t id;                         /* negative: not open */
  tr__hdf5_kind kind;
  int ndim;
  int64_t dims[TR_MAX_DIMS];
  int64_t offset; /* of the values, which lie in the file as they do in memory;
                     -1: libhdf5 has to read them */
} tr__hdf5_array;

/* tr__hdf5_has - whether /split/name is there, by hard links. */
bool tr__hdf5_has(const tr__hdf5_file *file,
                  const char *split,
                  const char *name);

/* tr__hdf5_open_array - check and open /split/name; out->id is to be closed,
 * also after failure.
 *
 * Only what cannot surprise is let through: hard links, fixed-size numbers,
 * values in this file, known filters, extents that the stored bytes can fill.
 */
tr_status tr__hdf5_open_array(const tr__hdf5_file *file,
                              const char *split,
                              const char *name,
                              bool is_labels,
                              tr__hdf5_array *out);

/* tr__hdf5_read - samples first..first+count-1 of an array, as `type`. */
tr_status tr__hdf5_read(const tr__hdf5_array *array,
                        int64_t first,
                        int64_t count,
                        hid_t type,
                        void *out);

#endif
