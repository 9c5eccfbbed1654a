/* Matrix products by OpenBLAS on the calling thread, and the bias, activation
 * and accumulation of their outputs. */
#include "backend/cpu/cpu_impl.h"
#include "base/clones_impl.h"

#include <cblas.h>

void tr__cpu_gemm(tr__cpu_matrix c,
                  tr__cpu_factor a,
                  tr__cpu_factor b,
                  const int64_t sizes[3],
                  int accumulate)
{
  cblas_sgemm(CblasRowMajor, a.transposed ? CblasTrans : CblasNoTrans,
              b.transposed ? CblasTrans : CblasNoTrans, tr__int(sizes[0]),
              tr__int(sizes[1]), tr__int(sizes[2]), 1, a.data,
              tr__int(a.stride), b.data, tr__int(b.stride),
              accumulate ? 1.0f : 0.0f, c.data, tr__int(c.stride));
}

static TR__CLONES void finish(tr__cpu_matrix y,
                              const float *column,
                              int64_t rows,
                              int64_t columns,
                              tr__activation activation)
{
  for (int64_t i = 0; i < rows; i++) {
    float *row = y.data + i * y.stride;
    for (int64_t j = 0; column != NULL && j < columns; j++) {
      row[j] += column[j];
    }
    for (int64_t j = 0; activation == TR__ACTIVATION_RELU && j < columns; j++) {
      row[j] = row[j] < 0 ? 0 : row[j];
    }
  }
}

static TR__CLONES void add_tile(tr__cpu_matrix y,
                                const float *tile,
                                int64_t rows,
                                int64_t columns,
                                int accumulate)
{
  for (int64_t i = 0; i < rows; i++) {
    float *row = y.data + i * y.stride;
    const float *from = tile + i * columns;
    for (int64_t j = 0; j < columns; j++) {
      row[j] = accumulate ? row[j] + from[j] : from[j];
    }
  }
}

void tr__cpu_finish(tr__cpu_matrix y,
                    const float *column,
                    int64_t rows,
                    int64_t columns,
                    tr__activation activation)
{
  finish(y, column, rows, columns, activation);
}

void tr__cpu_add_tile(tr__cpu_matrix y,
                      const float *tile,
                      int64_t rows,
                      int64_t columns,
                      int accumulate)
{
  add_tile(y, tile, rows, columns, accumulate);
}
