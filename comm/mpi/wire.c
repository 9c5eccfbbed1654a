/* Conversion of floats to and from bfloat16, for messages. */
#include "base/clones_impl.h"
#include "base/vector_half_impl.h"
#include "comm/mpi/mpi_impl.h"

static TR__CLONES void round_to_bf16(float *y, const float *x, int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    y[i] = tr__from_bf16(tr__to_bf16(x[i]));
  }
}

void tr__wire_pack(void *out, const void *in, int64_t count)
{
  tr__narrow(out, in, TR_BF16, count);
}

void tr__wire_unpack(void *out, const void *in, int64_t count)
{
  tr__widen(out, in, TR_BF16, count);
}

void tr__wire_round(void *out, const void *in, int64_t count)
{
  round_to_bf16(out, in, count);
}
