/* Convolution: images are unrolled into columns in scratch memory of the
 * thread, and multiplied with the weights by OpenBLAS. */
#include "backend/clones_impl.h"
#include "backend/cpu/cpu_impl.h"
#include "backend/cpu_ref/reference_impl.h"
#include "backend/tree_impl.h"

#include <string.h>

/* Columns of a task fill about so many floats: they stay in the second-level
 * cache between their making and their use. */
enum { COLUMN_FLOATS = 1 << 17, LEAST_COLUMNS = 256 };

/* Extents of a tile of dw: rows and, roughly, columns. Where there would be too
 * few tiles, they have half the columns. */
enum { TILE_K = 128, TILE_CIJ = 288, LEAST_TILES = 4 };

/* Sizes of a convolution. */
typedef struct sizes {
  int64_t C, IJ, K, P, Q;
  int64_t image, output; /* elements of one sample */
} sizes;

static sizes
sizes_of(const tr__tensor *x, const tr__tensor *y, const tr__tensor *w)
{
  return (sizes){
      .C = x->dims[1],
      .IJ = w->dims[2] * w->dims[3],
      .K = y->dims[1],
      .P = y->dims[2],
      .Q = y->dims[3],
      .image = tr__tensor_row(x),
      .output = tr__tensor_row(y),
  };
}

/* How many rows of the output one unrolling of so many rows of columns
 * covers. */
static int64_t rows_per_block(const sizes *s, int64_t unrolled)
{
  int64_t columns = tr__max(LEAST_COLUMNS, COLUMN_FLOATS / unrolled);
  return tr__min(s->P, tr__max(1, (columns + s->Q - 1) / s->Q));
}

/* How many channels of the input a task of backward_input unrolls. */
static int64_t channels_per_block(const sizes *s)
{
  int64_t channels = COLUMN_FLOATS / tr__max(1, s->IJ * s->P * s->Q);
  return tr__min(s->C, tr__max(1, channels));
}

static int64_t blocks(int64_t extent, int64_t block)
{
  return (extent + block - 1) / block;
}

/* How many channels of the input a tile of dw spans. */
static int64_t channels_per_tile(const sizes *s)
{
  int64_t wide = tr__max(1, TILE_CIJ / s->IJ);
  int64_t tiles = blocks(s->K, TILE_K) * blocks(s->C, wide);
  return tr__min(s->C, tiles < LEAST_TILES ? tr__max(1, wide / 2) : wide);
}

/* A 1 x 1 kernel sees the image as it is. */
static bool is_pointwise(const tr__window *w, int64_t IJ)
{
  return IJ == 1 && w->stride[0] == 1 && w->stride[1] == 1 &&
         w->padding[0] == 0 && w->padding[1] == 0;
}

static size_t floats_aligned(int64_t count)
{
  return tr__align((size_t)count * sizeof(float), 64);
}

