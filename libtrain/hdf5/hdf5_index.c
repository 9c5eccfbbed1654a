/* Fixed and extensible arrays: chunk indices that find an element by its
 * number. */
#include "hdf5/hdf5_format_impl.h"

#include <stdlib.h>
#include <string.h>

/* The reading of an index into one contiguous array of elements. */
typedef struct run {
  tr__hdf5_file *file;
  tr__hdf5_elements *out;
  uint64_t header;      /* its address */
  uint64_t done;        /* elements so far */
  uint64_t page;        /* elements of a page; a block with no more has no
                           pages */
  int offset_bytes;     /* width of a block's offset in the array */
  uint64_t block_least; /* elements of the smallest block */
} run;

/* Allocate the elements. Bytes of 0xff are the address of something that is not
 * stored. */
static tr_status make_room(run *x, uint64_t count, int size, int client)
{
  tr__hdf5_elements *out = x->out;
  int least = x->file->address_bytes + (client == 1 ? 4 : 0);
  bool fits = client <= 1 && size >= least + (client == 1 ? 1 : 0) &&
              size <= least + 8 &&
              count <= (uint64_t)x->file->bytes / (uint64_t)size;
  if (!fits) {
    return tr__hdf5_damaged(x->file, "an index of an unknown kind", x->header);
  }
  out->size = size;
  out->count = count;
  out->is_filtered = client == 1;
  out->bytes = malloc(count * (uint64_t)size + 1);
  TR_CHECK(out->bytes != NULL, TR_ENOMEM, "%s: no memory for %llu chunks",
           x->file->path, (unsigned long long)count);
  memset(out->bytes, 0xff, count * (uint64_t)size);
  return TR_OK;
}

/* Copy the next elements from a cursor. Elements after the last one are
 * skipped. */
static tr_status
take_elements(run *x, tr__hdf5_cursor *c, uint64_t count, uint64_t address)
{
  uint64_t size = (uint64_t)x->out->size;
  const uint8_t *at = tr__hdf5_take(c, count * size);
  if (at == NULL) {
    return tr__hdf5_damaged(x->file, "an index that is cut off", address);
  }
  uint64_t left = x->out->count - x->done;
  uint64_t used = count < left ? count : left;
  memcpy(x->out->bytes + x->done * size, at, used * size);
  x->done += used;
  return TR_OK;
}

static void skip_elements(run *x, uint64_t count)
{
  uint64_t left = x->out->count - x->done;
  x->done += count < left ? count : left;
}

/* The bitmap of the stored pages: from bit `first` on, the highest bit of a
 * byte first; bytes NULL: all are stored. */
typedef struct marks {
  const uint8_t *bytes;
  uint64_t first;
} marks;

static bool is_stored(const marks *m, uint64_t page)
{
  uint64_t bit = m->first + page;
  return m->bytes == NULL || (m->bytes[bit / 8] >> (7 - bit % 8) & 1) != 0;
}

/* Read the pages that follow their block, each with a checksum. */
static tr_status
take_pages(run *x, uint64_t address, uint64_t count, const marks *m)
{
  for (uint64_t i = 0; count > 0; i++) {
    uint64_t in_page = count < x->page ? count : x->page;
    uint64_t bytes = in_page * (uint64_t)x->out->size + 4;
    if (!is_stored(m, i)) {
      skip_elements(x, in_page);
    } else {
      tr__hdf5_cursor c;
      TR_TRY(tr__hdf5_block(x->file, address, bytes, NULL, true, &c));
      tr_status status = take_elements(x, &c, in_page, address);
      tr__hdf5_release(&c);
      TR_TRY(status);
    }
    address += bytes;
    count -= in_page;
  }
  return TR_OK;
}

