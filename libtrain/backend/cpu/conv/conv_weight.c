/* Weight and bias gradients of convolution. A task computes a tile of dw, for
 * which it unrolls (im2col) the channels that it needs, or sums channels of db.
 */
#include "backend/cpu/conv/cpu_conv_impl.h"
#include "backend/tree_impl.h"
#include "base/clones_impl.h"

#include <string.h>

/* Extents of a tile of dw: rows and about so many columns. Tiles are smaller,
 * down to LEAST_K rows, if there would be fewer than LEAST_TILES. */
enum { TILE_K = 128, TILE_COLUMNS = 288, LEAST_TILES = 4, LEAST_K = 16 };

/* Channels of db per task. */
enum { BIAS_CHANNELS = 16 };

/* Input channels of a tile of dw; rows_per_tile has its output channels. */
static int64_t channels_per_tile(const tr__conv_sizes *s)
{
  int64_t wide = tr__max(1, TILE_COLUMNS / s->taps);
  int64_t tiles =
      s->groups * tr__cpu_blocks(s->K, TILE_K) * tr__cpu_blocks(s->C, wide);
  return tr__min(s->C, tiles < LEAST_TILES ? tr__max(1, wide / 2) : wide);
}

static int64_t rows_per_tile(const tr__conv_sizes *s)
{
  int64_t rows = tr__min(TILE_K, s->K);
  int64_t across = s->groups * tr__cpu_blocks(s->C, channels_per_tile(s));
  while (rows >= 2 * LEAST_K &&
         across * tr__cpu_blocks(s->K, rows) < LEAST_TILES) {
    rows = (rows + 1) / 2;
  }
  return rows;
}

/* One tile of dw: `rows` output channels from k on, and the input channels of
 * the patch. */
typedef struct weight_tile {
  const tr__conv_backward_weight_args *args;
  tr__conv_sizes s;
  int64_t k, rows, columns;
  tr__patch patch; /* input channels of the tile */
  float *col;
  int64_t stride; /* between rows of the sum */
  float *wide;    /* for fp32 copies of columns and dy */
  const tr__threads *pool;
  int thread;
} weight_tile;

/* sum <- (sum +) what image n contributes */
static void add_image(const weight_tile *w, int64_t n, float *sum, bool adds)
{
  const tr__conv_backward_weight_args *a = w->args;
  const tr__conv_sizes *s = &w->s;
  int64_t step = tr__conv_rows_per_block(s, w->columns);
  int64_t image = n * s->image, dy = n * s->output + w->k * s->places;
  for (int64_t row = 0; row < s->rows; row += step) {
    tr__patch patch = w->patch;
    patch.rows[0] = row;
    patch.rows[1] = tr__min(s->rows, row + step);
    int64_t places = (patch.rows[1] - row) * s->R;
    tr__cpu_factor right = tr__cpu_factor_in(
        &a->x, image + patch.channels[0] * s->plane + row * s->R, s->plane,
        true);
    if (!tr__conv_is_pointwise(&a->x, &a->dy, &a->window)) {
      tr__conv_unroll(w->col, &a->x, n, &a->dy, &a->window, &patch);
      right = (tr__cpu_factor){w->col, places, true, a->x.dtype};
    }
    tr__cpu_gemm_mixed(
        (tr__cpu_matrix){sum, w->stride},
        tr__cpu_factor_in(&a->dy, dy + row * s->R, s->places, false), right,
        (int64_t[3]){w->rows, w->columns, places}, adds || row > 0, w->wide);
  }
}

static void
weight_leaf(void *arg, int64_t begin, int64_t end, void *sum, int accumulate)
{
  const weight_tile *w = arg;
  for (int64_t n = begin; n < end; n++) {
    add_image(w, n, sum, accumulate || n > begin);
    tr__threads_poll(w->pool, w->thread);
  }
}

static void weight_add(void *arg, void *sum, const void *other)
{
  const weight_tile *w = arg;
  int64_t count = w->rows * w->columns;
  tr__cpu_add_tile((tr__cpu_matrix){sum, count}, other, 1, count, 1);
}

