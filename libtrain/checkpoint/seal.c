/* Writes and verifies the seal of a checkpoint file. */
#include "checkpoint/seal_impl.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define HEADER_BYTES TR__IMAGE_USER_BLOCK
#define ENTRY_BYTES  24
/* Hashed and written in one go, while it is in the cache. */
#define CHUNK_BYTES ((size_t)1 << 20)

static const unsigned char magic[8] = {0x93, 'T', 'R', 'S', 'E', 'A', 'L', 10};

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "numbers are copied to and from the file as they are");

static void put(unsigned char *at, const void *value, size_t bytes)
{
  memcpy(at, value, bytes);
}

static uint64_t get64(const unsigned char *at)
{
  uint64_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

static uint32_t get32(const unsigned char *at)
{
  uint32_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

static size_t table_entry_bytes(size_t name_bytes)
{
  return ENTRY_BYTES + tr__align(name_bytes, 8);
}

static size_t table_offset(const tr__image *image)
{
  return tr__align(image->length, 8);
}

static size_t table_bytes(const tr__image *image)
{
  size_t bytes = 0;
  for (int i = 0; i < image->num_entries; i++) {
    bytes += table_entry_bytes(strlen(image->entries[i].view.name) + 1);
  }
  return bytes;
}

size_t tr__seal_length(const tr__image *image)
{
  return table_offset(image) + table_bytes(image);
}

/* A sealed file that is being written. */
typedef struct emission {
  XXH3_state_t *hash;
  tr__sink sink;
  void *user;
  size_t offset; /* of the next byte */
} emission;

static tr_status
emit(emission *e, const unsigned char *data, size_t bytes, uint32_t *crc)
{
  while (bytes > 0) {
    size_t chunk = bytes < CHUNK_BYTES ? bytes : CHUNK_BYTES;
    if (crc != NULL) {
      *crc = tr__crc32c(*crc, data, chunk);
    }
    XXH3_128bits_update(e->hash, data, chunk);
    TR_TRY(e->sink(e->user, e->offset, data, chunk));
    e->offset += chunk;
    data += chunk;
    bytes -= chunk;
  }
  return TR_OK;
}

/* Emit the data sets and the bytes between them, and fill the table. */
static tr_status
emit_image(emission *e, const tr__image *image, unsigned char *table)
{
  static const unsigned char zeros[8];
  for (int i = 0; i < image->num_entries; i++) {
    const tr__image_entry *entry = &image->entries[image->by_offset[i]];
    uint64_t offset = entry->offset, bytes = entry->bytes;
    uint32_t crc = 0;
    TR_TRY(emit(e, image->bytes + e->offset, entry->offset - e->offset, NULL));
    TR_TRY(emit(e, image->bytes + e->offset, entry->bytes, &crc));
    uint32_t name_bytes = (uint32_t)strlen(entry->view.name) + 1;
    put(table, &offset, 8);
    put(table + 8, &bytes, 8);
    put(table + 16, &crc, 4);
    put(table + 20, &name_bytes, 4);
    put(table + ENTRY_BYTES, entry->view.name, name_bytes);
    table += table_entry_bytes(name_bytes);
  }
  TR_TRY(emit(e, image->bytes + e->offset, image->length - e->offset, NULL));
  return emit(e, zeros, table_offset(image) - image->length, NULL);
}

/* The hash of all bytes behind the header continues over the header. */
static void canonical_hash(XXH3_state_t *state,
                           const unsigned char *header,
                           unsigned char *out)
{
  XXH128_canonical_t canonical;
  XXH3_128bits_update(state, header, TR__SEAL_HASH_OFFSET);
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
  memcpy(out, canonical.digest, TR__SEAL_HASH_BYTES);
}

static void make_header(const tr__image *image,
                        tr__seal *seal,
                        uint32_t table_crc,
                        XXH3_state_t *hash,
                        unsigned char *header)
{
  uint32_t version = TR__SEAL_VERSION, count = (uint32_t)image->num_entries;
  uint64_t length = tr__seal_length(image), offset = table_offset(image);
  uint64_t bytes = table_bytes(image);
  memset(header, 0, HEADER_BYTES);
  put(header, magic, sizeof magic);
  put(header + 8, &version, 4);
  put(header + 12, &count, 4);
  put(header + 16, &length, 8);
  put(header + 24, &seal->step, 8);
  put(header + 32, seal->run_id, TR__SEAL_RUN_BYTES);
  put(header + 48, &offset, 8);
  put(header + 56, &bytes, 8);
  put(header + 64, &table_crc, 4);
  snprintf((char *)header + 72, 24, "%s", tr_version());
  canonical_hash(hash, header, seal->hash);
  put(header + TR__SEAL_HASH_OFFSET, seal->hash, TR__SEAL_HASH_BYTES);
  uint32_t crc = tr__crc32c(0, header, TR__SEAL_CRC_OFFSET);
  put(header + TR__SEAL_CRC_OFFSET, &crc, 4);
  seal->length = (size_t)length;
}

tr_status
tr__seal_emit(const tr__image *image, tr__seal *seal, tr__sink sink, void *user)
{
  tr_status status = TR_OK;
  unsigned char header[HEADER_BYTES];
  uint32_t table_crc = 0;
  size_t bytes = table_bytes(image);
  unsigned char *table = calloc(1, bytes + 1);
  emission e = {XXH3_createState(), sink, user, HEADER_BYTES};
  if (table == NULL || e.hash == NULL) {
    status = TR_FAIL(TR_ENOMEM, "checkpoint: no memory for the seal");
    goto done;
  }
  XXH3_128bits_reset(e.hash);
  TR_TRY_GOTO(emit_image(&e, image, table), done);
  TR_TRY_GOTO(emit(&e, table, bytes, &table_crc), done);
  make_header(image, seal, table_crc, e.hash, header);
  TR_TRY_GOTO(sink(user, 0, header, HEADER_BYTES), done);

done:
  XXH3_freeState(e.hash);
  free(table);
  return status;
}

static tr_status
check_header(const char *path, const unsigned char *bytes, size_t length)
{
  TR_CHECK(length >= HEADER_BYTES, TR_EDATA,
           "%s: has %zu bytes, a checkpoint has at least %d", path, length,
           HEADER_BYTES);
  TR_CHECK(memcmp(bytes, magic, sizeof magic) == 0, TR_EDATA,
           "%s: has no seal, so it is no checkpoint, or its header is damaged",
           path);
  uint32_t expected = get32(bytes + TR__SEAL_CRC_OFFSET);
  uint32_t crc = tr__crc32c(0, bytes, TR__SEAL_CRC_OFFSET);
  TR_CHECK(crc == expected, TR_EDATA,
           "%s: header is damaged (CRC32C is 0x%08x, expected 0x%08x)", path,
           crc, expected);
  TR_CHECK(get32(bytes + 8) == TR__SEAL_VERSION, TR_EDATA,
           "%s: has format version %u, this library reads %u", path,
           get32(bytes + 8), TR__SEAL_VERSION);
  TR_CHECK(get64(bytes + 16) == length, TR_EDATA,
           "%s: has %zu bytes, expected %llu", path, length,
           (unsigned long long)get64(bytes + 16));
  uint64_t offset = get64(bytes + 48), size = get64(bytes + 56);
  TR_CHECK(offset >= HEADER_BYTES && offset <= length &&
               size == length - offset &&
               get32(bytes + 12) <=
                   tr__min((int64_t)(size / ENTRY_BYTES), INT32_MAX),
           TR_EDATA, "%s: header has a table at %llu with %llu bytes", path,
           (unsigned long long)offset, (unsigned long long)size);
  crc = tr__crc32c(0, bytes + offset, (size_t)size);
  expected = get32(bytes + 64);
  TR_CHECK(crc == expected, TR_EDATA,
           "%s: table is damaged (CRC32C is 0x%08x, expected 0x%08x)", path,
           crc, expected);
  return TR_OK;
}

/* The CRC proves no entry legal: check that each lies in the file. */
static tr_status
read_table(const char *path, const unsigned char *bytes, tr__sealed *out)
{
  uint64_t at = get64(bytes + 48), end = at;
  uint64_t length = get64(bytes + 16);
  for (int i = 0; i < out->num_entries; i++) {
    tr__sealed_entry *entry = &out->entries[i];
    TR_CHECK(length - at >= ENTRY_BYTES, TR_EDATA,
             "%s: table ends before entry %d", path, i);
    uint64_t offset = get64(bytes + at), size = get64(bytes + at + 8);
    uint64_t name_bytes = get32(bytes + at + 20);
    uint64_t rest = length - at - ENTRY_BYTES;
    TR_CHECK(name_bytes >= 1 && tr__align(name_bytes, 8) <= rest &&
                 bytes[at + ENTRY_BYTES + name_bytes - 1] == 0,
             TR_EDATA, "%s: table entry %d has no legal name", path, i);
    entry->name = (const char *)bytes + at + ENTRY_BYTES;
    TR_CHECK(offset >= HEADER_BYTES && offset <= end && size <= end - offset,
             TR_EDATA, "%s: data set %s lies outside the file", path,
             entry->name);
    entry->data = bytes + offset;
    entry->bytes = (size_t)size;
    entry->crc = get32(bytes + at + 16);
    at += table_entry_bytes((size_t)name_bytes);
  }
  TR_CHECK(at == length, TR_EDATA, "%s: table has %llu bytes too many", path,
           (unsigned long long)(length - at));
  return TR_OK;
}

static tr_status check_data(const char *path, const tr__sealed *sealed)
{
  for (int i = 0; i < sealed->num_entries; i++) {
    const tr__sealed_entry *entry = &sealed->entries[i];
    uint32_t crc = tr__crc32c(0, entry->data, entry->bytes);
    TR_CHECK(crc == entry->crc, TR_EDATA,
             "%s: data set %s is damaged (CRC32C is 0x%08x, expected 0x%08x)",
             path, entry->name, crc, entry->crc);
  }
  return TR_OK;
}

static tr_status check_hash(const char *path,
                            const unsigned char *bytes,
                            size_t length,
                            const tr__seal *seal)
{
  unsigned char hash[TR__SEAL_HASH_BYTES];
  XXH3_state_t *state = XXH3_createState();
  TR_CHECK(state != NULL, TR_ENOMEM, "%s: no memory for a hash", path);
  XXH3_128bits_reset(state);
  XXH3_128bits_update(state, bytes + HEADER_BYTES, length - HEADER_BYTES);
  canonical_hash(state, bytes, hash);
  XXH3_freeState(state);
  TR_CHECK(memcmp(hash, seal->hash, sizeof hash) == 0, TR_EDATA,
           "%s: is damaged outside any data set (XXH3-128 differs)", path);
  return TR_OK;
}

static void get_seal(const unsigned char *header, tr__seal *out)
{
  out->step = (int64_t)get64(header + 24);
  out->length = (size_t)get64(header + 16);
  memcpy(out->run_id, header + 32, TR__SEAL_RUN_BYTES);
  memcpy(out->hash, header + TR__SEAL_HASH_OFFSET, TR__SEAL_HASH_BYTES);
}

bool tr__seal_peek(const void *bytes, size_t length, tr__seal *out)
{
  const unsigned char *header = bytes;
  memset(out, 0, sizeof *out);
  if (length < HEADER_BYTES || !tr__seal_is_on(bytes, length) ||
      tr__crc32c(0, header, TR__SEAL_CRC_OFFSET) !=
          get32(header + TR__SEAL_CRC_OFFSET)) {
    return false;
  }
  get_seal(header, out);
  return true;
}

bool tr__seal_is_on(const void *bytes, size_t length)
{
  return length >= sizeof magic && memcmp(bytes, magic, sizeof magic) == 0;
}

bool tr__seal_is_near(const unsigned char *bytes)
{
  size_t equal = 0;
  for (size_t i = 0; i < sizeof magic; i++) {
    equal += bytes[i] == magic[i];
  }
  return 2 * equal >= sizeof magic;
}

tr_status tr__seal_verify(const char *path,
                          const void *bytes,
                          size_t length,
                          tr__sealed *out)
{
  tr_status status;
  const unsigned char *header = bytes;
  memset(out, 0, sizeof *out);
  TR_TRY(check_header(path, header, length));
  out->num_entries = (int)get32(header + 12);
  out->entries = calloc((size_t)out->num_entries + 1, sizeof *out->entries);
  TR_CHECK(out->entries != NULL, TR_ENOMEM, "%s: no memory for its table",
           path);
  TR_TRY_GOTO(read_table(path, header, out), failed);
  get_seal(header, &out->seal);
  TR_TRY_GOTO(check_data(path, out), failed);
  TR_TRY_GOTO(check_hash(path, header, length, &out->seal), failed);
  return TR_OK;

failed:
  tr__sealed_release(out);
  return status;
}

const tr__sealed_entry *tr__sealed_find(const tr__sealed *sealed,
                                        const char *name)
{
  for (int i = 0; i < sealed->num_entries; i++) {
    if (strcmp(sealed->entries[i].name, name) == 0) {
      return &sealed->entries[i];
    }
  }
  return NULL;
}

void tr__sealed_release(tr__sealed *sealed)
{
  free(sealed->entries);
  memset(sealed, 0, sizeof *sealed);
}
