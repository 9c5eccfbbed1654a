/* Ops on independent rows or samples, split over all threads. */
#include "backend/cpu/cpu_impl.h"

enum { SLICE = 1 << 13, LARGE_SLICE = 1 << 15 };

/* Units of `row` elements per task: about `slice` elements, at least one unit.
 */
static int64_t step_of(int64_t slice, int64_t row)
{
  return tr__max(1, slice / tr__max(row, 1));
}

/* ROWS defines an op split over the rows of its first tensor. */
#define ROWS(op, slice)                                                        \
  static void op(tr__stream *stream, const tr__##op##_args *args)              \
  {                                                                            \
    const tr__tensor *t = (const tr__tensor *)args;                            \
    tr__cpu_parallel_for(                                                      \
        stream, TR__OP_##op, args,                                             \
        &(tr__cpu_split){.units = t->dims[0],                                  \
                         .step = step_of(slice, tr__tensor_row(t))});          \
  }

ROWS(copy, LARGE_SLICE)
ROWS(permute, LARGE_SLICE)
ROWS(embedding_forward, LARGE_SLICE)
ROWS(position_forward, LARGE_SLICE)

/* LAST defines an op split over the vectors along the last axis. */
#define LAST(op)                                                               \
  static void op(tr__stream *stream, const tr__##op##_args *args)              \
  {                                                                            \
    const tr__tensor *t = (const tr__tensor *)args;                            \
    int64_t row = t->dims[t->ndim - 1];                                        \
    tr__cpu_parallel_for(stream, TR__OP_##op, args,                            \
                         &(tr__cpu_split){.units = tr__tensor_count(t) / row,  \
                                          .step = step_of(SLICE, row)});       \
  }

LAST(softmax_forward)
LAST(softmax_backward)

static void adapt_dropout(tr__any_args *part, const void *whole, int64_t begin)
{
  (void)whole;
  part->dropout.first_row += begin;
}

static void dropout(tr__stream *stream, const tr__dropout_args *args)
{
  tr__cpu_parallel_for(
      stream, TR__OP_dropout, args,
      &(tr__cpu_split){.units = args->y.dims[0],
                       .step = step_of(SLICE, tr__tensor_row(&args->y)),
                       .adapt = adapt_dropout});
}

/* SAMPLES defines an op split over samples: the rows of a sample have one
 * weight and stay together. */
#define SAMPLES(op, x, units_)                                                 \
  static void op(tr__stream *stream, const tr__##op##_args *args)              \
  {                                                                            \
    int64_t samples = units_;                                                  \
    int64_t row = tr__tensor_count(&args->x) / tr__max(samples, 1);            \
    tr__cpu_parallel_for(                                                      \
        stream, TR__OP_##op, args,                                             \
        &(tr__cpu_split){.units = samples, .step = step_of(SLICE / 2, row)});  \
  }

#define WEIGHTED (args->weight.data != NULL ? args->weight.dims[0] : ROWS_OF)
#define ROWS_OF  (args->dx.dims[0])

SAMPLES(xent_rule_forward, x, args->x.dims[0])
SAMPLES(xent_rule_backward, dx, WEIGHTED)
SAMPLES(regression_forward, x, args->x.dims[0])
SAMPLES(regression_backward, dx, WEIGHTED)
SAMPLES(softmax_xent_forward, x, args->x.dims[0])
SAMPLES(softmax_xent_backward, dx, WEIGHTED)

void tr__cpu_set_rows(tr__ops *ops)
{
  ops->copy = copy;
  ops->permute = permute;
  ops->embedding_forward = embedding_forward;
  ops->position_forward = position_forward;
  ops->softmax_forward = softmax_forward;
  ops->softmax_backward = softmax_backward;
  ops->dropout = dropout;
  ops->xent_rule_forward = xent_rule_forward;
  ops->xent_rule_backward = xent_rule_backward;
  ops->regression_forward = regression_forward;
  ops->regression_backward = regression_backward;
  ops->softmax_xent_forward = softmax_xent_forward;
  ops->softmax_xent_backward = softmax_xent_backward;
}
