/* Numbers of 16 bits between ranks. */
#include "base/clones_impl.h"
#include "base/half_impl.h"
#include "comm/mpi_impl.h"

static TR__CLONES void round_bf16(float *x, int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    x[i] = tr__from_bf16(tr__to_bf16(x[i]));
  }
}

void tr__mpi_round(const tr__request *request, void *numbers, size_t bytes)
{
  if (request->wire == TR_BF16) {
    round_bf16(numbers, (int64_t)(bytes / sizeof(float)));
  }
}
