/* Fractal heaps: the storage of a group's links where it has many. Direct
 * blocks hold the objects, indirect blocks the addresses of blocks. */
#include "hdf5/hdf5_format_impl.h"

#define MAX_LEVELS 16 /* of indirect blocks */

typedef struct heap {
  tr__hdf5_file *file;
  uint64_t width;       /* blocks in a row of the table */
  uint64_t start_bytes; /* of a block in the first row */
  uint64_t most_bytes;  /* of the largest direct block */
  int offset_bytes;     /* of an offset in the heap */
  int length_bytes;     /* of an object's length */
  uint64_t root;
  uint64_t rows; /* of the root block; 0: it is a direct block */
} heap;

/* The number of bytes that `value` takes. */
static int width_of(uint64_t value)
{
  int width = 1;
  while (width < 8 && value >> 8 * width != 0) {
    width++;
  }
  return width;
}

static bool is_power_of_two(uint64_t value)
{
  return value != 0 && (value & (value - 1)) == 0;
}

static tr_status read_fields(heap *h, tr__hdf5_cursor *c, uint64_t address)
{
  int version = (int)tr__hdf5_uint(c, 1);
  tr__hdf5_uint(c, 2); /* the length of an identifier */
  uint64_t filter_bytes = tr__hdf5_uint(c, 2);
  tr__hdf5_uint(c, 1);
  uint64_t most_object = tr__hdf5_uint(c, 4);
  tr__hdf5_take(
      c, (uint64_t)(10 * h->file->length_bytes + 2 * h->file->address_bytes));
  h->width = tr__hdf5_uint(c, 2);
  h->start_bytes = tr__hdf5_length(h->file, c);
  h->most_bytes = tr__hdf5_length(h->file, c);
  uint64_t bits = tr__hdf5_uint(c, 2);
  tr__hdf5_uint(c, 2);
  h->root = tr__hdf5_address(h->file, c);
  h->rows = tr__hdf5_uint(c, 2);
  bool fits = version == 0 && filter_bytes == 0 && h->width > 0 &&
              is_power_of_two(h->start_bytes) &&
              is_power_of_two(h->most_bytes) &&
              h->start_bytes <= h->most_bytes && bits > 0 && bits <= 64;
  if (!fits || c->is_short) {
    return tr__hdf5_damaged(h->file, "a heap of an unknown kind", address);
  }
  uint64_t least = h->most_bytes < most_object ? h->most_bytes : most_object;
  h->offset_bytes = (int)(bits + 7) / 8;
  h->length_bytes = width_of(least);
  return TR_OK;
}

static tr_status read_heap(heap *h, uint64_t address)
{
  tr__hdf5_cursor c;
  uint64_t bytes = 26 + 12 * (uint64_t)h->file->length_bytes +
                   3 * (uint64_t)h->file->address_bytes;
  TR_TRY(tr__hdf5_block(h->file, address, bytes, "FRHP", true, &c));
  tr_status status = read_fields(h, &c, address);
  tr__hdf5_release(&c);
  return status;
}

/* Rows 0 and 1 have blocks of the first size, each later row twice as large. */
static uint64_t bytes_in_row(const heap *h, uint64_t row)
{
  uint64_t shift = row < 2 ? 0 : row - 1;
  return shift >= 48 || h->start_bytes > UINT64_MAX >> (shift + 16)
             ? UINT64_MAX
             : h->start_bytes << shift;
}

/* Step down from an indirect block to its child that holds `offset`. *rows
 * becomes 0 for a direct block. */
static tr_status step_down(heap *h,
                           uint64_t *address,
                           uint64_t *rows,
                           uint64_t *start,
                           uint64_t offset)
{
  uint64_t row = 0, at = *start, place = 0, size = 0;
  for (;; row++) {
    size = bytes_in_row(h, row);
    if (row >= *rows || size > UINT64_MAX / h->width / 2) {
      return tr__hdf5_damaged(h->file, "an object beyond its heap", *address);
    }
    if (offset - at < size * h->width) {
      break;
    }
    at += size * h->width;
  }
  place = row * h->width + (offset - at) / size;
  tr__hdf5_cursor c;
  uint64_t head = 5 + (uint64_t)(h->file->address_bytes + h->offset_bytes);
  TR_TRY(tr__hdf5_block(
      h->file, *address,
      head + *rows * h->width * (uint64_t)h->file->address_bytes + 4, "FHIB",
      true, &c));
  tr__hdf5_take(&c, head - 4 + place * (uint64_t)h->file->address_bytes);
  uint64_t child = tr__hdf5_address(h->file, &c);
  tr__hdf5_release(&c);
  *start = at + (offset - at) / size * size;
  *address = child;
  /* A child larger than the largest direct block is an indirect block. */
  *rows = 0;
  for (uint64_t sum = 0; size > h->most_bytes && sum < size; (*rows)++) {
    sum += bytes_in_row(h, *rows) * h->width;
  }
  return TR_OK;
}

tr_status tr__hdf5_heap_object(tr__hdf5_file *file,
                               uint64_t address,
                               tr__hdf5_cursor *id,
                               tr__hdf5_cursor *out)
{
  heap h = {.file = file};
  *out = (tr__hdf5_cursor){0};
  TR_TRY(read_heap(&h, address));
  unsigned kind = (unsigned)tr__hdf5_uint(id, 1);
  uint64_t offset = tr__hdf5_uint(id, h.offset_bytes);
  uint64_t bytes = tr__hdf5_uint(id, h.length_bytes);
  TR_CHECK((kind & 0xf0) == 0, TR_EDATA,
           "%s: a name of more than 4096 bytes is not supported", file->path);
  if (id->is_short) {
    return tr__hdf5_damaged(file, "a heap's identifier cut off", address);
  }
  uint64_t start = 0, block = h.root, rows = h.rows, size = h.start_bytes;
  for (int level = 0; rows > 0; level++) {
    if (level == MAX_LEVELS) {
      return tr__hdf5_damaged(file, "a heap that is too deep", address);
    }
    TR_TRY(step_down(&h, &block, &rows, &start, offset));
    size = h.most_bytes;
  }
  if (offset - start > size || bytes > size - (offset - start)) {
    return tr__hdf5_damaged(file, "an object beyond its heap", block);
  }
  TR_TRY(tr__hdf5_check_room(file, "a heap's block", block, size > 0 ? 1 : 0));
  return tr__hdf5_block(file, block + (offset - start), bytes, NULL, false,
                        out);
}
