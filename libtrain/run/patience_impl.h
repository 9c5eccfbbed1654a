/* Warns if steps take longer than the launcher waits between SIGTERM and
 * SIGKILL. */
#ifndef TR_PATIENCE_IMPL_H
#define TR_PATIENCE_IMPL_H

#include "core/context_impl.h"

/* Zero-initialise. */
typedef struct tr__patience {
  int num_long;    /* long steps in a row */
  bool has_warned; /* warns only once */
} tr__patience;

/* tr__patience_note - report the duration of a step.
 *
 * Returns true, once, at the second step in a row that takes longer than the
 * launcher waits between its SIGTERM, which the program handles, and its
 * SIGKILL. Then out is a line that says what to do. */
bool tr__patience_note(tr__patience *patience,
                       double seconds,
                       char out[TR__MESSAGE_BYTES]);

#endif
