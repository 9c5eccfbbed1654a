/* The timeline of a rank: a ring buffer of the newest events of its compute
 * thread and of its transfers. run/trace.c writes it to a file. */
#ifndef TR_TIMELINE_IMPL_H
#define TR_TIMELINE_IMPL_H

#include "base/base_impl.h"

typedef enum tr__track {
  TR__TRACK_COMPUTE = 0, /* the thread that calls the library */
  TR__TRACK_COMM = 1     /* transfers, whichever thread advances them */
} tr__track;

enum { TR__EVENT_NAME_BYTES = 32 };

typedef struct tr__event {
  double begin, end; /* tr__now() */
  int64_t bytes;     /* bytes of a transfer; else 0 */
  int32_t track;
  char kind[12];                   /* "forward", "bucket", "wait", ... */
  char name[TR__EVENT_NAME_BYTES]; /* name of a layer, truncated to fit */
} tr__event;

/* NULL wherever the library keeps no events. */
typedef struct tr__timeline tr__timeline;

/* tr__timeline_create - a ring buffer for `most` events. */
tr_status tr__timeline_create(int64_t most, tr__timeline **out);
void tr__timeline_destroy(tr__timeline **timeline);

/* tr__timeline_add - keep an event. Two threads may call it at once. A full
 * ring buffer overwrites its oldest event. */
void tr__timeline_add(tr__timeline *timeline, const tr__event *event);

/* tr__timeline_count - the number of events kept; *dropped: the number
 * overwritten.
 * tr__timeline_get - event i; 0 is the oldest. Call both while no thread
 * adds. */
int64_t tr__timeline_count(const tr__timeline *timeline, int64_t *dropped);
const tr__event *tr__timeline_get(const tr__timeline *timeline, int64_t i);

/* tr__timeline_begin - the time, for tr__timeline_end(), which keeps an event
 * of the calling thread since then. Without a timeline both cost one branch. */
static inline double tr__timeline_begin(const tr__timeline *timeline)
{
  return timeline == NULL ? 0 : tr__now();
}

void tr__timeline_span(tr__timeline *timeline,
                       double begin,
                       const char *kind,
                       const char *name);

static inline void tr__timeline_end(tr__timeline *timeline,
                                    double begin,
                                    const char *kind,
                                    const char *name)
{
  if (timeline != NULL) {
    tr__timeline_span(timeline, begin, kind, name);
  }
}

#endif
