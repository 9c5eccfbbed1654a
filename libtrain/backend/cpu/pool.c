/* Pooling: planes are independent of each other. */
#include "backend/clones_impl.h"
#include "backend/cpu/cpu_impl.h"
#include "backend/cpu_ref/reference_impl.h"

enum { TASK_ELEMENTS = 1 << 15 };

static int64_t planes_of(const tr__tensor *t)
{
  return t->dims[0] * t->dims[1];
}

/* Elements of a channel, 1 of a mean. */
static int64_t plane_size(const tr__tensor *t)
{
  int64_t size = 1;
  for (int i = 2; i < t->ndim; i++) {
    size *= t->dims[i];
  }
  return size;
}

/* So many planes make a task. */
static int64_t planes_per_task(const tr__tensor *image)
{
  return tr__max(1, TASK_ELEMENTS / tr__max(1, plane_size(image)));
}

static int64_t num_tasks(const tr__tensor *image)
{
  int64_t per_task = planes_per_task(image);
  return (planes_of(image) + per_task - 1) / per_task;
}

/* The planes of a tensor that belong to a task, as its only row. */
static tr__tensor
slice(const tr__tensor *t, const tr__tensor *image, int64_t task)
{
  int64_t per_task = planes_per_task(image), begin = task * per_task;
  tr__tensor part = *t;
  part.data = (char *)t->data +
              (size_t)(begin * plane_size(t)) * tr_dtype_size(t->dtype);
  part.dims[0] = 1;
  part.dims[1] = tr__min(per_task, planes_of(image) - begin);
  return part;
}

/* A row of windows of 2 x 2 that touch each other and not the border. */
typedef struct window_row {
  float *y;
  int32_t *index;
  const float *x;
  int32_t W, R, origin; /* origin: the place of x[0] in its channel */
} window_row;

/* Without a branch: which of the numbers is the largest is a coin toss that no
 * predictor wins. Returns non-zero where a number may be a NaN, for which the
 * comparisons are not meant. */
static TR__CLONES int32_t maximum_2x2(float *restrict y,
                                      int32_t *restrict index,
                                      const float *restrict x,
                                      const int32_t sizes[3])
{
  int32_t W = sizes[0], R = sizes[1], origin = sizes[2], nan = 0;
  const float *below = x + W;
  for (int32_t r = 0; r < R; r++) {
    float a = x[2 * r], b = x[2 * r + 1];
    float c = below[2 * r], d = below[2 * r + 1], sum = (a + b) + (c + d);
    float upper = a >= b ? a : b, lower = c >= d ? c : d;
    int32_t at_upper = a >= b ? 0 : 1, at_lower = c >= d ? W : W + 1;
    nan |= sum != sum;
    y[r] = upper >= lower ? upper : lower;
    index[r] = origin + 2 * r + (upper >= lower ? at_upper : at_lower);
  }
  return nan;
}

/* Is b greater, or a NaN where a is none? */
static inline bool wins(float b, float a)
{
  return b > a || (b != b && a == a);
}

static void maximum_2x2_with_nan(const window_row *row)
{
  for (int32_t r = 0; r < row->R; r++) {
    int32_t upper = 2 * r, lower = 2 * r + row->W;
    upper += wins(row->x[upper + 1], row->x[upper]);
    lower += wins(row->x[lower + 1], row->x[lower]);
    int32_t place = wins(row->x[lower], row->x[upper]) ? lower : upper;
    row->y[r] = row->x[place];
    row->index[r] = row->origin + place;
  }
}

static void maxpool_2x2(const tr__maxpool_forward_args *a)
{
  int64_t W = a->x.dims[4], R = a->y.dims[4], size = tr__places(&a->x);
  int64_t rows = a->y.dims[2] * a->y.dims[3];
  for (int64_t i = 0; i < a->x.dims[1] * rows; i++) {
    int64_t plane = i / rows, p = i % rows;
    int64_t d = p / a->y.dims[3], h = p % a->y.dims[3] * 2;
    int64_t origin = (d * a->x.dims[3] + h) * W;
    window_row row = {.y = (float *)a->y.data + i * R,
                      .index = (int32_t *)a->index.data + i * R,
                      .x = (const float *)a->x.data + plane * size + origin,
                      .W = (int32_t)W,
                      .R = (int32_t)R,
                      .origin = (int32_t)origin};
    if (maximum_2x2(row.y, row.index, row.x,
                    (int32_t[3]){row.W, row.R, row.origin})) {
      maximum_2x2_with_nan(&row);
    }
  }
}

static bool is_2x2(const tr__window *w)
{
  bool is = w->kernel[0] == 1 && w->stride[0] == 1 && w->padding[0] == 0;
  for (int i = 1; i < 3; i++) {
    is = is && w->kernel[i] == 2 && w->stride[i] == 2 && w->padding[i] == 0;
  }
  return is;
}

