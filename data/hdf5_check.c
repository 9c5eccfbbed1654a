/* Which arrays of an HDF5 file are let in, decided before any value is read. */
#include "data/hdf5_impl.h"

#include <string.h>

/* A file may say that it holds at most so many times its stored bytes: no
 * filter that is let in expands further (deflate: 1032 times). */
#define MAX_RATIO 1100

#define CACHE_LEAST ((size_t)1 << 20)
#define CACHE_MOST  ((size_t)64 << 20)

static tr_status
check_link(hid_t parent, const char *name, const tr__hdf5_array *array)
{
  TR_CHECK(H5Lexists(parent, name, H5P_DEFAULT) > 0, TR_ENOINPUT,
           "%s: not there: no link \"%s\"", array->where, name);
  H5L_info_t info;
  TR_TRY_H5(H5Lget_info(parent, name, &info, H5P_DEFAULT), TR_EDATA,
            "%s: link \"%s\" cannot be read", array->where, name);
  TR_CHECK(info.type == H5L_TYPE_HARD, TR_EDATA,
           "%s: \"%s\" is %s link, expected the object itself", array->where,
           name, info.type == H5L_TYPE_SOFT ? "a soft" : "an external");
  return TR_OK;
}

bool tr__hdf5_has(const tr__hdf5_file *file,
                  const char *split,
                  const char *name)
{
  H5L_info_t info;
  if (H5Lexists(file->id, split, H5P_DEFAULT) <= 0 ||
      H5Lget_info(file->id, split, &info, H5P_DEFAULT) < 0 ||
      info.type != H5L_TYPE_HARD) {
    return false;
  }
  hid_t group = H5Gopen2(file->id, split, H5P_DEFAULT);
  bool has = group >= 0 && H5Lexists(group, name, H5P_DEFAULT) > 0;
  tr__hdf5_close(group);
  return has;
}

static tr_status check_filters(const tr__hdf5_array *array, hid_t plist)
{
  int count = H5Pget_nfilters(plist);
  TR_TRY_H5(count, TR_EDATA, "%s: filters cannot be read", array->where);
  for (int i = 0; i < count; i++) {
    unsigned flags;
    size_t num_values = 0;
    H5Z_filter_t filter = H5Pget_filter2(plist, (unsigned)i, &flags,
                                         &num_values, NULL, 0, NULL, NULL);
    bool is_known = filter == H5Z_FILTER_DEFLATE ||
                    filter == H5Z_FILTER_SHUFFLE ||
                    filter == H5Z_FILTER_FLETCHER32;
    TR_CHECK(is_known, TR_EDATA,
             "%s: filter %d is not supported, expected deflate, shuffle or "
             "fletcher32",
             array->where, (int)filter);
  }
  return TR_OK;
}

static tr_status check_layout(const tr__hdf5_array *array, hid_t plist)
{
  H5D_layout_t layout = H5Pget_layout(plist);
  TR_CHECK(layout == H5D_CONTIGUOUS || layout == H5D_CHUNKED ||
               layout == H5D_COMPACT,
           TR_EDATA, "%s: the layout is %s, expected contiguous or chunked",
           array->where, layout == H5D_VIRTUAL ? "virtual" : "unknown");
  TR_CHECK(H5Pget_external_count(plist) == 0, TR_EDATA,
           "%s: its values are in other files, expected them in this one",
           array->where);
  return check_filters(array, plist);
}

static tr_status check_type(tr__hdf5_array *array, hid_t type, bool is_labels)
{
  H5T_class_t class = H5Tget_class(type);
  size_t size = H5Tget_size(type);
  if (is_labels) {
    TR_CHECK(class == H5T_INTEGER && size <= 8, TR_EDATA,
             "%s: the type is not an integer, labels are", array->where);
    array->kind = TR__HDF5_LABELS;
    return TR_OK;
  }
  bool is_f32 =
      H5Tequal(type, H5T_IEEE_F32LE) > 0 || H5Tequal(type, H5T_IEEE_F32BE) > 0;
  bool is_f64 =
      H5Tequal(type, H5T_IEEE_F64LE) > 0 || H5Tequal(type, H5T_IEEE_F64BE) > 0;
  bool is_u8 =
      H5Tequal(type, H5T_STD_U8LE) > 0 || H5Tequal(type, H5T_STD_U8BE) > 0;
  TR_CHECK(is_u8 || is_f32 || is_f64, TR_EDATA,
           "%s: the type has %zu bytes and is not one of uint8, float32 and "
           "float64",
           array->where, size);
  array->kind = is_u8 ? TR__HDF5_U8 : is_f32 ? TR__HDF5_F32 : TR__HDF5_F64;
  return TR_OK;
}

