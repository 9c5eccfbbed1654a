/* Pooling: planes are independent of each other. */
#include "backend/cpu/cpu_impl.h"
#include "backend/cpu_ref/reference_impl.h"

enum { TASK_ELEMENTS = 1 << 15 };

static int64_t planes_of(const tr__tensor *t)
{
  return t->dims[0] * t->dims[1];
}

/* So many planes make a task. */
static int64_t planes_per_task(const tr__tensor *image)
{
  int64_t size = image->dims[2] * image->dims[3];
  return tr__max(1, TASK_ELEMENTS / tr__max(1, size));
}

static int64_t num_tasks(const tr__tensor *image)
{
  int64_t per_task = planes_per_task(image);
  return (planes_of(image) + per_task - 1) / per_task;
}

/* The planes of a tensor that belong to a task, as its only rows. `size` is
 * the elements of a plane. */
static tr__tensor
slice(const tr__tensor *t, const tr__tensor *image, int64_t task)
{
  int64_t per_task = planes_per_task(image), begin = task * per_task;
  int64_t size = t->ndim > 2 ? t->dims[2] * t->dims[3] : 1;
  tr__tensor part = *t;
  if (t->data != NULL) {
    part.data =
        (char *)t->data + (size_t)(begin * size) * tr_dtype_size(t->dtype);
  }
  part.dims[0] = 1;
  part.dims[1] = tr__min(per_task, planes_of(image) - begin);
  return part;
}

/* Is b greater, or a NaN where a is none? */
static inline bool wins(float b, float a)
{
  return (b > a) | ((b != b) & (a == a));
}

/* Windows of 2 x 2 that touch each other and not the border. Comparisons are
 * counted into places: which of the numbers is the largest is a coin toss that
 * no branch predictor wins. */
static void maximum_2x2(const tr__maxpool2d_forward_args *a, int64_t plane)
{
  int64_t W = a->x.dims[3], P = a->y.dims[2], Q = a->y.dims[3];
  const float *x = (const float *)a->x.data + plane * a->x.dims[2] * W;
  float *y = (float *)a->y.data + plane * P * Q;
  int32_t *index = a->index.data;
  index += index != NULL ? plane * P * Q : 0;
  for (int64_t p = 0; p < P; p++) {
    for (int64_t q = 0; q < Q; q++) {
      int64_t upper = 2 * p * W + 2 * q, lower = upper + W;
      upper += wins(x[upper + 1], x[upper]);
      lower += wins(x[lower + 1], x[lower]);
      int64_t place = upper + wins(x[lower], x[upper]) * (lower - upper);
      y[p * Q + q] = x[place];
      if (index != NULL) {
        index[p * Q + q] = (int32_t)place;
      }
    }
  }
}

static bool is_2x2(const tr__window *w)
{
  return w->kernel[0] == 2 && w->kernel[1] == 2 && w->stride[0] == 2 &&
         w->stride[1] == 2 && w->padding[0] == 0 && w->padding[1] == 0;
}

static void maxpool_forward_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  tr__maxpool2d_forward_args a = *(const tr__maxpool2d_forward_args *)arg;
  const tr__tensor image = a.x;
  a.x = slice(&a.x, &image, task);
  a.y = slice(&a.y, &image, task);
  a.index = slice(&a.index, &image, task);
  if (!is_2x2(&a.window)) {
    tr__ref_maxpool2d_forward_f32(&a);
    return;
  }
  for (int64_t plane = 0; plane < a.x.dims[1]; plane++) {
    maximum_2x2(&a, plane);
  }
}

static void maxpool2d_forward(tr__stream *stream,
                              const tr__maxpool2d_forward_args *args)
{
  if (args->y.dtype != TR_F32) {
    tr__ref_maxpool2d_forward_f64(args);
    return;
  }
  tr__maxpool2d_forward_args copy = *args;
  tr__pool_run(stream->backend->pool, num_tasks(&args->x), maxpool_forward_task,
               &copy);
}

static void maxpool_backward_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  tr__maxpool2d_backward_args a = *(const tr__maxpool2d_backward_args *)arg;
  const tr__tensor image = a.dx;
  a.dx = slice(&a.dx, &image, task);
  a.dy = slice(&a.dy, &image, task);
  a.index = slice(&a.index, &image, task);
  tr__ref_maxpool2d_backward_f32(&a);
}

static void maxpool2d_backward(tr__stream *stream,
                               const tr__maxpool2d_backward_args *args)
{
  if (args->dx.dtype != TR_F32) {
    tr__ref_maxpool2d_backward_f64(args);
    return;
  }
  tr__maxpool2d_backward_args copy = *args;
  tr__pool_run(stream->backend->pool, num_tasks(&args->dx),
               maxpool_backward_task, &copy);
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

void tr__cpu_set_pool2d(tr__ops *ops)
{
  ops->maxpool2d_forward = maxpool2d_forward;
  ops->maxpool2d_backward = maxpool2d_backward;
  ops->global_avgpool2d_forward = global_avgpool2d_forward;
  ops->global_avgpool2d_backward = global_avgpool2d_backward;
}
