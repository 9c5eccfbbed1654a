/* Whose a checkpoint directory is: a small text file that is written durably
 * when a run starts, before it has anything to lose.
 *
 *   libtrain run 1           format version
 *   run 8d03...              the run's identity, see the seal
 *   seed 7                   of the run
 *   shards 0                 its virtual shards; 0: none
 *   started 1790000000       seconds since 1970
 *   adamw ...                its optimizer, for people; any number of lines
 *   hash 52ab...             XXH3-128 of the lines above
 *
 * A job that starts again in the directory goes on with this run, even where
 * another one has left newer checkpoints there. */
#ifndef TR_RUN_IDENTITY_IMPL_H
#define TR_RUN_IDENTITY_IMPL_H

#include "checkpoint/run_dir_impl.h"

typedef struct tr__identity {
  unsigned char run_id[TR__SEAL_RUN_BYTES];
  uint64_t seed;
  int64_t shards;
  int64_t started; /* 0: not known */
} tr__identity;

/* tr__identity_read - of the run that was started last in a directory.
 *
 * TR_ENOINPUT where none is written, as by version 0.1, TR_EDATA where it is
 * damaged; anything else: it could not be looked at. */
tr_status
tr__identity_read(const tr__file_ops *ops, const char *dir, tr__identity *out);

/* tr__identity_write - make it durable, in place of the run's before. A file of
 * that name that libtrain did not write gets another one. */
tr_status tr__identity_write(const tr__file_ops *ops,
                             const char *dir,
                             const tr__identity *identity,
                             const char *options);

/* tr__identity_describe - "run 8d03a1b2 (seed 7, started 2026-11-29 03:00:12
 * UTC)". */
#define TR__WHOSE_BYTES 120
void tr__identity_describe(const tr__identity *identity,
                           char out[TR__WHOSE_BYTES]);

#endif
