/* Types of numbers: decodes an array's type message, and converts values. */
#include "base/bytes_impl.h"
#include "hdf5/hdf5_format_impl.h"

#include "base/half_impl.h"

#include <string.h>

static const char *const class_names[] = {
    "an integer",     "a float",
    "a time",         "text",
    "a bit field",    "opaque bytes",
    "a compound",     "a reference",
    "an enumeration", "of variable length (text or lists)",
    "an array",       "a complex number"};

enum { INTEGER = 0, FLOATING = 1, ENUMERATION = 8, NUM_CLASSES = 12 };

/* Each row of `known` is an IEEE type: bytes, first bit and bits of the
 * exponent, first bit and bits of the mantissa, bias of the exponent. */
static bool is_ieee(tr__hdf5_cursor *c, uint64_t size, unsigned sign)
{
  static const uint64_t known[][6] = {
      {2, 10, 5, 0, 10, 15}, {4, 23, 8, 0, 23, 127}, {8, 52, 11, 0, 52, 1023}};
  uint64_t offset = tr__hdf5_uint(c, 2), bits = tr__hdf5_uint(c, 2);
  uint64_t got[6] = {size};
  for (int i = 1; i < 5; i++) {
    got[i] = tr__hdf5_uint(c, 1);
  }
  got[5] = tr__hdf5_uint(c, 4);
  bool is_known = false;
  for (int i = 0; i < 3; i++) {
    is_known = is_known || memcmp(got, known[i], sizeof got) == 0;
  }
  return is_known && offset == 0 && bits == 8 * size && sign == bits - 1;
}

static tr_status read_body(tr__hdf5_file *file,
                           tr__hdf5_cursor *c,
                           int depth,
                           tr__hdf5_type *out)
{
  unsigned first = (unsigned)tr__hdf5_uint(c, 1);
  unsigned bits = (unsigned)tr__hdf5_uint(c, 3);
  uint64_t size = tr__hdf5_uint(c, 4);
  unsigned class = first & 15;
  *out = (tr__hdf5_type){.class = TR__HDF5_OTHER, .name = "unknown"};
  out->size = (int)tr__min((int64_t)size, INT32_MAX);
  out->name = class < NUM_CLASSES ? class_names[class] : out->name;
  out->is_big = (bits & 1) != 0;
  if (class == ENUMERATION && depth == 0) {
    /* The type of its values follows: h5py's bool is an enumeration. */
    return read_body(file, c, depth + 1, out);
  }
  if (class == INTEGER) {
    uint64_t offset = tr__hdf5_uint(c, 2), precision = tr__hdf5_uint(c, 2);
    bool is_plain = (size == 1 || size == 2 || size == 4 || size == 8) &&
                    offset == 0 && precision == 8 * size;
    out->class = is_plain ? TR__HDF5_INT : TR__HDF5_OTHER;
    out->is_signed = (bits & 8) != 0;
  } else if (class == FLOATING) {
    bool is_plain = (bits & 0x40) == 0 && is_ieee(c, size, bits >> 8 & 0xff);
    out->class = is_plain ? TR__HDF5_FLOAT : TR__HDF5_OTHER;
  }
  return c->is_short || size == 0 ? tr__hdf5_damaged(file, "a type", 0) : TR_OK;
}

/* A named type has an object of its own. */
static tr_status
on_named_type(tr__hdf5_file *file, tr__hdf5_message *m, void *user)
{
  return m->type == TR__HDF5_TYPE && (m->flags & TR__HDF5_IS_SHARED) == 0
             ? read_body(file, &m->body, 0, user)
             : TR_OK;
}

tr_status tr__hdf5_read_type(tr__hdf5_file *file,
                             tr__hdf5_message *message,
                             tr__hdf5_type *out)
{
  enum { IN_HEAP = 1 };
  tr__hdf5_cursor *c = &message->body;
  *out = (tr__hdf5_type){.class = TR__HDF5_OTHER, .name = "unknown"};
  if ((message->flags & TR__HDF5_IS_SHARED) == 0) {
    return read_body(file, c, 0, out);
  }
  int version = (int)tr__hdf5_uint(c, 1), kind = (int)tr__hdf5_uint(c, 1);
  tr__hdf5_take(c, version == 1 ? 6 : 0);
  uint64_t address = tr__hdf5_address(file, c);
  TR_CHECK(version <= 2 || kind != IN_HEAP, TR_EDATA,
           "%s: shares its types in a heap, which is not supported (h5repack "
           "writes it without)",
           file->path);
  return tr__hdf5_each_message(file, address, on_named_type, out);
}

