/* Reads one IDX file, plain or compressed with gzip, and checks every size.
 *
 *   bytes 0..3   0, 0, 8 (unsigned bytes), number of extents
 *   then         each extent as 4 bytes, the highest first
 *   then         as many bytes as the product of the extents, and nothing more
 *
 * Source: LeCun, Cortes, Burges: the MNIST database, file formats */
#include "base/bytes_impl.h"
#include "base/file_impl.h"
#include "data/data_impl.h"
#include "data/idx_impl.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define IO_BYTES 65536
/* No deflate stream expands further (zlib's technical details). */
#define GZ_MAX_RATIO 1032

typedef struct source {
  const char *path;
  int fd;
  int64_t file_bytes;
  bool is_gz;
  bool is_ended; /* the compressed file is complete */
  z_stream stream;
  uint8_t input[IO_BYTES];
} source;

static tr_status source_open(const char *path, bool is_gz, source *s)
{
  s->path = path;
  s->is_gz = is_gz;
  TR_TRY(tr__open_read(path, &s->fd, &s->file_bytes));
  if (is_gz) {
    /* Adding 16 makes zlib check the gzip header and trailer. */
    TR_CHECK(inflateInit2(&s->stream, 15 + 16) == Z_OK, TR_ENOMEM,
             "%s: out of memory", path);
  }
  return TR_OK;
}

static void source_close(source *s)
{
  if (s->is_gz && s->fd >= 0) {
    inflateEnd(&s->stream);
  }
  if (s->fd >= 0) {
    close(s->fd);
  }
}

/* Read up to `bytes` of the file itself; *got is smaller only at its end. */
static tr_status read_raw(source *s, void *out, size_t bytes, size_t *got)
{
  int code = tr__read_full(s->fd, out, bytes, got);
  TR_CHECK(code == 0, TR_EIO, "%s: %s", s->path, strerror(code));
  return TR_OK;
}

/* Refill the input buffer; it stays empty at the end of the file. */
static tr_status refill(source *s)
{
  size_t got;
  TR_TRY(read_raw(s, s->input, sizeof s->input, &got));
  s->stream.next_in = s->input;
  s->stream.avail_in = (uInt)got;
  return TR_OK;
}

/* The most frequent wrong file is a web page that says "not found", saved under
 * the name of the requested file. So the message says what the file looks like.
 */
static tr_status check_gz(source *s)
{
  char looks[TR__LOOKS_BYTES];
  TR_TRY(refill(s));
  const uint8_t *first = s->input;
  TR_CHECK(s->stream.avail_in >= 2 && first[0] == 0x1f && first[1] == 0x8b,
           TR_EDATA, "%s: is no gzip file: %s", s->path,
           tr__looks_like(first, s->stream.avail_in, looks));
  return TR_OK;
}

/* After a member of a gzip file may come another member (bgzip, cat), zero
 * padding (tapes, tar), or the end. Any other bytes stay in the input, and
 * check_end() refuses them. */
static tr_status next_member(source *s)
{
  enum { FIRST_OF_MEMBER = 0x1f };
  bool is_padded = false;
  s->is_ended = true;
  for (;;) {
    if (s->stream.avail_in == 0) {
      TR_TRY(refill(s));
    }
    if (s->stream.avail_in == 0) {
      return TR_OK;
    }
    if (s->stream.next_in[0] != 0) {
      break;
    }
    is_padded = true;
    s->stream.next_in++;
    s->stream.avail_in--;
  }
  if (!is_padded && s->stream.next_in[0] == FIRST_OF_MEMBER) {
    s->is_ended = false;
    inflateReset(&s->stream);
  }
  return TR_OK;
}

/* Like read_raw(), but of the expanded file. */
static tr_status read_gz(source *s, void *out, size_t bytes, size_t *got)
{
  *got = 0;
  while (*got < bytes && !s->is_ended) {
    if (s->stream.avail_in == 0) {
      TR_TRY(refill(s));
    }
    TR_CHECK(s->stream.avail_in > 0, TR_EDATA,
             "%s: the compressed file is truncated", s->path);
    size_t piece = bytes - *got < IO_BYTES ? bytes - *got : IO_BYTES;
    s->stream.next_out = (Bytef *)out + *got;
    s->stream.avail_out = (uInt)piece;
    int code = inflate(&s->stream, Z_NO_FLUSH);
    TR_CHECK(code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR,
             TR_EDATA, "%s: the compressed data is damaged (zlib: %s)", s->path,
             s->stream.msg != NULL ? s->stream.msg : zError(code));
    *got += piece - s->stream.avail_out;
    if (code == Z_STREAM_END) {
      TR_TRY(next_member(s));
    }
  }
  return TR_OK;
}

