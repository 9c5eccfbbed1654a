/* Helpers of the algorithms over messages: the sum of two arrays, and the size
 * of the largest block. */
#include "base/clones_impl.h"
#include "comm/mpi/mpi_impl.h"

static TR__CLONES void
mpi_add_f32(float *restrict sum, const float *restrict part, int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    sum[i] += part[i];
  }
}

static TR__CLONES void
mpi_add_f64(double *restrict sum, const double *restrict part, int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    sum[i] += part[i];
  }
}

void tr__mpi_add(tr_dtype dtype, void *dst, const void *src, int64_t count)
{
  if (dtype == TR_F64) {
    mpi_add_f64(dst, src, count);
  } else {
    mpi_add_f32(dst, src, count);
  }
}

int64_t tr__mpi_largest_block(const tr__comm_mpi *comm,
                              const tr__request *request)
{
  int64_t largest = 0;
  for (int r = 0; r < comm->base.size; r++) {
    const tr__range *block = &request->blocks[r];
    largest = tr__max(largest, block->end - block->begin);
  }
  return largest;
}
