/* Fully connected layers, forward and input gradient: OpenBLAS computes tiles
 * of the output. linear_few.c has shards of few rows, linear_weight.c the
 * gradients of weights. */
#include "backend/cpu/linear/linear_impl.h"
#include "backend/cpu_ref/reference_impl.h"

/* Extents of a tile. Small batches have few rows, so tiles are narrow: then the
 * columns alone give work to all threads. */
enum { TILE_ROWS = 128, TILE_COLUMNS = 64 };

/* Shards of at most FEW_ROWS rows go to linear_few.c. A batch that is one shard
 * must also have FEW_FROM rows: below, it is nearer to a matrix-vector product.
 */
enum { FEW_FROM = 8, FEW_ROWS = 64 };

/* Rows of the largest shard: in reproducible mode the same on every rank, and
 * for every number of ranks. */
static int64_t rows_per_shard(const tr__shards *shards)
{
  return tr__cpu_blocks(shards->rows, shards->total) *
         tr__max(shards->times, 1);
}

static bool has_few_rows(const tr__shards *shards)
{
  int64_t rows = rows_per_shard(shards);
  return rows <= FEW_ROWS && (shards->total > 1 || rows >= FEW_FROM);
}

typedef struct tile {
  int64_t row, column, rows, columns;
} tile;

/* Floats of a task's fp32 copies: the output tile, then the blocks of the
 * product. */
enum { TILE_FLOATS = TILE_ROWS * TILE_COLUMNS };

static int64_t wide_floats(int64_t inner)
{
  return TILE_FLOATS + tr__cpu_gemm_floats(TILE_ROWS, TILE_COLUMNS, inner);
}

/* How an output is split into tasks: a task has one strip of columns and either
 * one tile of a shard or several shards that are smaller than a tile. */
typedef struct bands {
  const tr__shards *shards;
  int64_t tiles;  /* per shard */
  int64_t shard;  /* shards per task */
  int64_t across; /* strips of columns */
  int64_t tasks;
} bands;

static bands bands_of(const tr__shards *shards, int64_t columns)
{
  int64_t most = rows_per_shard(shards);
  bands b = {.shards = shards,
             .tiles = tr__max(1, tr__cpu_blocks(most, TILE_ROWS)),
             .shard = tr__max(1, TILE_ROWS / tr__max(most, 1)),
             .across = tr__cpu_blocks(columns, TILE_COLUMNS)};
  b.tasks = tr__cpu_blocks(shards->count, b.shard) * b.tiles * b.across;
  return b;
}

/* t <- tile i of a task, in an output of N columns. False behind the last tile.
 */
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

static void
forward_tile(const tr__linear_forward_args *a, const tile *t, float *wide)
{
  int64_t K = a->w.dims[0], D = tr__tensor_row(&a->x);
  const tr__cpu_tile out = {&a->y, t->row * K + t->column, K, t->rows,
                            t->columns};
  tr__cpu_matrix y = tr__cpu_tile_to_fp32(&out, 0, wide);
  tr__cpu_gemm_mixed(y, tr__cpu_factor_in(&a->x, t->row * D, D, false),
                     tr__cpu_factor_in(&a->w, t->column * D, D, true),
                     (int64_t[3]){t->rows, t->columns, D}, 0,
                     tr__cpu_behind(wide, TILE_FLOATS));
  const float *b = a->b.data;
  tr__cpu_finish(y, b != NULL ? b + t->column : NULL, t->rows, t->columns,
                 a->activation);
  tr__cpu_tile_from_fp32(&out, y);
}

static void forward_task(void *arg, int64_t task, int thread)
{
  const tr__cpu_call *call = arg;
  const tr__linear_forward_args *a = call->args;
  bands b = bands_of(&a->shards, a->w.dims[0]);
  float *wide;
  if (!tr__cpu_thread_scratch(call, thread, &wide)) {
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
  if (has_few_rows(&args->shards) &&
      !tr__op_has_16bit(TR__OP_linear_forward, args)) {
    tr__cpu_linear_few_forward(stream->backend->pool, args);
    return;
  }
  tr__cpu_call call = tr__cpu_call_of(stream, TR__OP_linear_forward, args,
                                      wide_floats(tr__tensor_row(&args->x)));
  tr__threads_run(stream->backend->pool,
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
  tr__cpu_matrix dx = tr__cpu_tile_to_fp32(&out, a->accumulate, wide);
  tr__cpu_gemm_mixed(dx, tr__cpu_factor_in(&a->dy, t->row * K, K, false),
                     tr__cpu_factor_in(&a->w, t->column, D, false),
                     (int64_t[3]){t->rows, t->columns, K}, a->accumulate,
                     tr__cpu_behind(wide, TILE_FLOATS));
  tr__cpu_tile_from_fp32(&out, dx);
}

static void backward_input_task(void *arg, int64_t task, int thread)
{
  const tr__cpu_call *call = arg;
  const tr__linear_backward_input_args *a = call->args;
  int64_t D = tr__tensor_row(&a->dx);
  bands b = bands_of(&a->shards, D);
  float *wide;
  if (!tr__cpu_thread_scratch(call, thread, &wide)) {
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
  if (has_few_rows(&args->shards) &&
      !tr__op_has_16bit(TR__OP_linear_backward_input, args)) {
    tr__cpu_linear_few_backward_input(stream->backend->pool, args);
    return;
  }
  tr__cpu_call call = tr__cpu_call_of(stream, TR__OP_linear_backward_input,
                                      args, wide_floats(args->w.dims[0]));
  tr__threads_run(stream->backend->pool,
                  bands_of(&args->shards, tr__tensor_row(&args->dx)).tasks,
                  backward_input_task, &call);
}

/* Reserve memory also if the plan's batch has many rows: the batch of a step
 * may be smaller and have few. */
static size_t forward_workspace(const tr__linear_forward_args *a)
{
  tr__tensor x = a->x;
  bool may_be_few = a->shards.total > 1 || x.dims[0] >= FEW_FROM;
  x.dims[0] = tr__min(x.dims[0], FEW_ROWS * a->shards.total);
  return may_be_few && !tr__op_has_16bit(TR__OP_linear_forward, a)
             ? tr__cpu_linear_few_bytes(&x)
             : 0;
}

size_t
tr__cpu_linear_workspace(const tr__threads *pool, tr__op op, const void *args)
{
  return op == TR__OP_linear_forward
             ? forward_workspace(args)
             : tr__cpu_linear_weight_workspace(pool, args);
}

void tr__cpu_set_linear(tr__ops *ops)
{
  ops->linear_forward = linear_forward;
  ops->linear_backward_input = linear_backward_input;
  ops->linear_backward_weight = tr__cpu_linear_backward_weight;
}
