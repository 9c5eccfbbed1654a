/* Convolution: the channels of a group are unrolled into columns in scratch
 * memory of the thread, and multiplied with the weights by OpenBLAS. */
#include "backend/clones_impl.h"
#include "backend/cpu/cpu_impl.h"
#include "backend/cpu_ref/reference_impl.h"
#include "backend/tree_impl.h"

#include <string.h>

/* Columns of a task fill about so many floats: they stay in the second-level
 * cache between their making and their use. */
enum { COLUMN_FLOATS = 1 << 17, LEAST_COLUMNS = 256 };

/* Extents of a tile of dw: rows and, roughly, columns. Where there would be too
 * few tiles, they are smaller. */
enum { TILE_K = 128, TILE_COLUMNS = 288, LEAST_TILES = 4, LEAST_K = 16 };

/* Channels of db that a task sums. */
enum { BIAS_CHANNELS = 16 };

/* Sizes of a convolution; rows are those of the output through all its D. */
typedef struct sizes {
  int64_t groups, C, K; /* channels of a group */
  int64_t taps, rows, R;
  int64_t places, plane; /* of a channel of the output and of the image */
  int64_t image, output; /* elements of one sample */
} sizes;

static sizes
sizes_of(const tr__tensor *x, const tr__tensor *y, const tr__window *window)
{
  return (sizes){
      .groups = window->groups,
      .C = x->dims[1] / window->groups,
      .K = y->dims[1] / window->groups,
      .taps = tr__taps(window),
      .rows = y->dims[2] * y->dims[3],
      .R = y->dims[4],
      .places = tr__places(y),
      .plane = tr__places(x),
      .image = tr__tensor_row(x),
      .output = tr__tensor_row(y),
  };
}

/* How many rows of the output one unrolling of so many rows of columns
 * covers. */
static int64_t rows_per_block(const sizes *s, int64_t unrolled)
{
  int64_t columns = tr__max(LEAST_COLUMNS, COLUMN_FLOATS / unrolled);
  return tr__min(s->rows, tr__max(1, (columns + s->R - 1) / s->R));
}

/* How many channels of the input a task of backward_input unrolls. */
static int64_t channels_per_block(const sizes *s)
{
  int64_t channels = COLUMN_FLOATS / tr__max(1, s->taps * s->places);
  return tr__min(s->C, tr__max(1, channels));
}

static int64_t blocks(int64_t extent, int64_t block)
{
  return (extent + block - 1) / block;
}

/* How many channels of the input a tile of dw spans, and how many of the
 * output. */
static int64_t channels_per_tile(const sizes *s)
{
  int64_t wide = tr__max(1, TILE_COLUMNS / s->taps);
  int64_t tiles = s->groups * blocks(s->K, TILE_K) * blocks(s->C, wide);
  return tr__min(s->C, tiles < LEAST_TILES ? tr__max(1, wide / 2) : wide);
}

static int64_t rows_per_tile(const sizes *s)
{
  int64_t rows = tr__min(TILE_K, s->K);
  int64_t across = s->groups * blocks(s->C, channels_per_tile(s));
  while (rows >= 2 * LEAST_K && across * blocks(s->K, rows) < LEAST_TILES) {
    rows = (rows + 1) / 2;
  }
  return rows;
}

/* A kernel of one element sees the image as it is. */
static bool is_pointwise(const tr__window *w)
{
  bool is = true;
  for (int i = 0; i < 3; i++) {
    is = is && w->kernel[i] == 1 && w->stride[i] == 1 && w->padding[i] == 0;
  }
  return is;
}

static size_t floats_aligned(int64_t count)
{
  return tr__align((size_t)count * sizeof(float), 64);
}

static size_t forward_scratch(const sizes *s)
{
  int64_t unrolled = s->C * s->taps;
  return floats_aligned(unrolled * rows_per_block(s, unrolled) * s->R);
}

/* Columns keep the type of the image: unrolling is only copying. */
static void unroll(void *col,
                   const tr__tensor *x,
                   int64_t n,
                   const tr__tensor *y,
                   const tr__window *window,
                   const tr__patch *patch)
{
  int64_t first = n * tr__tensor_row(x);
  if (x->dtype == TR_F32) {
    tr__ref_im2col_f32(col, (const float *)x->data + first, x, y, window,
                       patch);
  } else {
    tr__ref_im2col_u16(col, (const uint16_t *)x->data + first, x, y, window,
                       patch);
  }
}

