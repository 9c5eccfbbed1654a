/* The watchdog: a thread that ends the job if ranks wait in vain. */
#ifndef TR_WATCHDOG_IMPL_H
#define TR_WATCHDOG_IMPL_H

#include "core/status_board_impl.h"

typedef struct tr__watchdog tr__watchdog;

/* tr__watchdog_limit - the limit in seconds for the value of an option: 0 is
 * the default, a negative value means no limit. */
double tr__watchdog_limit(double option);

/* tr__watchdog_start - watch the waits of this rank. A limit below 0 gives NULL
 * and TR_OK.
 *
 * Until a status board is known, the watchdog assumes a wait in `call` that
 * begins now. */
tr_status
tr__watchdog_start(double limit_s, int rank, tr__call call, tr__watchdog **out);

/* tr__watchdog_see - watch this status board from now on; NULL: none, until the
 * next call. The caller keeps the board. */
void tr__watchdog_see(tr__watchdog *dog, const tr__status_board *board);

/* tr__watchdog_stop - end the thread. dog may be NULL. */
void tr__watchdog_stop(tr__watchdog **dog);

#endif
