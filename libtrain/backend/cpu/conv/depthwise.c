/* Depthwise convolution: each output channel is a sum of shifted copies of one
 * input channel, one per tap. The sums are made row by row in place. dw is left
 * to conv_weight.c, where it is a dot product with the columns. */
#include "backend/cpu/cpu_impl.h"
#include "backend/cpu_ref/reference_impl.h"
#include "base/clones_impl.h"

/* Elements that a task computes, rounded to whole channels. */
enum { TASK_ELEMENTS = 1 << 14 };

bool tr__cpu_is_depthwise(const tr__window *window, const tr__tensor *x)
{
  return window->groups > 1 && window->groups == x->dims[1];
}

static int64_t channels_per_task(int64_t channels, int64_t places)
{
  return tr__min(channels, tr__max(1, TASK_ELEMENTS / tr__max(1, places)));
}

static int64_t num_tasks(int64_t channels, int64_t places)
{
  int64_t part = channels_per_task(channels, places);
  return (channels + part - 1) / part;
}

void tr__cpu_start_planes(tr__cpu_matrix y,
                          const float *b,
                          int64_t planes,
                          int accumulate)
{
  for (int64_t c = 0; c < planes; c++) {
    float *plane = y.data + c * y.stride, value = b != NULL ? b[c] : 0;
    for (int64_t i = 0; i < y.stride && !accumulate; i++) {
      plane[i] = value;
    }
    for (int64_t i = 0; i < y.stride && accumulate && b != NULL; i++) {
      plane[i] += value;
    }
  }
}

/* y[i] += w x[i * stride] */
static TR__CLONES void depthwise_gather(float *restrict y,
                                        const float *restrict x,
                                        float w,
                                        const int64_t sizes[2])
{
  int64_t count = sizes[0], stride = sizes[1];
  for (int64_t i = 0; stride == 1 && i < count; i++) {
    y[i] += w * x[i];
  }
  for (int64_t i = 0; stride != 1 && i < count; i++) {
    y[i] += w * x[i * stride];
  }
}

/* x[i * stride] += w y[i] */
static TR__CLONES void depthwise_scatter(float *restrict x,
                                         const float *restrict y,
                                         float w,
                                         const int64_t sizes[2])
{
  int64_t count = sizes[0], stride = sizes[1];
  for (int64_t i = 0; stride == 1 && i < count; i++) {
    x[i] += w * y[i];
  }
  for (int64_t i = 0; stride != 1 && i < count; i++) {
    x[i * stride] += w * y[i];
  }
}

/* One channel of the image and one of the output, with their kernel. */
typedef struct channels {
  const tr__tensor *x, *y;
  const tr__window *window;
  const float *w; /* the taps */
} channels;

static void add_forward(const channels *pair, float *y, const float *x)
{
  int64_t W = pair->x->dims[4], R = pair->y->dims[4];
  int64_t rows = pair->y->dims[2] * pair->y->dims[3];
  int64_t stride = pair->window->stride[2];
  for (int64_t tap = 0; tap < tr__taps(pair->window); tap++) {
    int64_t shift[3], range[2];
    tr__tap_shift(shift, pair->window, tap);
    tr__valid_places(range, R, W, stride, shift[2]);
    for (int64_t p = 0; p < rows; p++) {
      int64_t row = tr__image_row(pair->x, pair->y, pair->window, shift, p);
      if (row >= 0 && range[1] > range[0]) {
        depthwise_gather(
            y + p * R + range[0], x + row * W + shift[2] + range[0] * stride,
            pair->w[tap], (int64_t[2]){range[1] - range[0], stride});
      }
    }
  }
}

static void add_backward(const channels *pair, float *dx, const float *dy)
{
  int64_t W = pair->x->dims[4], R = pair->y->dims[4];
  int64_t rows = pair->y->dims[2] * pair->y->dims[3];
  int64_t stride = pair->window->stride[2];
  for (int64_t tap = 0; tap < tr__taps(pair->window); tap++) {
    int64_t shift[3], range[2];
    tr__tap_shift(shift, pair->window, tap);
    tr__valid_places(range, R, W, stride, shift[2]);
    for (int64_t p = 0; p < rows; p++) {
      int64_t row = tr__image_row(pair->x, pair->y, pair->window, shift, p);
      if (row >= 0 && range[1] > range[0]) {
        depthwise_scatter(dx + row * W + shift[2] + range[0] * stride,
                          dy + p * R + range[0], pair->w[tap],
                          (int64_t[2]){range[1] - range[0], stride});
      }
    }
  }
}

