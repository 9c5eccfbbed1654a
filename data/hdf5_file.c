/* Calls of libhdf5: the section around them, their errors, files, reading. */
#include "base/file_impl.h"
#include "base/h5_lock_impl.h"
#include "data/hdf5_impl.h"

#include <unistd.h>

#define REASON_BYTES 256

void tr__hdf5_begin(tr__hdf5_section *section)
{
  tr__h5_lock();
  H5Eget_auto2(H5E_DEFAULT, &section->handler, &section->handler_data);
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

void tr__hdf5_end(tr__hdf5_section *section)
{
  H5Eclear2(H5E_DEFAULT);
  H5Eset_auto2(H5E_DEFAULT, section->handler, section->handler_data);
  tr__h5_unlock();
}

static herr_t keep_first(unsigned n, const H5E_error2_t *error, void *out)
{
  if (n == 0) {
    snprintf(out, REASON_BYTES, " (HDF5: %s)", error->desc);
  }
  return 0;
}

tr_status tr__hdf5_fail(
    tr_status status, const char *file, int line, const char *format, ...)
{
  char reason[REASON_BYTES] = "", text[TR__MESSAGE_BYTES - REASON_BYTES];
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, reason);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return tr__fail(status, file, line, "%s%s", text, reason);
}

void tr__hdf5_close(hid_t id)
{
  if (id >= 0) {
    H5Idec_ref(id);
  }
}

tr_status tr__hdf5_open_file(const char *path, tr__hdf5_file *out)
{
  *out = (tr__hdf5_file){.path = path, .fd = -1, .id = -1};
  TR_TRY(tr__open_read(path, &out->fd, &out->bytes));
  TR_CHECK(H5Fis_hdf5(path) > 0, TR_EDATA,
           "%s: not an HDF5 file: it has no HDF5 signature", path);
  out->id = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
  TR_TRY_H5(out->id, TR_EDATA, "%s: cannot be opened", path);
  return TR_OK;
}

void tr__hdf5_close_file(tr__hdf5_file *file)
{
  tr__hdf5_close(file->id);
  if (file->fd >= 0) {
    close(file->fd);
  }
  file->id = -1;
  file->fd = -1;
}

static tr_status read_selected(const tr__hdf5_array *array,
                               const hsize_t *start,
                               const hsize_t *count,
                               hid_t spaces[2],
                               hid_t type,
                               void *out)
{
  hid_t in_file = spaces[0] = H5Dget_space(array->id);
  hid_t in_memory = spaces[1] = H5Screate_simple(array->ndim, count, NULL);
  TR_TRY_H5(in_file, TR_EIO, "%s: cannot be read", array->where);
  TR_TRY_H5(in_memory, TR_ENOMEM, "%s: cannot be read", array->where);
  TR_TRY_H5(
      H5Sselect_hyperslab(in_file, H5S_SELECT_SET, start, NULL, count, NULL),
      TR_EIO, "%s: cannot be read", array->where);
  TR_TRY_H5(H5Dread(array->id, type, in_memory, in_file, H5P_DEFAULT, out),
            TR_EIO, "%s: samples %llu to %llu cannot be read", array->where,
            (unsigned long long)start[0],
            (unsigned long long)(start[0] + count[0] - 1));
  return TR_OK;
}

tr_status tr__hdf5_read(const tr__hdf5_array *array,
                        int64_t first,
                        int64_t count,
                        hid_t type,
                        void *out)
{
  hsize_t start[TR_MAX_DIMS] = {(hsize_t)first};
  hsize_t extent[TR_MAX_DIMS] = {(hsize_t)count};
  for (int i = 1; i < array->ndim; i++) {
    extent[i] = (hsize_t)array->dims[i];
  }
  hid_t spaces[2] = {-1, -1};
  tr_status status = read_selected(array, start, extent, spaces, type, out);
  tr__hdf5_close(spaces[0]);
  tr__hdf5_close(spaces[1]);
  return status;
}
