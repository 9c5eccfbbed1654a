/* Weight and bias gradients of fully connected layers: tiles of dw, and sums of
 * db. With several shards, a batch that is not large is summed in registers
 * (outer_impl.h); OpenBLAS computes all other products. */
#include "backend/cpu/linear/linear_impl.h"
#include "backend/cpu/linear/outer_impl.h"
#include "backend/cpu_ref/reference_impl.h"

#include <string.h>

/* Extents of a tile of dw. */
enum { TILE_K = 64, TILE_D = 256 };

/* At most so many rows of a batch are summed in registers. With more, x of a
 * strip leaves the near caches, and OpenBLAS, which blocks the rows too, is as
 * fast. */
enum { FEW_ROWS = 2048 };

/* Rows that a product adds between two tr__threads_poll(): about 0.3 ms. */
enum { POLL_ROWS = 1024 };

/* One tile of dw, or the same rows of db. */
typedef struct weight_tile {
  const tr__linear_backward_weight_args *args;
  int64_t row, column, rows, columns;
  int64_t K, D;   /* extents of dw */
  int64_t stride; /* between rows of the sum */
  float *wide;    /* for fp32 copies of x and dy */
  char *scratch;
  const tr__threads *pool;
  int thread;
} weight_tile;

/* Tile `task` of dw (K, D), numbered row by row. */
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

/* True if the sums are made in registers: the same on every rank, and for every
 * number of ranks. */
static bool is_summed_in_registers(const tr__linear_backward_weight_args *args)
{
  const tr__shards *shards = &args->shards;
  return shards->total > 1 &&
         shards->rows * tr__max(shards->times, 1) <= FEW_ROWS &&
         !tr__op_has_16bit(TR__OP_linear_backward_weight, args);
}

/* Layout of the scratch memory of sum_in_registers. */
typedef struct sums_room {
  float *dy; /* TILE_K / TR__OUTER_ROWS strips of (rows, TR__OUTER_ROWS) */
  float *stack;
  tr__tree_step *steps;
  size_t bytes;
} sums_room;

static sums_room
sums_room_at(char *base, const tr__shards *shards, int64_t rows)
{
  size_t dy = (size_t)rows * TILE_K * sizeof(float);
  size_t stack = tr__tree_bytes(shards, TR__OUTER_BLOCK * sizeof(float));
  size_t steps = (size_t)tr__min(rows, shards->total) * sizeof(tr__tree_step);
  return (sums_room){.dy = (float *)base,
                     .stack = (float *)(base + dy),
                     .steps = (tr__tree_step *)(base + dy + stack),
                     .bytes = tr__align(dy + stack + steps, 64)};
}

/* Copy the tile's columns of dy, strip by strip: rows whose length is a power
 * of two fall on the same cache sets. All strips but the last have a size that
 * the compiler knows. */
static void pack_dy(const weight_tile *w, int64_t rows, float *to)
{
  const float *dy = (const float *)w->args->dy.data + w->row;
  for (int64_t k = 0; k < w->rows; k += TR__OUTER_ROWS) {
    int64_t count = tr__min(TR__OUTER_ROWS, w->rows - k);
    for (int64_t n = 0; n < rows; n++, to += TR__OUTER_ROWS) {
      const float *from = dy + n * w->K + k;
      if (count == TR__OUTER_ROWS) {
        memcpy(to, from, TR__OUTER_ROWS * sizeof *to);
      } else {
        memcpy(to, from, (size_t)count * sizeof *to);
      }
    }
  }
}

static void sum_in_registers(const weight_tile *w)
{
  const tr__linear_backward_weight_args *a = w->args;
  int64_t rows = local_rows(&a->shards);
  sums_room room = sums_room_at(w->scratch, &a->shards, rows);
  pack_dy(w, rows, room.dy);
  tr__cpu_outer_fn run = tr__cpu_outer_best();
  tr__cpu_outer sum = {.b_step = w->D,
                       .steps = room.steps,
                       .num_steps = tr__tree_steps(&a->shards, room.steps),
                       .stack = room.stack};
  tr__cpu_matrix dw = output(w);
  tr__cpu_block out = {.stride = dw.stride, .accumulate = a->accumulate};
  for (int64_t d = 0; d < w->columns; d += TR__OUTER_COLUMNS) {
    sum.b = (const float *)a->x.data + w->column + d;
    out.columns = tr__min(TR__OUTER_COLUMNS, w->columns - d);
    for (int64_t k = 0; k < w->rows; k += TR__OUTER_ROWS) {
      sum.a = room.dy + k * rows;
      out.data = dw.data + k * dw.stride + d;
      out.rows = tr__min(TR__OUTER_ROWS, w->rows - k);
      run(&sum, &out);
    }
    tr__threads_poll(w->pool, w->thread);
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
    tr__cpu_gemm_mixed((tr__cpu_matrix){sum, w->stride},
                       tr__cpu_factor_in(dy, n * K + w->row, K, true),
                       tr__cpu_factor_in(x, n * D + w->column, D, false),
                       (int64_t[3]){w->rows, w->columns, count},
                       accumulate || n > begin, w->wide);
    tr__threads_poll(w->pool, w->thread);
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

/* Scratch bytes of one thread, for at most so many rows. */
static size_t scratch_bytes(const tr__shards *shards, int64_t rows)
{
  if (shards->total == 1) {
    return 0;
  }
  size_t tile = TILE_K * TILE_D * sizeof(float);
  size_t products = tile + tr__tree_bytes(shards, tile);
  size_t sums = sums_room_at(NULL, shards, tr__min(rows, FEW_ROWS)).bytes;
  return products > sums ? products : sums;
}

static void weight_task(void *arg, int64_t task, int thread)
{
  const tr__cpu_call *call = arg;
  const tr__linear_backward_weight_args *a = call->args;
  weight_tile w = tile_of(a, task);
  w.pool = call->backend->pool;
  w.thread = thread;
  if (!tr__cpu_thread_scratch(call, thread, &w.wide)) {
    return;
  }
  w.scratch = (char *)tr__cpu_scratch(
      &a->workspace, scratch_bytes(&a->shards, a->x.dims[0]), thread);
  if (a->dw.data != NULL) {
    if (is_summed_in_registers(a) && local_rows(&a->shards) > 0) {
      sum_in_registers(&w);
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
  tr__threads_run(stream->backend->pool,
                  tr__cpu_blocks(args->dw.dims[0], TILE_K) *
                      tr__cpu_blocks(tr__tensor_row(&args->x), TILE_D),
                  weight_task, &call);
}

size_t
tr__cpu_linear_weight_workspace(const tr__threads *pool,
                                const tr__linear_backward_weight_args *args)
{
  return (size_t)tr__threads_count(pool) *
         scratch_bytes(&args->shards, args->x.dims[0]);
}
