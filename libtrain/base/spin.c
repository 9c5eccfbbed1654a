/* How long a wait polls: the average of short waits and their average distance
 * from it, as for round-trip times (Jacobson 1988, Congestion avoidance and
 * control, appendix A). */
#include "base/spin_impl.h"

#include <math.h>

enum { ENOUGH = 8 };

static const double newest = 0.125;  /* weight of the newest wait */
static const double least_s = 10e-6; /* below it the cost of clocks and polls
                                        dominates */

void tr__spin_note(tr__spin *spin, double waited_s, double most_s)
{
  int is_long = waited_s > most_s;
  spin->count += spin->count < ENOUGH;
  spin->share_long += newest * (is_long - spin->share_long);
  if (!is_long) {
    double apart = waited_s - spin->typical_s;
    spin->typical_s += newest * apart;
    spin->spread_s += newest * (fabs(apart) - spin->spread_s);
  }
}

double tr__spin_limit(const tr__spin *spin, double most_s)
{
  if (spin->count < ENOUGH || most_s <= 0) {
    return most_s;
  }
  if (spin->share_long > 0.5) {
    return 0;
  }
  return fmin(most_s, least_s + spin->typical_s + 4 * spin->spread_s);
}
