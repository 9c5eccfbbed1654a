/* The trace of a run: the events of all ranks on one time line, in a file for
 * the trace viewers of browsers. */
#ifndef TR_TRACE_IMPL_H
#define TR_TRACE_IMPL_H

#include "core/context_impl.h"

/* NULL: no trace. */
typedef struct tr__trace tr__trace;

/* tr__trace_open - begin a trace, which rank 0 will write to path, and compare
 * the clocks of the ranks. *timeline records this rank's events; the trace owns
 * it. Collective. TR_EIO on all ranks if the file cannot be opened. */
tr_status tr__trace_open(tr__comm *comm,
                         const char *path,
                         tr__trace **out,
                         tr__timeline **timeline);

/* tr__trace_write - write all events so far in place of an earlier content.
 * *dropped is the number of lost events of all ranks. Collective. TR_EIO on all
 * ranks. */
tr_status tr__trace_write(tr__trace *trace, int64_t *dropped);

void tr__trace_close(tr__trace **trace);

/* tr__context_write_trace - write the trace of a context, if it has one, and
 * log how many events it lacks. Collective, agreed. */
tr_status tr__context_write_trace(tr_context *ctx);

#endif