/* A matrix that lies in a tensor from element `first` on. */
static tr__cpu_factor
factor_in(const tr__tensor *t, int64_t first, int64_t stride, bool transposed)
{
  return (tr__cpu_factor){(const char *)t->data +
                              (size_t)first * tr_dtype_size(t->dtype),
                          stride, transposed, t->dtype};
}

static TR__CLONES void finish_planes(tr__cpu_matrix y,
                                     const float *b,
                                     const int64_t extents[2],
                                     tr__activation activation)
{
  for (int64_t k = 0; k < extents[0]; k++) {
    float *row = y.data + k * y.stride;
    float bias = b != NULL ? b[k] : 0;
    for (int64_t i = 0; i < extents[1]; i++) {
      float value = row[i] + bias;
      row[i] = activation == TR__ACTIVATION_RELU && value < 0 ? 0 : value;
    }
  }
}

/* Of the band of a task: its output, and what the product wants. */
static int64_t forward_floats(const sizes *s)
{
  int64_t columns = rows_per_block(s, s->C * s->taps) * s->R;
  return s->K * columns + tr__cpu_gemm_floats(s->K, columns);
}

static void forward_task(void *arg, int64_t task, int thread)
{
  const tr__cpu_call *call = arg;
  const tr__conv_forward_args *a = call->args;
  sizes s = sizes_of(&a->x, &a->y, &a->window);
  int64_t unrolled = s.C * s.taps, rows = rows_per_block(&s, unrolled);
  int64_t bands = blocks(s.rows, rows), row = task % bands * rows;
  int64_t n = task / bands / s.groups, g = task / bands % s.groups;
  tr__patch patch = {{g * s.C, (g + 1) * s.C},
                     {row, tr__min(s.rows, row + rows)}};
  int64_t columns = (patch.rows[1] - row) * s.R, k = g * s.K;
  tr__cpu_factor right = factor_in(
      &a->x, n * s.image + g * s.C * s.plane + row * s.R, s.plane, false);
  float *wide;
  if (!tr__cpu_get_wide(call, thread, &wide)) {
    return;
  }
  if (!is_pointwise(&a->window)) {
    float *col = tr__cpu_scratch(&a->workspace, forward_scratch(&s), thread);
    unroll(col, &a->x, n, &a->y, &a->window, &patch);
    right = (tr__cpu_factor){col, columns, false, a->x.dtype};
  }
  const tr__cpu_tile out = {&a->y, n * s.output + k * s.places + row * s.R,
                            s.places, s.K, columns};
  tr__cpu_matrix y = tr__cpu_open_tile(&out, a->accumulate, wide);
  tr__cpu_gemm_wide(y, factor_in(&a->w, k * unrolled, unrolled, false), right,
                    (int64_t[3]){s.K, columns, unrolled}, a->accumulate,
                    tr__cpu_behind(wide, s.K * columns));
  const float *b = a->b.data != NULL ? (const float *)a->b.data + k : NULL;
  finish_planes(y, b, (int64_t[2]){s.K, columns}, a->activation);
  tr__cpu_close_tile(&out, y);
}

static void conv_forward(tr__stream *stream, const tr__conv_forward_args *args)
{
  if (args->y.dtype == TR_F64) {
    tr__ref_conv_forward_f64(args);
    return;
  }
  if (tr__cpu_is_depthwise(&args->window, &args->x)) {
    tr__cpu_depthwise_forward(stream, args);
    return;
  }
  sizes s = sizes_of(&args->x, &args->y, &args->window);
  tr__cpu_call call =
      tr__cpu_call_of(stream, TR__OP_conv_forward, args, forward_floats(&s));
  int64_t bands = blocks(s.rows, rows_per_block(&s, s.C * s.taps));
  tr__pool_run(stream->backend->pool, args->x.dims[0] * s.groups * bands,
               forward_task, &call);
}

/* Of the channels of a task: the image, and what the product wants. */
static int64_t backward_floats(const sizes *s)
{
  int64_t channels = channels_per_block(s);
  return channels * s->plane +
         tr__cpu_gemm_floats(channels * s->taps, s->places);
}

