/* The trace of a run: the events of all ranks on one time line, as a file for
 * the trace viewers of browsers. */
#ifndef TR_TRACE_IMPL_H
#define TR_TRACE_IMPL_H

#include "core/context_impl.h"

/* NULL: there is none. */
typedef struct tr__trace tr__trace;

/* tr__trace_open - begin a trace, which rank 0 will write to path, and compare
 * the ranks' clocks. *timeline takes this rank's events; it is the trace's.
 * Collective; TR_EIO where the file cannot be opened, agreed. */
tr_status tr__trace_open(tr__comm *comm,
                         const char *path,
                         tr__trace **out,
                         tr__timeline **timeline);

/* tr__trace_write - what there is so far, in place of what was written before.
 * Collective; *dropped: events of all ranks that are lost. TR_EIO, agreed. */
tr_status tr__trace_write(tr__trace *trace, int64_t *dropped);

void tr__trace_close(tr__trace **trace);

/* tr__context_write_trace - write the context's trace, where it has one, and
 * say in the log what is not in it. Collective; agreed. */
tr_status tr__context_write_trace(tr_context *ctx);

#endif
