/* Reads blocks of an HDF5 file. Each block must lie within the file, which is
 * checked before the read, and a cursor never reads beyond a block's end. */
#include "hdf5/hdf5_format_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

tr_status
tr__hdf5_damaged(const tr__hdf5_file *file, const char *what, uint64_t address)
{
  return TR_FAIL(TR_EDATA, "%s: the HDF5 file is damaged: %s at byte %llu",
                 file->path, what,
                 (unsigned long long)(address + (uint64_t)file->base));
}

tr_status tr__hdf5_check_room(const tr__hdf5_file *file,
                              const char *what,
                              uint64_t address,
                              uint64_t bytes)
{
  uint64_t room = (uint64_t)(file->bytes - file->base);
  TR_CHECK(address <= room && bytes <= room - address, TR_EDATA,
           "%s: %s: its %llu bytes are not all within the file's %lld: "
           "truncated or damaged?",
           file->path, what, (unsigned long long)bytes, (long long)file->bytes);
  return TR_OK;
}

tr_status tr__hdf5_pread(const tr__hdf5_file *file,
                         const char *where,
                         int64_t offset,
                         size_t bytes,
                         void *out)
{
  size_t done = 0;
  while (done < bytes) {
    ssize_t n = pread(file->fd, (char *)out + done, bytes - done,
                      offset + (int64_t)done);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    TR_CHECK(n >= 0, TR_EIO, "%s: %s", where, strerror(errno));
    TR_CHECK(n > 0, TR_EDATA,
             "%s: the file ends at byte %lld while it is read: was it changed?",
             where, (long long)(offset + (int64_t)done));
    done += (size_t)n;
  }
  return TR_OK;
}

static tr_status read_block(tr__hdf5_file *file,
                            uint64_t address,
                            uint64_t bytes,
                            tr__hdf5_cursor *out)
{
  TR_TRY(tr__hdf5_check_room(file, "a block of its structure", address, bytes));
  /* Without a budget, structures that refer to each other in circles would be
   * read for ever. */
  file->budget -= (int64_t)bytes + 64;
  if (file->budget < 0) {
    return tr__hdf5_damaged(file, "parts that lead back to each other",
                            address);
  }
  out->block = malloc(bytes + 1);
  TR_CHECK(out->block != NULL, TR_ENOMEM, "%s: no memory for %llu bytes",
           file->path, (unsigned long long)bytes);
  out->at = out->block;
  out->end = out->block + bytes;
  return tr__hdf5_pread(file, file->path, file->base + (int64_t)address, bytes,
                        out->block);
}

tr_status tr__hdf5_block(tr__hdf5_file *file,
                         uint64_t address,
                         uint64_t bytes,
                         const char *text,
                         bool is_checked,
                         tr__hdf5_cursor *out)
{
  *out = (tr__hdf5_cursor){0};
  tr_status status;
  TR_TRY_GOTO(read_block(file, address, bytes, out), failed);
  if (text != NULL) {
    const uint8_t *got = tr__hdf5_take(out, strlen(text));
    if (got == NULL || memcmp(got, text, strlen(text)) != 0) {
      status = tr__hdf5_damaged(file, "a wrong signature", address);
      goto failed;
    }
  }
  if (is_checked) {
    uint32_t sum = 0;
    for (int i = 0; i < 4 && bytes >= 4; i++) {
      sum |= (uint32_t)out->block[bytes - 4 + (uint64_t)i] << 8 * i;
    }
    if (bytes < 4 || tr__hdf5_checksum(out->block, bytes - 4) != sum) {
      status = tr__hdf5_damaged(file, "a wrong checksum", address);
      goto failed;
    }
    out->end -= 4;
  }
  return TR_OK;
failed:
  tr__hdf5_release(out);
  return status;
}

void tr__hdf5_release(tr__hdf5_cursor *cursor)
{
  free(cursor->block);
  *cursor = (tr__hdf5_cursor){0};
}

const uint8_t *tr__hdf5_take(tr__hdf5_cursor *c, uint64_t bytes)
{
  if (c->at == NULL || (uint64_t)(c->end - c->at) < bytes) {
    c->is_short = true;
    c->at = c->end;
    return NULL;
  }
  c->at += bytes;
  return c->at - bytes;
}

uint64_t tr__hdf5_uint(tr__hdf5_cursor *c, int bytes)
{
  uint64_t value = 0;
  const uint8_t *at = tr__hdf5_take(c, (uint64_t)bytes);
  for (int i = 0; i < bytes && at != NULL; i++) {
    value |= (uint64_t)at[i] << 8 * i;
  }
  return value;
}

uint64_t tr__hdf5_address(const tr__hdf5_file *file, tr__hdf5_cursor *c)
{
  uint64_t value = tr__hdf5_uint(c, file->address_bytes);
  return value == UINT64_MAX >> (64 - 8 * file->address_bytes)
             ? TR__HDF5_NOWHERE
             : value;
}

uint64_t tr__hdf5_length(const tr__hdf5_file *file, tr__hdf5_cursor *c)
{
  return tr__hdf5_uint(c, file->length_bytes);
}

static uint32_t turn(uint32_t x, int bits)
{
  return x << bits | x >> (32 - bits);
}

static void mix(uint32_t *a, uint32_t *b, uint32_t *c)
{
  static const int bits[6] = {4, 6, 8, 16, 19, 4};
  uint32_t *v[3] = {a, b, c};
  for (int i = 0; i < 6; i++) {
    uint32_t *x = v[i % 3], *y = v[(i + 1) % 3], *z = v[(i + 2) % 3];
    *x -= *z;
    *x ^= turn(*z, bits[i]);
    *z += *y;
  }
}

static void finish(uint32_t *a, uint32_t *b, uint32_t *c)
{
  static const int bits[7] = {14, 11, 25, 16, 4, 14, 24};
  uint32_t *v[3] = {c, a, b};
  for (int i = 0; i < 7; i++) {
    uint32_t *x = v[i % 3], *y = v[(i + 2) % 3];
    *x ^= *y;
    *x -= turn(*y, bits[i]);
  }
}

/* Source: Bob Jenkins: lookup3.c, hashlittle(), 2006 */
uint32_t tr__hdf5_checksum(const uint8_t *bytes, size_t count)
{
  uint32_t v[3];
  v[0] = v[1] = v[2] = 0xdeadbeefu + (uint32_t)count;
  if (count == 0) {
    return v[2];
  }
  for (;;) {
    size_t piece = count < 12 ? count : 12;
    for (size_t i = 0; i < piece; i++) {
      v[i / 4] += (uint32_t)bytes[i] << 8 * (i % 4);
    }
    if (count <= 12) {
      break;
    }
    mix(&v[0], &v[1], &v[2]);
    bytes += 12;
    count -= 12;
  }
  finish(&v[0], &v[1], &v[2]);
  return v[2];
}