static tr_status read_some(source *s, void *out, size_t bytes, size_t *got)
{
  return s->is_gz ? read_gz(s, out, bytes, got) : read_raw(s, out, bytes, got);
}

static tr_status read_all(source *s, void *out, size_t bytes, const char *what)
{
  size_t got;
  TR_TRY(read_some(s, out, bytes, &got));
  TR_CHECK(got == bytes, TR_EDATA,
           "%s: ends after %zu bytes of the %s, expected %zu", s->path, got,
           what, bytes);
  return TR_OK;
}

static uint32_t big_endian(const uint8_t *b)
{
  return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 |
         b[3];
}

/* Nothing may follow the array. The attempt to read one more byte also makes
 * zlib check its trailer. */
static tr_status check_end(source *s)
{
  uint8_t byte;
  size_t got, raw = 0;
  TR_TRY(read_some(s, &byte, 1, &got));
  if (s->is_gz && got == 0) {
    raw = s->stream.avail_in;
  }
  TR_CHECK(got == 0 && raw == 0, TR_EDATA,
           "%s: bytes follow the array, expected the end of the file", s->path);
  return TR_OK;
}

static tr_status read_header(source *s, int ndim, tr__idx *out)
{
  uint8_t header[4 + 4 * TR__IDX_MAX_DIMS];
  char looks[TR__LOOKS_BYTES];
  size_t header_bytes = 4 + 4 * (size_t)ndim;
  TR_TRY(read_all(s, header, 4, "header"));
  uint32_t expected = 0x0800u | (uint32_t)ndim;
  TR_CHECK(
      big_endian(header) == expected, TR_EDATA,
      "%s: magic is 0x%08x, expected 0x%08x (unsigned bytes, %d extent%s): "
      "%s",
      s->path, (unsigned)big_endian(header), (unsigned)expected, ndim,
      ndim == 1 ? "" : "s", tr__looks_like(header, 4, looks));
  TR_TRY(read_all(s, header + 4, header_bytes - 4, "header"));
  out->ndim = ndim;
  int64_t bytes = 1;
  for (int i = 0; i < ndim; i++) {
    out->dims[i] = big_endian(header + 4 + 4 * (size_t)i);
    TR_CHECK(out->dims[i] > 0, TR_EDATA,
             "%s: extent %d is 0, expected 1 or more", s->path, i);
    TR_CHECK(!tr__mul_overflows(bytes, out->dims[i], &bytes), TR_EDATA,
             "%s: the product of the extents does not fit", s->path);
  }
  int64_t whole;
  TR_CHECK(!tr__add_overflows(bytes, (int64_t)header_bytes, &whole), TR_EDATA,
           "%s: the product of the extents does not fit", s->path);
  bool fits =
      s->is_gz ? whole / GZ_MAX_RATIO <= s->file_bytes : whole == s->file_bytes;
  TR_CHECK(fits, TR_EDATA,
           "%s: the extents want a file of %s%lld bytes, it has %lld", s->path,
           s->is_gz ? "more than " : "",
           (long long)(s->is_gz ? whole / GZ_MAX_RATIO : whole),
           (long long)s->file_bytes);
  return TR_OK;
}

static tr_status read_array(source *s, tr__idx *out)
{
  size_t bytes = 1;
  for (int i = 0; i < out->ndim; i++) {
    bytes *= (size_t)out->dims[i];
  }
  out->bytes = malloc(bytes);
  TR_CHECK(out->bytes != NULL, TR_ENOMEM, "%s: no memory for %zu bytes",
           s->path, bytes);
  TR_TRY(read_all(s, out->bytes, bytes, "array"));
  return check_end(s);
}

tr_status tr__idx_load(const char *path, bool is_gz, int ndim, tr__idx *out)
{
  *out = (tr__idx){0};
  source *s = calloc(1, sizeof *s);
  TR_CHECK(s != NULL, TR_ENOMEM, "%s: out of memory", path);
  s->fd = -1;
  tr_status status;
  TR_TRY_GOTO(source_open(path, is_gz, s), done);
  if (is_gz) {
    TR_TRY_GOTO(check_gz(s), done);
  }
  TR_TRY_GOTO(read_header(s, ndim, out), done);
  TR_TRY_GOTO(read_array(s, out), done);
done:
  source_close(s);
  free(s);
  if (status != TR_OK) {
    free(out->bytes);
    out->bytes = NULL;
  }
  return status;
}