static void maxpool_forward_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  tr__maxpool_forward_args a = *(const tr__maxpool_forward_args *)arg;
  const tr__tensor image = a.x;
  a.x = slice(&a.x, &image, task);
  a.y = slice(&a.y, &image, task);
  a.index = slice(&a.index, &image, task);
  if (!is_2x2(&a.window)) {
    tr__ref_maxpool_forward_f32(&a);
    return;
  }
  maxpool_2x2(&a);
}

static void maxpool_forward(tr__stream *stream,
                            const tr__maxpool_forward_args *args)
{
  if (args->y.dtype != TR_F32) {
    tr__ref_maxpool_forward_f64(args);
    return;
  }
  tr__maxpool_forward_args copy = *args;
  tr__pool_run(stream->backend->pool, num_tasks(&args->x), maxpool_forward_task,
               &copy);
}

static void maxpool_backward_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  tr__maxpool_backward_args a = *(const tr__maxpool_backward_args *)arg;
  const tr__tensor image = a.dx;
  a.dx = slice(&a.dx, &image, task);
  a.dy = slice(&a.dy, &image, task);
  a.index = slice(&a.index, &image, task);
  tr__ref_maxpool_backward_f32(&a);
}

static void maxpool_backward(tr__stream *stream,
                             const tr__maxpool_backward_args *args)
{
  if (args->dx.dtype != TR_F32) {
    tr__ref_maxpool_backward_f64(args);
    return;
  }
  tr__maxpool_backward_args copy = *args;
  tr__pool_run(stream->backend->pool, num_tasks(&args->dx),
               maxpool_backward_task, &copy);
}

static void avgpool_forward_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  tr__avgpool_forward_args a = *(const tr__avgpool_forward_args *)arg;
  const tr__tensor image = a.x;
  a.x = slice(&a.x, &image, task);
  a.y = slice(&a.y, &image, task);
  tr__ref_avgpool_forward_f32(&a);
}

static void avgpool_forward(tr__stream *stream,
                            const tr__avgpool_forward_args *args)
{
  if (args->y.dtype != TR_F32) {
    tr__ref_avgpool_forward_f64(args);
    return;
  }
  tr__avgpool_forward_args copy = *args;
  tr__pool_run(stream->backend->pool, num_tasks(&args->x), avgpool_forward_task,
               &copy);
}

static void avgpool_backward_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  tr__avgpool_backward_args a = *(const tr__avgpool_backward_args *)arg;
  const tr__tensor image = a.dx;
  a.dx = slice(&a.dx, &image, task);
  a.dy = slice(&a.dy, &image, task);
  tr__ref_avgpool_backward_f32(&a);
}

static void avgpool_backward(tr__stream *stream,
                             const tr__avgpool_backward_args *args)
{
  if (args->dx.dtype != TR_F32) {
    tr__ref_avgpool_backward_f64(args);
    return;
  }
  tr__avgpool_backward_args copy = *args;
  tr__pool_run(stream->backend->pool, num_tasks(&args->dx),
               avgpool_backward_task, &copy);
}

static void average_forward_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  tr__global_avgpool2d_forward_args a =
      *(const tr__global_avgpool2d_forward_args *)arg;
  const tr__tensor image = a.x;
  a.x = slice(&a.x, &image, task);
  a.y = slice(&a.y, &image, task);
  tr__ref_global_avgpool2d_forward_f32(&a);
}

static void
global_avgpool2d_forward(tr__stream *stream,
                         const tr__global_avgpool2d_forward_args *args)
{
  if (args->y.dtype != TR_F32) {
    tr__ref_global_avgpool2d_forward_f64(args);
    return;
  }
  tr__global_avgpool2d_forward_args copy = *args;
  tr__pool_run(stream->backend->pool, num_tasks(&args->x), average_forward_task,
               &copy);
}

static void average_backward_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  tr__global_avgpool2d_backward_args a =
      *(const tr__global_avgpool2d_backward_args *)arg;
  const tr__tensor image = a.dx;
  a.dx = slice(&a.dx, &image, task);
  a.dy = slice(&a.dy, &image, task);
  tr__ref_global_avgpool2d_backward_f32(&a);
}

static void
global_avgpool2d_backward(tr__stream *stream,
                          const tr__global_avgpool2d_backward_args *args)
{
  if (args->dx.dtype != TR_F32) {
    tr__ref_global_avgpool2d_backward_f64(args);
    return;
  }
  tr__global_avgpool2d_backward_args copy = *args;
  tr__pool_run(stream->backend->pool, num_tasks(&args->dx),
               average_backward_task, &copy);
}

void tr__cpu_set_pool(tr__ops *ops)
{
  ops->maxpool_forward = maxpool_forward;
  ops->maxpool_backward = maxpool_backward;
  ops->avgpool_forward = avgpool_forward;
  ops->avgpool_backward = avgpool_backward;
  ops->global_avgpool2d_forward = global_avgpool2d_forward;
  ops->global_avgpool2d_backward = global_avgpool2d_backward;
}
