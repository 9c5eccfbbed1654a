/* Activations, softmax and dropout: the reference's loops on slices that the
 * threads share. */
#include "backend/cpu/cpu_impl.h"
#include "backend/cpu_ref/reference_impl.h"

enum { SLICE = 1 << 13 };

/* Rows of `extent` elements that one task works on. */
static int64_t rows_of_task(int64_t extent)
{
  return tr__max(1, SLICE / tr__max(extent, 1));
}

/* The rows of a task as a matrix. */
static tr__tensor slice(const tr__tensor *t, int64_t extent, int64_t task)
{
  int64_t rows = tr__tensor_count(t) / extent, step = rows_of_task(extent);
  tr__tensor part = *t;
  part.ndim = 2;
  part.dims[0] = tr__min(step, rows - task * step);
  part.dims[1] = extent;
  part.data = (float *)t->data + task * step * extent;
  return part;
}

/* Elements alone, rows of the last extent, or samples. */
static int64_t one(const tr__tensor *t)
{
  (void)t;
  return 1;
}

static int64_t last(const tr__tensor *t)
{
  return t->dims[t->ndim - 1];
}

/* OP defines the op on the pool for single precision; `first` is the tensor
 * that is cut, CUT cuts the others. */
#define OP(op, first, extent_of, CUT)                                          \
  static void op##_task(void *arg, int64_t task, int thread)                   \
  {                                                                            \
    (void)thread;                                                              \
    tr__##op##_args a = *(const tr__##op##_args *)arg;                         \
    int64_t extent = extent_of(&a.first);                                      \
    a.first = slice(&a.first, extent, task);                                   \
    CUT;                                                                       \
    tr__ref_##op##_f32(&a);                                                    \
  }                                                                            \
  static void op(tr__stream *stream, const tr__##op##_args *args)              \
  {                                                                            \
    if (args->first.dtype != TR_F32) {                                         \
      tr__ref_##op##_f64(args);                                                \
      return;                                                                  \
    }                                                                          \
    tr__##op##_args copy = *args;                                              \
    int64_t extent = extent_of(&args->first);                                  \
    int64_t rows = tr__tensor_count(&args->first) / tr__max(extent, 1);        \
    int64_t step = rows_of_task(extent);                                       \
    tr__pool_run(stream->backend->pool, (rows + step - 1) / step, op##_task,   \
                 &copy);                                                       \
  }

#define CUT_1(a1) a.a1 = slice(&a.a1, extent, task)
#define CUT_2(a1, a2)                                                          \
  CUT_1(a1);                                                                   \
  CUT_1(a2)

OP(activation_forward, y, one, CUT_1(x))
OP(activation_backward, dx, one, CUT_2(dy, value))
OP(softmax_forward, y, last, CUT_1(x))
OP(softmax_backward, dx, last, CUT_2(dy, y))
OP(dropout, y, tr__tensor_row, CUT_1(x);
   a.first_row += task * rows_of_task(extent))

void tr__cpu_set_activation(tr__ops *ops)
{
  ops->activation_forward = activation_forward;
  ops->activation_backward = activation_backward;
  ops->softmax_forward = softmax_forward;
  ops->softmax_backward = softmax_backward;
  ops->dropout = dropout;
}
