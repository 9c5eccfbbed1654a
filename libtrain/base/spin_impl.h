/* How long a wait polls before it sleeps, estimated from past waits. */
#ifndef TR_SPIN_IMPL_H
#define TR_SPIN_IMPL_H

/* Statistics of the waits of one kind. All zero: none yet. */
typedef struct tr__spin {
  int count;        /* number of waits, up to a few */
  double typical_s; /* average of the short waits, recent ones weigh more */
  double spread_s;  /* average distance of these waits from it */
  double
      share_long; /* fraction of waits longer than polling is allowed to last */
} tr__spin;

/* tr__spin_note - record that a wait lasted waited_s. most_s: the limit on
 * polling in one wait. */
void tr__spin_note(tr__spin *spin, double waited_s, double most_s);

/* tr__spin_limit - how long the next wait polls, at most most_s.
 *
 *   most_s before 8 waits; 0 where most waits are long; otherwise
 *   10 us + typical + 4 spread, which few of the short waits exceed
 *
 * Polling takes the CPU from the awaited rank where the two share one; sleeping
 * costs some 50 us. */
double tr__spin_limit(const tr__spin *spin, double most_s);

#endif
