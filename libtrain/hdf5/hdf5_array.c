/* Finds an array in a file by its path, and decides from the metadata alone
 * whether to accept it. */
#include "hdf5/hdf5_format_impl.h"

#include "hdf5/hdf5_cache_impl.h"

#include <stdlib.h>
#include <string.h>

/* The largest accepted ratio of expanded to stored bytes: no accepted filter
 * expands further (deflate: 1032 times). */
#define MAX_RATIO 1100

/* Chunks are expanded whole. Where the caller knows the shape, a chunk above
 * this size may not be larger than its array. */
#define SMALL_CHUNK (1 << 20)

/* The bytes of structure that one look-up may read: the whole file once, and 64
 * times its size, counted up to 4 MiB, since some blocks are read again for
 * each name. */
static void fill_budget(tr__hdf5_file *file)
{
  int64_t again = tr__min(file->bytes, 4 << 20) * 64;
  file->budget = tr__min(file->bytes, INT64_MAX / 2) + again + (1 << 20);
}

/* The search for one name among a group's links. */
typedef struct search {
  const char *name;
  size_t length;
  bool is_found;
  tr__hdf5_link link;
} search;

static tr_status on_link(const tr__hdf5_link *link, void *user)
{
  search *s = user;
  if (link->length == s->length &&
      memcmp(link->name, s->name, s->length) == 0) {
    s->is_found = true;
    s->link = *link;
  }
  return TR_OK;
}

/* Append a name to the list of a group's names, in a buffer of
 * TR__HDF5_LIST_BYTES. */
static tr_status on_name(const tr__hdf5_link *link, void *user)
{
  char *out = user;
  size_t used = strlen(out);
  const char *comma = used > 0 ? ", " : "";
  size_t room = TR__HDF5_LIST_BYTES - used;
  if (link->length + 8 > room) {
    if (room > 6 && (used < 3 || strcmp(out + used - 3, "...") != 0)) {
      snprintf(out + used, room, "%s...", comma);
    }
    return TR_OK;
  }
  snprintf(out + used, room, "%s%.*s", comma, (int)link->length, link->name);
  return TR_OK;
}

static void list_links(tr__hdf5_file *file, uint64_t group, char *out)
{
  bool is_group;
  out[0] = '\0';
  if (tr__hdf5_each_link(file, group, on_name, out, &is_group) != TR_OK ||
      out[0] == '\0') {
    strcpy(out, "nothing");
  }
}

/* One step along a path: from a group to the object that its next name leads
 * to. */
static tr_status
step(tr__hdf5_file *file, uint64_t *address, search *s, const char *where)
{
  bool is_group;
  TR_TRY(tr__hdf5_each_link(file, *address, on_link, s, &is_group));
  TR_CHECK(is_group, TR_EDATA, "%s: what should hold \"%.*s\" is not a group",
           where, (int)s->length, s->name);
  if (s->is_found && s->link.kind == TR__HDF5_HARD) {
    *address = s->link.address;
  }
  return TR_OK;
}

static search first_part(const char *path)
{
  const char *name = path + strspn(path, "/");
  return (search){.name = name, .length = strcspn(name, "/")};
}

static tr_status find(tr__hdf5_file *file,
                      const char *path,
                      tr_status missing,
                      const char *where,
                      uint64_t *address)
{
  char names[TR__HDF5_LIST_BYTES];
  *address = file->root;
  for (search s = first_part(path); s.length > 0;
       s = first_part(s.name + s.length)) {
    uint64_t group = *address;
    TR_TRY(step(file, address, &s, where));
    if (!s.is_found) {
      int above = (int)(s.name - path);
      list_links(file, group, names);
      return TR_FAIL(missing, "%s: not there: no link \"%.*s\"; %.*s has %s",
                     where, (int)s.length, s.name, above > 1 ? above - 1 : 1,
                     path, names);
    }
    TR_CHECK(s.link.kind == TR__HDF5_HARD, TR_EDATA,
             "%s: \"%.*s\" is %s link, expected the object itself", where,
             (int)s.length, s.name,
             s.link.kind == TR__HDF5_SOFT ? "a soft" : "an external");
  }
  return TR_OK;
}

tr_status tr__hdf5_has(tr__hdf5_file *file, const char *path, bool *out)
{
  fill_budget(file);
  uint64_t address = file->root;
  *out = true;
  for (search s = first_part(path); s.length > 0 && *out;
       s = first_part(s.name + s.length)) {
    bool is_group;
    TR_TRY(tr__hdf5_each_link(file, address, on_link, &s, &is_group));
    bool is_last = first_part(s.name + s.length).length == 0;
    *out = s.is_found && (is_last || s.link.kind == TR__HDF5_HARD);
    address = s.link.address;
  }
  return TR_OK;
}

