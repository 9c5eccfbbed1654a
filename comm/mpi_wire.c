/* Numbers of 16 bits between ranks. */
#include "base/clones_impl.h"
#include "base/half_impl.h"
#include "comm/mpi_impl.h"

static TR__CLONES void
pack(uint16_t *restrict y, const float *restrict x, int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    y[i] = tr__to_bf16(x[i]);
  }
}

static TR__CLONES void
unpack(float *restrict y, const uint16_t *restrict x, int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    y[i] = tr__from_bf16(x[i]);
  }
}

static TR__CLONES void round_to(float *y, const float *x, int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    y[i] = tr__from_bf16(tr__to_bf16(x[i]));
  }
}

void tr__wire_pack(void *out, const void *in, int64_t count)
{
  pack(out, in, count);
}

void tr__wire_unpack(void *out, const void *in, int64_t count)
{
  unpack(out, in, count);
}

void tr__wire_round(void *out, const void *in, int64_t count)
{
  round_to(out, in, count);
}
