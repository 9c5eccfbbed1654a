/* The text of a manifest, and run ids and hashes as hexadecimal text. */
#include "checkpoint/manifest_impl.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define HEX_BYTES TR__HEX_BYTES

_Static_assert(TR__SEAL_RUN_BYTES == TR__SEAL_HASH_BYTES,
               "run ids and hashes are written alike");

void tr__to_hex(const unsigned char *bytes, char *out)
{
  for (int i = 0; i < TR__SEAL_HASH_BYTES; i++) {
    snprintf(out + 2 * i, 3, "%02x", bytes[i]);
  }
}

bool tr__from_hex(const char *text, unsigned char *out)
{
  for (int i = 0; i < TR__SEAL_HASH_BYTES; i++) {
    unsigned value;
    if (sscanf(text + 2 * i, "%2x", &value) != 1) {
      return false;
    }
    out[i] = (unsigned char)value;
  }
  return true;
}

void tr__hash_text(const char *text, size_t length, char *hex)
{
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(text, length));
  tr__to_hex(canonical.digest, hex);
}

size_t tr__manifest_format(const tr__manifest *manifest,
                           char out[TR__MANIFEST_BYTES])
{
  char hash[HEX_BYTES], self[HEX_BYTES], run[HEX_BYTES];
  tr__to_hex(manifest->hash, hash);
  tr__to_hex(manifest->run_id, run);
  int length = snprintf(out, TR__MANIFEST_BYTES,
                        "libtrain checkpoint %u\nstep %lld\nsave %lld\n"
                        "world %lld\nrun %s\nfile %s %zu %s\n",
                        TR__SEAL_VERSION, (long long)manifest->step,
                        (long long)manifest->save, (long long)manifest->world,
                        run, manifest->file, manifest->length, hash);
  tr__hash_text(out, (size_t)length, self);
  length += snprintf(out + length, TR__MANIFEST_BYTES - (size_t)length,
                     "hash %s\n", self);
  return (size_t)length;
}

tr_status tr__manifest_parse(const char *path,
                             const char *text,
                             size_t length,
                             tr__manifest *out)
{
  char copy[TR__MANIFEST_BYTES], again[TR__MANIFEST_BYTES];
  char hash[HEX_BYTES], run[HEX_BYTES];
  unsigned version = 0;
  long long step, save, world;
  memset(out, 0, sizeof *out);
  TR_CHECK(length < sizeof copy, TR_EDATA,
           "%s: is damaged (%zu bytes, a manifest has less than %zu)", path,
           length, sizeof copy);
  memcpy(copy, text, length);
  copy[length] = '\0';
  int fields = sscanf(copy,
                      "libtrain checkpoint %u\nstep %lld\nsave %lld\n"
                      "world %lld\nrun %32s\nfile %63s %zu %32s",
                      &version, &step, &save, &world, run, out->file,
                      &out->length, hash);
  TR_CHECK(fields < 1 || version == TR__SEAL_VERSION, TR_EDATA,
           "%s: has format version %u, this library reads %u", path, version,
           TR__SEAL_VERSION);
  TR_CHECK(fields == 8 && tr__from_hex(run, out->run_id) &&
               tr__from_hex(hash, out->hash) && step >= 0 && save >= 1 &&
               save <= TR__MOST_SAVES && strchr(out->file, '/') == NULL,
           TR_EDATA, "%s: is damaged (no legal manifest)", path);
  out->step = step;
  out->save = save;
  out->world = world;
  /* There is only one way to write a manifest, so this comparison detects every
   * other text, also one with a wrong hash in its last line. */
  size_t expected = tr__manifest_format(out, again);
  TR_CHECK(expected == length && memcmp(again, text, length) == 0, TR_EDATA,
           "%s: is damaged (its hash or its form differs)", path);
  return TR_OK;
}

int64_t tr__step_of_name(const char *name, const char *suffix)
{
  char again[TR__FILE_NAME_BYTES];
  long long step, save;
  int end = 0;
  if (sscanf(name, "step-%lld%n", &step, &end) != 1 || step < 0) {
    return -1;
  }
  snprintf(again, sizeof again, "step-%08lld%s", step, suffix);
  if (strcmp(name, again) == 0) {
    return step;
  }
  if (sscanf(name + end, ".save%lld", &save) != 1) {
    return -1;
  }
  snprintf(again, sizeof again, "step-%08lld.save%lld%s", step, save, suffix);
  return strcmp(name, again) == 0 ? step : -1;
}
