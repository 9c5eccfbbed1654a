/* Combines the mean and the sum of squared deviations of two sets of values,
 * for BatchNorm over shards and ranks.
 *
 *   n = n_a + n_b,  d = mean_b - mean_a
 *   mean = mean_a + d n_b / n
 *   squares = squares_a + squares_b + d^2 n_a n_b / n,
 *
 * where squares is the sum of (x - mean)^2. Source: Chan, Golub, LeVeque 1979,
 * updating formulae for computing sample variances. */
#ifndef TR_MOMENTS_IMPL_H
#define TR_MOMENTS_IMPL_H

#include "core/tensor_impl.h"

/* tr__moments_add - the moments of set a <- those of a and b together. A set
 * without values changes nothing. */
static inline void tr__moments_add(double *mean,
                                   double *squares,
                                   double n_a,
                                   double mean_b,
                                   double squares_b,
                                   double n_b)
{
  if (n_a == 0 || n_b == 0) {
    *mean = n_b == 0 ? *mean : mean_b;
    *squares = n_b == 0 ? *squares : squares_b;
    return;
  }
  double d = mean_b - *mean, share = n_b / (n_a + n_b);
  *mean += d * share;
  *squares += squares_b + d * d * (n_a * share);
}

/* tr__moments_merge - sums (2 C + 1) <- means, sums of squares and number of
 * values per channel over all ranks. Each row of parts (ranks, at least 2 C +
 * 1) holds those of one rank; parts is overwritten. The order of additions is
 * that of the tree over num_shards shards, assigned to ranks as by
 * tr__comm_set_shards(). sums may alias a row of parts. */
void tr__moments_merge(double *sums,
                       const tr__tensor *parts,
                       int64_t channels,
                       int64_t num_shards);

#endif