/* Floats of a task's fp32 copies: a plane of y, a plane of x, and the taps. */
static int64_t
wide_floats(const tr__tensor *x, const tr__tensor *y, const tr__window *window)
{
  return tr__places(y) + tr__places(x) + tr__taps(window);
}

static void forward_task(void *arg, int64_t task, int thread)
{
  const tr__cpu_call *call = arg;
  const tr__conv_forward_args *a = call->args;
  float *wide;
  if (!tr__cpu_thread_scratch(call, thread, &wide)) {
    return;
  }
  int64_t K = a->y.dims[1], places = tr__places(&a->y);
  int64_t part = channels_per_task(K, places), across = num_tasks(K, places);
  int64_t n = task / across, first = task % across * part;
  int64_t taps = tr__taps(&a->window), multiplier = K / a->x.dims[1];
  int64_t plane = tr__places(&a->x);
  float *for_x = tr__cpu_behind(wide, places);
  float *for_w = tr__cpu_behind(for_x, plane);
  for (int64_t k = first; k < tr__min(K, first + part); k++) {
    const float *image = tr__cpu_floats(
        &a->x, n * tr__tensor_row(&a->x) + k / multiplier * plane, plane,
        for_x);
    const tr__cpu_tile out = {&a->y, (n * K + k) * places, places, 1, places};
    tr__cpu_matrix y = tr__cpu_tile_to_fp32(&out, a->accumulate, wide);
    const float *b = a->b.data;
    channels pair = {&a->x, &a->y, &a->window,
                     tr__cpu_floats(&a->w, k * taps, taps, for_w)};
    tr__cpu_start_planes(y, b != NULL ? b + k : NULL, 1, a->accumulate);
    add_forward(&pair, y.data, image);
    tr__cpu_finish(y, NULL, 1, places, a->activation);
    tr__cpu_tile_from_fp32(&out, y);
  }
}

void tr__cpu_depthwise_forward(tr__stream *stream,
                               const tr__conv_forward_args *args)
{
  tr__cpu_call call =
      tr__cpu_call_of(stream, TR__OP_conv_forward, args,
                      wide_floats(&args->x, &args->y, &args->window));
  tr__threads_run(stream->backend->pool,
                  args->y.dims[0] *
                      num_tasks(args->y.dims[1], tr__places(&args->y)),
                  forward_task, &call);
}

static void backward_input_task(void *arg, int64_t task, int thread)
{
  const tr__cpu_call *call = arg;
  const tr__conv_backward_input_args *a = call->args;
  float *wide;
  if (!tr__cpu_thread_scratch(call, thread, &wide)) {
    return;
  }
  int64_t C = a->dx.dims[1], plane = tr__places(&a->dx);
  int64_t part = channels_per_task(C, plane), across = num_tasks(C, plane);
  int64_t n = task / across, first = task % across * part;
  int64_t taps = tr__taps(&a->window), multiplier = a->dy.dims[1] / C;
  int64_t places = tr__places(&a->dy);
  float *for_y = tr__cpu_behind(wide, plane);
  float *for_w = tr__cpu_behind(for_y, places);
  for (int64_t c = first; c < tr__min(C, first + part); c++) {
    const tr__cpu_tile out = {&a->dx, (n * C + c) * plane, plane, 1, plane};
    tr__cpu_matrix dx = tr__cpu_tile_to_fp32(&out, a->accumulate, wide);
    const float *b = a->b.data;
    tr__cpu_start_planes(dx, b != NULL ? b + c : NULL, 1, a->accumulate);
    for (int64_t k = c * multiplier; k < (c + 1) * multiplier; k++) {
      channels pair = {&a->dx, &a->dy, &a->window,
                       tr__cpu_floats(&a->w, k * taps, taps, for_w)};
      add_backward(&pair, dx.data,
                   tr__cpu_floats(&a->dy,
                                  n * tr__tensor_row(&a->dy) + k * places,
                                  places, for_y));
    }
    tr__cpu_tile_from_fp32(&out, dx);
  }
}

void tr__cpu_depthwise_backward_input(tr__stream *stream,
                                      const tr__conv_backward_input_args *args)
{
  tr__cpu_call call =
      tr__cpu_call_of(stream, TR__OP_conv_backward_input, args,
                      wide_floats(&args->dx, &args->dy, &args->window));
  tr__threads_run(stream->backend->pool,
                  args->dx.dims[0] *
                      num_tasks(args->dx.dims[1], tr__places(&args->dx)),
                  backward_input_task, &call);
}
