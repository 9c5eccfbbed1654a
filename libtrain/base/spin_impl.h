/* How long a wait polls before it sleeps, from how long waits lasted. */
#ifndef TR_SPIN_IMPL_H
#define TR_SPIN_IMPL_H

/* What is known of the waits of one kind. Zero: nothing yet. */
typedef struct tr__spin {
  int count;        /* of waits, up to a few */
  double typical_s; /* average of the short ones, newer ones count more */
  double spread_s;  /* of their distances from it */
  double
      share_long; /* of all waits: those that polling would not have seen end */
} tr__spin;

/* tr__spin_note - a wait of this kind has lasted so long; most_s: no wait is to
 * poll for longer. */
void tr__spin_note(tr__spin *spin, double waited_s, double most_s);

/* tr__spin_limit - how long the next one is to poll, at most most_s.
 *
 *   most waits are long: 0, else typical + 4 spread: few short ones are longer
 *
 * To poll keeps the CPU from the rank that is awaited, where it has to share
 * it; to sleep costs some 50 us. */
double tr__spin_limit(const tr__spin *spin, double most_s);

#endif
