/* Arrays of 16-bit numbers from and to float. */
#include "base/clones_impl.h"
#include "base/vector_half_impl.h"

static TR__CLONES void
widen_bf16(float *restrict y, const uint16_t *restrict x, int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    y[i] = tr__from_bf16(x[i]);
  }
}

static TR__CLONES void
widen_f16(float *restrict y, const uint16_t *restrict x, int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    y[i] = tr__from_f16(x[i]);
  }
}

static TR__CLONES void
narrow_bf16(uint16_t *restrict y, const float *restrict x, int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    y[i] = tr__to_bf16(x[i]);
  }
}

static TR__CLONES void
narrow_f16(uint16_t *restrict y, const float *restrict x, int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    y[i] = tr__to_f16(x[i]);
  }
}

void tr__widen(float *y, const void *x, tr_dtype dtype, int64_t count)
{
  if (dtype == TR_BF16) {
    widen_bf16(y, x, count);
  } else {
    widen_f16(y, x, count);
  }
}

void tr__narrow(void *y, const float *x, tr_dtype dtype, int64_t count)
{
  if (dtype == TR_BF16) {
    narrow_bf16(y, x, count);
  } else {
    narrow_f16(y, x, count);
  }
}
