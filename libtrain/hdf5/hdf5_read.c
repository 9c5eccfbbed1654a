/* Reads samples of an array as contiguous runs of values, from the file or from
 * chunks. */
#include "hdf5/hdf5_cache_impl.h"

#include <string.h>

/* Values whose type changes pass through a buffer of this size. */
#define PIECE_BYTES 16384

static size_t size_as(tr__hdf5_as as)
{
  return as == TR__HDF5_AS_F32 ? 4 : 8;
}

/* Read `count` values that are contiguous in the file. */
static tr_status read_run(const tr__hdf5_array *array,
                          int64_t offset,
                          int64_t count,
                          tr__hdf5_as as,
                          char *out)
{
  const tr__hdf5_type *type = &array->type;
  uint8_t piece[PIECE_BYTES];
  if (tr__hdf5_is_native(type, as)) {
    return tr__hdf5_pread(array->file, array->where, offset,
                          (size_t)(count * type->size), out);
  }
  int64_t at_once = PIECE_BYTES / type->size;
  for (int64_t i = 0; i < count; i += at_once) {
    int64_t n = tr__min(at_once, count - i);
    TR_TRY(tr__hdf5_pread(array->file, array->where, offset + i * type->size,
                          (size_t)(n * type->size), piece));
    tr__hdf5_copy(type, piece, n, as, out + (size_t)i * size_as(as));
  }
  return TR_OK;
}

/* The box of a read that lies in one chunk: it begins at `from` in the chunk
 * and at `to` in the output, and has the extents `extent`. */
typedef struct part {
  const tr__hdf5_array *array;
  const uint8_t *values; /* of the chunk; NULL: read in place */
  int64_t file_offset;
  int64_t from[TR_MAX_DIMS], extent[TR_MAX_DIMS], to[TR_MAX_DIMS];
  int run_dim; /* axes from here on are contiguous on both sides */
  tr__hdf5_as as;
  char *out;
} part;

/* The first axis of a contiguous run: chunk and array have the same extents on
 * all later axes. */
static int find_run_dim(const tr__hdf5_array *array)
{
  int i = array->ndim - 1;
  while (i > 0 && array->chunk_dims[i] == array->dims[i]) {
    i--;
  }
  return i;
}

/* Copy the run that begins `at` after the beginning of the box. */
static tr_status copy_run(const part *p, const int64_t *at, int64_t count)
{
  const tr__hdf5_array *a = p->array;
  int64_t in = 0, out = 0;
  for (int i = 0; i < a->ndim; i++) {
    in = in * a->chunk_dims[i] + p->from[i] + at[i];
    out = (i > 0 ? out * a->dims[i] : 0) + p->to[i] + at[i];
  }
  char *to = p->out + (size_t)out * size_as(p->as);
  int64_t offset = in * a->type.size;
  if (p->values == NULL) {
    return read_run(a, p->file_offset + offset, count, p->as, to);
  }
  tr__hdf5_copy(&a->type, p->values + offset, count, p->as, to);
  return TR_OK;
}

static tr_status copy_part(const part *p)
{
  int64_t at[TR_MAX_DIMS] = {0}, count = 1;
  for (int i = p->run_dim; i < p->array->ndim; i++) {
    count *= p->extent[i];
  }
  for (;;) {
    TR_TRY(copy_run(p, at, count));
    int i = p->run_dim - 1;
    while (i >= 0 && ++at[i] == p->extent[i]) {
      at[i--] = 0;
    }
    if (i < 0) {
      return TR_OK;
    }
  }
}

static tr_status read_part(part *p, int64_t chunk)
{
  const tr__hdf5_array *a = p->array;
  p->file_offset = a->chunks[chunk].offset;
  if (a->cache == NULL) {
    p->values = NULL;
    return copy_part(p);
  }
  TR_TRY(tr__hdf5_pin(a, chunk, &p->values));
  tr_status status = copy_part(p);
  tr__hdf5_unpin(a, chunk);
  return status;
}

/* Fill in the box of the samples that lies in the chunk at `place`; returns the
 * chunk's number. */
static int64_t
cut_part(part *p, const int64_t *place, int64_t first, int64_t count)
{
  const tr__hdf5_array *a = p->array;
  int64_t number = 0;
  for (int i = 0; i < a->ndim; i++) {
    int64_t begin = i == 0 ? first : 0;
    int64_t end = i == 0 ? first + count : a->dims[i];
    int64_t chunk_begin = place[i] * a->chunk_dims[i];
    int64_t from = tr__max(begin, chunk_begin);
    p->from[i] = from - chunk_begin;
    p->extent[i] = tr__min(end, chunk_begin + a->chunk_dims[i]) - from;
    p->to[i] = from - begin;
    number = number * a->grid[i] + place[i];
  }
  return number;
}

static tr_status read_chunks(const tr__hdf5_array *a,
                             int64_t first,
                             int64_t count,
                             tr__hdf5_as as,
                             void *out)
{
  int64_t place[TR_MAX_DIMS] = {first / a->chunk_dims[0]};
  int64_t last = (first + count - 1) / a->chunk_dims[0];
  part p = {.array = a, .as = as, .out = out, .run_dim = find_run_dim(a)};
  while (place[0] <= last) {
    int64_t chunk = cut_part(&p, place, first, count);
    TR_TRY(read_part(&p, chunk));
    int i = a->ndim - 1;
    while (i > 0 && ++place[i] == a->grid[i]) {
      place[i--] = 0;
    }
    place[0] += i == 0 ? 1 : 0;
  }
  return TR_OK;
}

tr_status tr__hdf5_read(const tr__hdf5_array *array,
                        int64_t first,
                        int64_t count,
                        tr__hdf5_as as,
                        void *out)
{
  if (array->chunks != NULL) {
    return read_chunks(array, first, count, as, out);
  }
  int64_t bytes = array->row * array->type.size;
  if (array->compact != NULL) {
    tr__hdf5_copy(&array->type, array->compact + first * bytes,
                  count * array->row, as, out);
    return TR_OK;
  }
  return read_run(array, array->offset + first * bytes, count * array->row, as,
                  out);
}
