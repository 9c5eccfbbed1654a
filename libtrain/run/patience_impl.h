/* Whether the launcher waits long enough for a run that it asks to stop. */
#ifndef TR_PATIENCE_IMPL_H
#define TR_PATIENCE_IMPL_H

#include "core/context_impl.h"

/* Zero-initialise. */
typedef struct tr__patience {
  int num_long;    /* steps, in a row */
  bool has_warned; /* once is enough */
} tr__patience;

/* tr__patience_note - a step took so long.
 *
 * True, once, where the second in a row takes longer than the launcher waits
 * between its SIGTERM, which the program handles, and its SIGKILL: out is then
 * a line that says what to do. */
bool tr__patience_note(tr__patience *patience,
                       double seconds,
                       char out[TR__MESSAGE_BYTES]);

#endif
