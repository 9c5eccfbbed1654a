/* Clamps numbers to a range, so that computations with them cannot overflow.
 * The clamp works on the bits, because a compiler may move a choice between
 * floats behind the computation: then unused lanes of its vectors overflow, and
 * a host that traps floating-point overflow ends the process. */
#ifndef TR_WITHIN_IMPL_H
#define TR_WITHIN_IMPL_H

#include <stdint.h>
#include <string.h>

/* tr__within_f32, tr__within_f64 - x clamped to -far..far; a NaN stays a NaN.
 */
static inline float tr__within_f32(float x, float far)
{
  const uint32_t infinite = 0x7f800000, quiet = 0x7fc00000;
  uint32_t bits, limit;
  memcpy(&bits, &x, sizeof bits);
  memcpy(&limit, &far, sizeof limit);
  uint32_t size = bits & 0x7fffffff, sign = bits ^ size;
  uint32_t nan = -(uint32_t)(size > infinite) & quiet;
  bits = (size < limit ? size : limit) | nan | sign;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static inline double tr__within_f64(double x, double far)
{
  const uint64_t infinite = 0x7ff0000000000000, quiet = 0x7ff8000000000000;
  uint64_t bits, limit;
  memcpy(&bits, &x, sizeof bits);
  memcpy(&limit, &far, sizeof limit);
  uint64_t size = bits & 0x7fffffffffffffff, sign = bits ^ size;
  uint64_t nan = -(uint64_t)(size > infinite) & quiet;
  bits = (size < limit ? size : limit) | nan | sign;
  memcpy(&x, &bits, sizeof x);
  return x;
}

#endif
