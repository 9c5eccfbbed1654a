/* Gradients of fully connected layers: tiles of dw, and sums of db. Shards of a
 * batch are summed in registers, unless the batch is large; the rest are
 * products of the library. */
#include "backend/cpu/cpu_impl.h"
#include "backend/cpu/outer_impl.h"
#include "backend/cpu_ref/reference_impl.h"

#include <string.h>

/* Extents of a tile of dw. */
enum { TILE_K = 64, TILE_D = 256 };

/* Rows of a batch whose shards are summed in registers: beyond, x of a strip
 * leaves the near caches, and the library, which cuts the rows too, is as fast.
 */
enum { FEW_ROWS = 2048 };

/* Rows of the batch that a product adds between two polls: about 0.3 ms. */
enum { POLL_ROWS = 1024 };

/* One tile of dw, or the same rows of db. */
typedef struct weight_tile {
  const tr__linear_backward_weight_args *args;
  int64_t row, column, rows, columns;
  int64_t K, D;   /* extents of dw */
  int64_t stride; /* of the sum's rows */
  float *wide;    /* for copies of x and dy */
  char *scratch;
  const tr__pool *pool;
  int thread;
} weight_tile;

/* Tile `task` of dw (K, D), counted along its rows. */
static weight_tile tile_of(const tr__linear_backward_weight_args *args,
                           int64_t task)
{
  int64_t K = args->dw.dims[0], D = tr__tensor_row(&args->x);
  int64_t across = tr__cpu_blocks(D, TILE_D);
  weight_tile w = {.args = args,
                   .row = task / across * TILE_K,
                   .column = task % across * TILE_D,
                   .K = K,
                   .D = D};
  w.rows = tr__min(TILE_K, K - w.row);
  w.columns = tr__min(TILE_D, D - w.column);
  return w;
}

static tr__cpu_matrix output(const weight_tile *w)
{
  float *dw = w->args->dw.data;
  return (tr__cpu_matrix){dw + w->row * w->D + w->column, w->D};
}

static int64_t local_rows(const tr__shards *shards)
{
  return tr__shard_begin(shards, shards->count);
}

/* The same on every rank, and for every number of ranks. */
static bool is_summed_in_registers(const tr__shards *shards)
{
  return shards->total > 1 &&
         shards->rows * tr__max(shards->times, 1) <= FEW_ROWS;
}

/* Scratch memory of sums in registers. */
typedef struct strips {
  float *dy;    /* TILE_K / TR__OUTER_ROWS strips of (rows, TR__OUTER_ROWS) */
  float *x;     /* (rows, TR__OUTER_COLUMNS) */
  float *edge;  /* a block of dw that is cut off by the tile's end */
  float *stack; /* of tr__cpu_outer */
  tr__tree_step *steps;
  size_t bytes;
} strips;

static size_t take(size_t *end, size_t bytes)
{
  size_t begin = *end;
  *end += tr__align(bytes, 64);
  return begin;
}

static strips strips_at(char *base, const tr__shards *shards, int64_t rows)
{
  enum { BLOCK = TR__OUTER_ROWS * TR__OUTER_COLUMNS * sizeof(float) };
  size_t end = 0, n = (size_t)rows;
  size_t dy = take(&end, n * TILE_K * sizeof(float));
  size_t x = take(&end, n * TR__OUTER_COLUMNS * sizeof(float));
  size_t edge = take(&end, BLOCK);
  size_t stack = take(&end, tr__tree_bytes(shards, BLOCK));
  size_t num_steps = (size_t)tr__min(rows, shards->total);
  size_t steps = take(&end, num_steps * sizeof(tr__tree_step));
  if (base == NULL) {
    return (strips){.bytes = end};
  }
  return (strips){.dy = (float *)(base + dy),
                  .x = (float *)(base + x),
                  .edge = (float *)(base + edge),
                  .stack = (float *)(base + stack),
                  .steps = (tr__tree_step *)(base + steps),
                  .bytes = end};
}

/* Elements of a row of a strip; 0 behind the last. The whole of it has a size
 * that the compiler knows. */
static inline void
pack_row(float *to, const float *from, int64_t count, int64_t whole)
{
  if (count == whole) {
    memcpy(to, from, (size_t)whole * sizeof *to);
    return;
  }
  for (int64_t i = 0; i < whole; i++) {
    to[i] = i < count ? from[i] : 0;
  }
}

