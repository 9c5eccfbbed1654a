/* Losses: the reference's loops on groups of rows that the threads share. */
#include "backend/cpu/cpu_impl.h"
#include "backend/cpu_ref/reference_impl.h"

/* So many numbers make a task worth its start. */
enum { TASK_NUMBERS = 4096 };

static int64_t rows_per_task(const tr__tensor *x)
{
  return tr__max(1, TASK_NUMBERS / tr__max(1, tr__tensor_row(x)));
}

/* Rows of a task, where one row of t stands for `times` rows of the op. */
static tr__tensor
cut(const tr__tensor *t, int64_t begin, int64_t count, int64_t times)
{
  tr__tensor part = *t;
  if (t->data == NULL) {
    return part;
  }
  size_t row = (size_t)tr__tensor_row(t) * tr_dtype_size(t->dtype);
  part.data = (char *)t->data + (size_t)(begin / times) * row;
  part.dims[0] = count / times;
  return part;
}

/* OP defines the op on the pool for single precision; `x` is the tensor that
 * gives the rows; then come the cuts of the others. A sample's rows, which
 * share its weight, stay together. */
#define OP(op, x, weight_times, ...)                                           \
  static void op##_task(void *arg, int64_t task, int thread)                   \
  {                                                                            \
    (void)thread;                                                              \
    tr__##op##_args a = *(const tr__##op##_args *)arg;                         \
    int64_t times = weight_times;                                              \
    int64_t step = rows_per_task(&a.x) * times, begin = task * step;           \
    int64_t count = tr__min(step, a.x.dims[0] - begin);                        \
    a.x = cut(&a.x, begin, count, 1);                                          \
    __VA_ARGS__;                                                               \
    tr__ref_##op##_f32(&a);                                                    \
  }                                                                            \
  static void op(tr__stream *stream, const tr__##op##_args *args)              \
  {                                                                            \
    if (args->x.dtype != TR_F32) {                                             \
      tr__ref_##op##_f64(args);                                                \
      return;                                                                  \
    }                                                                          \
    tr__##op##_args a = *args;                                                 \
    int64_t step = rows_per_task(&a.x) * (weight_times);                       \
    tr__pool_run(stream->backend->pool, (a.x.dims[0] + step - 1) / step,       \
                 op##_task, &a);                                               \
  }

#define CUT_1(a1)     a.a1 = cut(&a.a1, begin, count, 1)
#define CUT_2(a1, a2) CUT_1(a1), CUT_1(a2)
#define WEIGHT        a.weight = cut(&a.weight, begin, count, times)
#define TIMES                                                                  \
  (a.weight.data != NULL && a.weight.dims[0] > 0                               \
       ? a.dx.dims[0] / a.weight.dims[0]                                       \
       : 1)

OP(xent_rule_forward,
   x,
   1,
   (void)times,
   CUT_2(loss, prob),
   CUT_2(correct, share),
   CUT_1(target))
OP(xent_rule_backward, dx, TIMES, CUT_2(prob, target), WEIGHT)
OP(regression_forward, x, 1, (void)times, CUT_2(loss, target))
OP(regression_backward, dx, TIMES, CUT_2(x, target), WEIGHT)

void tr__cpu_set_losses(tr__ops *ops)
{
  ops->xent_rule_forward = xent_rule_forward;
  ops->xent_rule_backward = xent_rule_backward;
  ops->regression_forward = regression_forward;
  ops->regression_backward = regression_backward;
}
