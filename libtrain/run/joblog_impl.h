/* The log of a run as JSON lines, which rank 0 writes. */
#ifndef TR_JOBLOG_IMPL_H
#define TR_JOBLOG_IMPL_H

#include "base/base_impl.h"

#include <train/trainer.h>

typedef struct tr__joblog {
  FILE *file;       /* NULL: no log */
  const char *path; /* borrowed until closed */
  int digits;       /* significant digits of a loss */
  int failure;      /* errno of a line that could not be written; 0: none */
} tr__joblog;

typedef struct tr__joblog_entry {
  int64_t step, epoch;
  double loss, lr, samples_per_s;
} tr__joblog_entry;

/* tr__joblog_open - open a log that appends to path. NULL: it drops everything.
 */
tr_status tr__joblog_open(const char *path, tr_dtype dtype, tr__joblog *log);

/* tr__joblog_restart - drop what an earlier run wrote. */
void tr__joblog_restart(tr__joblog *log);

/* The first line of a run, or of a run that is resumed. */
typedef struct tr__joblog_begin {
  const char *title, *command, *optimizer, *data, *mpi; /* NULL: left out */
  int64_t step, parameters, samples, test_samples, batch;
  int ranks, threads;
} tr__joblog_begin;

/* tr__joblog_start - the line {"start":true,...}. */
void tr__joblog_start(tr__joblog *log, const tr__joblog_begin *begin);

typedef struct tr__joblog_back {
  int64_t from_step, to_step; /* the step that was not finite; the
                                 checkpoint's */
  double loss, lr_scale;      /* lr_scale from now on */
} tr__joblog_back;

void tr__joblog_rollback(tr__joblog *log, const tr__joblog_back *back);
void tr__joblog_step(tr__joblog *log, const tr__joblog_entry *entry);

/* tr__joblog_epoch - write the line at the end of an epoch. is_tested: the
 * report has the numbers of a test. */
void tr__joblog_epoch(tr__joblog *log,
                      int64_t epoch,
                      const tr_report *report,
                      bool is_tested);
void tr__joblog_final(tr__joblog *log, const tr_report *report);

/* tr__joblog_check - TR_EIO if a line was lost since the last call. */
tr_status tr__joblog_check(tr__joblog *log);

void tr__joblog_close(tr__joblog *log);

#endif
