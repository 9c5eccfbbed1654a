/* Muon on all threads: OpenBLAS computes the products of Newton-Schulz tile by
 * tile, of the two symmetric ones only the tiles on and below the diagonal. */
#include "backend/cpu/cpu_impl.h"
#include "backend/cpu_ref/reference_impl.h"
#include "base/clones_impl.h"

#include <math.h>

/* TILE: extents of a tile of a square, and rows of a tile of x. WIDTH: columns
 * of a tile of x. SLICE: elements that make one sum of squares. */
enum { TILE = 64, WIDTH = 256, SLICE = TR__MUON_BLOCK };

/* One iteration: next from x (R, C); n = min(R, C). */
typedef struct iteration {
  const tr__muon_update_args *args;
  float *x, *next, *gram, *poly;
  double *sums; /* of squares, one per slice */
  float inverse;
  int64_t R, C, n;
} iteration;

static int64_t parts(int64_t extent, int64_t part)
{
  return (extent + part - 1) / part;
}

static int64_t slice_count(const iteration *it, int64_t task)
{
  return tr__min(SLICE, it->R * it->C - task * SLICE);
}

static void begin_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  iteration *it = arg;
  it->sums[task] = tr__ref_muon_begin_f32(it->args, it->x, task * SLICE,
                                          slice_count(it, task));
}

static void scale_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  const iteration *it = arg;
  float *x = it->x + task * SLICE;
  for (int64_t i = 0; i < slice_count(it, task); i++) {
    x[i] *= it->inverse;
  }
}

static void end_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  const iteration *it = arg;
  tr__ref_muon_end_f32(it->args, it->x, task * SLICE, slice_count(it, task));
}

/* A tile of an (n, n) matrix: its first row and column, and its extents. */
typedef struct tile {
  int64_t row, column, rows, columns;
} tile;

/* t <- tile number `task`; false if it lies above the diagonal. */
static bool lower_tile(const iteration *it, int64_t task, tile *t)
{
  int64_t across = parts(it->n, TILE);
  t->row = task / across * TILE;
  t->column = task % across * TILE;
  t->rows = tr__min(TILE, it->n - t->row);
  t->columns = tr__min(TILE, it->n - t->column);
  return t->column <= t->row;
}

/* Copy the transpose of the tile to the other side of the diagonal. */
static void mirror(float *square, int64_t n, const tile *t)
{
  for (int64_t i = t->row; t->column < t->row && i < t->row + t->rows; i++) {
    for (int64_t j = t->column; j < t->column + t->columns; j++) {
      square[j * n + i] = square[i * n + j];
    }
  }
}

/* gram <- x x^T, or x^T x where x is tall */
static void gram_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  const iteration *it = arg;
  tile t;
  if (!lower_tile(it, task, &t)) {
    return;
  }
  bool is_tall = it->R > it->C;
  int64_t step = is_tall ? 1 : it->C; /* between rows of the factors */
  tr__cpu_gemm(
      (tr__cpu_matrix){it->gram + t.row * it->n + t.column, it->n},
      (tr__cpu_factor){it->x + t.row * step, it->C, is_tall, TR_F32},
      (tr__cpu_factor){it->x + t.column * step, it->C, !is_tall, TR_F32},
      (int64_t[3]){t.rows, t.columns, is_tall ? it->R : it->C}, 0);
  mirror(it->gram, it->n, &t);
}

static TR__CLONES void
muon_polynomial(float *restrict y, const float *restrict x, int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    y[i] = (float)TR__MUON_C * y[i] + (float)TR__MUON_B * x[i];
  }
}

