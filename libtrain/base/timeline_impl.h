/* What a rank did when: the events of its compute thread and of its transfers,
 * the newest of them in bounded memory. Written by run/timeline.c. */
#ifndef TR_TIMELINE_IMPL_H
#define TR_TIMELINE_IMPL_H

#include "base/base_impl.h"

typedef enum tr__track {
  TR__TRACK_COMPUTE = 0, /* the thread that calls the library */
  TR__TRACK_COMM = 1     /* transfers, whoever moves them along */
} tr__track;

enum { TR__EVENT_NAME_BYTES = 32 };

typedef struct tr__event {
  double begin, end; /* tr__now() */
  int64_t bytes;     /* of a transfer; else 0 */
  int32_t track;
  char kind[12];                   /* "forward", "bucket", "wait", ... */
  char name[TR__EVENT_NAME_BYTES]; /* of a layer; cut where it is longer */
} tr__event;

/* NULL, everywhere: events are not kept. */
typedef struct tr__timeline tr__timeline;

/* tr__timeline_create - room for so many events. */
tr_status tr__timeline_create(int64_t most, tr__timeline **out);
void tr__timeline_destroy(tr__timeline **timeline);

/* tr__timeline_add - keep an event; of two threads at once, too. The oldest
 * one goes where there is no room. */
void tr__timeline_add(tr__timeline *timeline, const tr__event *event);

/* tr__timeline_count - events that are kept; *dropped: that are gone.
 * tr__timeline_get - one of them, 0: the oldest. While nobody adds. */
int64_t tr__timeline_count(const tr__timeline *timeline, int64_t *dropped);
const tr__event *tr__timeline_get(const tr__timeline *timeline, int64_t i);

/* tr__timeline_begin - the time, for tr__timeline_end(), which keeps what the
 * calling thread did since. Where events are not kept both are one branch. */
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
