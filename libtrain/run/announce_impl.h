/* The announcement of a run: what it says of itself before its first step. */
#ifndef TR_ANNOUNCE_IMPL_H
#define TR_ANNOUNCE_IMPL_H

#include "run/joblog_impl.h"
#include "run/progress_impl.h"

/* tr__announce - write a line for people (model, data, ranks, and where
 * checkpoints go), and for programs the first line of the log. Does nothing on
 * ranks other than 0. */
void tr__announce(tr_context *ctx,
                  const tr_trainer_opts *opts,
                  tr__joblog *log,
                  tr__progress *progress);

#endif
