/* What a run says of itself before its first step. */
#ifndef TR_ANNOUNCE_IMPL_H
#define TR_ANNOUNCE_IMPL_H

#include "run/joblog_impl.h"
#include "run/progress_impl.h"

/* tr__announce - a line for people: what is trained, on what, by whom and where
 * its checkpoints go; and the first line of the log, for programs. On rank 0;
 * nothing on others. */
void tr__announce(tr_context *ctx,
                  const tr_trainer_opts *opts,
                  tr__joblog *log,
                  tr__progress *progress);

#endif
