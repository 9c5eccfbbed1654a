/* Whether the ranks of a node wait in vain, and for whom. */
#ifndef TR_STALL_IMPL_H
#define TR_STALL_IMPL_H

#include "core/status_board_impl.h"

/* What one rank's watchdog knows. */
typedef struct tr__sight {
  const tr__seen *seen; /* [count], of the ranks of this node */
  int count, own;
  int size;           /* ranks of the job */
  double heartbeat_s; /* a process whose watchdog looked longer ago stands */
  double waited_s;    /* how long this rank has waited and nothing got on */
  double limit_s;
  int stopped;   /* where nobody can be seen: the rank, + 1, of a process of the
                    job that is stopped; 0: unknown */
  long long now; /* tr__status_now() */
  const char *host; /* said where there are several; may be NULL */
} tr__sight;

typedef struct tr__stall {
  int exit_code;     /* 0: nothing is wrong */
  bool is_elsewhere; /* no rank of this node is to blame: another node may know
                        more */
  char text[1024];   /* one line without its end */
} tr__stall;

/* tr__stall_judge - look at the ranks that this one waits for.
 *
 * Ranks in different calls never come together: 78, at once. A rank that does
 * not come within the limit: 71. Files take their time: a rank whose process
 * runs may save and resume for ten times the limit; so may one that cannot be
 * seen, and evaluate, and come to its end. A rank whose process runs may do
 * work of its own for ever: where it has said so, and at the end. */
void tr__stall_judge(const tr__sight *sight, tr__stall *out);

#endif