/* Extents and their product; *points is the number of values. */
static tr_status
check_space(tr__hdf5_array *array, hid_t space, int64_t *points)
{
  TR_CHECK(H5Sget_simple_extent_type(space) == H5S_SIMPLE, TR_EDATA,
           "%s: is a single value or empty, expected an array", array->where);
  int ndim = H5Sget_simple_extent_ndims(space);
  int most = array->kind == TR__HDF5_LABELS ? 1 : TR_MAX_DIMS;
  TR_CHECK(ndim >= 1 && ndim <= most, TR_EDATA,
           "%s: has %d extents, expected 1%s", array->where, ndim,
           most > 1 ? " to 6" : "");
  hsize_t dims[TR_MAX_DIMS];
  TR_TRY_H5(H5Sget_simple_extent_dims(space, dims, NULL), TR_EDATA,
            "%s: the extents cannot be read", array->where);
  *points = 1;
  for (int i = 0; i < ndim; i++) {
    TR_CHECK(dims[i] > 0, TR_EDATA, "%s: extent %d is 0, expected 1 or more",
             array->where, i);
    bool fits = dims[i] <= INT64_MAX / 16 &&
                !tr__mul_overflows(*points, (int64_t)dims[i], points);
    TR_CHECK(fits, TR_EDATA, "%s: the product of the extents does not fit",
             array->where);
    array->dims[i] = (int64_t)dims[i];
  }
  array->ndim = ndim;
  return TR_OK;
}

/* *chunk_bytes is the size of a value before, that of a chunk of them after; 0
 * where there are no chunks. */
static tr_status check_chunks(const tr__hdf5_array *array,
                              hid_t plist,
                              int64_t most,
                              int64_t *chunk_bytes)
{
  hsize_t dims[TR_MAX_DIMS];
  if (H5Pget_layout(plist) != H5D_CHUNKED) {
    *chunk_bytes = 0;
    return TR_OK;
  }
  TR_CHECK(H5Pget_chunk(plist, TR_MAX_DIMS, dims) == array->ndim, TR_EDATA,
           "%s: the chunks have other extents than the array", array->where);
  for (int i = 0; i < array->ndim; i++) {
    bool fits = dims[i] <= INT64_MAX / 16 &&
                !tr__mul_overflows(*chunk_bytes, (int64_t)dims[i], chunk_bytes);
    TR_CHECK(fits && *chunk_bytes <= most, TR_EDATA,
             "%s: a chunk is larger than the stored bytes can fill",
             array->where);
  }
  return TR_OK;
}

/* The stored bytes must be there, and enough for what the extents promise. */
static tr_status check_stored(tr__hdf5_array *array,
                              const tr__hdf5_file *file,
                              int64_t bytes,
                              int64_t stored)
{
  TR_CHECK(stored > 0 && stored <= file->bytes, TR_EDATA,
           "%s: %lld bytes are stored, expected 1 to the file's %lld",
           array->where, (long long)stored, (long long)file->bytes);
  TR_CHECK(bytes / MAX_RATIO <= stored, TR_EDATA,
           "%s: the extents want %lld bytes, the %lld that are stored cannot "
           "hold them",
           array->where, (long long)bytes, (long long)stored);
  return TR_OK;
}

/* Values that lie in the file as in memory need no libhdf5, and so no lock. */
static tr_status find_offset(tr__hdf5_array *array,
                             const tr__hdf5_file *file,
                             hid_t type,
                             hid_t plist,
                             int64_t bytes)
{
  static const hid_t none = -1;
  hid_t native = array->kind == TR__HDF5_U8    ? H5T_NATIVE_UCHAR
                 : array->kind == TR__HDF5_F32 ? H5T_NATIVE_FLOAT
                 : array->kind == TR__HDF5_F64 ? H5T_NATIVE_DOUBLE
                                               : none;
  array->offset = -1;
  if (H5Pget_layout(plist) != H5D_CONTIGUOUS) {
    return TR_OK;
  }
  haddr_t address = H5Dget_offset(array->id);
  int64_t end;
  TR_CHECK(address != HADDR_UNDEF && address <= INT64_MAX &&
               !tr__add_overflows((int64_t)address, bytes, &end) &&
               end <= file->bytes,
           TR_EDATA,
           "%s: its %lld bytes are not all within the file's %lld: truncated?",
           array->where, (long long)bytes, (long long)file->bytes);
  if (native != none && H5Tequal(type, native) > 0) {
    array->offset = (int64_t)address;
  }
  return TR_OK;
}

