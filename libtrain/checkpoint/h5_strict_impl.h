/* Reading HDF5 files that anybody may have written.
 *
 * Only what a file of plain numbers needs is accepted: hard links, data stored
 * in the file itself, fixed extents that are known before anything is
 * allocated, IEEE floating-point types (and int64 for a number without
 * extents), the usual filters. Links to other
 * files, external storage, virtual data sets and plugins are refused. */
#ifndef TR_H5_STRICT_IMPL_H
#define TR_H5_STRICT_IMPL_H

#include "checkpoint/h5_impl.h"

typedef struct tr__h5_file {
  tr__hdf5_section section;
  unsigned plugins; /* the loading state before */
  hid_t file;
  const char *path; /* borrowed */
} tr__h5_file;

/* tr__h5_open - open for reading; the HDF5 lock is held until the close.
 *
 * TR_ENOINPUT where there is no file, TR_EIO where it cannot be read, TR_EDATA
 * where it is no HDF5 file. On failure nothing has to be closed. */
tr_status tr__h5_open(const char *path, tr__h5_file *out);
void tr__h5_close(tr__h5_file *file);

/* tr__h5_has - whether there is anything under an absolute path. */
bool tr__h5_has(const tr__h5_file *file, const char *name);

/* tr__h5_read - a data set of floating-point numbers, converted.
 *
 * name    "/params/fc1.weight": an absolute path
 * shape   what its extents must be
 * dtype   TR_F32 or TR_F64: of values
 *
 * TR_EMISMATCH where it is missing, TR_ESHAPE where its extents differ,
 * TR_EDATA for everything that is not accepted. */
tr_status tr__h5_read(const tr__h5_file *file,
                      const char *name,
                      const tr_shape *shape,
                      tr_dtype dtype,
                      void *values);

#endif
