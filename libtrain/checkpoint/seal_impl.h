/* The seal of a checkpoint file: what finds damage before anything reads it.
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
 * The hash is over bytes 512 to the end, then the header up to the hash.
 * Table entry: u64 offset, u64 bytes, u32 CRC32C, u32 bytes of the name with
 * its NUL, the name, zeros up to a multiple of 8. */
#ifndef TR_SEAL_IMPL_H
#define TR_SEAL_IMPL_H

#include "checkpoint/image_impl.h"

#define TR__SEAL_VERSION     1u
#define TR__SEAL_RUN_BYTES   16
#define TR__SEAL_HASH_BYTES  16
#define TR__SEAL_HASH_OFFSET 492
#define TR__SEAL_CRC_OFFSET  508

/* tr__crc32c - go on with a CRC32C; crc is 0 at the start. The portable one
 * gives the same without the processor's help. */
uint32_t tr__crc32c(uint32_t crc, const void *data, size_t bytes);
uint32_t tr__crc32c_portable(uint32_t crc, const void *data, size_t bytes);

typedef struct tr__seal {
  int64_t step;
  unsigned char run_id[TR__SEAL_RUN_BYTES];
  size_t length;                           /* set by sealing and by reading */
  unsigned char hash[TR__SEAL_HASH_BYTES]; /* likewise */
} tr__seal;

/* Receives the sealed file: in order from byte 512 on, the header last. */
typedef tr_status (*tr__sink)(void *user,
                              size_t offset,
                              const void *data,
                              size_t bytes);

/* tr__seal_length - bytes of an image's sealed file. */
size_t tr__seal_length(const tr__image *image);

/* tr__seal_emit - send the sealed file, hashed on the way in one pass.
 *
 * seal  [in,out]  step and run id; length and hash are set */
tr_status tr__seal_emit(const tr__image *image,
                        tr__seal *seal,
                        tr__sink sink,
                        void *user);

typedef struct tr__sealed_entry {
  const char *name; /* in the file's bytes */
  const void *data; /* in the file's bytes, not aligned */
  size_t bytes;
  uint32_t crc;
} tr__sealed_entry;

/* A verified file; borrows its bytes. */
typedef struct tr__sealed {
  tr__seal seal;
  tr__sealed_entry *entries; /* owned */
  int num_entries;
} tr__sealed;

/* tr__seal_is_on - whether bytes begin as a sealed file does. */
bool tr__seal_is_on(const void *bytes, size_t length);

/* tr__seal_peek - what a header says; the bytes behind it are not looked at.
 * False where it is damaged, or no header. */
#define TR__SEAL_HEADER_BYTES TR__IMAGE_USER_BLOCK
bool tr__seal_peek(const void *bytes, size_t length, tr__seal *out);

/* tr__seal_is_near - whether the first 8 bytes are those of a seal but for a
 * few that are damaged. */
bool tr__seal_is_near(const unsigned char *bytes);

/* tr__seal_verify - refuse damage, naming the data set that it is in.
 *
 * Every failure is TR_EDATA (TR_ENOMEM apart) and begins with path. On failure
 * out is empty. */
tr_status tr__seal_verify(const char *path,
                          const void *bytes,
                          size_t length,
                          tr__sealed *out);

/* tr__sealed_find - a data set by name, or NULL. */
const tr__sealed_entry *tr__sealed_find(const tr__sealed *sealed,
                                        const char *name);

void tr__sealed_release(tr__sealed *sealed);

#endif
