/* Element types, shapes, names and time. */
#include "base/base_impl.h"

#include <limits.h>
#include <string.h>
#include <time.h>

#define TEXT(number)  #number
#define VALUE(number) TEXT(number)

const char *tr_version(void)
{
  return VALUE(TR_VERSION_MAJOR) "." VALUE(TR_VERSION_MINOR) "." VALUE(
      TR_VERSION_PATCH);
}

size_t tr_dtype_size(tr_dtype dtype)
{
  switch (dtype) {
  case TR_F64:
    return 8;
  case TR_F32:
  case TR_I32:
    return 4;
  case TR_BF16:
  case TR_F16:
    return 2;
  case TR_U8:
    return 1;
  }
  return 0;
}

const char *tr__dtype_name(tr_dtype dtype)
{
  switch (dtype) {
  case TR_F32:
    return "float32";
  case TR_F64:
    return "float64";
  case TR_I32:
    return "int32";
  case TR_U8:
    return "uint8";
  case TR_BF16:
    return "bfloat16";
  case TR_F16:
    return "float16";
  }
  return "unknown";
}

tr_shape tr_shape_of(int ndim, const int64_t *dims)
{
  tr_shape shape = {.ndim = -1};
  if (ndim < 0 || ndim > TR_MAX_DIMS) {
    return shape;
  }
  shape.ndim = ndim;
  for (int i = 0; i < ndim; i++) {
    shape.dims[i] = dims[i];
  }
  return shape;
}

int64_t tr_shape_count(const tr_shape *shape)
{
  if (shape->ndim < 0 || shape->ndim > TR_MAX_DIMS) {
    return -1;
  }
  int64_t count = 1;
  for (int i = 0; i < shape->ndim; i++) {
    if (shape->dims[i] < 0 ||
        tr__mul_overflows(count, shape->dims[i], &count)) {
      return -1;
    }
  }
  return count;
}

bool tr__shape_is_valid(const tr_shape *shape)
{
  /* The limit leaves room for a product with the element size. */
  int64_t count = tr_shape_count(shape);
  return count > 0 && count <= INT64_MAX / 16;
}

bool tr__shape_equal(const tr_shape *a, const tr_shape *b)
{
  if (a->ndim != b->ndim) {
    return false;
  }
  for (int i = 0; i < a->ndim; i++) {
    if (a->dims[i] != b->dims[i]) {
      return false;
    }
  }
  return true;
}

const char *tr__shape_text(const tr_shape *shape, char *out)
{
  size_t used = (size_t)snprintf(out, TR__SHAPE_BYTES, "(");
  for (int i = 0; i < shape->ndim; i++) {
    used +=
        (size_t)snprintf(out + used, TR__SHAPE_BYTES - used,
                         i == 0 ? "%lld" : ", %lld", (long long)shape->dims[i]);
  }
  snprintf(out + used, TR__SHAPE_BYTES - used, ")");
  return out;
}

bool tr__copy_name(char *out, size_t bytes, const char *name)
{
  size_t length = strlen(name);
  if (length >= bytes) {
    out[0] = '\0';
    return false;
  }
  memcpy(out, name, length + 1);
  return true;
}

int tr__int(int64_t count)
{
  TR_ASSERT(count >= 0 && count <= INT_MAX);
  return (int)count;
}

double tr__now(void)
{
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}
