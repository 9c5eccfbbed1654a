/* Judges whether the ranks of a node wait in vain, and for which rank. */
#ifndef TR_STALL_IMPL_H
#define TR_STALL_IMPL_H

#include "core/status_board_impl.h"

/* The view of one rank's watchdog. */
typedef struct tr__sight {
  const tr__seen *seen; /* [count], the rank statuses of this node */
  int count, own;
  int size;           /* ranks of the job */
  double heartbeat_s; /* a process is silent if its watchdog last looked longer
                         ago than this */
  double waited_s;    /* how long this rank has waited without progress */
  double limit_s;
  int stopped;   /* if no other rank can be seen: rank + 1 of a stopped process
                    of the job; 0: unknown */
  long long now; /* tr__status_now() */
  const char *host; /* named if there are several nodes; may be NULL */
} tr__sight;

typedef struct tr__stall {
  int exit_code;     /* 0: nothing is wrong */
  bool is_elsewhere; /* all ranks of this node have come: another node may know
                        more */
  char text[1024];   /* one line without newline */
} tr__stall;

/* tr__stall_judge - judge the ranks that this one waits for.
 *
 * Ranks in different calls never meet: exit code 78, at once. A rank that does
 * not come within the limit: exit code 71. The limit is ten times as long for a
 * save or resume of a rank whose process runs. If the missing rank is on
 * another node, it is also ten times as long while this rank saves, resumes,
 * evaluates or ends. There is no limit for a rank whose process runs and that
 * has announced work of its own, or that works outside the library while this
 * rank ends. */
void tr__stall_judge(const tr__sight *sight, tr__stall *out);

#endif
