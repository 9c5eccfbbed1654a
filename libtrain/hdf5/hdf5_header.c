/* Reads the header of an array: extents, type, layout, filters. */
#include "hdf5/hdf5_format_impl.h"

#include <stdlib.h>
#include <string.h>

static tr_status
read_space(tr__hdf5_file *file, tr__hdf5_cursor *c, tr__hdf5_header *out)
{
  enum { SCALAR = 0, SIMPLE = 1 };
  int version = (int)tr__hdf5_uint(c, 1);
  int ndim = (int)tr__hdf5_uint(c, 1);
  unsigned flags = (unsigned)tr__hdf5_uint(c, 1);
  int kind = ndim > 0 ? SIMPLE : SCALAR;
  if (version == 1) {
    tr__hdf5_take(c, 5);
  } else {
    kind = (int)tr__hdf5_uint(c, 1);
  }
  if ((version != 1 && version != 2) || ndim > TR__HDF5_MAX_NDIM) {
    return tr__hdf5_damaged(file, "extents of an unknown version", 0);
  }
  out->has_space = true;
  out->is_scalar = kind == SCALAR;
  out->ndim = kind == SIMPLE && ndim > 0 ? ndim : -1;
  for (int i = 0; i < ndim; i++) {
    out->dims[i] = tr__hdf5_length(file, c);
  }
  uint64_t unlimited = UINT64_MAX >> (64 - 8 * file->length_bytes);
  for (int i = 0; i < ndim; i++) {
    uint64_t most = flags & 1 ? tr__hdf5_length(file, c) : out->dims[i];
    out->most[i] = most == unlimited ? UINT64_MAX : most;
  }
  return c->is_short ? tr__hdf5_damaged(file, "extents cut off", 0) : TR_OK;
}

/* The chunked layout of versions 4 and 5, which names one of several chunk
 * indices. The two versions differ only in widths that the index itself states.
 */
static tr_status
read_index(tr__hdf5_file *file, tr__hdf5_cursor *c, tr__hdf5_header *out)
{
  /* Bytes of parameters, which the index itself repeats. */
  static const int more[] = {[TR__HDF5_SINGLE] = 0,
                             [TR__HDF5_IMPLICIT] = 0,
                             [TR__HDF5_FIXED_ARRAY] = 1,
                             [TR__HDF5_EXTENSIBLE_ARRAY] = 5,
                             [TR__HDF5_TREE2] = 6};
  unsigned flags = (unsigned)tr__hdf5_uint(c, 1);
  out->chunk_ndim = (int)tr__hdf5_uint(c, 1);
  int width = (int)tr__hdf5_uint(c, 1);
  if (out->chunk_ndim < 2 || out->chunk_ndim > TR__HDF5_MAX_NDIM + 1 ||
      width < 1 || width > 8) {
    return tr__hdf5_damaged(file, "chunks of an unknown kind", 0);
  }
  for (int i = 0; i < out->chunk_ndim; i++) {
    out->chunk[i] = tr__hdf5_uint(c, width);
  }
  int index = (int)tr__hdf5_uint(c, 1);
  if (index < TR__HDF5_SINGLE || index > TR__HDF5_TREE2) {
    return tr__hdf5_damaged(file, "a chunk index of an unknown kind", 0);
  }
  out->index = (tr__hdf5_index)index;
  out->edges_unfiltered = (flags & 1) != 0;
  if (index == TR__HDF5_SINGLE && (flags & 2) != 0) {
    out->single_bytes = tr__hdf5_length(file, c);
    out->single_mask = (uint32_t)tr__hdf5_uint(c, 4);
  }
  tr__hdf5_take(c, (uint64_t)more[index]);
  out->address = tr__hdf5_address(file, c);
  return TR_OK;
}

static tr_status
read_chunks(tr__hdf5_file *file, tr__hdf5_cursor *c, tr__hdf5_header *out)
{
  out->index = TR__HDF5_TREE1;
  out->chunk_ndim = (int)tr__hdf5_uint(c, 1);
  if (out->chunk_ndim < 2 || out->chunk_ndim > TR__HDF5_MAX_NDIM + 1) {
    return tr__hdf5_damaged(file, "chunks of an unknown kind", 0);
  }
  out->address = tr__hdf5_address(file, c);
  for (int i = 0; i < out->chunk_ndim; i++) {
    out->chunk[i] = tr__hdf5_uint(c, 4);
  }
  return TR_OK;
}

static tr_status read_compact(tr__hdf5_cursor *c, tr__hdf5_header *out)
{
  out->compact_bytes = tr__hdf5_uint(c, 2);
  const uint8_t *values = tr__hdf5_take(c, out->compact_bytes);
  uint8_t *copy = malloc(out->compact_bytes + 1);
  TR_CHECK(copy != NULL, TR_ENOMEM, "no memory for %llu bytes",
           (unsigned long long)out->compact_bytes);
  if (values != NULL) {
    memcpy(copy, values, out->compact_bytes);
  }
  out->compact = copy;
  return TR_OK;
}

