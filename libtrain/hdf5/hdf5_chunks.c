/* Finds where the chunks of an array lie, from any of HDF5's six chunk indices.
 */
#include "hdf5/hdf5_format_impl.h"

#include <stdlib.h>
#include <string.h>

#define MAX_LEVEL 24 /* of a B-tree */

/* The array whose chunk table an index fills. */
typedef struct table {
  const tr__hdf5_header *header;
  tr__hdf5_array *array;
} table;

/* The number of the chunk at a place in the grid; -1 outside of it. */
static int64_t number_of(const tr__hdf5_array *array, const uint64_t *place)
{
  int64_t number = 0;
  for (int i = 0; i < array->ndim; i++) {
    if (place[i] >= (uint64_t)array->grid[i]) {
      return -1;
    }
    number = number * array->grid[i] + (int64_t)place[i];
  }
  return number;
}

static bool is_edge(const tr__hdf5_array *array, const uint64_t *place)
{
  for (int i = 0; i < array->ndim; i++) {
    int64_t end = ((int64_t)place[i] + 1) * array->chunk_dims[i];
    if (end > array->dims[i]) {
      return true;
    }
  }
  return false;
}

/* Record one chunk. Without filters, and at edges that the file leaves
 * unfiltered, a chunk is stored in its full size; else `bytes` and `mask`
 * apply. Chunks outside of the array, which remain after it has shrunk, are
 * skipped. */
static tr_status enter(table *t,
                       const uint64_t *place,
                       uint64_t address,
                       uint64_t bytes,
                       uint32_t mask)
{
  tr__hdf5_array *array = t->array;
  int64_t number = number_of(array, place);
  if (number < 0 || address == TR__HDF5_NOWHERE) {
    return TR_OK;
  }
  bool is_plain = array->num_filters == 0 ||
                  (t->header->edges_unfiltered && is_edge(array, place));
  tr__hdf5_chunk *chunk = &array->chunks[number];
  if (chunk->offset >= 0) {
    return tr__hdf5_damaged(array->file, "a chunk that is there twice",
                            address);
  }
  uint64_t stored = is_plain ? (uint64_t)array->chunk_bytes : bytes;
  TR_TRY(tr__hdf5_check_room(array->file, array->where, address, stored));
  chunk->offset = array->file->base + (int64_t)address;
  chunk->bytes = (int64_t)stored;
  chunk->mask = is_plain ? UINT32_MAX : mask;
  return TR_OK;
}

/* Read a node of a version 1 B-tree. Its keys have the stored size, the filter
 * mask and the place of a chunk. */
static tr_status
read_tree1(tr__hdf5_file *file, table *t, uint64_t address, int expected)
{
  tr__hdf5_cursor c;
  int ndim = t->array->ndim;
  uint64_t head = 8 + 2 * (uint64_t)file->address_bytes;
  uint64_t entry = 8 + 8 * ((uint64_t)ndim + 1) + (uint64_t)file->address_bytes;
  TR_TRY(tr__hdf5_block(file, address, head, "TREE", false, &c));
  int kind = (int)tr__hdf5_uint(&c, 1), level = (int)tr__hdf5_uint(&c, 1);
  uint64_t count = tr__hdf5_uint(&c, 2);
  tr__hdf5_release(&c);
  if (kind != 1 || level > MAX_LEVEL || (expected >= 0 && level != expected)) {
    return tr__hdf5_damaged(file, "a tree of chunks of another kind", address);
  }
  TR_TRY(tr__hdf5_block(file, address + head, count * entry, NULL, false, &c));
  tr_status status = TR_OK;
  for (uint64_t i = 0; i < count && status == TR_OK; i++) {
    uint64_t place[TR_MAX_DIMS];
    uint64_t bytes = tr__hdf5_uint(&c, 4);
    uint32_t mask = (uint32_t)tr__hdf5_uint(&c, 4);
    for (int j = 0; j < ndim; j++) {
      place[j] = tr__hdf5_uint(&c, 8) / (uint64_t)t->array->chunk_dims[j];
    }
    tr__hdf5_uint(&c, 8);
    uint64_t child = tr__hdf5_address(file, &c);
    status = level > 0 ? read_tree1(file, t, child, level - 1)
                       : enter(t, place, child, bytes, mask);
  }
  tr__hdf5_release(&c);
  return status;
}

/* A record of a version 2 B-tree. With filters it also has size and mask. */
static tr_status
on_record(tr__hdf5_file *file, tr__hdf5_cursor *record, void *user)
{
  table *t = user;
  uint64_t place[TR_MAX_DIMS], bytes = 0;
  uint32_t mask = 0;
  int ndim = t->array->ndim;
  uint64_t address = tr__hdf5_address(file, record);
  if (t->array->num_filters > 0) {
    int64_t width = record->end - record->at - 4 - 8 * ndim;
    if (width < 1 || width > 8) {
      return tr__hdf5_damaged(file, "a record of a chunk", address);
    }
    bytes = tr__hdf5_uint(record, (int)width);
    mask = (uint32_t)tr__hdf5_uint(record, 4);
  }
  for (int i = 0; i < ndim; i++) {
    place[i] = tr__hdf5_uint(record, 8);
  }
  return record->is_short
             ? tr__hdf5_damaged(file, "a record of a chunk", address)
             : enter(t, place, address, bytes, mask);
}

