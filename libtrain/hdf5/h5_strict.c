/* Reads parameters from HDF5 files that anybody may have written, with this
 * folder's reader instead of libhdf5. */
#include "hdf5/h5_strict_impl.h"

tr_status tr__h5_open(const char *path, tr__h5_file *out)
{
  TR_CHECK(path != NULL && path[0] != '\0', TR_EINVAL,
           "expected the name of an HDF5 file, got none");
  tr_status status = tr__hdf5_open_file(path, out);
  if (status != TR_OK) {
    tr__hdf5_close_file(out);
  }
  return status;
}

void tr__h5_close(tr__h5_file *file)
{
  tr__hdf5_close_file(file);
}

tr_status tr__h5_has(tr__h5_file *file, const char *name, bool *out)
{
  return tr__hdf5_has(file, name, out);
}

/* A single number may be an int64, such as PyTorch's count of batches. */
static tr_status check_type(const tr__hdf5_array *array)
{
  const tr__hdf5_type *type = &array->type;
  bool is_count = array->ndim == 0 && type->class == TR__HDF5_INT &&
                  type->size == 8 && type->is_signed;
  TR_CHECK(is_count || type->class == TR__HDF5_FLOAT, TR_EDATA,
           "%s: its type is %s of %d bytes, expected float16, float32 or "
           "float64",
           array->where, type->name, type->size);
  return TR_OK;
}

tr_status tr__h5_read(tr__h5_file *file,
                      const char *name,
                      const tr_shape *shape,
                      tr_dtype dtype,
                      void *values)
{
  tr__hdf5_array array;
  tr__hdf5_want want = {.missing = TR_EMISMATCH, .shape = shape};
  tr_status status;
  TR_TRY_GOTO(tr__hdf5_open_array(file, name, &want, &array), done);
  TR_TRY_GOTO(check_type(&array), done);
  TR_TRY_GOTO(tr__hdf5_read(&array, 0, array.ndim > 0 ? array.dims[0] : 1,
                            dtype == TR_F64 ? TR__HDF5_AS_F64 : TR__HDF5_AS_F32,
                            values),
              done);
done:
  tr__hdf5_close_array(&array);
  return status;
}
