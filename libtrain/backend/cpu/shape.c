/* Sums, products, copies and other orders of extents: the reference's loops on
 * slices that the threads share. */
#include "backend/cpu/cpu_impl.h"
#include "backend/cpu_ref/reference_impl.h"

enum { SLICE = 1 << 15 };

static tr__tensor slice(const tr__tensor *t, int64_t begin, int64_t count)
{
  tr__tensor part = *t;
  part.ndim = 1;
  part.dims[0] = count;
  part.data = (float *)t->data + begin;
  return part;
}

static int64_t slices(int64_t count)
{
  return (count + SLICE - 1) / SLICE;
}

static void sum_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  tr__sum_args a = *(const tr__sum_args *)arg;
  int64_t begin = task * SLICE;
  int64_t count = tr__min(SLICE, tr__tensor_count(&a.y) - begin);
  a.y = slice(&a.y, begin, count);
  a.a = slice(&a.a, begin, count);
  a.b = slice(&a.b, begin, count);
  tr__ref_sum_f32(&a);
}

static void sum(tr__stream *stream, const tr__sum_args *args)
{
  if (args->y.dtype != TR_F32) {
    tr__ref_sum_f64(args);
    return;
  }
  tr__sum_args copy = *args;
  tr__pool_run(stream->backend->pool, slices(tr__tensor_count(&args->y)),
               sum_task, &copy);
}

static void product_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  tr__product_args a = *(const tr__product_args *)arg;
  int64_t begin = task * SLICE;
  int64_t count = tr__min(SLICE, tr__tensor_count(&a.y) - begin);
  a.y = slice(&a.y, begin, count);
  a.a = slice(&a.a, begin, count);
  a.b = slice(&a.b, begin, count);
  tr__ref_product_f32(&a);
}

static void product(tr__stream *stream, const tr__product_args *args)
{
  if (args->y.dtype != TR_F32) {
    tr__ref_product_f64(args);
    return;
  }
  tr__product_args copy = *args;
  tr__pool_run(stream->backend->pool, slices(tr__tensor_count(&args->y)),
               product_task, &copy);
}

/* Rows of about a slice together. */
static int64_t rows_per_task(int64_t count)
{
  return tr__max(1, SLICE / tr__max(count, 1));
}

static void copy_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  tr__copy_args a = *(const tr__copy_args *)arg;
  int64_t rows = rows_per_task(a.count), begin = task * rows;
  a.y.data = (float *)a.y.data + begin * a.y.dims[1];
  a.x.data = (float *)a.x.data + begin * a.x.dims[1];
  a.y.dims[0] = tr__min(rows, a.y.dims[0] - begin);
  tr__ref_copy_f32(&a);
}

static void copy(tr__stream *stream, const tr__copy_args *args)
{
  if (args->y.dtype != TR_F32) {
    tr__ref_copy_f64(args);
    return;
  }
  tr__copy_args copied = *args;
  int64_t rows = rows_per_task(args->count);
  tr__pool_run(stream->backend->pool, (args->y.dims[0] + rows - 1) / rows,
               copy_task, &copied);
}

static void permute_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  tr__permute_args a = *(const tr__permute_args *)arg;
  int64_t row = tr__tensor_row(&a.y);
  int64_t rows = rows_per_task(row), begin = task * rows;
  int64_t count = tr__min(rows, a.y.dims[0] - begin);
  a.y.data = (float *)a.y.data + begin * row;
  a.x.data = (float *)a.x.data + begin * row;
  a.y.dims[0] = a.x.dims[0] = count;
  tr__ref_permute_f32(&a);
}

static void permute(tr__stream *stream, const tr__permute_args *args)
{
  if (args->y.dtype != TR_F32) {
    tr__ref_permute_f64(args);
    return;
  }
  tr__permute_args copied = *args;
  int64_t rows = rows_per_task(tr__tensor_row(&args->y));
  tr__pool_run(stream->backend->pool, (args->y.dims[0] + rows - 1) / rows,
               permute_task, &copied);
}

/* A task is one sample. */
static void upsample_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  tr__upsample2d_forward_args a = *(const tr__upsample2d_forward_args *)arg;
  a.y.data = (float *)a.y.data + task * tr__tensor_row(&a.y);
  a.x.data = (float *)a.x.data + task * tr__tensor_row(&a.x);
  a.y.dims[0] = a.x.dims[0] = 1;
  tr__ref_upsample2d_forward_f32(&a);
}

static void upsample2d_forward(tr__stream *stream,
                               const tr__upsample2d_forward_args *args)
{
  if (args->y.dtype != TR_F32) {
    tr__ref_upsample2d_forward_f64(args);
    return;
  }
  tr__upsample2d_forward_args copied = *args;
  tr__pool_run(stream->backend->pool, args->y.dims[0], upsample_task, &copied);
}

static void downsum_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  tr__upsample2d_backward_args a = *(const tr__upsample2d_backward_args *)arg;
  a.dx.data = (float *)a.dx.data + task * tr__tensor_row(&a.dx);
  a.dy.data = (float *)a.dy.data + task * tr__tensor_row(&a.dy);
  a.dx.dims[0] = a.dy.dims[0] = 1;
  tr__ref_upsample2d_backward_f32(&a);
}

static void upsample2d_backward(tr__stream *stream,
                                const tr__upsample2d_backward_args *args)
{
  if (args->dx.dtype != TR_F32) {
    tr__ref_upsample2d_backward_f64(args);
    return;
  }
  tr__upsample2d_backward_args copied = *args;
  tr__pool_run(stream->backend->pool, args->dx.dims[0], downsum_task, &copied);
}

void tr__cpu_set_shape(tr__ops *ops)
{
  ops->sum = sum;
  ops->product = product;
  ops->copy = copy;
  ops->permute = permute;
  ops->upsample2d_forward = upsample2d_forward;
  ops->upsample2d_backward = upsample2d_backward;
}
