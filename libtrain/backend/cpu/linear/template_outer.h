/* The kernel for sums of outer products (outer_impl.h). outer.c includes this
 * file once per kind of vector, with these macros, which it undefines at the
 * end:
 *   NAME(f)              f with the suffix of the kind
 *   TARGET               function attribute that enables its instructions
 *   VECTOR, WIDTH        its type and its number of floats
 *   LOAD(p), STORE(p, v), SET(f), FMA(a, b, c)
 *   MASK, MASK_OF(n)     selects the first n elements of a vector
 *   LOAD_SOME(p, m), STORE_SOME(p, v, m)
 *   ROWS, VECTORS        of a tile of a block: its sums are registers
 *   TREE_ROWS, TREE_VECTORS  of a tile with shards: two sums are registers */

/* Functions that take a shape are inlined where the shape is a constant, so
 * that arrays of vectors become registers. */
#define FIXED __attribute__((always_inline)) static inline
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif
#define FOR_EACH(shape, r, v)                                                  \
  UNROLL                                                                       \
  for (int r = 0; r < (shape).rows; r++)                                       \
    UNROLL                                                                     \
  for (int v = 0; v < (shape).vectors; v++)

/* is_cut: the last vector of a row has only the elements of the mask, which is
 * set only then. */
typedef struct NAME(shape) {
  int rows, vectors;
  bool is_cut;
  MASK mask;
} NAME(shape);

TARGET FIXED bool NAME(is_whole)(NAME(shape) s, int v)
{
  return !s.is_cut || v < s.vectors - 1;
}

/* sum <- the sum over i = begin..end-1; is_packed: a is (i, TR__OUTER_ROWS) */
TARGET FIXED void NAME(sum_range)(VECTOR sum[TR__OUTER_ROWS][2],
                                  tr__cpu_outer of,
                                  int64_t begin,
                                  int64_t end,
                                  bool is_packed,
                                  NAME(shape) shape)
{
  int64_t a_step = is_packed ? TR__OUTER_ROWS : 1;
  int64_t a_row = is_packed ? 1 : of.a_row;
  FOR_EACH(shape, r, v)
  {
    sum[r][v] = SET(0.0f);
  }
  for (int64_t i = begin; i < end; i++) {
    const float *a = of.a + i * a_step, *b = of.b + i * of.b_step;
    VECTOR right[2];
    UNROLL
    for (int v = 0; v < shape.vectors; v++) {
      const float *at = b + v * WIDTH;
      right[v] =
          NAME(is_whole)(shape, v) ? LOAD(at) : LOAD_SOME(at, shape.mask);
    }
    UNROLL
    for (int r = 0; r < shape.rows; r++) {
      VECTOR left = SET(a[r * a_row]);
      UNROLL
      for (int v = 0; v < shape.vectors; v++) {
        sum[r][v] = FMA(left, right[v], sum[r][v]);
      }
    }
  }
}

TARGET FIXED void
NAME(put)(tr__cpu_block out, VECTOR sum[TR__OUTER_ROWS][2], NAME(shape) shape)
{
  if (out.accumulate) {
    FOR_EACH(shape, r, v)
    {
      const float *at = out.data + r * out.stride + v * WIDTH;
      VECTOR old =
          NAME(is_whole)(shape, v) ? LOAD(at) : LOAD_SOME(at, shape.mask);
      sum[r][v] = old + sum[r][v];
    }
  }
  FOR_EACH(shape, r, v)
  {
    float *at = out.data + r * out.stride + v * WIDTH;
    if (NAME(is_whole)(shape, v)) {
      STORE(at, sum[r][v]);
    } else {
      STORE_SOME(at, sum[r][v], shape.mask);
    }
  }
}

/* A tile of a block, without shards. */
TARGET FIXED void
NAME(one_range)(tr__cpu_outer of, tr__cpu_block out, NAME(shape) shape)
{
  VECTOR sum[TR__OUTER_ROWS][2];
  NAME(sum_range)(sum, of, 0, of.count, false, shape);
  NAME(put)(out, sum, shape);
}

/* A tile with shards. The sums of two neighbouring shards are added in
 * registers; all others wait on the stack. */
