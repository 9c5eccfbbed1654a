#include "checkpoint/h5_strict_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Chunks of a data set are unpacked one by one: none may be larger than what
 * it is part of, small sets apart. */
static const int64_t small_chunk = 1 << 20;

static tr_status check_file(const char *path)
{
  struct stat info;
  TR_CHECK(path != NULL && path[0] != '\0', TR_EINVAL,
           "expected the name of an HDF5 file, got none");
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  TR_CHECK(fd >= 0, errno == ENOENT || errno == ENOTDIR ? TR_ENOINPUT : TR_EIO,
           "%s: cannot open: %s", path, strerror(errno));
  bool is_file = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  close(fd);
  TR_CHECK(is_file, TR_EDATA, "%s: is no regular file", path);
  return TR_OK;
}

tr_status tr__h5_open(const char *path, tr__h5_file *out)
{
  char reason[TR__H5_REASON_BYTES];
  TR_TRY(check_file(path));
  out->path = path;
  tr__hdf5_begin(&out->section);
  /* A filter that is not built in would load a library named by the file. */
  H5PLget_loading_state(&out->plugins);
  H5PLset_loading_state(0);
  out->file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
  if (out->file < 0) {
    tr__h5_reason(reason);
    tr__h5_close(out);
    return TR_FAIL(TR_EDATA, "%s: is no HDF5 file, or is damaged: %s", path,
                   reason);
  }
  return TR_OK;
}

void tr__h5_close(tr__h5_file *file)
{
  if (file->file >= 0) {
    H5Fclose(file->file);
  }
  H5PLset_loading_state(file->plugins);
  tr__hdf5_end(&file->section);
}

/* Every part of the path must be a hard link: soft and external links lead
 * elsewhere, the external ones to other files. */
static tr_status check_links(const tr__h5_file *file, const char *name)
{
  char part[512];
  H5L_info_t info;
  for (const char *at = name; at != NULL;) {
    at = strchr(at + 1, '/');
    size_t length = at != NULL ? (size_t)(at - name) : strlen(name);
    TR_CHECK(length < sizeof part, TR_EDATA,
             "%s: the name %.60s... is too long", file->path, name);
    memcpy(part, name, length);
    part[length] = '\0';
    TR_CHECK(H5Lexists(file->file, part, H5P_DEFAULT) > 0, TR_EMISMATCH,
             "%s: has no %s, expected data set %s", file->path, part, name);
    TR_CHECK(H5Lget_info(file->file, part, &info, H5P_DEFAULT) >= 0 &&
                 info.type == H5L_TYPE_HARD,
             TR_EDATA,
             "%s: %s is a link that leads elsewhere, which is refused",
             file->path, part);
  }
  return TR_OK;
}

bool tr__h5_has(const tr__h5_file *file, const char *name)
{
  char part[512];
  for (const char *at = strchr(name + 1, '/');; at = strchr(at + 1, '/')) {
    size_t length = at != NULL ? (size_t)(at - name) : strlen(name);
    snprintf(part, sizeof part, "%.*s", (int)length, name);
    if (length >= sizeof part ||
        H5Lexists(file->file, part, H5P_DEFAULT) <= 0) {
      return false;
    }
    if (at == NULL) {
      return true;
    }
  }
}

/* An open data set and what was asked of it. */
typedef struct request {
  const tr__h5_file *file;
  const char *name;
  const tr_shape *shape;
  tr_dtype dtype;
  hid_t set, space, type, list; /* negative where not open */
} request;

/* A single number may be an int64, as PyTorch counts batches. */
static tr_status check_type(const request *r)
{
  bool is_count = r->shape->ndim == 0 && H5Tequal(r->type, H5T_STD_I64LE) > 0;
  TR_CHECK(is_count || H5Tequal(r->type, H5T_IEEE_F32LE) > 0 ||
               H5Tequal(r->type, H5T_IEEE_F64LE) > 0 ||
               H5Tequal(r->type, H5T_IEEE_F32BE) > 0 ||
               H5Tequal(r->type, H5T_IEEE_F64BE) > 0,
           TR_EDATA,
           "%s: data set %s is not of a type float32 or float64, as expected",
           r->file->path, r->name);
  return TR_OK;
}

