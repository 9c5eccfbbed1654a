/* Counter-based random numbers: Philox 4x32-10.
 *
 * A number is a function of (seed; element, sample, step, stream). It does not
 * depend on rank, thread or worker. The layout of the counter never changes; a
 * known-answer test checks it:
 *
 *   key      seed, low word then high word
 *   word 0   element / 4, low 32 bits (element % 4 picks the output word)
 *   word 1   sample, low 32 bits
 *   word 2   step, low 32 bits
 *   word 3   stream << 16 | (step >> 32 & 255) << 8 | (sample >> 32 & 255)
 *
 * Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". */
#ifndef TR_RANDOM_IMPL_H
#define TR_RANDOM_IMPL_H

#include <stdint.h>

/* The purpose of a stream. The low 12 bits of a stream distinguish the layers
 * or parameters that draw from it. */
typedef enum tr__purpose {
  TR__PURPOSE_INIT = 1,
  TR__PURPOSE_PERMUTATION = 2,
  TR__PURPOSE_DIGITS = 3,
  TR__PURPOSE_DROPOUT = 4,
  TR__PURPOSE_TRANSFORM = 5,
  TR__PURPOSE_TEST = 15
} tr__purpose;

/* A sequence of random numbers; the element selects one of them. */
typedef struct tr__random {
  uint64_t seed;
  int64_t sample; /* sample id, or position in the global batch */
  int64_t step;   /* step or epoch */
  uint16_t stream;
} tr__random;

static inline uint16_t tr__random_stream(tr__purpose purpose, int index)
{
  return (uint16_t)((unsigned)purpose << 12 | ((unsigned)index & 0xfff));
}

/* tr__random_round - the seed of a round of numbers whose counters begin again;
 * round 0 has the given seed. The golden ratio changes all bits of the seed. */
static inline uint64_t tr__random_round(uint64_t seed, int64_t round)
{
  return seed + (uint64_t)round * UINT64_C(0x9e3779b97f4a7c15);
}

/* tr__philox - ten rounds of Philox 4x32. */
void tr__philox(const uint32_t counter[4],
                const uint32_t key[2],
                uint32_t out[4]);

/* tr__random_u32 - 32 random bits for an element. */
uint32_t tr__random_u32(const tr__random *random, int64_t element);

/* tr__random_uniform - uniform in [0, 1), a multiple of 2^-32. */
double tr__random_uniform(const tr__random *random, int64_t element);

/* tr__random_four - uniform in [0, 1) for elements 4 block to 4 block + 3. */
void tr__random_four(const tr__random *random, int64_t block, double out[4]);

/* tr__random_fill - uniform in [low, high) for elements 0..count-1. */
void tr__random_fill(const tr__random *random,
                     double low,
                     double high,
                     int64_t count,
                     double *out);

/* tr__random_normal - standard normal, by Box-Muller from elements 2 element
 * and 2 element + 1. */
double tr__random_normal(const tr__random *random, int64_t element);

/* A permutation of 0..count-1 without memory: tr__permute() computes any place
 * on its own. Four Feistel rounds of Philox with cycle walking. */
typedef struct tr__permutation {
  uint64_t seed;
  int64_t epoch;
  int64_t count;
  int bits; /* half the width of the Feistel network */
} tr__permutation;

/* tr__permutation_of - the permutation of an epoch; count is at least 1. */
tr__permutation tr__permutation_of(uint64_t seed, int64_t epoch, int64_t count);

/* tr__permute - the number at a place, 0 <= place < count. */
int64_t tr__permute(const tr__permutation *permutation, int64_t place);

#endif
