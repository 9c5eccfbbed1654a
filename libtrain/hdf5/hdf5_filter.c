/* Undoes the filters of chunks, in buffers of a chunk's own size.
 *
 * Source: HDF5 File Format Specification, filter pipeline message; zlib */
#include "hdf5/hdf5_format_impl.h"

#include <string.h>
#include <zlib.h>

enum { DEFLATE = 1, FLETCHER = 3, SUM_BYTES = TR__HDF5_SUM_BYTES };

/* A chunk whose filters are being undone. */
typedef struct passage {
  const tr__hdf5_array *array;
  int64_t chunk;
  uint8_t *bytes, *other; /* where it is, and the free buffer */
  int64_t count;
} passage;

static tr_status
damaged(const passage *p, const char *what, int64_t got, int64_t expected)
{
  return TR_FAIL(TR_EDATA,
                 "%s: chunk %lld of %lld is damaged: its %lld stored bytes %s "
                 "(%lld), expected %lld",
                 p->array->where, (long long)p->chunk,
                 (long long)p->array->num_chunks,
                 (long long)p->array->chunks[p->chunk].bytes, what,
                 (long long)got, (long long)expected);
}

static void swap(passage *p, int64_t count)
{
  uint8_t *bytes = p->bytes;
  p->bytes = p->other;
  p->other = bytes;
  p->count = count;
}

/* Undo deflate; exactly `expected` bytes must come out. */
static tr_status undo_deflate(passage *p, int64_t expected)
{
  z_stream z = {.next_in = p->bytes,
                .avail_in = (uInt)p->count,
                .next_out = p->other,
                .avail_out = (uInt)expected};
  TR_CHECK(p->count <= UINT32_MAX && expected <= UINT32_MAX, TR_EDATA,
           "%s: a chunk has more than 4 GiB", p->array->where);
  TR_CHECK(inflateInit(&z) == Z_OK, TR_ENOMEM, "%s: no memory for zlib",
           p->array->where);
  int code = inflate(&z, Z_FINISH);
  int64_t got = expected - (int64_t)z.avail_out;
  if (code == Z_BUF_ERROR && z.avail_out == 0) {
    /* The buffer is full: the stream may still have its end, but no byte. */
    uint8_t more;
    z.next_out = &more;
    z.avail_out = 1;
    code = inflate(&z, Z_FINISH);
    got += z.avail_out == 0 ? 1 : 0;
  }
  inflateEnd(&z);
  TR_CHECK(code != Z_MEM_ERROR, TR_ENOMEM, "%s: no memory for zlib",
           p->array->where);
  if (got != expected) {
    return damaged(p,
                   got < expected ? "expand to fewer bytes than the chunk has"
                                  : "expand to more bytes than the chunk has",
                   got, expected);
  }
  if (code != Z_STREAM_END) {
    return damaged(p, "are no whole zlib stream", code, Z_STREAM_END);
  }
  swap(p, expected);
  return TR_OK;
}

/* In the input, byte i of all elements lies together. A size known to the
 * compiler lets it unroll the inner loop. */
static inline void gather(const uint8_t *restrict in,
                          int64_t n,
                          int64_t size,
                          uint8_t *restrict out)
{
  for (int64_t j = 0; j < n; j++) {
    for (int64_t i = 0; i < size; i++) {
      out[j * size + i] = in[i * n + j];
    }
  }
}

/* Undo the byte shuffle. Bytes after the last whole element stay as they are.
 */
static tr_status undo_shuffle(passage *p, uint32_t element)
{
  int64_t size = p->array->type.size, n = p->count / size;
  if (element != (uint32_t)size) {
    return damaged(p, "are shuffled by elements of another size", element,
                   size);
  }
  if (size == 8) {
    gather(p->bytes, n, 8, p->other);
  } else if (size == 4) {
    gather(p->bytes, n, 4, p->other);
  } else {
    gather(p->bytes, n, size, p->other);
  }
  memcpy(p->other + n * size, p->bytes + n * size,
         (size_t)(p->count - n * size));
  swap(p, p->count);
  return TR_OK;
}

static uint32_t fold(uint32_t sum)
{
  return (sum & 0xffff) + (sum >> 16);
}

/* Fletcher's checksum of 16-bit words, the higher byte first. */
static uint32_t fletcher(const uint8_t *at, int64_t count)
{
  uint32_t first = 0, second = 0;
  for (int64_t words = count / 2; words > 0;) {
    int64_t piece = tr__min(words, 360);
    words -= piece;
    for (; piece > 0; piece--, at += 2) {
      first += (uint32_t)(at[0] << 8 | at[1]);
      second += first;
    }
    first = fold(first);
    second = fold(second);
  }
  if (count % 2 == 1) {
    first = first + ((uint32_t)at[0] << 8);
    second = fold(second + first);
    first = fold(first);
  }
  return fold(second) << 16 | fold(first);
}

static tr_status undo_fletcher(passage *p)
{
  if (p->count < SUM_BYTES) {
    return damaged(p, "have no room for a checksum", p->count, SUM_BYTES);
  }
  p->count -= SUM_BYTES;
  const uint8_t *at = p->bytes + p->count;
  uint32_t stored = (uint32_t)at[0] | (uint32_t)at[1] << 8 |
                    (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
  uint32_t sum = fletcher(p->bytes, p->count);
  /* HDF5 before 1.6.3 swapped the bytes of each of its two 16-bit words. */
  uint32_t turned = (sum & 0x00ff00ff) << 8 | (sum >> 8 & 0x00ff00ff);
  return stored == sum || stored == turned
             ? TR_OK
             : damaged(p, "have another checksum", stored, sum);
}

/* The number of bytes that filter i was given when the chunk was written, known
 * up to the first filter that compresses. */
static int64_t bytes_before(const tr__hdf5_array *array, uint32_t mask, int i)
{
  int64_t bytes = array->chunk_bytes;
  for (int j = 0; j < i; j++) {
    bool is_used = (mask >> j & 1) == 0;
    bytes += is_used && array->filters[j].id == FLETCHER ? SUM_BYTES : 0;
  }
  return bytes;
}

static tr_status undo(passage *p, int i, uint32_t mask)
{
  const tr__hdf5_filter *filter = &p->array->filters[i];
  if (filter->id == FLETCHER) {
    return undo_fletcher(p);
  }
  if (filter->id == DEFLATE) {
    return undo_deflate(p, bytes_before(p->array, mask, i));
  }
  /* Uncompressed bytes are at most a chunk and its checksum. */
  if (p->count > p->array->chunk_bytes + SUM_BYTES) {
    return damaged(p, "are more than the chunk has", p->count,
                   p->array->chunk_bytes);
  }
  return undo_shuffle(p, filter->value);
}

tr_status tr__hdf5_unfilter(const tr__hdf5_array *array,
                            int64_t chunk,
                            uint8_t *stored,
                            uint8_t *out)
{
  const tr__hdf5_chunk *c = &array->chunks[chunk];
  passage p = {array, chunk, stored, out, c->bytes};
  for (int i = array->num_filters - 1; i >= 0; i--) {
    if ((c->mask >> i & 1) == 0) {
      TR_TRY(undo(&p, i, c->mask));
    }
  }
  if (p.count != array->chunk_bytes) {
    return damaged(&p, "expand to another number of bytes than the chunk has",
                   p.count, array->chunk_bytes);
  }
  if (p.bytes != out) {
    memcpy(out, p.bytes, (size_t)p.count);
  }
  return TR_OK;
}
