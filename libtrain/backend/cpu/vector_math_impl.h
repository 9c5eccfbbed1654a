/* Mathematical functions that compilers vectorise: no calls, no tables, and the
 * same bits for every vector width. */
#ifndef TR_VECTOR_MATH_IMPL_H
#define TR_VECTOR_MATH_IMPL_H

#include "backend/within_impl.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* tr__expf - e^x to 2 units in the last place; 0 below -87, Inf above 88.7; a
 * NaN stays a NaN. No vector lane overflows, whether its result is used or not:
 * a host may trap that. Source: Cephes expf, its polynomial and split of ln 2.
 */
static inline float tr__expf(float x)
{
  float bounded = tr__within_f32(x, 88.7f);
  float shifted = bounded * 1.44269504088896341f + 12582912.0f;
  float whole = shifted - 12582912.0f;
  float r = bounded - whole * 0.693359375f;
  r = r + whole * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  float value = p * r * r + r + 1.0f;
  /* The low bits of `shifted` are the integer n. 2^n is two factors, because
   * 2^128 is not a float. */
  int32_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  int32_t n = bits - 0x4b400000;
  int32_t half = n >> 1;
  int32_t a = (half + 127) << 23, b = (n - half + 127) << 23;
  float first, second;
  memcpy(&first, &a, sizeof first);
  memcpy(&second, &b, sizeof second);
  float result = value * first * second;
  result = x < -87.0f ? 0.0f : result;
  return x > 88.7f ? INFINITY : result;
}

#endif