/* One number as 64 bits in this machine's byte order, sign-extended. */
static uint64_t load(const tr__hdf5_type *type, const uint8_t *in)
{
  uint64_t value = 0;
  for (int i = 0; i < type->size; i++) {
    int at = type->is_big ? i : type->size - 1 - i;
    value = value << 8 | in[at];
  }
  bool is_negative =
      type->is_signed && (in[type->is_big ? 0 : type->size - 1] & 0x80) != 0;
  return is_negative && type->size < 8 ? value | UINT64_MAX << 8 * type->size
                                       : value;
}

static double as_number(const tr__hdf5_type *type, uint64_t bits)
{
  if (type->class == TR__HDF5_INT) {
    return type->is_signed ? (double)(int64_t)bits : (double)bits;
  }
  if (type->size == 2) {
    return tr__from_f16((uint16_t)bits);
  }
  float f;
  double d;
  uint32_t low = (uint32_t)bits;
  memcpy(&f, &low, sizeof f);
  memcpy(&d, &bits, sizeof d);
  return type->size == 4 ? f : d;
}

/* An unsigned number above INT64_MAX becomes INT64_MAX. */
static int64_t as_integer(const tr__hdf5_type *type, uint64_t bits)
{
  return !type->is_signed && bits > INT64_MAX ? INT64_MAX : (int64_t)bits;
}

static bool is_in_order(const tr__hdf5_type *type)
{
  const uint16_t one = 1;
  bool is_big_here = *(const uint8_t *)&one == 0;
  return type->class == TR__HDF5_FLOAT && type->is_big == is_big_here;
}

bool tr__hdf5_is_native(const tr__hdf5_type *type, tr__hdf5_as as)
{
  return is_in_order(type) && type->size == (as == TR__HDF5_AS_F32   ? 4
                                             : as == TR__HDF5_AS_F64 ? 8
                                                                     : 0);
}

static void narrow(const uint8_t *in, int64_t count, float *restrict out)
{
  for (int64_t i = 0; i < count; i++) {
    double value;
    memcpy(&value, in + i * 8, sizeof value);
    out[i] = (float)value;
  }
}

static void widen(const uint8_t *in, int64_t count, double *restrict out)
{
  for (int64_t i = 0; i < count; i++) {
    float value;
    memcpy(&value, in + i * 4, sizeof value);
    out[i] = value;
  }
}

/* Copy float32 or float64 in this machine's byte order; false where the values
 * are of another type. */
static bool copy_in_order(const tr__hdf5_type *type,
                          const uint8_t *in,
                          int64_t count,
                          tr__hdf5_as as,
                          void *out)
{
  if (tr__hdf5_is_native(type, as)) {
    memcpy(out, in, (size_t)(count * type->size));
    return true;
  }
  if (!is_in_order(type) || type->size == 2 || as == TR__HDF5_AS_I64) {
    return false;
  }
  if (type->size == 8) {
    narrow(in, count, out);
  } else {
    widen(in, count, out);
  }
  return true;
}

void tr__hdf5_copy(const tr__hdf5_type *type,
                   const uint8_t *in,
                   int64_t count,
                   tr__hdf5_as as,
                   void *out)
{
  if (copy_in_order(type, in, count, as, out)) {
    return;
  }
  if (type->class == TR__HDF5_INT && type->size == 1 && !type->is_signed &&
      as != TR__HDF5_AS_I64) {
    tr__scale_bytes(in, count, as == TR__HDF5_AS_F64 ? TR_F64 : TR_F32, out);
    return;
  }
  for (int64_t i = 0; i < count; i++) {
    uint64_t bits = load(type, in + i * type->size);
    if (as == TR__HDF5_AS_I64) {
      ((int64_t *)out)[i] = as_integer(type, bits);
    } else if (as == TR__HDF5_AS_F64) {
      ((double *)out)[i] = as_number(type, bits);
    } else {
      ((float *)out)[i] = (float)as_number(type, bits);
    }
  }
}
