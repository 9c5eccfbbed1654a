/* Counter-based random numbers: Philox 4x32-10, uniform and normal numbers, and
 * permutations. */
#include "base/random_impl.h"

#include <math.h>

#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u
#define PHILOX_W1 0xBB67AE85u

void tr__philox(const uint32_t counter[4],
                const uint32_t key[2],
                uint32_t out[4])
{
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; round++) {
    uint64_t product0 = (uint64_t)PHILOX_M0 * c0;
    uint64_t product1 = (uint64_t)PHILOX_M1 * c2;
    c0 = (uint32_t)(product1 >> 32) ^ c1 ^ k0;
    c2 = (uint32_t)(product0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)product1;
    c3 = (uint32_t)product0;
    k0 += PHILOX_W0;
    k1 += PHILOX_W1;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/* The random words of elements 4 block .. 4 block + 3. */
static void
random_block(const tr__random *random, uint64_t block, uint32_t out[4])
{
  uint64_t sample = (uint64_t)random->sample, step = (uint64_t)random->step;
  const uint32_t counter[4] = {
      (uint32_t)block,
      (uint32_t)sample,
      (uint32_t)step,
      (uint32_t)random->stream << 16 | (uint32_t)(step >> 32 & 255) << 8 |
          (uint32_t)(sample >> 32 & 255),
  };
  const uint32_t key[2] = {(uint32_t)random->seed,
                           (uint32_t)(random->seed >> 32)};
  tr__philox(counter, key, out);
}

uint32_t tr__random_u32(const tr__random *random, int64_t element)
{
  uint32_t out[4];
  random_block(random, (uint64_t)element / 4, out);
  return out[element % 4];
}

void tr__random_four(const tr__random *random, int64_t block, double out[4])
{
  uint32_t words[4];
  random_block(random, (uint64_t)block, words);
  for (int i = 0; i < 4; i++) {
    out[i] = words[i] * 0x1p-32;
  }
}

void tr__random_fill(const tr__random *random,
                     double low,
                     double high,
                     int64_t count,
                     double *out)
{
  uint32_t words[4];
  for (int64_t i = 0; i < count; i++) {
    if (i % 4 == 0) {
      random_block(random, (uint64_t)i / 4, words);
    }
    out[i] = low + (high - low) * (words[i % 4] * 0x1p-32);
  }
}

double tr__random_uniform(const tr__random *random, int64_t element)
{
  return tr__random_u32(random, element) * 0x1p-32;
}

double tr__random_normal(const tr__random *random, int64_t element)
{
  /* 1 - u is in (0, 1], so the logarithm is finite. */
  double u = 1.0 - tr__random_uniform(random, 2 * element);
  double angle =
      6.283185307179586 * tr__random_uniform(random, 2 * element + 1);
  return sqrt(-2.0 * log(u)) * cos(angle);
}

tr__permutation tr__permutation_of(uint64_t seed, int64_t epoch, int64_t count)
{
  tr__permutation permutation = {seed, epoch, count, 1};
  while (((int64_t)1 << 2 * permutation.bits) < count) {
    permutation.bits++;
  }
  return permutation;
}

/* Four rounds give a pseudo-random permutation of numbers of two halves, `bits`
 * wide each (Luby and Rackoff 1988). */
static uint64_t feistel(const tr__permutation *permutation, uint64_t place)
{
  uint64_t mask = ((uint64_t)1 << permutation->bits) - 1;
  uint64_t left = place >> permutation->bits, right = place & mask;
  tr__random random = {.seed = permutation->seed,
                       .sample = permutation->epoch,
                       .stream = tr__random_stream(TR__PURPOSE_PERMUTATION, 0)};
  for (int round = 0; round < 4; round++) {
    random.step = round;
    uint64_t mixed = tr__random_u32(&random, (int64_t)right * 4) & mask;
    uint64_t next = left ^ mixed;
    left = right;
    right = next;
  }
  return left << permutation->bits | right;
}

int64_t tr__permute(const tr__permutation *permutation, int64_t place)
{
  /* The network permutes 0..4^bits-1, less than four times the count. Walking
   * its cycle until a number is in range is a permutation of the range and
   * takes less than four steps on average. */
  uint64_t number = (uint64_t)place;
  do {
    number = feistel(permutation, number);
  } while (number >= (uint64_t)permutation->count);
  return (int64_t)number;
}
