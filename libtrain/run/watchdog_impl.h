/* A thread that ends the job where ranks wait in vain. */
#ifndef TR_WATCHDOG_IMPL_H
#define TR_WATCHDOG_IMPL_H

#include "core/status_board_impl.h"

typedef struct tr__watchdog tr__watchdog;

/* tr__watchdog_limit - the limit in seconds that an option stands for: 0 is the
 * default, negative is none. */
double tr__watchdog_limit(double option);

/* tr__watchdog_start - watch this rank's waits; a limit below 0: NULL, and
 * TR_OK.
 *
 * While no board is known, a wait of `call` is counted as if it began now. */
tr_status
tr__watchdog_start(double limit_s, int rank, tr__call call, tr__watchdog **out);

/* tr__watchdog_see - look at this board from now on; NULL: at none, until the
 * next. The board stays the caller's. */
void tr__watchdog_see(tr__watchdog *dog, const tr__status_board *board);

/* tr__watchdog_stop - end the thread. dog may be NULL. */
void tr__watchdog_stop(tr__watchdog **dog);

#endif
