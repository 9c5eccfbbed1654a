/* Normalisation on all threads: forward and input gradients are split over
 * samples or groups, sums over samples are split over channels. */
#include "backend/cpu/cpu_impl.h"
#include "backend/cpu_ref/reference_impl.h"

enum { SLICE = 1 << 13 };

static tr__cpu_split split_of(int64_t units, int64_t row)
{
  return (tr__cpu_split){.units = units,
                         .step = tr__max(1, SLICE / tr__max(row, 1))};
}

/* Groups are units of their own if all have the same weights; otherwise a unit
 * is a sample with all its groups. */
static tr__cpu_split split_norm(const tr__tensor *x, const tr__norm *norm)
{
  int64_t count = norm->channels * norm->inner;
  return norm->shared ? split_of(x->dims[0] * norm->groups, count)
                      : split_of(x->dims[0], norm->groups * count);
}

static void adapt_norm(tr__norm *norm)
{
  norm->groups = norm->shared ? 1 : norm->groups;
}

static void adapt_forward(tr__any_args *part, const void *whole, int64_t begin)
{
  (void)whole;
  (void)begin;
  adapt_norm(&part->norm_forward.norm);
}

static void norm_forward(tr__stream *stream, const tr__norm_forward_args *args)
{
  tr__cpu_split split = split_norm(&args->x, &args->norm);
  split.adapt = adapt_forward;
  tr__cpu_parallel_for(stream, TR__OP_norm_forward, args, &split);
}

static void adapt_backward(tr__any_args *part, const void *whole, int64_t begin)
{
  (void)whole;
  (void)begin;
  adapt_norm(&part->norm_backward_input.norm);
}

static void norm_backward_input(tr__stream *stream,
                                const tr__norm_backward_input_args *args)
{
  tr__cpu_split split = split_norm(&args->x, &args->norm);
  split.adapt = adapt_backward;
  tr__cpu_parallel_for(stream, TR__OP_norm_backward_input, args, &split);
}

static void batchnorm_forward(tr__stream *stream,
                              const tr__batchnorm_forward_args *args)
{
  tr__cpu_split split = split_of(args->x.dims[0], tr__tensor_row(&args->x));
  tr__cpu_parallel_for(stream, TR__OP_batchnorm_forward, args, &split);
}

static void
batchnorm_backward_input(tr__stream *stream,
                         const tr__batchnorm_backward_input_args *args)
{
  tr__cpu_split split = split_of(args->x.dims[0], tr__tensor_row(&args->x));
  tr__cpu_parallel_for(stream, TR__OP_batchnorm_backward_input, args, &split);
}

/* CHUNKED defines a sum over samples, with one task per block of TR__REF_CHUNK
 * channels. `working` has the working precision; `floats` is the size of one
 * contiguous run of a block's elements. */
#define CHUNKED(op, working, channels, floats)                                 \
  static void op##_task(void *arg, int64_t task, int thread)                   \
  {                                                                            \
    const tr__cpu_call *call = arg;                                            \
    const tr__##op##_args *args = call->args;                                  \
    float *wide;                                                               \
    if (args->working.dtype == TR_F64) {                                       \
      tr__ref_##op##_chunk_f64(args, task, NULL);                              \
    } else if (tr__cpu_thread_scratch(call, thread, &wide)) {                  \
      tr__ref_##op##_chunk_f32(args, task, wide);                              \
    }                                                                          \
  }                                                                            \
  static void op(tr__stream *stream, const tr__##op##_args *args)              \
  {                                                                            \
    tr__cpu_call call =                                                        \
        tr__cpu_call_of(stream, TR__OP_##op, args, 2 * (floats));              \
    tr__threads_run(stream->backend->pool, tr__ref_chunks(channels),           \
                    op##_task, &call);                                         \
  }

#define PLANE (tr__tensor_row(&args->x) / args->x.dims[1])

CHUNKED(norm_backward_weight,
        dw,
        tr__tensor_count(&args->dw),
        TR__REF_CHUNK * args->norm.inner)
CHUNKED(batchnorm_sums, x, args->x.dims[1], PLANE)
CHUNKED(batchnorm_backward_sums, x, args->x.dims[1], PLANE)

void tr__cpu_set_norm(tr__ops *ops)
{
  ops->norm_forward = norm_forward;
  ops->norm_backward_input = norm_backward_input;
  ops->norm_backward_weight = norm_backward_weight;
  ops->batchnorm_sums = batchnorm_sums;
  ops->batchnorm_forward = batchnorm_forward;
  ops->batchnorm_backward_sums = batchnorm_backward_sums;
  ops->batchnorm_backward_input = batchnorm_backward_input;
}