tr_status tr__hdf5_fixed_array(tr__hdf5_file *file,
                               uint64_t address,
                               tr__hdf5_elements *out)
{
  run x = {.file = file, .out = out, .header = address};
  tr__hdf5_cursor c;
  uint64_t bytes = 12 + (uint64_t)(file->length_bytes + file->address_bytes);
  TR_TRY(tr__hdf5_block(file, address, bytes, "FAHD", true, &c));
  int version = (int)tr__hdf5_uint(&c, 1), client = (int)tr__hdf5_uint(&c, 1);
  int size = (int)tr__hdf5_uint(&c, 1), page_bits = (int)tr__hdf5_uint(&c, 1);
  uint64_t count = tr__hdf5_length(file, &c);
  uint64_t block = tr__hdf5_address(file, &c);
  tr__hdf5_release(&c);
  if (version != 0 || page_bits > 32) {
    return tr__hdf5_damaged(file, "an index of an unknown version", address);
  }
  TR_TRY(make_room(&x, count, size, client));
  if (block == TR__HDF5_NOWHERE) {
    return TR_OK;
  }
  x.page = UINT64_C(1) << page_bits;
  bool has_pages = count > x.page;
  uint64_t pages = has_pages ? (count - 1) / x.page + 1 : 0;
  uint64_t head = 6 + (uint64_t)file->address_bytes + (pages + 7) / 8;
  uint64_t values = has_pages ? 0 : count * (uint64_t)size;
  TR_TRY(tr__hdf5_block(file, block, head + values + 4, "FADB", true, &c));
  tr__hdf5_take(&c, 2 + (uint64_t)file->address_bytes);
  marks m = {tr__hdf5_take(&c, (pages + 7) / 8), 0};
  tr_status status = has_pages ? take_pages(&x, block + head + 4, count, &m)
                               : take_elements(&x, &c, count, block);
  tr__hdf5_release(&c);
  return status;
}

/* Read one block of elements of an extensible array. */
static tr_status
take_block(run *x, uint64_t address, uint64_t count, const marks *m)
{
  if (address == TR__HDF5_NOWHERE) {
    skip_elements(x, count);
    return TR_OK;
  }
  tr__hdf5_cursor c;
  bool has_pages = count > x->page;
  uint64_t head = 6 + (uint64_t)(x->file->address_bytes + x->offset_bytes);
  uint64_t values = has_pages ? 0 : count * (uint64_t)x->out->size;
  TR_TRY(tr__hdf5_block(x->file, address, head + values + 4, "EADB", true, &c));
  tr__hdf5_take(&c, head - 4);
  tr_status status = has_pages ? take_pages(x, address + head + 4, count, m)
                               : take_elements(x, &c, count, address);
  tr__hdf5_release(&c);
  return status;
}

/* Super block s has 2^(s/2) blocks of block_least * 2^((s+1)/2) elements. */
static uint64_t blocks_in(int s)
{
  return UINT64_C(1) << s / 2;
}

static uint64_t elements_in(const run *x, int s)
{
  return x->block_least << (s + 1) / 2;
}

static tr_status take_super_block(run *x, uint64_t address, int s)
{
  uint64_t blocks = blocks_in(s), each = elements_in(x, s);
  if (address == TR__HDF5_NOWHERE) {
    skip_elements(x, blocks * each);
    return TR_OK;
  }
  tr__hdf5_cursor c;
  uint64_t width = (uint64_t)x->file->address_bytes;
  uint64_t pages = each > x->page ? each / x->page : 0;
  uint64_t mark_bytes = blocks * ((pages + 7) / 8);
  uint64_t head = 6 + width + (uint64_t)x->offset_bytes;
  TR_TRY(tr__hdf5_block(x->file, address,
                        head + mark_bytes + blocks * width + 4, "EASB", true,
                        &c));
  tr__hdf5_take(&c, head - 4);
  marks m = {tr__hdf5_take(&c, mark_bytes), 0};
  tr_status status = TR_OK;
  for (uint64_t i = 0; i < blocks && status == TR_OK; i++) {
    uint64_t block = tr__hdf5_address(x->file, &c);
    m.first = i * pages;
    status = take_block(x, block, each, &m);
  }
  tr__hdf5_release(&c);
  return status;
}

