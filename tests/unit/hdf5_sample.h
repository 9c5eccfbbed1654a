/* Small HDF5 files of samples and labels, written by libhdf5. */
#ifndef TR_HDF5_SAMPLE_H
#define TR_HDF5_SAMPLE_H

#include "data_helper.h"

#include <hdf5.h>

enum { N = 12, H = 5, W = 3 };

/* How one array of a file is made; zero: plain. */
typedef struct array_spec {
  hid_t type; /* of the file */
  int ndim;
  hsize_t dims[8];
  hsize_t chunk; /* samples per chunk; 0: contiguous */
  int deflate;   /* and shuffle */
} array_spec;

static inline double value_of(int64_t i)
{
  return (double)(i * 7 % 256);
}

/* Values 0, 7, 14, ... in whatever type; labels count 0..modulus-1. */
static inline void
write_array(hid_t group, const char *name, const array_spec *spec, int modulus)
{
  hid_t space = H5Screate_simple(spec->ndim, spec->dims, NULL);
  hid_t plist = H5Pcreate(H5P_DATASET_CREATE);
  int64_t count = 1;
  for (int i = 0; i < spec->ndim; i++) {
    count *= (int64_t)spec->dims[i];
  }
  if (spec->chunk > 0) {
    hsize_t chunk[8];
    memcpy(chunk, spec->dims, sizeof chunk);
    chunk[0] = spec->chunk;
    H5Pset_chunk(plist, spec->ndim, chunk);
  }
  if (spec->deflate) {
    H5Pset_shuffle(plist);
    H5Pset_deflate(plist, 6);
  }
  double *values = malloc((size_t)count * sizeof *values);
  for (int64_t i = 0; i < count; i++) {
    values[i] = modulus > 0 ? (double)(i % modulus) : value_of(i);
  }
  hid_t set = H5Dcreate2(group, name, spec->type, space, H5P_DEFAULT, plist,
                         H5P_DEFAULT);
  ASSERT(set >= 0);
  ASSERT(H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                  values) >= 0);
  free(values);
  H5Dclose(set);
  H5Pclose(plist);
  H5Sclose(space);
}

static inline const char *scratch_file(const char *name)
{
  static char path[512];
  snprintf(path, sizeof path, "%s/%s", test_scratch(), name);
  return path;
}

static inline array_spec images(hid_t type)
{
  return (array_spec){.type = type, .ndim = 3, .dims = {N, H, W}};
}

static inline array_spec labels(hid_t type)
{
  return (array_spec){.type = type, .ndim = 1, .dims = {N}};
}

static inline void
write_group(hid_t file, const char *name, array_spec x, array_spec y, int k)
{
  hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  write_array(group, "x", &x, 0);
  write_array(group, "y", &y, k);
  H5Gclose(group);
}

static inline const char *
write_file(const char *name, array_spec x, array_spec y)
{
  const char *path = scratch_file(name);
  hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_file_locking(access, 0, 1); /* tests stand in for locks */
  hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
  H5Pclose(access);
  ASSERT(file >= 0);
  write_group(file, "train", x, y, 4);
  H5Fclose(file);
  return path;
}

static inline void
assert_refused(const char *path, tr_status expected, const char *why)
{
  alone a;
  tr_dataset *data;
  ASSERT_FAILS(tr_hdf5_open(alone_init(&a, 0, 1, TR_F32), path, "train", &data),
               expected, why);
  ASSERT(data == NULL);
}

/* What a context was told; the last line of it. */
typedef struct told {
  int count;
  char line[1024];
} told;

static inline void on_log(void *user, int level, const char *line)
{
  told *t = user;
  t->count += level == TR__LOG_WARNING;
  snprintf(t->line, sizeof t->line, "%s", line);
}

static inline void open_and_tell(const char *path, const char *split, told *t)
{
  alone a;
  tr_dataset *data;
  tr_context *ctx = alone_init(&a, 0, 1, TR_F32);
  *t = (told){0};
  ctx->log = on_log;
  ctx->log_user = t;
  ASSERT_OK(tr_hdf5_open(ctx, path, split, &data));
  tr_dataset_destroy(&data);
}

#endif
