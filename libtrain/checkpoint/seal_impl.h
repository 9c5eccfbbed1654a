/* The seal of a checkpoint file: checksums that find damage before anything
 * reads the data.
 *
 *   bytes 0..511     the header, in the HDF5 user block
 *   bytes 512..      the HDF5 file
 *   behind it        the table: one entry per data set
 *
 * Header, little-endian:
 *      0  magic, 8 bytes            8  u32 format version
 *     12  u32 data sets            16  u64 length of the whole file
 *     24  i64 step                 32  run id, 16 bytes
 *     48  u64 offset of the table  56  u64 bytes of the table
 *     64  u32 CRC32C of the table  72  library version, 24 bytes
 *    492  XXH3-128 (canonical)    508  u32 CRC32C of bytes 0..507
 * The hash covers bytes 512 to the end, then the header up to the hash. Table
 * entry: u64 offset, u64 bytes, u32 CRC32C, u32 bytes of the name with its NUL,
 * the name, zeros up to a multiple of 8. */
#ifndef TR_SEAL_IMPL_H
#define TR_SEAL_IMPL_H

#include "checkpoint/image_impl.h"

#define TR__SEAL_VERSION     1u
#define TR__SEAL_RUN_BYTES   16
#define TR__SEAL_HASH_BYTES  16
#define TR__SEAL_HASH_OFFSET 492
#define TR__SEAL_CRC_OFFSET  508

/* tr__crc32c - extend a CRC32C by more data; crc is 0 at the start.
 * tr__crc32c_portable gives the same without the processor's instruction. */
uint32_t tr__crc32c(uint32_t crc, const void *data, size_t bytes);
uint32_t tr__crc32c_portable(uint32_t crc, const void *data, size_t bytes);

typedef struct tr__seal {
  int64_t step;
  unsigned char run_id[TR__SEAL_RUN_BYTES];
  size_t length;                           /* set by sealing and by reading */
  unsigned char hash[TR__SEAL_HASH_BYTES]; /* likewise */
} tr__seal;

/* Receives the sealed file: bytes in order from 512 on, the header last. */
typedef tr_status (*tr__sink)(void *user,
                              size_t offset,
                              const void *data,
                              size_t bytes);

/* tr__seal_length - length in bytes of an image's sealed file. */
size_t tr__seal_length(const tr__image *image);

/* tr__seal_emit - pass the sealed file to sink, hashing it in the same pass.
 *
 * seal  [in,out]  step and run id; the call sets length and hash */
tr_status tr__seal_emit(const tr__image *image,
                        tr__seal *seal,
                        tr__sink sink,
                        void *user);

typedef struct tr__sealed_entry {
  const char *name; /* points into the file's bytes */
  const void *data; /* likewise; not aligned */
  size_t bytes;
  uint32_t crc;
} tr__sealed_entry;

/* A verified file. It points into the caller's bytes. */
typedef struct tr__sealed {
  tr__seal seal;
  tr__sealed_entry *entries; /* owned */
  int num_entries;
} tr__sealed;

/* tr__seal_is_on - whether bytes begin with the magic of a sealed file. */
bool tr__seal_is_on(const void *bytes, size_t length);

/* tr__seal_peek - read a header without looking at the bytes behind it. False
 * if it is damaged or no header. */
#define TR__SEAL_HEADER_BYTES TR__IMAGE_USER_BLOCK
bool tr__seal_peek(const void *bytes, size_t length, tr__seal *out);

/* tr__seal_is_near - whether at least half of the first 8 bytes are those of
 * the magic: a seal whose beginning may be damaged. */
bool tr__seal_is_near(const unsigned char *bytes);

/* tr__seal_verify - check all checksums. A message names the damaged data set.
 *
 * Every failure is TR_EDATA (TR_ENOMEM apart), and its message begins with
 * path. On failure out is empty. */
tr_status tr__seal_verify(const char *path,
                          const void *bytes,
                          size_t length,
                          tr__sealed *out);

/* tr__sealed_find - the data set of that name, or NULL. */
const tr__sealed_entry *tr__sealed_find(const tr__sealed *sealed,
                                        const char *name);

void tr__sealed_release(tr__sealed *sealed);

#endif