/* The sum of a plane, in sixteen partial sums so that the loop can use wide
 * vectors. bias_leaf adds the planes in double. */
static TR__CLONES float plane_sum(const float *plane, int64_t count)
{
  float lane[16] = {0};
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    for (int l = 0; l < 16; l++) {
      lane[l] += plane[i + l];
    }
  }
  for (int l = 0; i + l < count; l++) {
    lane[l] += plane[i + l];
  }
  float sum = 0;
  for (int l = 0; l < 16; l++) {
    sum += lane[l];
  }
  return sum;
}

/* Channels k..k+channels-1 of db, which are sums over t. */
typedef struct bias_part {
  const tr__tensor *t;
  int64_t k, channels;
  float *wide; /* for the fp32 copy of a plane */
} bias_part;

static void
bias_leaf(void *arg, int64_t begin, int64_t end, void *out, int accumulate)
{
  const bias_part *part = arg;
  int64_t K = part->t->dims[1], places = tr__places(part->t);
  float *db = out;
  for (int64_t i = 0; i < part->channels; i++) {
    double sum = accumulate ? db[i] : 0;
    for (int64_t n = begin; n < end; n++) {
      sum += plane_sum(tr__cpu_floats(part->t, (n * K + part->k + i) * places,
                                      places, part->wide),
                       places);
    }
    db[i] = (float)sum;
  }
}

static void bias_add(void *arg, void *sum, const void *other)
{
  const bias_part *part = arg;
  tr__cpu_add_tile((tr__cpu_matrix){sum, part->channels}, other, 1,
                   part->channels, 1);
}

static void sum_bias(const tr__conv_backward_weight_args *a,
                     int64_t block,
                     void *scratch,
                     float *wide)
{
  bias_part part = {.t = a->db_of_x ? &a->x : &a->dy,
                    .k = block * BIAS_CHANNELS,
                    .wide = wide};
  part.channels = tr__min(BIAS_CHANNELS, part.t->dims[1] - part.k);
  tr__tree tree = {.shards = a->shards,
                   .bytes = (size_t)part.channels * sizeof(float),
                   .leaf = bias_leaf,
                   .add = bias_add,
                   .arg = &part};
  tr__tree_sum(&tree, (float *)a->db.data + part.k, a->accumulate, scratch);
}

/* Scratch bytes of a thread: the columns of one block of output rows; then,
 * with several shards, the sum of the tile and the partial sums of the tree. */
typedef struct weight_scratch {
  size_t columns, tile, total;
} weight_scratch;

static weight_scratch weight_scratch_of(const tr__conv_sizes *s,
                                        const tr__shards *shards)
{
  int64_t unrolled = channels_per_tile(s) * s->taps;
  weight_scratch scratch = {
      .columns = tr__cpu_aligned_floats(
          unrolled * tr__conv_rows_per_block(s, unrolled) * s->R)};
  if (shards->total > 1) {
    scratch.tile = tr__cpu_aligned_floats(rows_per_tile(s) * unrolled);
  }
  scratch.total =
      scratch.columns + scratch.tile + tr__tree_bytes(shards, scratch.tile);
  return scratch;
}

static void sum_tile(weight_tile *w, char *scratch, size_t tile_bytes)
{
  const tr__conv_backward_weight_args *a = w->args;
  int64_t width = w->s.C * w->s.taps;
  int64_t c = w->patch.channels[0] % w->s.C;
  bool whole = a->shards.total == 1;
  w->stride = whole ? width : w->columns;
  tr__cpu_matrix dw = {(float *)a->dw.data + w->k * width + c * w->s.taps,
                       width};
  tr__tree tree = {.shards = a->shards,
                   .bytes = (size_t)(w->rows * w->columns) * sizeof(float),
                   .leaf = weight_leaf,
                   .add = weight_add,
                   .arg = w};
  if (whole && a->shards.rows > 0) {
    weight_leaf(w, 0, a->shards.rows, dw.data, a->accumulate);
  } else if (whole) {
    for (int64_t i = 0; !a->accumulate && i < w->rows; i++) {
      memset(dw.data + i * width, 0, (size_t)w->columns * sizeof(float));
    }
  } else {
    tr__tree_sum(&tree, scratch, 0, scratch + tile_bytes);
    tr__cpu_add_tile(dw, (float *)scratch, w->rows, w->columns, a->accumulate);
  }
}

