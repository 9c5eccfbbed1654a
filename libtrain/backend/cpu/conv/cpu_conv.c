/* Convolution, forward and input gradient, as products by OpenBLAS with columns
 * in scratch memory of the thread. im2col makes the columns from the image; in
 * backward col2im adds them to it. */
#include "backend/cpu/conv/cpu_conv_impl.h"
#include "base/clones_impl.h"

/* Input channels per task of backward_input. */
static int64_t channels_per_block(const tr__conv_sizes *s)
{
  int64_t channels = TR__COLUMN_FLOATS / tr__max(1, s->taps * s->places);
  return tr__min(s->C, tr__max(1, channels));
}

void tr__conv_unroll(void *col,
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

static size_t forward_scratch(const tr__conv_sizes *s)
{
  int64_t unrolled = s->C * s->taps;
  return tr__cpu_aligned_floats(unrolled *
                                tr__conv_rows_per_block(s, unrolled) * s->R);
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

/* Floats of a task's fp32 copies: the output of its band of rows, and the
 * blocks of the product. */
static int64_t forward_floats(const tr__conv_sizes *s)
{
  int64_t columns = tr__conv_rows_per_block(s, s->C * s->taps) * s->R;
  return s->K * columns + tr__cpu_gemm_floats(s->K, columns, s->C * s->taps);
}

static void forward_task(void *arg, int64_t task, int thread)
{
  const tr__cpu_call *call = arg;
  const tr__conv_forward_args *a = call->args;
  tr__conv_sizes s = tr__conv_sizes_of(&a->x, &a->y, &a->window);
  int64_t unrolled = s.C * s.taps, rows = tr__conv_rows_per_block(&s, unrolled);
  int64_t bands = tr__cpu_blocks(s.rows, rows), row = task % bands * rows;
  int64_t n = task / bands / s.groups, g = task / bands % s.groups;
  tr__patch patch = {{g * s.C, (g + 1) * s.C},
                     {row, tr__min(s.rows, row + rows)}};
  int64_t columns = (patch.rows[1] - row) * s.R, k = g * s.K;
  tr__cpu_factor right = tr__cpu_factor_in(
      &a->x, n * s.image + g * s.C * s.plane + row * s.R, s.plane, false);
  float *wide;
  if (!tr__cpu_thread_scratch(call, thread, &wide)) {
    return;
  }
  if (!tr__conv_is_pointwise(&a->x, &a->y, &a->window)) {
    float *col = tr__cpu_scratch(&a->workspace, forward_scratch(&s), thread);
    tr__conv_unroll(col, &a->x, n, &a->y, &a->window, &patch);
    right = (tr__cpu_factor){col, columns, false, a->x.dtype};
  }
  const tr__cpu_tile out = {&a->y, n * s.output + k * s.places + row * s.R,
                            s.places, s.K, columns};
  tr__cpu_matrix y = tr__cpu_tile_to_fp32(&out, a->accumulate, wide);
  tr__cpu_gemm_mixed(y, tr__cpu_factor_in(&a->w, k * unrolled, unrolled, false),
                     right, (int64_t[3]){s.K, columns, unrolled}, a->accumulate,
                     tr__cpu_behind(wide, s.K * columns));
  const float *b = a->b.data != NULL ? (const float *)a->b.data + k : NULL;
  finish_planes(y, b, (int64_t[2]){s.K, columns}, a->activation);
  tr__cpu_tile_from_fp32(&out, y);
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
  tr__conv_sizes s = tr__conv_sizes_of(&args->x, &args->y, &args->window);
  tr__cpu_call call =
      tr__cpu_call_of(stream, TR__OP_conv_forward, args, forward_floats(&s));
  int64_t bands =
      tr__cpu_blocks(s.rows, tr__conv_rows_per_block(&s, s.C * s.taps));
  tr__threads_run(stream->backend->pool, args->x.dims[0] * s.groups * bands,
                  forward_task, &call);
}

/* Floats of a task's fp32 copies: its channels of dx, and the blocks of the
 * product. */
static int64_t backward_floats(const tr__conv_sizes *s)
{
  int64_t channels = channels_per_block(s);
  return channels * s->plane +
         tr__cpu_gemm_floats(channels * s->taps, s->places, s->K);
}

static void backward_input_task(void *arg, int64_t task, int thread)
{
  const tr__cpu_call *call = arg;
  const tr__conv_backward_input_args *a = call->args;
  tr__conv_sizes s = tr__conv_sizes_of(&a->dx, &a->dy, &a->window);
  int64_t channels = channels_per_block(&s),
          across = tr__cpu_blocks(s.C, channels);
  int64_t c = task % across * channels, most = tr__min(s.C, c + channels) - c;
  int64_t n = task / across / s.groups, g = task / across % s.groups;
  int64_t first = g * s.C + c, unrolled = s.C * s.taps;
  const float *b = a->b.data != NULL ? (const float *)a->b.data + first : NULL;
  tr__cpu_factor left =
      tr__cpu_factor_in(&a->w, g * s.K * unrolled + c * s.taps, unrolled, true);
  tr__cpu_factor right = tr__cpu_factor_in(
      &a->dy, n * s.output + g * s.K * s.places, s.places, false);
  int64_t extents[3] = {most * s.taps, s.places, s.K};
  float *wide;
  if (!tr__cpu_thread_scratch(call, thread, &wide)) {
    return;
  }
  float *scratch = tr__cpu_behind(wide, most * s.plane);
  const tr__cpu_tile out = {&a->dx, n * s.image + first * s.plane, s.plane,
                            most, s.plane};
  tr__cpu_matrix planes = tr__cpu_tile_to_fp32(&out, a->accumulate, wide);
  if (tr__conv_is_pointwise(&a->dx, &a->dy, &a->window)) {
    tr__cpu_gemm_mixed(planes, left, right, extents, a->accumulate, scratch);
    if (b != NULL) {
      finish_planes(planes, b, (int64_t[2]){most, s.plane},
                    TR__ACTIVATION_NONE);
    }
  } else {
    float *col = tr__cpu_scratch(
        &a->workspace, tr__cpu_aligned_floats(channels * s.taps * s.places),
        thread);
    tr__cpu_gemm_mixed((tr__cpu_matrix){col, s.places}, left, right, extents, 0,
                       scratch);
    tr__cpu_start_planes(planes, b, most, a->accumulate);
    tr__patch patch = {{0, most}, {0, s.rows}};
    tr__ref_col2im_f32(planes.data, col, &a->dx, &a->dy, &a->window, &patch);
  }
  tr__cpu_tile_from_fp32(&out, planes);
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
  tr__conv_sizes s = tr__conv_sizes_of(&args->dx, &args->dy, &args->window);
  tr__cpu_call call = tr__cpu_call_of(stream, TR__OP_conv_backward_input, args,
                                      backward_floats(&s));
  int64_t across = tr__cpu_blocks(s.C, channels_per_block(&s));
  tr__threads_run(stream->backend->pool, args->dx.dims[0] * s.groups * across,
                  backward_input_task, &call);
}

size_t tr__cpu_conv_workspace(const tr__threads *pool, tr__op op, const void *a)
{
  size_t threads = (size_t)tr__threads_count(pool);
  if (op == TR__OP_conv_forward) {
    const tr__conv_forward_args *args = a;
    tr__conv_sizes s = tr__conv_sizes_of(&args->x, &args->y, &args->window);
    return threads * forward_scratch(&s);
  }
  if (op == TR__OP_conv_backward_input) {
    const tr__conv_backward_input_args *args = a;
    tr__conv_sizes s = tr__conv_sizes_of(&args->dx, &args->dy, &args->window);
    return threads *
           tr__cpu_aligned_floats(channels_per_block(&s) * s.taps * s.places);
  }
  if (op == TR__OP_conv_backward_weight) {
    return tr__cpu_conv_weight_workspace(pool, a);
  }
  return 0;
}

void tr__cpu_set_conv(tr__ops *ops)
{
  ops->conv_forward = conv_forward;
  ops->conv_backward_input = conv_backward_input;
  tr__cpu_set_conv_weight(ops);
}