static tr_status check_extents(const tr__hdf5_header *h,
                               const tr_shape *shape,
                               tr__hdf5_array *array)
{
  int64_t points = array->type.size;
  TR_CHECK(h->is_scalar || h->ndim >= 1, TR_EDATA, "%s: is empty",
           array->where);
  TR_CHECK(h->ndim <= TR_MAX_DIMS, TR_EDATA,
           "%s: has %d extents, expected 1 to 6", array->where, h->ndim);
  array->ndim = h->is_scalar ? 0 : h->ndim;
  array->row = 1;
  for (int i = 0; i < array->ndim; i++) {
    bool fits = h->dims[i] <= INT64_MAX / 16 &&
                !tr__mul_overflows(points, (int64_t)h->dims[i], &points) &&
                points <= INT64_MAX / 16;
    TR_CHECK(h->dims[i] > 0 || shape != NULL, TR_EDATA,
             "%s: extent %d is 0, expected 1 or more", array->where, i);
    TR_CHECK(fits || shape != NULL, TR_EDATA,
             "%s: the product of the extents does not fit", array->where);
    array->dims[i] = fits ? (int64_t)h->dims[i] : INT64_MAX;
    array->row *= i > 0 && fits ? array->dims[i] : 1;
  }
  return TR_OK;
}

static tr_status check_shape(const tr_shape *shape, const tr__hdf5_array *array)
{
  char got[TR__SHAPE_BYTES], expected[TR__SHAPE_BYTES];
  if (shape == NULL) {
    return TR_OK;
  }
  tr_shape own = {.ndim = array->ndim};
  memcpy(own.dims, array->dims, sizeof own.dims);
  TR_CHECK(tr__shape_equal(&own, shape), TR_ESHAPE,
           "%s has %s, the model expects %s", array->where,
           tr__shape_text(&own, got), tr__shape_text(shape, expected));
  return TR_OK;
}

static int64_t bytes_of(const tr__hdf5_array *array)
{
  return array->type.size * array->row * (array->ndim > 0 ? array->dims[0] : 1);
}

static tr_status check_contiguous(const tr__hdf5_file *file,
                                  const tr__hdf5_header *h,
                                  tr__hdf5_array *array)
{
  int64_t bytes = bytes_of(array);
  TR_CHECK(h->address != TR__HDF5_NOWHERE, TR_EDATA,
           "%s: 0 bytes are stored, expected %lld: it was never written",
           array->where, (long long)bytes);
  TR_TRY(tr__hdf5_check_room(file, array->where, h->address, (uint64_t)bytes));
  array->offset = file->base + (int64_t)h->address;
  return TR_OK;
}

static tr_status check_compact(tr__hdf5_header *h, tr__hdf5_array *array)
{
  TR_CHECK(h->compact_bytes >= (uint64_t)bytes_of(array), TR_EDATA,
           "%s: %llu bytes are stored, expected %lld", array->where,
           (unsigned long long)h->compact_bytes, (long long)bytes_of(array));
  array->compact = h->compact;
  h->compact = NULL;
  return TR_OK;
}

/* Check the extents of chunks, and count the chunks along each axis. */
static tr_status check_chunks(const tr__hdf5_file *file,
                              const tr__hdf5_header *h,
                              const tr_shape *shape,
                              tr__hdf5_array *array)
{
  TR_CHECK(h->chunk_ndim == array->ndim + 1 && array->ndim >= 1 &&
               h->chunk[array->ndim] == (uint64_t)array->type.size,
           TR_EDATA, "%s: the chunks have other extents than the array",
           array->where);
  int64_t bytes = array->type.size, most;
  most = tr__mul_overflows(file->bytes, MAX_RATIO, &most) ? INT64_MAX : most;
  array->num_chunks = 1;
  for (int i = 0; i < array->ndim; i++) {
    bool fits = h->chunk[i] > 0 && h->chunk[i] <= UINT32_MAX &&
                !tr__mul_overflows(bytes, (int64_t)h->chunk[i], &bytes);
    TR_CHECK(fits && bytes <= most, TR_EDATA,
             "%s: a chunk is empty or larger than the file can fill",
             array->where);
    array->chunk_dims[i] = (int64_t)h->chunk[i];
    array->grid[i] = (array->dims[i] - 1) / array->chunk_dims[i] + 1;
    array->num_chunks *= array->grid[i];
  }
  array->chunk_bytes = bytes;
  TR_CHECK(bytes <= SMALL_CHUNK || shape == NULL || bytes <= bytes_of(array),
           TR_EDATA, "%s: a chunk is larger than the array", array->where);
  /* A chunk takes at least 2 bytes: an address in an index or, with the
   * implicit index, values. One of a single byte is not expected there. */
  TR_CHECK(array->num_chunks <= file->bytes / 2, TR_EDATA,
           "%s: the extents want %lld chunks, the file's %lld bytes cannot "
           "hold them",
           array->where, (long long)array->num_chunks, (long long)file->bytes);
  return TR_OK;
}