/* The number of tiles of dw; 0 if dw is absent. */
static int64_t weight_tiles(const tr__tensor *dw, const tr__conv_sizes *s)
{
  return dw->data == NULL ? 0
                          : s->groups * tr__cpu_blocks(s->K, rows_per_tile(s)) *
                                tr__cpu_blocks(s->C, channels_per_tile(s));
}

/* Tasks are the tiles of dw, then the blocks of db. */
static void backward_weight_task(void *arg, int64_t task, int thread)
{
  const tr__cpu_call *call = arg;
  const tr__conv_backward_weight_args *a = call->args;
  float *wide;
  if (!tr__cpu_thread_scratch(call, thread, &wide)) {
    return;
  }
  tr__conv_sizes s = tr__conv_sizes_of(&a->x, &a->dy, &a->window);
  weight_scratch bytes = weight_scratch_of(&s, &a->shards);
  char *scratch = (char *)tr__cpu_scratch(&a->workspace, bytes.total, thread);
  int64_t tiles = weight_tiles(&a->dw, &s);
  if (task >= tiles) {
    sum_bias(a, task - tiles, scratch, wide);
    return;
  }
  int64_t channels = channels_per_tile(&s),
          across = tr__cpu_blocks(s.C, channels);
  int64_t height = rows_per_tile(&s), down = tr__cpu_blocks(s.K, height);
  int64_t g = task / across / down, c = task % across * channels;
  int64_t k = task / across % down * height;
  weight_tile w = {
      .args = a,
      .s = s,
      .k = g * s.K + k,
      .rows = tr__min(height, s.K - k),
      .patch = {{g * s.C + c, g * s.C + tr__min(s.C, c + channels)},
                {0, s.rows}},
      .col = (float *)scratch,
      .wide = wide,
      .pool = call->backend->pool,
      .thread = thread,
  };
  w.columns = (w.patch.channels[1] - w.patch.channels[0]) * s.taps;
  sum_tile(&w, scratch + bytes.columns, bytes.tile);
}

/* Floats of a task's fp32 copies: for the product of a tile, or for one plane
 * of x or dy. */
static int64_t weight_floats(const tr__conv_sizes *s)
{
  int64_t product = tr__cpu_gemm_floats(
      rows_per_tile(s), channels_per_tile(s) * s->taps, s->places);
  return tr__max(product, tr__max(s->places, s->plane));
}

static void conv_backward_weight(tr__stream *stream,
                                 const tr__conv_backward_weight_args *args)
{
  if (args->dw.dtype == TR_F64) {
    tr__ref_conv_backward_weight_f64(args);
    return;
  }
  const tr__tensor *biased = args->db_of_x ? &args->x : &args->dy;
  int64_t sums = args->db.data != NULL
                     ? tr__cpu_blocks(biased->dims[1], BIAS_CHANNELS)
                     : 0;
  tr__conv_sizes s = tr__conv_sizes_of(&args->x, &args->dy, &args->window);
  tr__cpu_call call = tr__cpu_call_of(stream, TR__OP_conv_backward_weight, args,
                                      weight_floats(&s));
  tr__threads_run(stream->backend->pool, weight_tiles(&args->dw, &s) + sums,
                  backward_weight_task, &call);
}

size_t tr__cpu_conv_weight_workspace(const tr__threads *pool,
                                     const tr__conv_backward_weight_args *args)
{
  tr__conv_sizes s = tr__conv_sizes_of(&args->x, &args->dy, &args->window);
  return (size_t)tr__threads_count(pool) *
         weight_scratch_of(&s, &args->shards).total;
}

void tr__cpu_set_conv_weight(tr__ops *ops)
{
  ops->conv_backward_weight = conv_backward_weight;
}
