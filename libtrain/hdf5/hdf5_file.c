/* Opens an HDF5 file: finds and checks its superblock, which says where the
 * root group is. */
#include "base/bytes_impl.h"
#include "base/file_impl.h"
#include "hdf5/hdf5_format_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char signature[] = "\211HDF\r\n\032\n";

enum { SIGNATURE_BYTES = 8, FIRST_BYTES = 24 };

/* HDF5 allows the signature at byte 0, 512, 1024, 2048 and so on. */
static tr_status find_base(tr__hdf5_file *file)
{
  uint8_t first[FIRST_BYTES] = {0}, at[SIGNATURE_BYTES];
  char looks[TR__LOOKS_BYTES];
  size_t count = (size_t)tr__min(file->bytes, FIRST_BYTES);
  TR_TRY(tr__hdf5_pread(file, file->path, 0, count, first));
  for (int64_t base = 0; base + SIGNATURE_BYTES <= file->bytes;
       base = base == 0 ? 512 : 2 * base) {
    TR_TRY(tr__hdf5_pread(file, file->path, base, sizeof at, at));
    if (memcmp(at, signature, SIGNATURE_BYTES) == 0) {
      file->base = base;
      return TR_OK;
    }
  }
  return TR_FAIL(TR_EDATA, "%s: not an HDF5 file: it has no HDF5 signature; %s",
                 file->path, tr__looks_like(first, count, looks));
}

static bool is_width(int bytes)
{
  return bytes == 2 || bytes == 4 || bytes == 8;
}

static tr_status read_widths(tr__hdf5_file *file, tr__hdf5_cursor *c)
{
  file->address_bytes = (int)tr__hdf5_uint(c, 1);
  file->length_bytes = (int)tr__hdf5_uint(c, 1);
  return is_width(file->address_bytes) && is_width(file->length_bytes)
             ? TR_OK
             : tr__hdf5_damaged(file, "addresses of an unknown width", 0);
}

/* Superblock versions 0 and 1; *end: the end of the file as it says. */
static tr_status
read_old(tr__hdf5_file *file, tr__hdf5_cursor *c, int version, uint64_t *end)
{
  tr__hdf5_take(c, 4);
  TR_TRY(read_widths(file, c));
  tr__hdf5_take(c, version == 0 ? 9 : 13);
  tr__hdf5_address(file, c); /* the base: find_base() has found it */
  tr__hdf5_address(file, c); /* free space */
  *end = tr__hdf5_address(file, c);
  uint64_t driver = tr__hdf5_address(file, c);
  TR_CHECK(driver == TR__HDF5_NOWHERE, TR_EDATA,
           "%s: is one part of a file that is stored in several, which is not "
           "supported",
           file->path);
  tr__hdf5_length(file, c); /* the root's name */
  file->root = tr__hdf5_address(file, c);
  return TR_OK;
}

/* Superblock versions 2 and 3, with a checksum at the end. */
static tr_status
read_new(tr__hdf5_file *file, tr__hdf5_cursor *c, int version, uint64_t *end)
{
  TR_TRY(read_widths(file, c));
  unsigned flags = (unsigned)tr__hdf5_uint(c, 1);
  tr__hdf5_address(file, c); /* the base */
  tr__hdf5_address(file, c); /* an extension, which readers do not need */
  *end = tr__hdf5_address(file, c);
  file->root = tr__hdf5_address(file, c);
  size_t bytes = (size_t)(c->at - c->block);
  uint32_t sum = (uint32_t)tr__hdf5_uint(c, 4);
  if (!c->is_short && tr__hdf5_checksum(c->block, bytes) != sum) {
    return tr__hdf5_damaged(file, "a superblock of a wrong checksum", 0);
  }
  TR_CHECK(version == 2 || (flags & 1) == 0, TR_EDATA,
           "%s: is marked as being written: its writer runs or has died "
           "(h5clear -s clears the mark)",
           file->path);
  return TR_OK;
}

/* The largest superblock has 8 + 16 + 4 + 6 * 8 + 24 bytes. */
static tr_status read_start(tr__hdf5_file *file, tr__hdf5_cursor *c)
{
  tr__hdf5_take(c, SIGNATURE_BYTES);
  int version = (int)tr__hdf5_uint(c, 1);
  TR_CHECK(version <= 3, TR_EDATA,
           "%s: its HDF5 superblock is of version %d, expected 0 to 3: it is "
           "newer than this reader (h5repack --high=2 writes an older one)",
           file->path, version);
  uint64_t end = 0;
  TR_TRY((version < 2 ? read_old : read_new)(file, c, version, &end));
  if (c->is_short) {
    return tr__hdf5_damaged(file, "a superblock that is cut off", 0);
  }
  TR_CHECK(end <= (uint64_t)file->bytes, TR_EDATA,
           "%s: the file has %lld bytes, expected %llu: it is truncated",
           file->path, (long long)file->bytes, (unsigned long long)end);
  return TR_OK;
}

static tr_status stat_file(const tr__hdf5_file *file, struct stat *out)
{
  int failed = fstat(file->fd, out);
  TR_CHECK(!failed, tr__errno_status(errno), "%s: %s", file->path,
           strerror(errno));
  return TR_OK;
}

tr_status tr__hdf5_check_unchanged(const tr__hdf5_file *file, const char *where)
{
  struct stat is;
  TR_TRY(stat_file(file, &is));
  TR_CHECK(is.st_size == file->bytes && is.st_mtim.tv_sec == file->changed_s &&
               is.st_mtim.tv_nsec == file->changed_ns,
           TR_EDATA,
           "%s: the file was written to while samples were read: it has %lld "
           "bytes, and %lld when it was opened; replace a file by a rename, or "
           "start anew",
           where, (long long)is.st_size, (long long)file->bytes);
  return TR_OK;
}

tr_status tr__hdf5_open_file(const char *path, tr__hdf5_file *out)
{
  *out = (tr__hdf5_file){.path = path, .fd = -1};
  struct stat now;
  TR_TRY(tr__open_read(path, &out->fd, &out->bytes));
  TR_TRY(stat_file(out, &now));
  out->changed_s = now.st_mtim.tv_sec;
  out->changed_ns = now.st_mtim.tv_nsec;
  TR_TRY(find_base(out));
  out->budget = 1 << 20;
  uint64_t most = 128;
  tr__hdf5_cursor c;
  TR_TRY(tr__hdf5_block(
      out, 0, (uint64_t)tr__min((int64_t)most, out->bytes - out->base), NULL,
      false, &c));
  tr_status status = read_start(out, &c);
  tr__hdf5_release(&c);
  return status;
}

void tr__hdf5_close_file(tr__hdf5_file *file)
{
  if (file->fd >= 0) {
    close(file->fd);
  }
  file->fd = -1;
}