/* Every chunk must have been written, and be within the file. */
static tr_status check_stored(const tr__hdf5_file *file,
                              const tr__hdf5_array *array)
{
  int64_t stored = 0;
  for (int64_t i = 0; i < array->num_chunks; i++) {
    const tr__hdf5_chunk *chunk = &array->chunks[i];
    TR_CHECK(chunk->offset >= 0, TR_EDATA,
             "%s: chunk %lld of %lld was never written: its samples would be "
             "made up",
             array->where, (long long)i, (long long)array->num_chunks);
    TR_TRY(tr__hdf5_check_room(file, array->where,
                               (uint64_t)(chunk->offset - file->base),
                               (uint64_t)chunk->bytes));
    bool fits = !tr__add_overflows(stored, chunk->bytes, &stored);
    TR_CHECK(fits && array->chunk_bytes / MAX_RATIO <= chunk->bytes, TR_EDATA,
             "%s: the %lld bytes of chunk %lld cannot hold its %lld values' "
             "bytes",
             array->where, (long long)chunk->bytes, (long long)i,
             (long long)array->chunk_bytes);
  }
  /* Chunks that overlap would expand the same bytes many times. */
  TR_CHECK(stored <= file->bytes, TR_EDATA,
           "%s: its chunks overlap: they take %lld bytes of the file's %lld",
           array->where, (long long)stored, (long long)file->bytes);
  return TR_OK;
}

static tr_status check_layout(tr__hdf5_file *file,
                              tr__hdf5_header *h,
                              const tr_shape *shape,
                              tr__hdf5_array *array)
{
  enum { COMPACT, CONTIGUOUS, CHUNKED, VIRTUAL };
  TR_CHECK(h->layout >= COMPACT && h->layout <= CHUNKED, TR_EDATA,
           "%s: the layout is %s, expected contiguous or chunked", array->where,
           h->layout == VIRTUAL ? "virtual" : "unknown");
  TR_CHECK(!h->has_external, TR_EDATA,
           "%s: its values are in other files, expected them in this one",
           array->where);
  array->num_filters = h->num_filters;
  memcpy(array->filters, h->filters, sizeof h->filters);
  if (h->layout == COMPACT) {
    return check_compact(h, array);
  }
  if (h->layout == CONTIGUOUS) {
    return check_contiguous(file, h, array);
  }
  TR_TRY(check_chunks(file, h, shape, array));
  TR_TRY(tr__hdf5_find_chunks(file, h, array));
  TR_TRY(check_stored(file, array));
  return tr__hdf5_cache_create(array);
}

static tr_status check_array(tr__hdf5_file *file,
                             const tr_shape *shape,
                             tr__hdf5_header *h,
                             tr__hdf5_array *array)
{
  TR_CHECK(h->has_space && h->has_type && h->has_layout, TR_EDATA,
           "%s: is not an array", array->where);
  array->type = h->type;
  TR_CHECK(h->type.class != TR__HDF5_OTHER, TR_EDATA,
           "%s: its type is %s of %d bytes%s, expected whole numbers or floats "
           "of 1 to 8 bytes",
           array->where, h->type.name, h->type.size,
           h->type.size <= 8 ? " in an unusual form" : "");
  TR_TRY(check_extents(h, shape, array));
  TR_TRY(check_shape(shape, array));
  return check_layout(file, h, shape, array);
}

tr_status tr__hdf5_open_array(tr__hdf5_file *file,
                              const char *name,
                              const tr__hdf5_want *want,
                              tr__hdf5_array *out)
{
  *out = (tr__hdf5_array){.file = file, .offset = -1};
  snprintf(out->where, sizeof out->where, "%s: %s", file->path, name);
  fill_budget(file);
  uint64_t address;
  TR_TRY(find(file, name, want->missing, out->where, &address));
  tr__hdf5_header header;
  tr_status status = tr__hdf5_read_header(file, address, out->where, &header);
  if (status == TR_OK) {
    status = check_array(file, want->shape, &header, out);
  }
  free(header.compact);
  return status;
}

void tr__hdf5_close_array(tr__hdf5_array *array)
{
  tr__hdf5_cache_destroy(array);
  free(array->chunks);
  free(array->compact);
  array->chunks = NULL;
  array->compact = NULL;
}