static tr_status check_shape(const request *r)
{
  char got[TR__SHAPE_BYTES] = "more than 6 dimensions";
  char expected[TR__SHAPE_BYTES];
  hsize_t dims[TR_MAX_DIMS];
  tr_shape shape = {.ndim = H5Sget_simple_extent_ndims(r->space)};
  if (shape.ndim >= 0 && shape.ndim <= TR_MAX_DIMS) {
    H5Sget_simple_extent_dims(r->space, dims, NULL);
    for (int i = 0; i < shape.ndim; i++) {
      shape.dims[i] = dims[i] <= INT64_MAX ? (int64_t)dims[i] : INT64_MAX;
    }
    tr__shape_text(&shape, got);
  }
  TR_CHECK(tr__shape_equal(&shape, r->shape), TR_ESHAPE,
           "%s: data set %s has %s, the model expects %s", r->file->path,
           r->name, got, tr__shape_text(r->shape, expected));
  return TR_OK;
}

static tr_status check_filters(const request *r)
{
  int count = H5Pget_nfilters(r->list);
  for (int i = 0; i < count; i++) {
    unsigned flags, config;
    size_t values = 0;
    H5Z_filter_t filter = H5Pget_filter2(r->list, (unsigned)i, &flags, &values,
                                         NULL, 0, NULL, &config);
    TR_CHECK(filter == H5Z_FILTER_DEFLATE || filter == H5Z_FILTER_SHUFFLE ||
                 filter == H5Z_FILTER_FLETCHER32,
             TR_EDATA, "%s: data set %s uses filter %d, which is refused",
             r->file->path, r->name, (int)filter);
  }
  return TR_OK;
}

static tr_status check_chunks(const request *r)
{
  hsize_t dims[TR_MAX_DIMS];
  int64_t count = 1, bytes = (int64_t)H5Tget_size(r->type);
  int ndim = H5Pget_chunk(r->list, TR_MAX_DIMS, dims);
  bool fits = ndim >= 1 && ndim <= TR_MAX_DIMS;
  for (int i = 0; fits && i < ndim; i++) {
    fits = dims[i] <= INT64_MAX &&
           !tr__mul_overflows(count, (int64_t)dims[i], &count);
  }
  int64_t most = tr__max(small_chunk, bytes * tr_shape_count(r->shape));
  TR_CHECK(fits && count <= most / bytes, TR_EDATA,
           "%s: data set %s has chunks that are larger than itself",
           r->file->path, r->name);
  return TR_OK;
}

static tr_status check_layout(const request *r)
{
  H5D_layout_t layout = H5Pget_layout(r->list);
  TR_CHECK((layout == H5D_CONTIGUOUS || layout == H5D_CHUNKED ||
            layout == H5D_COMPACT) &&
               H5Pget_external_count(r->list) == 0,
           TR_EDATA,
           "%s: data set %s keeps its values in other files, which is refused",
           r->file->path, r->name);
  TR_CHECK(H5Dget_storage_size(r->set) > 0, TR_EDATA,
           "%s: data set %s has no values", r->file->path, r->name);
  TR_TRY(check_filters(r));
  return layout == H5D_CHUNKED ? check_chunks(r) : TR_OK;
}

static tr_status read_values(request *r, void *values)
{
  char reason[TR__H5_REASON_BYTES];
  r->set = H5Dopen2(r->file->file, r->name, H5P_DEFAULT);
  TR_CHECK(r->set >= 0, TR_EDATA, "%s: %s cannot be opened as a data set: %s",
           r->file->path, r->name, tr__h5_reason(reason));
  r->space = H5Dget_space(r->set);
  r->type = H5Dget_type(r->set);
  r->list = H5Dget_create_plist(r->set);
  TR_CHECK(r->space >= 0 && r->type >= 0 && r->list >= 0, TR_EDATA,
           "%s: data set %s is damaged: %s", r->file->path, r->name,
           tr__h5_reason(reason));
  TR_TRY(check_type(r));
  TR_TRY(check_shape(r));
  TR_TRY(check_layout(r));
  hid_t memory = r->dtype == TR_F64 ? H5T_NATIVE_DOUBLE : H5T_NATIVE_FLOAT;
  TR_CHECK(H5Dread(r->set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0,
           TR_EDATA, "%s: data set %s cannot be read: %s", r->file->path,
           r->name, tr__h5_reason(reason));
  return TR_OK;
}

tr_status tr__h5_read(const tr__h5_file *file,
                      const char *name,
                      const tr_shape *shape,
                      tr_dtype dtype,
                      void *values)
{
  request r = {file, name, shape, dtype, -1, -1, -1, -1};
  TR_TRY(check_links(file, name));
  tr_status status = read_values(&r, values);
  if (r.list >= 0) {
    H5Pclose(r.list);
  }
  if (r.type >= 0) {
    H5Tclose(r.type);
  }
  if (r.space >= 0) {
    H5Sclose(r.space);
  }
  if (r.set >= 0) {
    H5Dclose(r.set);
  }
  return status;
}
