/* 16-bit numbers: bfloat16, the upper half of a float, and float16, IEEE
 * binary16. The library computes in float: it widens them exactly and rounds
 * results to the nearest, ties to even.
 *
 * The conversions have no branches, so that the compiler vectorises loops over
 * them. Source for float16: Giesen 2012, "Half to float done quic". */
#ifndef TR_HALF_IMPL_H
#define TR_HALF_IMPL_H

#include "base/base_impl.h"

#include <string.h>

static inline bool tr__is_half(tr_dtype dtype)
{
  return dtype == TR_BF16 || dtype == TR_F16;
}

static inline uint32_t tr__float_bits(float x)
{
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

static inline float tr__bits_float(uint32_t bits)
{
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static inline float tr__from_bf16(uint16_t h)
{
  return tr__bits_float((uint32_t)h << 16);
}

/* A NaN stays a NaN, whatever its lower bits. */
static inline uint16_t tr__to_bf16(float x)
{
  uint32_t u = tr__float_bits(x);
  uint32_t rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16;
  uint32_t nan = (u >> 16) | 0x40;
  return (uint16_t)((u & 0x7fffffff) > 0x7f800000 ? nan : rounded);
}

static inline float tr__from_f16(uint16_t h)
{
  /* The exponent changes its bias from 15 to 127. The product does this for
   * subnormal numbers too. */
  uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13;
  float scaled = tr__bits_float(magnitude) * 0x1p112f;
  uint32_t bits = magnitude >= 0x7c00u << 13 ? magnitude | 0x7f800000
                                             : tr__float_bits(scaled);
  return tr__bits_float(bits | (uint32_t)(h & 0x8000) << 16);
}

static inline uint16_t tr__to_f16(float x)
{
  uint32_t u = tr__float_bits(x), sign = u & 0x80000000;
  u ^= sign;
  /* Adding 0.5 shifts the bits of a small number so that the float addition
   * rounds to the ten bits that stay. */
  uint32_t small = tr__float_bits(tr__bits_float(u) + 0.5f) - 0x3f000000;
  uint32_t normal = (u - (112u << 23) + 0xfff + (u >> 13 & 1)) >> 13;
  uint32_t large = u > 0x7f800000 ? 0x7e00 : 0x7c00;
  uint32_t bits = u < 113u << 23 ? small : u >= 143u << 23 ? large : normal;
  return (uint16_t)(bits | sign >> 16);
}

/* tr__half_get, tr__half_set - convert one number of a 16-bit type. */
static inline float tr__half_get(tr_dtype dtype, uint16_t h)
{
  return dtype == TR_BF16 ? tr__from_bf16(h) : tr__from_f16(h);
}

static inline uint16_t tr__half_set(tr_dtype dtype, float x)
{
  return dtype == TR_BF16 ? tr__to_bf16(x) : tr__to_f16(x);
}

#endif
