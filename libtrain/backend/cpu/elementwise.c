/* Ops on independent elements or rows: the reference's loops, which are as
 * fast as memory, on slices that the threads share. */
#include "backend/cpu/cpu_impl.h"
#include "backend/cpu_ref/reference_impl.h"

enum { SLICE = 1 << 15 };

/* The elements of a slice, as a vector; an absent tensor stays absent. */
static tr__tensor slice(const tr__tensor *t, int64_t count, int64_t task)
{
  tr__tensor part = *t;
  int64_t begin = task * SLICE;
  part.ndim = 1;
  part.dims[0] = tr__min(SLICE, count - begin);
  if (t->data != NULL) {
    part.data = (char *)t->data + (size_t)begin * tr_dtype_size(t->dtype);
  }
  return part;
}

/* OP defines the op on the pool for single precision. `first` is the tensor
 * that gives the number of elements, CUT the others that are cut with it. */
#define OP(op, first, CUT)                                                     \
  static void op##_task(void *arg, int64_t task, int thread)                   \
  {                                                                            \
    (void)thread;                                                              \
    tr__##op##_args a = *(const tr__##op##_args *)arg;                         \
    int64_t count = tr__tensor_count(&a.first);                                \
    a.first = slice(&a.first, count, task);                                    \
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
    int64_t count = tr__tensor_count(&args->first);                            \
    tr__pool_run(stream->backend->pool, (count + SLICE - 1) / SLICE,           \
                 op##_task, &copy);                                            \
  }

#define CUT_1(a1) a.a1 = slice(&a.a1, count, task)
#define CUT_2(a1, a2)                                                          \
  CUT_1(a1);                                                                   \
  CUT_1(a2)
#define CUT_3(a1, a2, a3)                                                      \
  CUT_2(a1, a2);                                                               \
  CUT_1(a3)

OP(fill, y, (void)0)
OP(add, y, CUT_1(x))
OP(relu_forward, y, CUT_1(x))
OP(relu_backward, dx, CUT_2(dy, y))
#define CUT_4(a1, a2, a3, a4)                                                  \
  CUT_2(a1, a2);                                                               \
  CUT_2(a3, a4)

OP(sgd_update, p, CUT_2(grad, m))
OP(adam_update, p, CUT_3(grad, m, v))
OP(rmsprop_update, p, CUT_4(grad, v, m, mean))
OP(adagrad_update, p, CUT_2(grad, v))
OP(ema_update, e, CUT_1(p))
OP(swap, a, CUT_1(b))

/* A slice makes a whole number of sums. */
_Static_assert(SLICE % TR__SQUARES_BLOCK == 0, "slices are cut at sums");
OP(sum_squares,
   x,
   a.sums.data = (double *)a.sums.data + task * (SLICE / TR__SQUARES_BLOCK))

void tr__cpu_set_elementwise(tr__ops *ops)
{
  ops->fill = fill;
  ops->add = add;
  ops->relu_forward = relu_forward;
  ops->relu_backward = relu_backward;
  ops->sgd_update = sgd_update;
  ops->adam_update = adam_update;
  ops->rmsprop_update = rmsprop_update;
  ops->adagrad_update = adagrad_update;
  ops->ema_update = ema_update;
  ops->swap = swap;
  ops->sum_squares = sum_squares;
}