/* The element for a place in a fixed or extensible array, or with the implicit
 * index. These count the chunks of the largest extents that the array may ever
 * have. An extensible array puts its unlimited axis first. */
static bool element_of(const table *t, const uint64_t *place, uint64_t *element)
{
  const tr__hdf5_header *h = t->header;
  int ndim = t->array->ndim, first = -1;
  for (int i = 0; i < ndim && h->index == TR__HDF5_EXTENSIBLE_ARRAY; i++) {
    first = h->most[i] == UINT64_MAX ? i : first;
  }
  uint64_t number = first >= 0 ? place[first] : 0;
  for (int i = 0; i < ndim; i++) {
    if (i == first) {
      continue;
    }
    uint64_t chunk = h->chunk[i];
    uint64_t along = h->most[i] / chunk + (h->most[i] % chunk != 0);
    if (__builtin_mul_overflow(number, along, &number) ||
        __builtin_add_overflow(number, place[i], &number)) {
      return false;
    }
  }
  *element = number;
  return true;
}

/* The next place of the grid; false after the last. */
static bool next_place(const tr__hdf5_array *array, uint64_t *place)
{
  for (int i = array->ndim - 1; i >= 0; i--) {
    if (++place[i] < (uint64_t)array->grid[i]) {
      return true;
    }
    place[i] = 0;
  }
  return false;
}

static tr_status enter_element(table *t,
                               const tr__hdf5_elements *elements,
                               uint64_t number,
                               const uint64_t *place)
{
  tr__hdf5_file file = *t->array->file;
  if (number >= elements->count) {
    return TR_OK;
  }
  const uint8_t *at = elements->bytes + number * (uint64_t)elements->size;
  tr__hdf5_cursor c = {.at = at, .end = at + elements->size};
  uint64_t address = tr__hdf5_address(&file, &c), bytes = 0;
  uint32_t mask = 0;
  if (elements->is_filtered) {
    bytes = tr__hdf5_uint(&c, elements->size - file.address_bytes - 4);
    mask = (uint32_t)tr__hdf5_uint(&c, 4);
  }
  return enter(t, place, address, bytes, mask);
}

/* The implicit index: chunks lie one after another, none of them filtered. */
static tr_status
enter_implicit(table *t, uint64_t number, const uint64_t *place)
{
  uint64_t address = t->header->address, step;
  if (address == TR__HDF5_NOWHERE ||
      __builtin_mul_overflow(number, (uint64_t)t->array->chunk_bytes, &step) ||
      __builtin_add_overflow(address, step, &address)) {
    return TR_OK;
  }
  return enter(t, place, address, 0, 0);
}

static tr_status enter_all(table *t, const tr__hdf5_elements *elements)
{
  uint64_t place[TR_MAX_DIMS] = {0}, number;
  do {
    if (!element_of(t, place, &number)) {
      continue;
    }
    TR_TRY(elements != NULL ? enter_element(t, elements, number, place)
                            : enter_implicit(t, number, place));
  } while (next_place(t->array, place));
  return TR_OK;
}

static tr_status enter_array(tr__hdf5_file *file, table *t)
{
  tr__hdf5_elements elements = {0};
  uint64_t address = t->header->address;
  tr_status status = t->header->index == TR__HDF5_FIXED_ARRAY
                         ? tr__hdf5_fixed_array(file, address, &elements)
                         : tr__hdf5_extensible_array(file, address, &elements);
  if (status == TR_OK && elements.is_filtered != (t->array->num_filters > 0)) {
    status = tr__hdf5_damaged(file, "an index of other filters", address);
  }
  if (status == TR_OK) {
    status = enter_all(t, &elements);
  }
  free(elements.bytes);
  return status;
}

static tr_status enter_single(table *t)
{
  const uint64_t place[TR_MAX_DIMS] = {0};
  const tr__hdf5_header *h = t->header;
  TR_CHECK(t->array->num_chunks == 1, TR_EDATA,
           "%s: has %lld chunks, its index has one", t->array->where,
           (long long)t->array->num_chunks);
  return enter(t, place, h->address, h->single_bytes, h->single_mask);
}

tr_status tr__hdf5_find_chunks(tr__hdf5_file *file,
                               const tr__hdf5_header *header,
                               tr__hdf5_array *array)
{
  table t = {header, array};
  array->chunks = malloc((size_t)array->num_chunks * sizeof *array->chunks);
  TR_CHECK(array->chunks != NULL, TR_ENOMEM, "%s: no memory for %lld chunks",
           array->where, (long long)array->num_chunks);
  for (int64_t i = 0; i < array->num_chunks; i++) {
    array->chunks[i] = (tr__hdf5_chunk){.offset = -1, .slot = -1};
  }
  if (header->address == TR__HDF5_NOWHERE) {
    return TR_OK;
  }
  switch (header->index) {
  case TR__HDF5_TREE1:
    return read_tree1(file, &t, header->address, -1);
  case TR__HDF5_SINGLE:
    return enter_single(&t);
  case TR__HDF5_IMPLICIT:
    return enter_all(&t, NULL);
  case TR__HDF5_TREE2:
    return tr__hdf5_each_record(file, header->address, 10, on_record, &t);
  default:
    return enter_array(file, &t);
  }
}