/* poly <- A I + B gram + C gram^2 */
static void poly_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  const iteration *it = arg;
  tile t;
  if (!lower_tile(it, task, &t)) {
    return;
  }
  int64_t n = it->n, first = t.row * n + t.column;
  tr__cpu_gemm((tr__cpu_matrix){it->poly + first, n},
               (tr__cpu_factor){it->gram + t.row * n, n, false, TR_F32},
               (tr__cpu_factor){it->gram + t.column, n, false, TR_F32},
               (int64_t[3]){t.rows, t.columns, n}, 0);
  for (int64_t i = 0; i < t.rows; i++) {
    muon_polynomial(it->poly + first + i * n, it->gram + first + i * n,
                    t.columns);
  }
  for (int64_t i = 0; t.row == t.column && i < t.rows; i++) {
    it->poly[first + i * n + i] += (float)TR__MUON_A;
  }
  mirror(it->poly, n, &t);
}

/* next <- poly x, or x poly where x is tall */
static void next_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  const iteration *it = arg;
  int64_t across = parts(it->C, WIDTH), C = it->C, n = it->n;
  int64_t row = task / across * TILE, column = task % across * WIDTH;
  const int64_t sizes[3] = {tr__min(TILE, it->R - row),
                            tr__min(WIDTH, C - column), n};
  tr__cpu_matrix next = {it->next + row * C + column, C};
  if (it->R > C) {
    tr__cpu_gemm(next, (tr__cpu_factor){it->x + row * C, C, false, TR_F32},
                 (tr__cpu_factor){it->poly + column, n, false, TR_F32}, sizes,
                 0);
    return;
  }
  tr__cpu_gemm(next, (tr__cpu_factor){it->poly + row * n, n, false, TR_F32},
               (tr__cpu_factor){it->x + column, C, false, TR_F32}, sizes, 0);
}

static iteration start(const tr__muon_update_args *args)
{
  tr__muon_scratch at = tr__ref_muon_scratch(&args->p);
  char *scratch = args->workspace.data;
  int64_t R = args->p.dims[0], C = tr__tensor_row(&args->p);
  return (iteration){.args = args,
                     .x = (float *)(scratch + at.x),
                     .next = (float *)(scratch + at.next),
                     .gram = (float *)(scratch + at.gram),
                     .poly = (float *)(scratch + at.poly),
                     .sums = (double *)(scratch + at.bytes),
                     .R = R,
                     .C = C,
                     .n = tr__min(R, C)};
}

static void muon_update(tr__stream *stream, const tr__muon_update_args *args)
{
  if (args->p.dtype != TR_F32) {
    tr__ref_muon_update_f64(args);
    return;
  }
  if (((const tr__step_block *)args->block.data)->skip != 0) {
    return;
  }
  tr__threads *pool = stream->backend->pool;
  iteration it = start(args);
  int64_t slices = parts(it.R * it.C, SLICE);
  int64_t squares = parts(it.n, TILE) * parts(it.n, TILE);
  double sum = 0;
  tr__threads_run(pool, slices, begin_task, &it);
  for (int64_t i = 0; i < slices; i++) {
    sum += it.sums[i];
  }
  it.inverse = (float)(1 / fmax(sqrt(sum), TR__MUON_EPS));
  tr__threads_run(pool, slices, scale_task, &it);
  for (int step = 0; step < TR__MUON_STEPS; step++) {
    tr__threads_run(pool, squares, gram_task, &it);
    tr__threads_run(pool, squares, poly_task, &it);
    tr__threads_run(pool, parts(it.R, TILE) * parts(it.C, WIDTH), next_task,
                    &it);
    float *used = it.x;
    it.x = it.next;
    it.next = used;
  }
  tr__threads_run(pool, slices, end_task, &it);
}

size_t tr__cpu_muon_workspace(const tr__muon_update_args *args)
{
  int64_t count = args->p.dims[0] * tr__tensor_row(&args->p);
  return tr__ref_muon_scratch(&args->p).bytes +
         (size_t)parts(count, SLICE) * sizeof(double);
}

void tr__cpu_set_muon(tr__ops *ops)
{
  ops->muon_update = muon_update;
}