TARGET FIXED void
NAME(all_shards)(tr__cpu_outer of, tr__cpu_block out, NAME(shape) shape)
{
  VECTOR sum[TR__OUTER_ROWS][2], other[TR__OUTER_ROWS][2];
  float *top = of.stack;
  int64_t s = 0;
  do {
    const tr__tree_step *step = &of.steps[s];
    NAME(sum_range)(sum, of, step->begin, step->end, true, shape);
    int adds = step->adds;
    if (adds == 0 && s + 1 < of.num_steps && step[1].adds > 0) {
      s++;
      adds = step[1].adds - 1;
      NAME(sum_range)(other, of, step[1].begin, step[1].end, true, shape);
      FOR_EACH(shape, r, v)
      {
        sum[r][v] = sum[r][v] + other[r][v];
      }
    }
    for (; adds > 0; adds--) {
      top -= shape.rows * shape.vectors * WIDTH;
      FOR_EACH(shape, r, v)
      {
        sum[r][v] = LOAD(top + (r * shape.vectors + v) * WIDTH) + sum[r][v];
      }
    }
    if (s + 1 < of.num_steps) {
      FOR_EACH(shape, r, v)
      {
        STORE(top + (r * shape.vectors + v) * WIDTH, sum[r][v]);
      }
      top += shape.rows * shape.vectors * WIDTH;
    }
  } while (++s < of.num_steps);
  NAME(put)(out, sum, shape);
}

TARGET FIXED void NAME(part)(tr__cpu_outer of,
                             tr__cpu_block out,
                             int64_t row,
                             int64_t column,
                             bool is_tree,
                             NAME(shape) shape)
{
  of.a += row * (is_tree ? 1 : of.a_row);
  of.b += column;
  out.data += row * out.stride + column;
  if (shape.is_cut) {
    shape.mask = MASK_OF(out.columns - column - (shape.vectors - 1) * WIDTH);
  }
  if (is_tree) {
    NAME(all_shards)(of, out, shape);
  } else {
    NAME(one_range)(of, out, shape);
  }
}

/* All columns of `shape.rows` rows. */
TARGET FIXED void NAME(rows)(tr__cpu_outer of,
                             tr__cpu_block out,
                             int64_t row,
                             bool is_tree,
                             NAME(shape) shape)
{
  int64_t column = 0, step = shape.vectors * WIDTH;
  for (; column + step <= out.columns; column += step) {
    NAME(part)(of, out, row, column, is_tree, shape);
  }
  shape.is_cut = true;
  if (shape.vectors == 2 && out.columns - column > WIDTH) {
    NAME(part)(of, out, row, column, is_tree, shape);
  } else if (column < out.columns) {
    shape.vectors = 1;
    NAME(part)(of, out, row, column, is_tree, shape);
  }
}

TARGET FIXED void NAME(all_rows)(tr__cpu_outer of,
                                 tr__cpu_block out,
                                 bool is_tree,
                                 NAME(shape) shape)
{
  int64_t row = 0;
  for (; row + shape.rows <= out.rows; row += shape.rows) {
    NAME(rows)(of, out, row, is_tree, shape);
  }
  shape.rows = 1;
  for (; row < out.rows; row++) {
    NAME(rows)(of, out, row, is_tree, shape);
  }
}

/* Not inlined, so that each function has all registers. */
TARGET static __attribute__((noinline)) void
NAME(sum_tree)(const tr__cpu_outer *of, const tr__cpu_block *out)
{
  const NAME(shape) shape = {.rows = TREE_ROWS, .vectors = TREE_VECTORS};
  NAME(all_rows)(*of, *out, true, shape);
}

/* More rows of one vector give enough independent sums to keep the CPU busy. */
TARGET static __attribute__((noinline)) void
NAME(sum_narrow)(const tr__cpu_outer *of, const tr__cpu_block *out)
{
  const NAME(shape) shape = {.rows = TR__OUTER_ROWS, .vectors = 1};
  NAME(all_rows)(*of, *out, false, shape);
}

TARGET static __attribute__((noinline)) void
NAME(sum_wide)(const tr__cpu_outer *of, const tr__cpu_block *out)
{
  const NAME(shape) shape = {.rows = ROWS, .vectors = VECTORS};
  NAME(all_rows)(*of, *out, false, shape);
}

TARGET static void NAME(sum_block)(const tr__cpu_outer *of,
                                   const tr__cpu_block *out)
{
  if (of->num_steps > 0) {
    NAME(sum_tree)(of, out);
  } else if (out->columns <= WIDTH) {
    NAME(sum_narrow)(of, out);
  } else {
    NAME(sum_wide)(of, out);
  }
}

#undef FOR_EACH
#undef UNROLL
#undef FIXED
#undef NAME
#undef TARGET
#undef VECTOR
#undef WIDTH
#undef LOAD
#undef STORE
#undef SET
#undef FMA
#undef MASK
#undef MASK_OF
#undef LOAD_SOME
#undef STORE_SOME
#undef ROWS
#undef VECTORS
#undef TREE_ROWS
#undef TREE_VECTORS