/* The shape of an extensible array, from its header. */
typedef struct form {
  int in_index;      /* elements in the index block itself */
  int super_blocks;  /* in all */
  int direct_supers; /* those whose blocks the index block lists */
} form;

static int log2_of(uint64_t value)
{
  int log = 0;
  while (log < 63 && value >> (log + 1) != 0) {
    log++;
  }
  return log;
}

static tr_status take_index_block(run *x, const form *f, uint64_t address)
{
  tr__hdf5_cursor c;
  uint64_t width = (uint64_t)x->file->address_bytes;
  uint64_t blocks = 0;
  for (int s = 0; s < f->direct_supers; s++) {
    blocks += blocks_in(s);
  }
  uint64_t supers = (uint64_t)(f->super_blocks - f->direct_supers);
  uint64_t bytes = 6 + width + (uint64_t)f->in_index * (uint64_t)x->out->size +
                   (blocks + supers) * width + 4;
  TR_TRY(tr__hdf5_block(x->file, address, bytes, "EAIB", true, &c));
  tr__hdf5_take(&c, 2 + width);
  tr_status status = take_elements(x, &c, (uint64_t)f->in_index, address);
  for (int s = 0; s < f->super_blocks && status == TR_OK; s++) {
    bool is_direct = s < f->direct_supers;
    for (uint64_t i = 0; i < (is_direct ? blocks_in(s) : 1) && status == TR_OK;
         i++) {
      uint64_t at = tr__hdf5_address(x->file, &c);
      if (x->done == x->out->count) {
        break;
      }
      status = is_direct ? take_block(x, at, elements_in(x, s), &(marks){0})
                         : take_super_block(x, at, s);
    }
  }
  tr__hdf5_release(&c);
  return status;
}

tr_status tr__hdf5_extensible_array(tr__hdf5_file *file,
                                    uint64_t address,
                                    tr__hdf5_elements *out)
{
  run x = {.file = file, .out = out, .header = address};
  tr__hdf5_cursor c;
  uint64_t bytes =
      16 + 6 * (uint64_t)file->length_bytes + (uint64_t)file->address_bytes;
  TR_TRY(tr__hdf5_block(file, address, bytes, "EAHD", true, &c));
  int version = (int)tr__hdf5_uint(&c, 1), client = (int)tr__hdf5_uint(&c, 1);
  int size = (int)tr__hdf5_uint(&c, 1), bits = (int)tr__hdf5_uint(&c, 1);
  form f = {.in_index = (int)tr__hdf5_uint(&c, 1)};
  x.block_least = tr__hdf5_uint(&c, 1);
  uint64_t pointers = tr__hdf5_uint(&c, 1);
  int page_bits = (int)tr__hdf5_uint(&c, 1);
  tr__hdf5_take(&c, 4 * (uint64_t)file->length_bytes);
  uint64_t count = tr__hdf5_length(file, &c);
  tr__hdf5_length(file, &c);
  uint64_t block = tr__hdf5_address(file, &c);
  tr__hdf5_release(&c);
  f.super_blocks = 1 + bits - log2_of(x.block_least);
  f.direct_supers = 2 * log2_of(pointers);
  x.page = page_bits <= 32 ? UINT64_C(1) << page_bits : 0;
  x.offset_bytes = (bits + 7) / 8;
  if (version != 0 || bits > 40 || page_bits > 32 || x.block_least == 0 ||
      pointers == 0 || f.direct_supers > f.super_blocks ||
      f.super_blocks > 48) {
    return tr__hdf5_damaged(file, "an index of an unknown version", address);
  }
  TR_TRY(make_room(&x, count, size, client));
  return block == TR__HDF5_NOWHERE ? TR_OK : take_index_block(&x, &f, block);
}
