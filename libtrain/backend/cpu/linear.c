/* Fully connected layers: products of tiles of the output. */
#include "backend/cpu/cpu_impl.h"
#include "backend/cpu_ref/reference_impl.h"
#include "backend/tree_impl.h"
#include "base/clones_impl.h"

/* Extents of a tile. Small batches have few rows, so that the columns have to
 * give work to all threads. */
enum { TILE_ROWS = 128, TILE_COLUMNS = 64, TILE_K = 64, TILE_D = 256 };

/* Rows of the batch that a tile of dw adds between two polls: about 0.3 ms. */
enum { POLL_ROWS = 1024 };

static int64_t tiles(int64_t extent, int64_t tile)
{
  return (extent + tile - 1) / tile;
}

typedef struct tile {
  int64_t row, column, rows, columns;
} tile;

/* Tile `task` of dw (K, D), counted along its rows. */
static tile weight_tile_of(int64_t task, int64_t K, int64_t D)
{
  int64_t across = tiles(D, TILE_D);
  tile t = {.row = task / across * TILE_K, .column = task % across * TILE_D};
  t.rows = tr__min(TILE_K, K - t.row);
  t.columns = tr__min(TILE_D, D - t.column);
  return t;
}

/* Wide copies of a task: the tile of its output, then the product's. */
enum { TILE_FLOATS = TILE_ROWS * TILE_COLUMNS };

static int64_t wide_floats(int64_t inner)
{
  return TILE_FLOATS + tr__cpu_gemm_floats(TILE_ROWS, TILE_COLUMNS, inner);
}

/* The rows of an output, cut into the tasks that a strip of its columns takes:
 * tiles of one shard, or several shards that are smaller than a tile. */
typedef struct bands {
  const tr__shards *shards;
  int64_t tiles;  /* per shard */
  int64_t shard;  /* shards per task */
  int64_t across; /* strips of columns */
  int64_t tasks;
} bands;

static bands bands_of(const tr__shards *shards, int64_t columns)
{
  int64_t samples = tiles(shards->rows, shards->total);
  int64_t most = samples * tr__max(shards->times, 1);
  bands b = {.shards = shards,
             .tiles = tr__max(1, tiles(most, TILE_ROWS)),
             .shard = tr__max(1, TILE_ROWS / tr__max(most, 1)),
             .across = tiles(columns, TILE_COLUMNS)};
  b.tasks = tiles(shards->count, b.shard) * b.tiles * b.across;
  return b;
}

/* Tile i of a task, whose columns lie in an output of N of them. False behind
 * the last. */
static bool
next_tile(const bands *b, int64_t task, int64_t N, int64_t i, tile *t)
{
  int64_t band = task / b->across;
  int64_t shard = band / b->tiles * b->shard + i;
  if (i == b->shard || shard >= b->shards->count) {
    return false;
  }
  t->column = task % b->across * TILE_COLUMNS;
  t->columns = tr__min(TILE_COLUMNS, N - t->column);
  int64_t end = tr__shard_begin(b->shards, shard + 1);
  t->row = tr__shard_begin(b->shards, shard) + band % b->tiles * TILE_ROWS;
  t->rows = tr__max(0, tr__min(TILE_ROWS, end - t->row));
  return true;
}

static const void *at(const tr__tensor *t, int64_t i)
{
  return (const char *)t->data + (size_t)i * tr_dtype_size(t->dtype);
}

static void
forward_tile(const tr__linear_forward_args *a, const tile *t, float *wide)
{
  int64_t K = a->w.dims[0], D = tr__tensor_row(&a->x);
  const tr__cpu_tile out = {&a->y, t->row * K + t->column, K, t->rows,
                            t->columns};
  tr__cpu_matrix y = tr__cpu_open_tile(&out, 0, wide);
  tr__cpu_gemm_wide(
      y, (tr__cpu_factor){at(&a->x, t->row * D), D, false, a->x.dtype},
      (tr__cpu_factor){at(&a->w, t->column * D), D, true, a->w.dtype},
      (int64_t[3]){t->rows, t->columns, D}, 0,
      tr__cpu_behind(wide, TILE_FLOATS));
  const float *b = a->b.data;
  tr__cpu_finish(y, b != NULL ? b + t->column : NULL, t->rows, t->columns,
                 a->activation);
  tr__cpu_close_tile(&out, y);
}

