/* The identity file: says which run owns a checkpoint directory. It is a small
 * text file, written durably when a run starts, before the first checkpoint.
 *
 *   libtrain run 1           format version
 *   run 8d03...              the run's identity, see the seal
 *   seed 7                   of the run
 *   shards 0                 its virtual shards; 0: none
 *   started 1790000000       seconds since 1970
 *   optimizer adamw          and its options, for people; any number of lines
 *   hash 52ab...             XXH3-128 of the lines above
 *
 * A job that starts again in the directory continues this run, even if another
 * run has left newer checkpoints there. */
#ifndef TR_RUN_IDENTITY_IMPL_H
#define TR_RUN_IDENTITY_IMPL_H

#include "checkpoint/run_dir_impl.h"

typedef struct tr__identity {
  unsigned char run_id[TR__SEAL_RUN_BYTES];
  uint64_t seed;
  int64_t shards;
  int64_t started; /* 0: not known */
} tr__identity;

/* tr__identity_read - the identity of the run that was started last in a
 * directory.
 *
 * TR_ENOINPUT if there is none, as in directories of version 0.1, TR_EDATA if
 * it is damaged. Any other status: the file could not be read. */
tr_status
tr__identity_read(const tr__file_ops *ops, const char *dir, tr__identity *out);

/* tr__identity_write - write the identity durably in place of the earlier one.
 * A file of that name that libtrain did not write is renamed first. */
tr_status tr__identity_write(const tr__file_ops *ops,
                             const char *dir,
                             const tr__identity *identity,
                             const char *options);

/* tr__identity_describe - for messages: "run 8d03a1b2 (seed 7, started
 * 2026-11-29 03:00:12 UTC)". */
#define TR__WHOSE_BYTES 120
void tr__identity_describe(const tr__identity *identity,
                           char out[TR__WHOSE_BYTES]);

#endif
