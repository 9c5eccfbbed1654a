/* Included once per kind of vector, with these, which end here:
 *   NAME(f)              f with the kind's ending
 *   TARGET               the function attribute that allows its instructions
 *   VECTOR, WIDTH        its type and floats
 *   LOAD(p), STORE(p, v), SET(f), FMA(a, b, c)
 *   ROWS                 rows of a block that fit into the registers, two
 *                        vectors each */

enum { NAME(SUB_COLUMNS) = 2 * WIDTH };

TARGET static inline void
NAME(add_samples)(VECTOR sum[ROWS][2], const float *a, const float *x)
{
  VECTOR left = LOAD(x), right = LOAD(x + WIDTH);
  for (int r = 0; r < ROWS; r++) {
    VECTOR factor = SET(a[r]);
    sum[r][0] = FMA(factor, left, sum[r][0]);
    sum[r][1] = FMA(factor, right, sum[r][1]);
  }
}

TARGET static inline void
NAME(add_block)(VECTOR sum[ROWS][2], const float *from, int64_t stride)
{
  for (int r = 0; r < ROWS; r++) {
    sum[r][0] = LOAD(from + r * stride) + sum[r][0];
    sum[r][1] = LOAD(from + r * stride + WIDTH) + sum[r][1];
  }
}

TARGET static inline void
NAME(put_block)(float *to, int64_t stride, VECTOR sum[ROWS][2])
{
  for (int r = 0; r < ROWS; r++) {
    STORE(to + r * stride, sum[r][0]);
    STORE(to + r * stride + WIDTH, sum[r][1]);
  }
}

/* The part of a block that the registers hold. */
TARGET static inline void NAME(outer_part)(const tr__cpu_outer *block,
                                           int row,
                                           int column,
                                           float *out,
                                           int64_t stride,
                                           int accumulate)
{
  enum { PART = ROWS * NAME(SUB_COLUMNS) };
  VECTOR sum[ROWS][2];
  float *top = block->stack;
  int64_t s = 0;
  do {
    tr__tree_step step = block->steps[s];
    for (int r = 0; r < ROWS; r++) {
      sum[r][0] = sum[r][1] = SET(0.0f);
    }
    for (int64_t n = step.begin; n < step.end; n++) {
      NAME(add_samples)
      (sum, block->a + n * TR__OUTER_ROWS + row,
       block->x + n * block->x_stride + column);
    }
    for (int i = 0; i < step.adds; i++) {
      top -= PART;
      NAME(add_block)(sum, top, NAME(SUB_COLUMNS));
    }
    if (s + 1 < block->num_steps) {
      NAME(put_block)(top, NAME(SUB_COLUMNS), sum);
      top += PART;
    }
  } while (++s < block->num_steps);
  if (accumulate) {
    NAME(add_block)(sum, out, stride);
  }
  NAME(put_block)(out, stride, sum);
}

TARGET static void NAME(outer)(const tr__cpu_outer *block,
                               float *out,
                               int64_t stride,
                               int accumulate)
{
  for (int row = 0; row < TR__OUTER_ROWS; row += ROWS) {
    for (int column = 0; column < TR__OUTER_COLUMNS;
         column += NAME(SUB_COLUMNS)) {
      NAME(outer_part)
      (block, row, column, out + row * stride + column, stride, accumulate);
    }
  }
}

#undef NAME
#undef TARGET
#undef VECTOR
#undef WIDTH
#undef LOAD
#undef STORE
#undef SET
#undef FMA
#undef ROWS