/* Room for a few chunks: samples that are drawn at random come back to them. */
static tr_status reopen_with_cache(tr__hdf5_array *array,
                                   hid_t group,
                                   const char *name,
                                   int64_t chunk_bytes)
{
  size_t bytes = 4 * (size_t)chunk_bytes;
  bytes = bytes < CACHE_LEAST ? CACHE_LEAST : bytes;
  bytes = bytes > CACHE_MOST ? CACHE_MOST : bytes;
  hid_t access = H5Pcreate(H5P_DATASET_ACCESS);
  TR_TRY_H5(access, TR_ENOMEM, "%s: cannot be opened", array->where);
  H5Pset_chunk_cache(access, 521, bytes, 1.0);
  tr__hdf5_close(array->id);
  array->id = H5Dopen2(group, name, access);
  tr__hdf5_close(access);
  TR_TRY_H5(array->id, TR_EDATA, "%s: cannot be opened", array->where);
  return TR_OK;
}

/* What is looked at during the checks, to be closed behind them. */
typedef struct parts {
  hid_t group, plist, type, space;
} parts;

static tr_status check_array(const tr__hdf5_file *file,
                             const parts *p,
                             const char *name,
                             bool is_labels,
                             tr__hdf5_array *array)
{
  int64_t points = 0, bytes, stored, most, chunk_bytes;
  int64_t size = (int64_t)H5Tget_size(p->type);
  TR_TRY(check_layout(array, p->plist));
  TR_TRY(check_type(array, p->type, is_labels));
  TR_TRY(check_space(array, p->space, &points));
  TR_CHECK(points <= INT64_MAX / 16, TR_EDATA,
           "%s: the product of the extents does not fit", array->where);
  bytes = points * size;
  stored = (int64_t)H5Dget_storage_size(array->id);
  TR_TRY(check_stored(array, file, bytes, stored));
  most = tr__mul_overflows(stored, MAX_RATIO, &most) ? INT64_MAX : most;
  chunk_bytes = size;
  TR_TRY(check_chunks(array, p->plist, most, &chunk_bytes));
  TR_TRY(find_offset(array, file, p->type, p->plist, bytes));
  if (chunk_bytes > 0) {
    TR_TRY(reopen_with_cache(array, p->group, name, chunk_bytes));
  }
  return TR_OK;
}

static tr_status open_parts(const tr__hdf5_file *file,
                            const char *split,
                            const char *name,
                            tr__hdf5_array *array,
                            parts *p)
{
  TR_TRY(check_link(file->id, split, array));
  p->group = H5Gopen2(file->id, split, H5P_DEFAULT);
  TR_TRY_H5(p->group, TR_EDATA, "%s: /%s is not a group", array->where, split);
  TR_TRY(check_link(p->group, name, array));
  array->id = H5Dopen2(p->group, name, H5P_DEFAULT);
  TR_TRY_H5(array->id, TR_EDATA, "%s: is not an array", array->where);
  p->plist = H5Dget_create_plist(array->id);
  p->type = H5Dget_type(array->id);
  p->space = H5Dget_space(array->id);
  TR_TRY_H5(p->plist, TR_EDATA, "%s: properties", array->where);
  TR_TRY_H5(p->type, TR_EDATA, "%s: type", array->where);
  TR_TRY_H5(p->space, TR_EDATA, "%s: extents", array->where);
  return TR_OK;
}

tr_status tr__hdf5_open_array(const tr__hdf5_file *file,
                              const char *split,
                              const char *name,
                              bool is_labels,
                              tr__hdf5_array *out)
{
  *out = (tr__hdf5_array){.id = -1, .offset = -1};
  snprintf(out->where, sizeof out->where, "%s: /%s/%s", file->path, split,
           name);
  TR_CHECK(
      split[0] != '\0' && strchr(split, '/') == NULL && strcmp(split, ".") != 0,
      TR_EINVAL, "%s: \"%s\" is not the name of a group", file->path, split);
  parts p = {-1, -1, -1, -1};
  tr_status status = open_parts(file, split, name, out, &p);
  if (status == TR_OK) {
    status = check_array(file, &p, name, is_labels, out);
  }
  tr__hdf5_close(p.space);
  tr__hdf5_close(p.type);
  tr__hdf5_close(p.plist);
  tr__hdf5_close(p.group);
  return status;
}