static size_t forward_scratch(const sizes *s)
{
  int64_t unrolled = s->C * s->IJ;
  return floats_aligned(unrolled * rows_per_block(s, unrolled) * s->Q);
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

static void forward_task(void *arg, int64_t task, int thread)
{
  const tr__conv2d_forward_args *a = arg;
  sizes s = sizes_of(&a->x, &a->y, &a->w);
  int64_t rows = rows_per_block(&s, s.C * s.IJ), bands = blocks(s.P, rows);
  int64_t n = task / bands, p = task % bands * rows, PQ = s.P * s.Q;
  tr__patch patch = {{0, s.C}, {p, tr__min(s.P, p + rows)}};
  int64_t columns = (patch.rows[1] - p) * s.Q;
  const float *image = (const float *)a->x.data + n * s.image;
  tr__cpu_factor right = {image + p * s.Q, PQ, false};
  if (!is_pointwise(&a->window, s.IJ)) {
    float *col = tr__cpu_scratch(&a->workspace, forward_scratch(&s), thread);
    tr__ref_im2col_f32(col, image, &a->x, &a->y, &a->window, &patch);
    right = (tr__cpu_factor){col, columns, false};
  }
  tr__cpu_matrix y = {(float *)a->y.data + n * s.output + p * s.Q, PQ};
  tr__cpu_gemm(y, (tr__cpu_factor){a->w.data, s.C * s.IJ, false}, right,
               (int64_t[3]){s.K, columns, s.C * s.IJ}, 0);
  finish_planes(y, a->b.data, (int64_t[2]){s.K, columns}, a->activation);
}

static void conv2d_forward(tr__stream *stream,
                           const tr__conv2d_forward_args *args)
{
  if (args->y.dtype != TR_F32) {
    tr__ref_conv2d_forward_f64(args);
    return;
  }
  tr__conv2d_forward_args copy = *args;
  sizes s = sizes_of(&args->x, &args->y, &args->w);
  tr__pool_run(stream->backend->pool,
               args->x.dims[0] * blocks(s.P, rows_per_block(&s, s.C * s.IJ)),
               forward_task, &copy);
}

static void backward_input_task(void *arg, int64_t task, int thread)
{
  const tr__conv2d_backward_input_args *a = arg;
  sizes s = sizes_of(&a->dx, &a->dy, &a->w);
  int64_t channels = channels_per_block(&s), PQ = s.P * s.Q;
  int64_t n = task / blocks(s.C, channels);
  int64_t c = task % blocks(s.C, channels) * channels;
  tr__patch patch = {{c, tr__min(s.C, c + channels)}, {0, s.P}};
  int64_t unrolled = (patch.channels[1] - c) * s.IJ;
  float *image = (float *)a->dx.data + n * s.image;
  tr__cpu_factor left = {(const float *)a->w.data + c * s.IJ, s.C * s.IJ, true};
  tr__cpu_factor right = {(const float *)a->dy.data + n * s.output, PQ, false};
  int64_t extents[3] = {unrolled, PQ, s.K};
  if (is_pointwise(&a->window, s.IJ)) {
    tr__cpu_gemm((tr__cpu_matrix){image + c * PQ, PQ}, left, right, extents,
                 a->accumulate);
    return;
  }
  float *col = tr__cpu_scratch(&a->workspace,
                               floats_aligned(channels * s.IJ * PQ), thread);
  tr__cpu_gemm((tr__cpu_matrix){col, PQ}, left, right, extents, 0);
  int64_t plane = a->dx.dims[2] * a->dx.dims[3];
  for (int64_t i = c * plane; !a->accumulate && i < patch.channels[1] * plane;
       i++) {
    image[i] = 0;
  }
  tr__ref_col2im_f32(image, col, &a->dx, &a->dy, &a->window, &patch);
}

static void conv2d_backward_input(tr__stream *stream,
                                  const tr__conv2d_backward_input_args *args)
{
  if (args->dx.dtype != TR_F32) {
    tr__ref_conv2d_backward_input_f64(args);
    return;
  }
  tr__conv2d_backward_input_args copy = *args;
  sizes s = sizes_of(&args->dx, &args->dy, &args->w);
  tr__pool_run(stream->backend->pool,
               args->dx.dims[0] * blocks(s.C, channels_per_block(&s)),
               backward_input_task, &copy);
}

/* One tile of dw: output channels k.. and input channels c.. */
typedef struct weight_tile {
  const tr__conv2d_backward_weight_args *args;
  sizes s;
  int64_t k, rows, columns;
  tr__patch patch; /* its channels */
  float *col;
  int64_t stride; /* of the sum's rows */
} weight_tile;

/* The part of one image. */
static void add_image(const weight_tile *w, int64_t n, float *sum, bool adds)
{
  const tr__conv2d_backward_weight_args *a = w->args;
  const sizes *s = &w->s;
  int64_t PQ = s->P * s->Q, step = rows_per_block(s, w->columns);
  const float *image = (const float *)a->x.data + n * s->image;
  const float *dy = (const float *)a->dy.data + n * s->output + w->k * PQ;
  for (int64_t p = 0; p < s->P; p += step) {
    tr__patch patch = w->patch;
    patch.rows[0] = p;
    patch.rows[1] = tr__min(s->P, p + step);
    int64_t places = (patch.rows[1] - p) * s->Q;
    tr__cpu_factor right = {image + patch.channels[0] * PQ + p * s->Q, PQ,
                            true};
    if (!is_pointwise(&a->window, s->IJ)) {
      tr__ref_im2col_f32(w->col, image, &a->x, &a->dy, &a->window, &patch);
      right = (tr__cpu_factor){w->col, places, true};
    }
    tr__cpu_gemm((tr__cpu_matrix){sum, w->stride},
                 (tr__cpu_factor){dy + p * s->Q, PQ, false}, right,
                 (int64_t[3]){w->rows, w->columns, places}, adds || p > 0);
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

static void
bias_leaf(void *arg, int64_t begin, int64_t end, void *out, int accumulate)
{
  const weight_tile *w = arg;
  const float *dy = w->args->dy.data;
  int64_t PQ = w->s.P * w->s.Q;
  float *db = out;
  for (int64_t i = 0; i < w->rows; i++) {
    double sum = accumulate ? db[i] : 0;
    for (int64_t n = begin; n < end; n++) {
      sum += plane_sum(dy + n * w->s.output + (w->k + i) * PQ, PQ);
    }
    db[i] = (float)sum;
  }
}

static void bias_add(void *arg, void *sum, const void *other)
{
  const weight_tile *w = arg;
  tr__cpu_add_tile((tr__cpu_matrix){sum, w->rows}, other, 1, w->rows, 1);
}

/* Scratch memory of a thread: columns of one image, then, where there are
 * shards, the tile's sum and the tree's partial sums. */
typedef struct weight_scratch {
  size_t columns, tile, total;
} weight_scratch;

static weight_scratch weight_scratch_of(const sizes *s,
                                        const tr__shards *shards)
{
  int64_t unrolled = channels_per_tile(s) * s->IJ;
  weight_scratch scratch = {
      .columns = floats_aligned(unrolled * rows_per_block(s, unrolled) * s->Q)};
  if (shards->total > 1) {
    scratch.tile = floats_aligned(TILE_K * unrolled);
  }
  scratch.total =
      scratch.columns + scratch.tile + tr__tree_bytes(shards, scratch.tile);
  return scratch;
}

/* The tile's part of dw. */
static void sum_weight(weight_tile *w,
                       const tr__tree *tree,
                       char *scratch,
                       size_t tile_bytes)
{
  const tr__conv2d_backward_weight_args *a = w->args;
  int64_t CIJ = w->s.C * w->s.IJ;
  bool whole = a->shards.total == 1;
  tr__cpu_matrix dw = {
      (float *)a->dw.data + w->k * CIJ + w->patch.channels[0] * w->s.IJ, CIJ};
  if (whole && a->shards.rows > 0) {
    weight_leaf(w, 0, a->shards.rows, dw.data, a->accumulate);
  } else if (whole) {
    for (int64_t i = 0; !a->accumulate && i < w->rows; i++) {
      memset(dw.data + i * CIJ, 0, (size_t)w->columns * sizeof(float));
    }
  } else {
    tr__tree_sum(tree, scratch, 0, scratch + tile_bytes);
    tr__cpu_add_tile(dw, (float *)scratch, w->rows, w->columns, a->accumulate);
  }
}

static void sum_tile(weight_tile *w, char *scratch, size_t tile_bytes)
{
  const tr__conv2d_backward_weight_args *a = w->args;
  w->stride = a->shards.total == 1 ? w->s.C * w->s.IJ : w->columns;
  tr__tree tree = {.shards = a->shards,
                   .bytes = (size_t)(w->rows * w->columns) * sizeof(float),
                   .leaf = weight_leaf,
                   .add = weight_add,
                   .arg = w};
  if (a->dw.data != NULL) {
    sum_weight(w, &tree, scratch, tile_bytes);
  }
  if (a->db.data != NULL && w->patch.channels[0] == 0) {
    tree.bytes = (size_t)w->rows * sizeof(float);
    tree.leaf = bias_leaf;
    tree.add = bias_add;
    tr__tree_sum(&tree, (float *)a->db.data + w->k, a->accumulate, scratch);
  }
}

static void backward_weight_task(void *arg, int64_t task, int thread)
{
  const tr__conv2d_backward_weight_args *a = arg;
  sizes s = sizes_of(&a->x, &a->dy, &a->dw);
  weight_scratch bytes = weight_scratch_of(&s, &a->shards);
  char *scratch = (char *)tr__cpu_scratch(&a->workspace, bytes.total, thread);
  int64_t channels = channels_per_tile(&s), across = blocks(s.C, channels);
  int64_t c = task % across * channels, k = task / across * TILE_K;
  weight_tile w = {
      .args = a,
      .s = s,
      .k = k,
      .rows = tr__min(TILE_K, s.K - k),
      .patch = {{c, tr__min(s.C, c + channels)}, {0, s.P}},
      .col = (float *)scratch,
  };
  w.columns = (w.patch.channels[1] - c) * s.IJ;
  sum_tile(&w, scratch + bytes.columns, bytes.tile);
}

static void conv2d_backward_weight(tr__stream *stream,
                                   const tr__conv2d_backward_weight_args *args)
{
  if (args->dw.dtype != TR_F32) {
    tr__ref_conv2d_backward_weight_f64(args);
    return;
  }
  tr__conv2d_backward_weight_args copy = *args;
  sizes s = sizes_of(&args->x, &args->dy, &args->dw);
  tr__pool_run(stream->backend->pool,
               blocks(s.K, TILE_K) * blocks(s.C, channels_per_tile(&s)),
               backward_weight_task, &copy);
}

size_t tr__cpu_conv2d_workspace(const tr__pool *pool, tr__op op, const void *a)
{
  size_t threads = (size_t)tr__pool_num_threads(pool);
  if (op == TR__OP_conv2d_forward) {
    const tr__conv2d_forward_args *args = a;
    sizes s = sizes_of(&args->x, &args->y, &args->w);
    return threads * forward_scratch(&s);
  }
  if (op == TR__OP_conv2d_backward_input) {
    const tr__conv2d_backward_input_args *args = a;
    sizes s = sizes_of(&args->dx, &args->dy, &args->w);
    return threads * floats_aligned(channels_per_block(&s) * s.IJ * s.P * s.Q);
  }
  if (op == TR__OP_conv2d_backward_weight) {
    const tr__conv2d_backward_weight_args *args = a;
    sizes s = sizes_of(&args->x, &args->dy, &args->dw);
    return threads * weight_scratch_of(&s, &args->shards).total;
  }
  return 0;
}

void tr__cpu_set_conv2d(tr__ops *ops)
{
  ops->conv2d_forward = conv2d_forward;
  ops->conv2d_backward_input = conv2d_backward_input;
  ops->conv2d_backward_weight = conv2d_backward_weight;
}
