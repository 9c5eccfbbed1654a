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

/* Is b greater, or a NaN where a is none? */
static inline bool wins(float b, float a)
{
  return (b > a) | ((b != b) & (a == a));
}

/* One row of windows of 2 x 2 that touch each other and not the border. Both
 * sides of each comparison are computed: which of the numbers is the largest is
 * a coin toss that no branch predictor wins, and vectors have no branches. */
static TR__CLONES void maximum_2x2(float *restrict y,
                                   int32_t *restrict index,
                                   const float *restrict x,
                                   const int32_t sizes[3])
{
  int32_t W = sizes[0], R = sizes[1], origin = sizes[2];
  const float *below = x + W;
  for (int32_t r = 0; r < R; r++) {
    float a = x[2 * r], b = x[2 * r + 1];
    float c = below[2 * r], d = below[2 * r + 1];
    int right = wins(b, a), right_below = wins(d, c);
    float upper = right ? b : a, lower = right_below ? d : c;
    int32_t at = origin + 2 * r + right;
    int32_t at_below = origin + W + 2 * r + right_below;
    int is_below = wins(lower, upper);
    y[r] = is_below ? lower : upper;
    index[r] = is_below ? at_below : at;
  }
}

static void maxpool_2x2(const tr__maxpool_forward_args *a)
{
  int64_t planes = a->x.dims[1], W = a->x.dims[4], R = a->y.dims[4];
  int64_t rows = a->y.dims[2] * a->y.dims[3], size = tr__places(&a->x);
  for (int64_t i = 0; i < planes * rows; i++) {
    int64_t plane = i / rows, p = i % rows;
    int64_t d = p / a->y.dims[3], h = p % a->y.dims[3] * 2;
    int64_t origin = (d * a->x.dims[3] + h) * W;
    maximum_2x2((float *)a->y.data + i * R, (int32_t *)a->index.data + i * R,
                (const float *)a->x.data + plane * size + origin,
                (int32_t[3]){(int32_t)W, (int32_t)R, (int32_t)origin});
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
