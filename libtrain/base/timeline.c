/* The ring buffer of events. */
#include "base/timeline_impl.h"

#include <stdatomic.h>
#include <stdlib.h>

struct tr__timeline {
  int64_t most;
  atomic_llong added;
  tr__event events[];
};

tr_status tr__timeline_create(int64_t most, tr__timeline **out)
{
  size_t bytes = sizeof **out + (size_t)most * sizeof(tr__event);
  *out = calloc(1, bytes);
  TR_CHECK(*out != NULL, TR_ENOMEM, "no memory for %lld events of a trace",
           (long long)most);
  (*out)->most = most;
  return TR_OK;
}

void tr__timeline_destroy(tr__timeline **timeline)
{
  free(*timeline);
  *timeline = NULL;
}

void tr__timeline_add(tr__timeline *timeline, const tr__event *event)
{
  int64_t number = atomic_fetch_add(&timeline->added, 1);
  timeline->events[number % timeline->most] = *event;
}

int64_t tr__timeline_count(const tr__timeline *timeline, int64_t *dropped)
{
  int64_t added = atomic_load(&timeline->added);
  int64_t kept = tr__min(added, timeline->most);
  *dropped = added - kept;
  return kept;
}

const tr__event *tr__timeline_get(const tr__timeline *timeline, int64_t i)
{
  int64_t dropped;
  tr__timeline_count(timeline, &dropped);
  return &timeline->events[(dropped + i) % timeline->most];
}

void tr__timeline_span(tr__timeline *timeline,
                       double begin,
                       const char *kind,
                       const char *name)
{
  tr__event event = {
      .begin = begin, .end = tr__now(), .track = TR__TRACK_COMPUTE};
  snprintf(event.kind, sizeof event.kind, "%s", kind);
  snprintf(event.name, sizeof event.name, "%s", name);
  tr__timeline_add(timeline, &event);
}