static void backward_input_task(void *arg, int64_t task, int thread)
{
  const tr__cpu_call *call = arg;
  const tr__conv_backward_input_args *a = call->args;
  sizes s = sizes_of(&a->dx, &a->dy, &a->window);
  int64_t channels = channels_per_block(&s), across = blocks(s.C, channels);
  int64_t c = task % across * channels, most = tr__min(s.C, c + channels) - c;
  int64_t n = task / across / s.groups, g = task / across % s.groups;
  int64_t first = g * s.C + c, unrolled = s.C * s.taps;
  const float *b = a->b.data != NULL ? (const float *)a->b.data + first : NULL;
  tr__cpu_factor left =
      factor_in(&a->w, g * s.K * unrolled + c * s.taps, unrolled, true);
  tr__cpu_factor right =
      factor_in(&a->dy, n * s.output + g * s.K * s.places, s.places, false);
  int64_t extents[3] = {most * s.taps, s.places, s.K};
  float *wide;
  if (!tr__cpu_get_wide(call, thread, &wide)) {
    return;
  }
  float *scratch = tr__cpu_behind(wide, most * s.plane);
  const tr__cpu_tile out = {&a->dx, n * s.image + first * s.plane, s.plane,
                            most, s.plane};
  tr__cpu_matrix planes = tr__cpu_open_tile(&out, a->accumulate, wide);
  if (is_pointwise(&a->window)) {
    tr__cpu_gemm_wide(planes, left, right, extents, a->accumulate, scratch);
    if (b != NULL) {
      finish_planes(planes, b, (int64_t[2]){most, s.plane},
                    TR__ACTIVATION_NONE);
    }
  } else {
    float *col = tr__cpu_scratch(
        &a->workspace, floats_aligned(channels * s.taps * s.places), thread);
    tr__cpu_gemm_wide((tr__cpu_matrix){col, s.places}, left, right, extents, 0,
                      scratch);
    tr__cpu_start_planes(planes, b, most, a->accumulate);
    tr__patch patch = {{0, most}, {0, s.rows}};
    tr__ref_col2im_f32(planes.data, col, &a->dx, &a->dy, &a->window, &patch);
  }
  tr__cpu_close_tile(&out, planes);
}

static void conv_backward_input(tr__stream *stream,
                                const tr__conv_backward_input_args *args)
{
  if (args->dx.dtype == TR_F64) {
    tr__ref_conv_backward_input_f64(args);
    return;
  }
  if (tr__cpu_is_depthwise(&args->window, &args->dx)) {
    tr__cpu_depthwise_backward_input(stream, args);
    return;
  }
  sizes s = sizes_of(&args->dx, &args->dy, &args->window);
  tr__cpu_call call = tr__cpu_call_of(stream, TR__OP_conv_backward_input, args,
                                      backward_floats(&s));
  int64_t across = blocks(s.C, channels_per_block(&s));
  tr__pool_run(stream->backend->pool, args->dx.dims[0] * s.groups * across,
               backward_input_task, &call);
}

/* One tile of dw: output channels k.. and the input channels of the patch. */
typedef struct weight_tile {
  const tr__conv_backward_weight_args *args;
  sizes s;
  int64_t k, rows, columns;
  tr__patch patch; /* its channels */
  float *col;
  int64_t stride; /* of the sum's rows */
  float *wide;    /* for copies of columns and dy */
} weight_tile;

/* The part of one image. */
static void add_image(const weight_tile *w, int64_t n, float *sum, bool adds)
{
  const tr__conv_backward_weight_args *a = w->args;
  const sizes *s = &w->s;
  int64_t step = rows_per_block(s, w->columns);
  int64_t image = n * s->image, dy = n * s->output + w->k * s->places;
  for (int64_t row = 0; row < s->rows; row += step) {
    tr__patch patch = w->patch;
    patch.rows[0] = row;
    patch.rows[1] = tr__min(s->rows, row + step);
    int64_t places = (patch.rows[1] - row) * s->R;
    tr__cpu_factor right =
        factor_in(&a->x, image + patch.channels[0] * s->plane + row * s->R,
                  s->plane, true);
    if (!is_pointwise(&a->window)) {
      unroll(w->col, &a->x, n, &a->dy, &a->window, &patch);
      right = (tr__cpu_factor){w->col, places, true, a->x.dtype};
    }
    tr__cpu_gemm_wide((tr__cpu_matrix){sum, w->stride},
                      factor_in(&a->dy, dy + row * s->R, s->places, false),
                      right, (int64_t[3]){w->rows, w->columns, places},
                      adds || row > 0, w->wide);
  }
}

static void
weight_leaf(void *arg, int64_t begin, int64_t end, void *sum, int accumulate)
{
  for (int64_t n = begin; n < end; n++) {
    add_image(arg, n, sum, accumulate || n > begin);
  }
}

