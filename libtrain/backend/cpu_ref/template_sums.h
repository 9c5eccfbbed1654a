/* Matrix products, sums and headers that all templates of the reference use.
 * The including file defines TR_REAL, the type of the elements, and
 * TR_FN(name), the name of a function for that type. */
#include "backend/cpu_ref/reference_impl.h"
#include "backend/tree_impl.h"
#include "backend/within_impl.h"
#include "base/clones_impl.h"
#include "base/random_impl.h"
#include "base/vector_half_impl.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* A read-only matrix: element (i, j) is data[i * row + j * column]. */
typedef struct matrix {
  const TR_REAL *data;
  int64_t row, column;
} matrix;

enum { LANES = 64 / (int)sizeof(TR_REAL) };

/* c (M, N; contiguous) <- c + a (M, P) b (P, N), sizes M, N, P. The rows of b
 * are contiguous. Four of them are added at a time, so that c is read less
 * often. */
static TR__CLONES void TR_FN(add_product)(TR_REAL *restrict c,
                                          matrix a,
                                          matrix b,
                                          const int64_t sizes[3])
{
  int64_t M = sizes[0], N = sizes[1], P = sizes[2];
  for (int64_t m = 0; m < M; m++) {
    TR_REAL *restrict row = c + m * N;
    const TR_REAL *left = a.data + m * a.row;
    int64_t p = 0;
    for (; p + 4 <= P; p += 4) {
      TR_REAL s0 = left[p * a.column], s1 = left[(p + 1) * a.column];
      TR_REAL s2 = left[(p + 2) * a.column], s3 = left[(p + 3) * a.column];
      const TR_REAL *b0 = b.data + p * b.row, *b1 = b0 + b.row;
      const TR_REAL *b2 = b1 + b.row, *b3 = b2 + b.row;
      for (int64_t n = 0; n < N; n++) {
        row[n] += (s0 * b0[n] + s1 * b1[n]) + (s2 * b2[n] + s3 * b3[n]);
      }
    }
    for (; p < P; p++) {
      TR_REAL s = left[p * a.column];
      const TR_REAL *right = b.data + p * b.row;
      for (int64_t n = 0; n < N; n++) {
        row[n] += s * right[n];
      }
    }
  }
}

/* The sum of the lanes, added pairwise. */
static inline TR_REAL sum_lanes(TR_REAL *lane)
{
  for (int width = LANES / 2; width > 0; width /= 2) {
    for (int l = 0; l < width; l++) {
      lane[l] += lane[l + width];
    }
  }
  return lane[0];
}

/* c (M, N; contiguous) <- c + a (M, P) b^T (N, P); the rows of both are
 * contiguous. Each element has a fixed number of partial sums, so that wide
 * vectors can be used and the order of additions does not depend on their
 * width. */
static TR__CLONES void TR_FN(add_product_transposed)(TR_REAL *restrict c,
                                                     matrix a,
                                                     matrix b,
                                                     const int64_t sizes[3])
{
  int64_t M = sizes[0], N = sizes[1], P = sizes[2];
  for (int64_t m = 0; m < M; m++) {
    const TR_REAL *left = a.data + m * a.row;
    for (int64_t n = 0; n < N; n++) {
      const TR_REAL *right = b.data + n * b.row;
      TR_REAL lane[LANES] = {0};
      int64_t p = 0;
      for (; p + LANES <= P; p += LANES) {
        for (int l = 0; l < LANES; l++) {
          lane[l] += left[p + l] * right[p + l];
        }
      }
      for (int l = 0; p + l < P; l++) {
        lane[l] += left[p + l] * right[p + l];
      }
      c[m * N + n] += sum_lanes(lane);
    }
  }
}

/* y <- y + x over `count` numbers; the tree also adds sums of shards so. */
static TR__CLONES void TR_FN(add_numbers)(TR_REAL *restrict y,
                                          const TR_REAL *restrict x,
                                          int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    y[i] += x[i];
  }
}

static inline void set_zero(TR_REAL *y, int64_t count)
{
  if (count > 0) {
    memset(y, 0, (size_t)count * sizeof(TR_REAL));
  }
}

/* The elements at..at+count-1 of a tensor. 16-bit elements, which occur only
 * where TR_REAL is float, are widened into `wide`. */
static inline const TR_REAL *
TR_FN(numbers)(const tr__tensor *t, int64_t at, int64_t count, TR_REAL *wide)
{
  if (!tr__is_half(t->dtype)) {
    return (const TR_REAL *)t->data + at;
  }
  TR_ASSERT(sizeof(TR_REAL) == sizeof(float));
  tr__widen((float *)(void *)wide, (const uint16_t *)t->data + at, t->dtype,
            count);
  return wide;
}

/* Where a second fp32 copy goes; NULL where no operand needs one. */
static inline TR_REAL *TR_FN(behind)(TR_REAL *wide, int64_t count)
{
  return wide != NULL ? wide + count : NULL;
}
