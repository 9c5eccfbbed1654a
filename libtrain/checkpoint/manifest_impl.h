/* The manifest: a small text file that commits one checkpoint.
 *
 *   libtrain checkpoint 1          format version
 *   step 120                       optimizer steps
 *   save 7                         counts the saves into this directory
 *   world 2                        ranks that wrote it
 *   run 8d03...                    which run it belongs to, see the seal
 *   file step-00000120.h5 118160 9c0f...   length and XXH3-128, see the seal
 *   hash 52ab...                   XXH3-128 of the lines above
 *
 * The newest checkpoint is the one with the largest save, not the largest step.
 * So a run that goes back to an earlier step, or starts anew, supersedes its
 * earlier checkpoints. */
#ifndef TR_MANIFEST_IMPL_H
#define TR_MANIFEST_IMPL_H

#include "checkpoint/seal_impl.h"

#define TR__FILE_NAME_BYTES 64
#define TR__MANIFEST_BYTES  512

typedef struct tr__manifest {
  int64_t step, save, world;
  unsigned char run_id[TR__SEAL_RUN_BYTES];
  char file[TR__FILE_NAME_BYTES]; /* in the manifest's directory */
  size_t length;
  unsigned char hash[TR__SEAL_HASH_BYTES];
} tr__manifest;

/* The largest save number. At one save per microsecond a job takes more than a
 * hundred thousand years to reach it. */
#define TR__MOST_SAVES ((int64_t)1 << 62)

/* Run ids and hashes as hexadecimal text. */
#define TR__HEX_BYTES (2 * TR__SEAL_HASH_BYTES + 1)
void tr__to_hex(const unsigned char *bytes, char *out);
bool tr__from_hex(const char *text, unsigned char *out);
void tr__hash_text(const char *text, size_t length, char *hex);

/* tr__manifest_format - write the text with its hash. Returns its length. */
size_t tr__manifest_format(const tr__manifest *manifest,
                           char out[TR__MANIFEST_BYTES]);

/* tr__manifest_parse - read a manifest. TR_EDATA for any text that
 * tr__manifest_format() would not write. */
tr_status tr__manifest_parse(const char *path,
                             const char *text,
                             size_t length,
                             tr__manifest *out);

/* tr__step_of_name - the step in "step-00000120<suffix>"; -1 for any other
 * name. Skips a save number before the suffix, as in "step-00000120.save7.h5".
 */
int64_t tr__step_of_name(const char *name, const char *suffix);

#endif