static tr_status read_layout(tr__hdf5_file *file,
                             tr__hdf5_cursor *c,
                             const char *where,
                             tr__hdf5_header *out)
{
  int version = (int)tr__hdf5_uint(c, 1);
  TR_CHECK(version >= 3 && version <= 5, TR_EDATA,
           "%s: its layout is of HDF5 version %d, expected 3 to 5: it is %s "
           "than this reader (h5repack writes another)",
           where, version, version > 5 ? "newer" : "older");
  out->layout = (int)tr__hdf5_uint(c, 1);
  if (out->has_layout) {
    return tr__hdf5_damaged(file, "two layouts of one array", 0);
  }
  out->has_layout = true;
  if (out->layout == 0) {
    return read_compact(c, out);
  }
  if (out->layout == 1) {
    out->address = tr__hdf5_address(file, c);
    return TR_OK;
  }
  if (out->layout == 2) {
    return (version == 3 ? read_chunks : read_index)(file, c, out);
  }
  return TR_OK;
}

tr_status tr__hdf5_read_pipeline(tr__hdf5_cursor *c,
                                 const char *where,
                                 tr__hdf5_header *out)
{
  enum { DEFLATE = 1, FIRST_NAMED = 256 };
  int version = (int)tr__hdf5_uint(c, 1);
  out->num_filters = (int)tr__hdf5_uint(c, 1);
  tr__hdf5_take(c, version == 1 ? 6 : 0);
  TR_CHECK(out->num_filters <= TR__HDF5_MAX_FILTERS &&
               (version == 1 || version == 2),
           TR_EDATA,
           "%s: %d filters of version %d, expected up to %d of 1 or 2", where,
           out->num_filters, version, TR__HDF5_MAX_FILTERS);
  for (int i = 0; i < out->num_filters; i++) {
    int id = (int)tr__hdf5_uint(c, 2);
    bool is_named = version == 1 || id >= FIRST_NAMED;
    uint64_t name_bytes = is_named ? tr__hdf5_uint(c, 2) : 0;
    tr__hdf5_uint(c, 2);
    uint64_t count = tr__hdf5_uint(c, 2);
    tr__hdf5_take(c, version == 1 ? (name_bytes + 7) / 8 * 8 : name_bytes);
    uint32_t value = count > 0 ? (uint32_t)tr__hdf5_uint(c, 4) : 0;
    tr__hdf5_take(c, count > 0 ? 4 * (count - 1) : 0);
    tr__hdf5_take(c, version == 1 && count % 2 == 1 ? 4 : 0);
    TR_CHECK(id >= DEFLATE && id <= 3, TR_EDATA,
             "%s: filter %d is not supported, expected deflate (gzip), shuffle "
             "or fletcher32",
             where, id);
    for (int j = 0; j < i; j++) {
      TR_CHECK(out->filters[j].id != id, TR_EDATA,
               "%s: filter %d is there twice, expected once", where, id);
    }
    out->filters[i] = (tr__hdf5_filter){id, value};
  }
  return TR_OK;
}

typedef struct reading {
  const char *where;
  tr__hdf5_header *out;
} reading;

static tr_status
on_message(tr__hdf5_file *file, tr__hdf5_message *m, void *user)
{
  reading *r = user;
  tr__hdf5_header *out = r->out;
  bool is_shared = (m->flags & TR__HDF5_IS_SHARED) != 0;
  bool is_ours = m->type == TR__HDF5_SPACE || m->type == TR__HDF5_LAYOUT ||
                 m->type == TR__HDF5_PIPELINE;
  TR_CHECK(!is_shared || !is_ours, TR_EDATA,
           "%s: shares its description with other arrays, which is not "
           "supported (h5repack writes it without)",
           r->where);
  if (m->type == TR__HDF5_TYPE) {
    out->has_type = true;
    return tr__hdf5_read_type(file, m, &out->type);
  }
  out->has_external = out->has_external || m->type == TR__HDF5_EXTERNAL;
  if (m->type == TR__HDF5_SPACE) {
    TR_TRY(read_space(file, &m->body, out));
  } else if (m->type == TR__HDF5_LAYOUT) {
    TR_TRY(read_layout(file, &m->body, r->where, out));
  } else if (m->type == TR__HDF5_PIPELINE) {
    TR_TRY(tr__hdf5_read_pipeline(&m->body, r->where, out));
  }
  return m->body.is_short ? tr__hdf5_damaged(file, "an array's message", 0)
                          : TR_OK;
}

tr_status tr__hdf5_read_header(tr__hdf5_file *file,
                               uint64_t address,
                               const char *where,
                               tr__hdf5_header *out)
{
  *out = (tr__hdf5_header){.ndim = -1, .address = TR__HDF5_NOWHERE};
  return tr__hdf5_each_message(file, address, on_message,
                               &(reading){where, out});
}