static void forward_task(void *arg, int64_t task, int thread)
{
  const tr__cpu_call *call = arg;
  const tr__linear_forward_args *a = call->args;
  bands b = bands_of(&a->shards, a->w.dims[0]);
  float *wide;
  if (!tr__cpu_get_wide(call, thread, &wide)) {
    return;
  }
  tile t;
  for (int64_t i = 0; next_tile(&b, task, a->w.dims[0], i, &t); i++) {
    if (t.rows > 0) {
      forward_tile(a, &t, wide);
    }
  }
}

static void linear_forward(tr__stream *stream,
                           const tr__linear_forward_args *args)
{
  if (args->y.dtype == TR_F64) {
    tr__ref_linear_forward_f64(args);
    return;
  }
  tr__cpu_call call = tr__cpu_call_of(stream, TR__OP_linear_forward, args,
                                      wide_floats(tr__tensor_row(&args->x)));
  tr__pool_run(stream->backend->pool,
               bands_of(&args->shards, args->w.dims[0]).tasks, forward_task,
               &call);
}

static void backward_input_tile(const tr__linear_backward_input_args *a,
                                const tile *t,
                                float *wide)
{
  int64_t K = a->w.dims[0], D = tr__tensor_row(&a->dx);
  const tr__cpu_tile out = {&a->dx, t->row * D + t->column, D, t->rows,
                            t->columns};
  tr__cpu_matrix dx = tr__cpu_open_tile(&out, a->accumulate, wide);
  tr__cpu_gemm_wide(
      dx, (tr__cpu_factor){at(&a->dy, t->row * K), K, false, a->dy.dtype},
      (tr__cpu_factor){at(&a->w, t->column), D, false, a->w.dtype},
      (int64_t[3]){t->rows, t->columns, K}, a->accumulate,
      tr__cpu_behind(wide, TILE_FLOATS));
  tr__cpu_close_tile(&out, dx);
}

static void backward_input_task(void *arg, int64_t task, int thread)
{
  const tr__cpu_call *call = arg;
  const tr__linear_backward_input_args *a = call->args;
  int64_t D = tr__tensor_row(&a->dx);
  bands b = bands_of(&a->shards, D);
  float *wide;
  if (!tr__cpu_get_wide(call, thread, &wide)) {
    return;
  }
  tile t;
  for (int64_t i = 0; next_tile(&b, task, D, i, &t); i++) {
    if (t.rows > 0) {
      backward_input_tile(a, &t, wide);
    }
  }
}

static void linear_backward_input(tr__stream *stream,
                                  const tr__linear_backward_input_args *args)
{
  if (args->dx.dtype == TR_F64) {
    tr__ref_linear_backward_input_f64(args);
    return;
  }
  tr__cpu_call call = tr__cpu_call_of(stream, TR__OP_linear_backward_input,
                                      args, wide_floats(args->w.dims[0]));
  tr__pool_run(stream->backend->pool,
               bands_of(&args->shards, tr__tensor_row(&args->dx)).tasks,
               backward_input_task, &call);
}

/* One tile of dw, or the same rows of db. */
typedef struct weight_tile {
  const tr__linear_backward_weight_args *args;
  tile t;
  int64_t stride; /* of the sum's rows */
  float *wide;    /* for copies of x and dy */
  const tr__pool *pool;
  int thread;
} weight_tile;

static void
weight_leaf(void *arg, int64_t begin, int64_t end, void *sum, int accumulate)
{
  const weight_tile *w = arg;
  int64_t K = w->args->dw.dims[0], D = tr__tensor_row(&w->args->x);
  const tr__tensor *x = &w->args->x, *dy = &w->args->dy;
  int64_t n = begin;
  do {
    int64_t count = tr__min(POLL_ROWS, end - n);
    tr__cpu_gemm_wide(
        (tr__cpu_matrix){sum, w->stride},
        (tr__cpu_factor){at(dy, n * K + w->t.row), K, true, dy->dtype},
        (tr__cpu_factor){at(x, n * D + w->t.column), D, false, x->dtype},
        (int64_t[3]){w->t.rows, w->t.columns, count}, accumulate || n > begin,
        w->wide);
    tr__pool_poll(w->pool, w->thread);
    n += POLL_ROWS;
  } while (n < end);
}

