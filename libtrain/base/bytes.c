/* The bytes of files: the format that they look like, and their values as
 * numbers. */
#include "base/bytes_impl.h"

#include <ctype.h>
#include <string.h>

static const struct {
  const char *start, *what;
} kinds[] = {
    {"<", "a web page or XML"},
    {"PK", "a zip or npz archive"},
    {"\x93NUMPY", "a NumPy array"},
    {"\x1f\x8b", "a gzip file"},
    {"BZh", "a bzip2 file"},
    {"\xfd"
     "7zXZ",
     "an xz file"},
    {"\211HDF", "an HDF5 file"},
    {"CDF", "a NetCDF file of version 3"},
    {"version https", "a pointer of Git LFS"},
    {"{", "JSON"},
};

static const char *kind_of(const uint8_t *first, size_t count)
{
  while (count > 0 && isspace(first[0])) {
    first++;
    count--;
  }
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    size_t length = strlen(kinds[i].start);
    if (count >= length && memcmp(first, kinds[i].start, length) == 0) {
      return kinds[i].what;
    }
  }
  return NULL;
}

const char *tr__looks_like(const uint8_t *first, size_t count, char *out)
{
  size_t used = 0, shown = count < TR__FIRST_BYTES ? count : TR__FIRST_BYTES;
  const char *kind = kind_of(first, count);
  if (count == 0) {
    return strcpy(out, "it is empty");
  }
  used = (size_t)snprintf(out, TR__LOOKS_BYTES, "it begins with \"");
  for (size_t i = 0; i < shown; i++) {
    bool is_plain = isprint(first[i]) && first[i] != '"' && first[i] != '\\';
    used += (size_t)snprintf(out + used, TR__LOOKS_BYTES - used,
                             is_plain ? "%c" : "\\x%02x", first[i]);
  }
  snprintf(out + used, TR__LOOKS_BYTES - used, "\"%s%s",
           kind != NULL ? " and looks like " : "", kind != NULL ? kind : "");
  return out;
}

void tr__scale_bytes(const uint8_t *bytes,
                     int64_t count,
                     tr_dtype dtype,
                     void *x)
{
  if (dtype == TR_F64) {
    double *restrict out = x;
    for (int64_t i = 0; i < count; i++) {
      out[i] = bytes[i] / 255.0;
    }
    return;
  }
  float *restrict out = x;
  for (int64_t i = 0; i < count; i++) {
    out[i] = (float)bytes[i] / 255.0f;
  }
}
