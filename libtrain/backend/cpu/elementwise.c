/* Ops on independent elements, split over all threads. */
#include "backend/cpu/cpu_impl.h"

enum { SLICE = 1 << 15 };

/* ELEMENTS defines an op split over elements. */
#define ELEMENTS(op)                                                           \
  static void op(tr__stream *stream, const tr__##op##_args *args)              \
  {                                                                            \
    tr__cpu_parallel_for(                                                      \
        stream, TR__OP_##op, args,                                             \
        &(tr__cpu_split){.units = tr__tensor_count((const tr__tensor *)args),  \
                         .step = SLICE});                                      \
  }

ELEMENTS(fill)
ELEMENTS(add)
ELEMENTS(sum)
ELEMENTS(product)
ELEMENTS(relu_forward)
ELEMENTS(relu_backward)
ELEMENTS(activation_forward)
ELEMENTS(activation_backward)
ELEMENTS(sgd_update)
ELEMENTS(adam_update)
ELEMENTS(rmsprop_update)
ELEMENTS(adagrad_update)
ELEMENTS(ema_update)
ELEMENTS(swap)

/* A task computes whole sums. */
_Static_assert(SLICE % TR__SQUARES_BLOCK == 0, "slices are cut at sums");

static void adapt_squares(tr__any_args *part, const void *whole, int64_t begin)
{
  (void)whole;
  tr__tensor *sums = &part->sum_squares.sums;
  sums->data = (double *)sums->data + begin / TR__SQUARES_BLOCK;
}

static void sum_squares(tr__stream *stream, const tr__sum_squares_args *args)
{
  tr__cpu_parallel_for(stream, TR__OP_sum_squares, args,
                       &(tr__cpu_split){.units = tr__tensor_count(&args->x),
                                        .step = SLICE,
                                        .adapt = adapt_squares});
}

/* Between fp32 and 16 bits a cast only widens or rounds: it needs no fp32
 * copies. */
static void cast_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  const tr__cast_args *a = arg;
  int64_t units = tr__tensor_count(&a->y), begin = task * SLICE;
  int64_t count = tr__min(SLICE, units - begin);
  const tr__cast_args part = {
      .y = tr__cpu_split_tensor(&a->y, units, begin, count),
      .x = tr__cpu_split_tensor(&a->x, units, begin, count)};
  if (tr__is_half(part.y.dtype) && part.x.dtype == TR_F32) {
    tr__narrow(part.y.data, part.x.data, part.y.dtype, count);
  } else if (tr__is_half(part.x.dtype) && part.y.dtype == TR_F32) {
    tr__widen(part.y.data, part.x.data, part.x.dtype, count);
  } else {
    tr__ref_run(TR__OP_cast, &part);
  }
}

static void cast(tr__stream *stream, const tr__cast_args *args)
{
  tr__cast_args copy = *args;
  int64_t count = tr__tensor_count(&args->y);
  tr__threads_run(stream->backend->pool, (count + SLICE - 1) / SLICE, cast_task,
                  &copy);
}

void tr__cpu_set_elementwise(tr__ops *ops)
{
  ops->fill = fill;
  ops->add = add;
  ops->sum = sum;
  ops->product = product;
  ops->cast = cast;
  ops->relu_forward = relu_forward;
  ops->relu_backward = relu_backward;
  ops->activation_forward = activation_forward;
  ops->activation_backward = activation_backward;
  ops->sgd_update = sgd_update;
  ops->adam_update = adam_update;
  ops->rmsprop_update = rmsprop_update;
  ops->adagrad_update = adagrad_update;
  ops->ema_update = ema_update;
  ops->swap = swap;
  ops->sum_squares = sum_squares;
}