static void weight_add(void *arg, void *sum, const void *other)
{
  const weight_tile *w = arg;
  int64_t count = w->t.rows * w->t.columns;
  tr__cpu_add_tile((tr__cpu_matrix){sum, count}, other, 1, count, 1);
}

static void
bias_leaf(void *arg, int64_t begin, int64_t end, void *sum, int accumulate)
{
  const weight_tile *w = arg;
  int64_t K = w->args->dw.dims[0], rows = w->t.rows;
  for (int64_t n = begin; n < end; n++) {
    const float *dy =
        tr__cpu_floats(&w->args->dy, n * K + w->t.row, rows, w->wide);
    tr__cpu_add_tile((tr__cpu_matrix){sum, rows}, dy, 1, rows,
                     accumulate || n > begin);
  }
}

static void bias_add(void *arg, void *sum, const void *other)
{
  const weight_tile *w = arg;
  tr__cpu_add_tile((tr__cpu_matrix){sum, w->t.rows}, other, 1, w->t.rows, 1);
}

static size_t scratch_bytes(const tr__shards *shards)
{
  size_t tile_bytes = TILE_K * TILE_D * sizeof(float);
  return shards->total == 1 ? 0
                            : tile_bytes + tr__tree_bytes(shards, tile_bytes);
}

/* The tile's part of dw. */
static void
sum_weight(weight_tile *w, const tr__tree *tree, float *scratch, float *spare)
{
  const tr__linear_backward_weight_args *a = w->args;
  int64_t D = tr__tensor_row(&a->x);
  tr__cpu_matrix dw = {(float *)a->dw.data + w->t.row * D + w->t.column, D};
  if (a->shards.total == 1) {
    weight_leaf(w, 0, tr__shard_begin(&a->shards, 1), dw.data, a->accumulate);
    return;
  }
  tr__tree_sum(tree, scratch, 0, spare);
  tr__cpu_add_tile(dw, scratch, w->t.rows, w->t.columns, a->accumulate);
}

static void backward_weight_task(void *arg, int64_t task, int thread)
{
  const tr__cpu_call *call = arg;
  const tr__linear_backward_weight_args *a = call->args;
  int64_t K = a->dw.dims[0], D = tr__tensor_row(&a->x);
  weight_tile w = {.args = a,
                   .t = weight_tile_of(task, K, D),
                   .pool = call->backend->pool,
                   .thread = thread};
  if (!tr__cpu_get_wide(call, thread, &w.wide)) {
    return;
  }
  bool whole = a->shards.total == 1;
  w.stride = whole ? D : w.t.columns;
  float *scratch =
      tr__cpu_scratch(&a->workspace, scratch_bytes(&a->shards), thread);
  float *spare = scratch + (whole ? 0 : TILE_K * TILE_D);
  tr__tree tree = {.shards = a->shards,
                   .bytes = (size_t)(w.t.rows * w.t.columns) * sizeof(float),
                   .leaf = weight_leaf,
                   .add = weight_add,
                   .arg = &w};
  if (a->dw.data != NULL) {
    sum_weight(&w, &tree, scratch, spare);
  }
  if (a->db.data != NULL && w.t.column == 0) {
    tree.bytes = (size_t)w.t.rows * sizeof(float);
    tree.leaf = bias_leaf;
    tree.add = bias_add;
    tr__tree_sum(&tree, (float *)a->db.data + w.t.row, a->accumulate, scratch);
  }
}

static void linear_backward_weight(tr__stream *stream,
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
               tiles(args->dw.dims[0], TILE_K) *
                   tiles(tr__tensor_row(&args->x), TILE_D),
               backward_weight_task, &call);
}

size_t tr__cpu_linear_workspace(const tr__pool *pool, tr__op op, const void *a)
{
  (void)op;
  const tr__linear_backward_weight_args *args = a;
  return (size_t)tr__pool_num_threads(pool) * scratch_bytes(&args->shards);
}

void tr__cpu_set_linear(tr__ops *ops)
{
  ops->linear_forward = linear_forward;
  ops->linear_backward_input = linear_backward_input;
  ops->linear_backward_weight = linear_backward_weight;
}