/* The tile's columns of dy, strip by strip. */
static void pack_dy(const weight_tile *w, int64_t rows, float *to)
{
  for (int64_t n = 0; n < rows; n++) {
    const float *from =
        tr__cpu_floats(&w->args->dy, n * w->K + w->row, w->rows, w->wide);
    for (int64_t k = 0; k < w->rows; k += TR__OUTER_ROWS) {
      pack_row(to + k * rows + n * TR__OUTER_ROWS, from + k,
               tr__min(TR__OUTER_ROWS, w->rows - k), TR__OUTER_ROWS);
    }
  }
}

/* The tile's columns of x from `column` on: where they lie, or a copy. */
static void place_x(const weight_tile *w,
                    int64_t rows,
                    int64_t column,
                    float *copy,
                    tr__cpu_outer *block)
{
  const tr__tensor *x = &w->args->x;
  int64_t count = tr__min(TR__OUTER_COLUMNS, w->columns - column);
  int64_t first = w->column + column;
  if (x->dtype == TR_F32 && count == TR__OUTER_COLUMNS) {
    block->x = (const float *)x->data + first;
    block->x_stride = w->D;
    return;
  }
  for (int64_t n = 0; n < rows; n++) {
    const float *from = tr__cpu_floats(x, n * w->D + first, count, w->wide);
    pack_row(copy + n * TR__OUTER_COLUMNS, from, count, TR__OUTER_COLUMNS);
  }
  block->x = copy;
  block->x_stride = TR__OUTER_COLUMNS;
}

static void sum_block(const weight_tile *w,
                      tr__cpu_outer_fn run,
                      const tr__cpu_outer *block,
                      int64_t row,
                      int64_t column,
                      float *edge)
{
  tr__cpu_matrix dw = output(w);
  dw.data += row * dw.stride + column;
  int64_t rows = tr__min(TR__OUTER_ROWS, w->rows - row);
  int64_t columns = tr__min(TR__OUTER_COLUMNS, w->columns - column);
  int accumulate = w->args->accumulate;
  if (rows == TR__OUTER_ROWS && columns == TR__OUTER_COLUMNS) {
    run(block, dw.data, dw.stride, accumulate);
    return;
  }
  run(block, edge, TR__OUTER_COLUMNS, 0);
  for (int64_t r = 0; r < rows; r++) {
    tr__cpu_add_tile((tr__cpu_matrix){dw.data + r * dw.stride, dw.stride},
                     edge + r * TR__OUTER_COLUMNS, 1, columns, accumulate);
  }
}

static void sum_strips(const weight_tile *w)
{
  const tr__shards *shards = &w->args->shards;
  int64_t rows = local_rows(shards);
  strips room = strips_at(w->scratch, shards, rows);
  tr__cpu_outer_fn run = tr__cpu_outer_best();
  tr__cpu_outer block = {.steps = room.steps,
                         .num_steps = tr__tree_steps(shards, room.steps),
                         .stack = room.stack};
  pack_dy(w, rows, room.dy);
  for (int64_t d = 0; d < w->columns; d += TR__OUTER_COLUMNS) {
    place_x(w, rows, d, room.x, &block);
    for (int64_t k = 0; k < w->rows; k += TR__OUTER_ROWS) {
      block.a = room.dy + k * rows;
      sum_block(w, run, &block, k, d, room.edge);
    }
    tr__pool_poll(w->pool, w->thread);
  }
}

static void
weight_leaf(void *arg, int64_t begin, int64_t end, void *sum, int accumulate)
{
  const weight_tile *w = arg;
  int64_t K = w->K, D = w->D;
  const tr__tensor *x = &w->args->x, *dy = &w->args->dy;
  int64_t n = begin;
  do {
    int64_t count = tr__min(POLL_ROWS, end - n);
    tr__cpu_gemm_wide((tr__cpu_matrix){sum, w->stride},
                      tr__cpu_factor_in(dy, n * K + w->row, K, true),
                      tr__cpu_factor_in(x, n * D + w->column, D, false),
                      (int64_t[3]){w->rows, w->columns, count},
                      accumulate || n > begin, w->wide);
    tr__pool_poll(w->pool, w->thread);
    n += POLL_ROWS;
  } while (n < end);
}

static void weight_add(void *arg, void *sum, const void *other)
{
  const weight_tile *w = arg;
  int64_t count = w->rows * w->columns;
  tr__cpu_add_tile((tr__cpu_matrix){sum, count}, other, 1, count, 1);
}

