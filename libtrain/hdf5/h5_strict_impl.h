/* Parameters from HDF5 files that anybody may have written.
 *
 * The reader of data sets reads them (hdf5/hdf5_impl.h): it accepts only what a
 * file of plain numbers needs, and trusts nothing that the file says. */
#ifndef TR_H5_STRICT_IMPL_H
#define TR_H5_STRICT_IMPL_H

#include "hdf5/hdf5_impl.h"

typedef tr__hdf5_file tr__h5_file;

/* tr__h5_open - open for reading.
 *
 * TR_ENOINPUT where there is no file, TR_EIO where it cannot be read, TR_EDATA
 * where it is not an HDF5 file. On failure nothing has to be closed. */
tr_status tr__h5_open(const char *path, tr__h5_file *out);
void tr__h5_close(tr__h5_file *file);

/* tr__h5_has - *out: whether an absolute path names anything. */
tr_status tr__h5_has(tr__h5_file *file, const char *name, bool *out);

/* tr__h5_read - read an array of floating-point numbers, converted to dtype.
 *
 * name    "/params/fc1.weight": an absolute path
 * shape   the extents that it must have
 * dtype   TR_F32 or TR_F64: the type of values
 *
 * TR_EMISMATCH where the array is missing, TR_ESHAPE where its extents differ,
 * TR_EDATA for every type but float16, float32 and float64 (and int64 for a
 * number without axes) and for all else that is not accepted. */
tr_status tr__h5_read(tr__h5_file *file,
                      const char *name,
                      const tr_shape *shape,
                      tr_dtype dtype,
                      void *values);

#endif
