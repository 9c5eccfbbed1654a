/* 16-bit tensors in single precision: products by blocks, tiles of outputs, and
 * runs of elements. */
#include "backend/cpu/cpu_impl.h"

/* Elements along the inner axis of a product that are widened at a time. */
enum { BLOCK = 256 };

int64_t tr__cpu_gemm_floats(int64_t m, int64_t n, int64_t p)
{
  return (m + n) * tr__min(p, BLOCK);
}

/* The fp32 block first..first+inner-1 along the inner axis of a factor, which
 * has `outer` elements along the other axis. extents: outer, first, inner.
 * is_left: the inner axis runs along the rows of the factor. */
static tr__cpu_factor widen_block(tr__cpu_factor f,
                                  bool is_left,
                                  const int64_t extents[3],
                                  float *wide)
{
  int64_t outer = extents[0], first = extents[1], inner = extents[2];
  bool is_along = is_left != f.transposed; /* stored rows run along the inner
                                              axis */
  int64_t rows = is_along ? outer : inner, length = is_along ? inner : outer;
  int64_t begin = is_along ? first : first * f.stride;
  if (f.dtype == TR_F32) {
    f.data = (const float *)f.data + begin;
    return f;
  }
  const uint16_t *from = (const uint16_t *)f.data + begin;
  for (int64_t r = 0; r < rows; r++) {
    tr__widen(wide + r * length, from + r * f.stride, f.dtype, length);
  }
  return (tr__cpu_factor){wide, length, f.transposed, TR_F32};
}

void tr__cpu_gemm_mixed(tr__cpu_matrix c,
                        tr__cpu_factor a,
                        tr__cpu_factor b,
                        const int64_t sizes[3],
                        int accumulate,
                        float *scratch)
{
  int64_t m = sizes[0], n = sizes[1], p = sizes[2];
  if (a.dtype == TR_F32 && b.dtype == TR_F32) {
    tr__cpu_gemm(c, a, b, sizes, accumulate);
    return;
  }
  for (int64_t first = 0; first == 0 || first < p; first += BLOCK) {
    int64_t inner = tr__min(BLOCK, p - first);
    tr__cpu_factor left =
        widen_block(a, true, (int64_t[3]){m, first, inner}, scratch);
    tr__cpu_factor right = widen_block(b, false, (int64_t[3]){n, first, inner},
                                       scratch + m * tr__min(p, BLOCK));
    tr__cpu_gemm(c, left, right, (int64_t[3]){m, n, inner},
                 accumulate || first > 0);
  }
}

static char *element(const tr__tensor *t, int64_t i)
{
  return (char *)t->data + (size_t)i * tr_dtype_size(t->dtype);
}

tr__cpu_matrix
tr__cpu_tile_to_fp32(const tr__cpu_tile *tile, int accumulate, float *wide)
{
  const tr__tensor *t = tile->whole;
  if (t->dtype == TR_F32) {
    return (tr__cpu_matrix){(float *)t->data + tile->first, tile->stride};
  }
  for (int64_t r = 0; accumulate && r < tile->rows; r++) {
    tr__widen(wide + r * tile->columns,
              element(t, tile->first + r * tile->stride), t->dtype,
              tile->columns);
  }
  return (tr__cpu_matrix){wide, tile->columns};
}

void tr__cpu_tile_from_fp32(const tr__cpu_tile *tile, tr__cpu_matrix matrix)
{
  const tr__tensor *t = tile->whole;
  for (int64_t r = 0; t->dtype != TR_F32 && r < tile->rows; r++) {
    tr__narrow(element(t, tile->first + r * tile->stride),
               matrix.data + r * matrix.stride, t->dtype, tile->columns);
  }
}

const float *
tr__cpu_floats(const tr__tensor *t, int64_t first, int64_t count, float *wide)
{
  if (t->dtype == TR_F32) {
    return (const float *)t->data + first;
  }
  tr__widen(wide, element(t, first), t->dtype, count);
  return wide;
}