static void sum_products(weight_tile *w)
{
  const tr__linear_backward_weight_args *a = w->args;
  tr__cpu_matrix dw = output(w);
  if (a->shards.total == 1) {
    w->stride = w->D;
    weight_leaf(w, 0, local_rows(&a->shards), dw.data, a->accumulate);
    return;
  }
  w->stride = w->columns;
  float *sum = (float *)w->scratch;
  const tr__tree tree = {.shards = a->shards,
                         .bytes =
                             (size_t)(w->rows * w->columns) * sizeof(float),
                         .leaf = weight_leaf,
                         .add = weight_add,
                         .arg = w};
  tr__tree_sum(&tree, sum, 0, sum + TILE_K * TILE_D);
  tr__cpu_add_tile(dw, sum, w->rows, w->columns, a->accumulate);
}

static void
bias_leaf(void *arg, int64_t begin, int64_t end, void *sum, int accumulate)
{
  const weight_tile *w = arg;
  for (int64_t n = begin; n < end; n++) {
    const float *dy =
        tr__cpu_floats(&w->args->dy, n * w->K + w->row, w->rows, w->wide);
    tr__cpu_add_tile((tr__cpu_matrix){sum, w->rows}, dy, 1, w->rows,
                     accumulate || n > begin);
  }
}

static void bias_add(void *arg, void *sum, const void *other)
{
  const weight_tile *w = arg;
  tr__cpu_add_tile((tr__cpu_matrix){sum, w->rows}, other, 1, w->rows, 1);
}

static void sum_bias(weight_tile *w)
{
  const tr__linear_backward_weight_args *a = w->args;
  const tr__tree tree = {.shards = a->shards,
                         .bytes = (size_t)w->rows * sizeof(float),
                         .leaf = bias_leaf,
                         .add = bias_add,
                         .arg = w};
  tr__tree_sum(&tree, (float *)a->db.data + w->row, a->accumulate, w->scratch);
}

/* Scratch memory of one thread, for at most so many rows. */
static size_t scratch_bytes(const tr__shards *shards, int64_t rows)
{
  size_t tile = TILE_K * TILE_D * sizeof(float);
  size_t products =
      shards->total == 1 ? 0 : tile + tr__tree_bytes(shards, tile);
  size_t in_strips =
      shards->total == 1
          ? 0
          : strips_at(NULL, shards, tr__min(rows, FEW_ROWS)).bytes;
  return products > in_strips ? products : in_strips;
}

static void weight_task(void *arg, int64_t task, int thread)
{
  const tr__cpu_call *call = arg;
  const tr__linear_backward_weight_args *a = call->args;
  weight_tile w = tile_of(a, task);
  w.pool = call->backend->pool;
  w.thread = thread;
  if (!tr__cpu_get_wide(call, thread, &w.wide)) {
    return;
  }
  w.scratch = (char *)tr__cpu_scratch(
      &a->workspace, scratch_bytes(&a->shards, a->x.dims[0]), thread);
  if (a->dw.data != NULL) {
    if (is_summed_in_registers(&a->shards) && local_rows(&a->shards) > 0) {
      sum_strips(&w);
    } else {
      sum_products(&w);
    }
  }
  if (a->db.data != NULL && w.column == 0) {
    sum_bias(&w);
  }
}

void tr__cpu_linear_backward_weight(tr__stream *stream,
                                    const tr__linear_backward_weight_args *args)
{
  if (args->dw.dtype == TR_F64) {
    tr__ref_linear_backward_weight_f64(args);
    return;
  }
  tr__cpu_call call =
      tr__cpu_call_of(stream, TR__OP_linear_backward_weight, args,
                      tr__cpu_gemm_floats(TILE_K, TILE_D, args->x.dims[0]));
  tr__pool_run(stream->backend->pool,
               tr__cpu_blocks(args->dw.dims[0], TILE_K) *
                   tr__cpu_blocks(tr__tensor_row(&args->x), TILE_D),
               weight_task, &call);
}

size_t tr__cpu_linear_workspace(const tr__pool *pool, tr__op op, const void *a)
{
  (void)op;
  const tr__linear_backward_weight_args *args = a;
  return (size_t)tr__pool_num_threads(pool) *
         scratch_bytes(&args->shards, args->x.dims[0]);
}
