/* Parameters from HDF5 files that anybody may have written.
 *
 * They are read as data sets are, which see (hdf5/hdf5_impl.h): only what a
 * file of plain numbers needs is accepted, and nothing is believed. */
#ifndef TR_H5_STRICT_IMPL_H
#define TR_H5_STRICT_IMPL_H

#include "hdf5/hdf5_impl.h"

typedef tr__hdf5_file tr__h5_file;

/* tr__h5_open - open for reading.
 *
 * TR_ENOINPUT where there is no file, TR_EIO where it cannot be read, TR_EDATA
 * where it is no HDF5 file. On failure nothing has to be closed. */
tr_status tr__h5_open(const char *path, tr__h5_file *out);
void tr__h5_close(tr__h5_file *file);

/* tr__h5_has - *out: whether there is anything under an absolute path. */
tr_status tr__h5_has(tr__h5_file *file, const char *name, bool *out);

/* tr__h5_read - an array of floating-point numbers, converted.
 *
 * name    "/params/fc1.weight": an absolute path
 * shape   what its extents must be
 * dtype   TR_F32 or TR_F64: of values
 *
 * TR_EMISMATCH where it is missing, TR_ESHAPE where its extents differ,
 * TR_EDATA for everything that is not accepted: all but float16, float32 and
 * float64, and int64 for a number without axes. */
tr_status tr__h5_read(tr__h5_file *file,
                      const char *name,
                      const tr_shape *shape,
                      tr_dtype dtype,
                      void *values);

#endif