static void weight_add(void *arg, void *sum, const void *other)
{
  const weight_tile *w = arg;
  int64_t count = w->rows * w->columns;
  tr__cpu_add_tile((tr__cpu_matrix){sum, count}, other, 1, count, 1);
}

/* Sixteen partial sums, so that the loop can use wide vectors; in double from
 * one image to the next. */
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

/* Some channels of db. */
typedef struct bias_part {
  const tr__tensor *t;
  int64_t k, channels;
  float *wide; /* for copies of a plane */
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

/* Scratch memory of a thread: columns of one image, then, where there are
 * shards, the tile's sum and the tree's partial sums. */
typedef struct weight_scratch {
  size_t columns, tile, total;
} weight_scratch;

static weight_scratch weight_scratch_of(const sizes *s,
                                        const tr__shards *shards)
{
  int64_t unrolled = channels_per_tile(s) * s->taps;
  weight_scratch scratch = {
      .columns = floats_aligned(unrolled * rows_per_block(s, unrolled) * s->R)};
  if (shards->total > 1) {
    scratch.tile = floats_aligned(rows_per_tile(s) * unrolled);
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

/* None where dw is absent. */
static int64_t weight_tiles(const tr__tensor *dw, const sizes *s)
{
  return dw->data == NULL ? 0
                          : s->groups * blocks(s->K, rows_per_tile(s)) *
                                blocks(s->C, channels_per_tile(s));
}

/* The tiles of dw, then the blocks of db. */
static void backward_weight_task(void *arg, int64_t task, int thread)
{
  const tr__cpu_call *call = arg;
  const tr__conv_backward_weight_args *a = call->args;
  float *wide;
  if (!tr__cpu_get_wide(call, thread, &wide)) {
    return;
  }
  sizes s = sizes_of(&a->x, &a->dy, &a->window);
  weight_scratch bytes = weight_scratch_of(&s, &a->shards);
  char *scratch = (char *)tr__cpu_scratch(&a->workspace, bytes.total, thread);
  int64_t tiles = weight_tiles(&a->dw, &s);
  if (task >= tiles) {
    sum_bias(a, task - tiles, scratch, wide);
    return;
  }
  int64_t channels = channels_per_tile(&s), across = blocks(s.C, channels);
  int64_t height = rows_per_tile(&s), down = blocks(s.K, height);
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
  };
  w.columns = (w.patch.channels[1] - w.patch.channels[0]) * s.taps;
  sum_tile(&w, scratch + bytes.columns, bytes.tile);
}

/* What the product of a tile wants, or a plane of either image. */
static int64_t weight_floats(const sizes *s)
{
  int64_t product =
      tr__cpu_gemm_floats(rows_per_tile(s), channels_per_tile(s) * s->taps);
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
  int64_t sums =
      args->db.data != NULL ? blocks(biased->dims[1], BIAS_CHANNELS) : 0;
  sizes s = sizes_of(&args->x, &args->dy, &args->window);
  tr__cpu_call call = tr__cpu_call_of(stream, TR__OP_conv_backward_weight, args,
                                      weight_floats(&s));
  tr__pool_run(stream->backend->pool, weight_tiles(&args->dw, &s) + sums,
               backward_weight_task, &call);
}

size_t tr__cpu_conv_workspace(const tr__pool *pool, tr__op op, const void *a)
{
  size_t threads = (size_t)tr__pool_num_threads(pool);
  if (op == TR__OP_conv_forward) {
    const tr__conv_forward_args *args = a;
    sizes s = sizes_of(&args->x, &args->y, &args->window);
    return threads * forward_scratch(&s);
  }
  if (op == TR__OP_conv_backward_input) {
    const tr__conv_backward_input_args *args = a;
    sizes s = sizes_of(&args->dx, &args->dy, &args->window);
    return threads * floats_aligned(channels_per_block(&s) * s.taps * s.places);
  }
  if (op == TR__OP_conv_backward_weight) {
    const tr__conv_backward_weight_args *args = a;
    sizes s = sizes_of(&args->x, &args->dy, &args->window);
    return threads * weight_scratch_of(&s, &args->shards).total;
  }
  return 0;
}

void tr__cpu_set_conv(tr__ops *ops)
{
  ops->conv_forward = conv_forward;
  ops->conv_backward_input = conv_backward_input;
  ops->conv_backward_weight = conv_backward_weight;
}
