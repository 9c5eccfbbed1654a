/* Normalisation: the reference's loops, on samples, groups or channels that
 * the threads share. */
#include "backend/cpu/cpu_impl.h"
#include "backend/cpu_ref/reference_impl.h"

enum { SLICE = 1 << 13 };

/* Units that are cut: of `row` elements, `step` of them per task. */
typedef struct cut {
  int64_t units, row, step;
} cut;

static cut cut_of(int64_t units, int64_t row)
{
  return (cut){units, row, tr__max(1, SLICE / tr__max(row, 1))};
}

static int64_t tasks_of(cut c)
{
  return (c.units + c.step - 1) / c.step;
}

/* The units of a task, of `row` elements each. */
static void slice(tr__tensor *t, const cut *c, int64_t row, int64_t task)
{
  if (t->data == NULL) {
    return;
  }
  t->ndim = 2;
  t->dims[0] = tr__min(c->step, c->units - task * c->step);
  t->dims[1] = row;
  t->data = (float *)t->data + task * c->step * row;
}

/* Groups that share their weights can be cut apart, others stay together. */
static cut norm_cut(const tr__tensor *x, const tr__norm *norm)
{
  int64_t count = norm->channels * norm->inner;
  return norm->shared ? cut_of(x->dims[0] * norm->groups, count)
                      : cut_of(x->dims[0], norm->groups * count);
}

static void norm_forward_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  tr__norm_forward_args a = *(const tr__norm_forward_args *)arg;
  cut c = norm_cut(&a.x, &a.norm);
  a.norm.groups = a.norm.shared ? 1 : a.norm.groups;
  slice(&a.x, &c, c.row, task);
  slice(&a.y, &c, c.row, task);
  slice(&a.stats, &c, 2 * a.norm.groups, task);
  tr__ref_norm_forward_f32(&a);
}

static void norm_forward(tr__stream *stream, const tr__norm_forward_args *args)
{
  if (args->y.dtype != TR_F32) {
    tr__ref_norm_forward_f64(args);
    return;
  }
  tr__norm_forward_args copy = *args;
  tr__pool_run(stream->backend->pool, tasks_of(norm_cut(&args->x, &args->norm)),
               norm_forward_task, &copy);
}

static void norm_backward_input_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  tr__norm_backward_input_args a = *(const tr__norm_backward_input_args *)arg;
  cut c = norm_cut(&a.x, &a.norm);
  a.norm.groups = a.norm.shared ? 1 : a.norm.groups;
  slice(&a.x, &c, c.row, task);
  slice(&a.dy, &c, c.row, task);
  slice(&a.dx, &c, c.row, task);
  slice(&a.stats, &c, 2 * a.norm.groups, task);
  tr__ref_norm_backward_input_f32(&a);
}

static void norm_backward_input(tr__stream *stream,
                                const tr__norm_backward_input_args *args)
{
  if (args->dx.dtype != TR_F32) {
    tr__ref_norm_backward_input_f64(args);
    return;
  }
  tr__norm_backward_input_args copy = *args;
  tr__pool_run(stream->backend->pool, tasks_of(norm_cut(&args->x, &args->norm)),
               norm_backward_input_task, &copy);
}

/* Batches keep their channels: a slice is (samples, C, S). */
static void
slice_samples(tr__tensor *t, const cut *c, int64_t channels, int64_t task)
{
  slice(t, c, c->row, task);
  t->ndim = 3;
  t->dims[1] = channels;
  t->dims[2] = c->row / channels;
}

static void batchnorm_forward_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  tr__batchnorm_forward_args a = *(const tr__batchnorm_forward_args *)arg;
  cut c = cut_of(a.x.dims[0], tr__tensor_row(&a.x));
  int64_t channels = a.x.dims[1];
  slice_samples(&a.x, &c, channels, task);
  slice_samples(&a.y, &c, channels, task);
  tr__ref_batchnorm_forward_f32(&a);
}

static void batchnorm_forward(tr__stream *stream,
                              const tr__batchnorm_forward_args *args)
{
  if (args->y.dtype != TR_F32) {
    tr__ref_batchnorm_forward_f64(args);
    return;
  }
  tr__batchnorm_forward_args copy = *args;
  cut c = cut_of(args->x.dims[0], tr__tensor_row(&args->x));
  tr__pool_run(stream->backend->pool, tasks_of(c), batchnorm_forward_task,
               &copy);
}

static void batchnorm_backward_input_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  tr__batchnorm_backward_input_args a =
      *(const tr__batchnorm_backward_input_args *)arg;
  cut c = cut_of(a.x.dims[0], tr__tensor_row(&a.x));
  int64_t channels = a.x.dims[1];
  slice_samples(&a.x, &c, channels, task);
  slice_samples(&a.dy, &c, channels, task);
  slice_samples(&a.dx, &c, channels, task);
  tr__ref_batchnorm_backward_input_f32(&a);
}

static void
batchnorm_backward_input(tr__stream *stream,
                         const tr__batchnorm_backward_input_args *args)
{
  if (args->dx.dtype != TR_F32) {
    tr__ref_batchnorm_backward_input_f64(args);
    return;
  }
  tr__batchnorm_backward_input_args copy = *args;
  cut c = cut_of(args->x.dims[0], tr__tensor_row(&args->x));
  tr__pool_run(stream->backend->pool, tasks_of(c),
               batchnorm_backward_input_task, &copy);
}

/* Sums over samples, in chunks of `channels`. */
#define CHUNKED(op, first, channels)                                           \
  static void op##_task(void *arg, int64_t task, int thread)                   \
  {                                                                            \
    (void)thread;                                                              \
    tr__ref_##op##_chunk_f32(arg, task);                                       \
  }                                                                            \
  static void op(tr__stream *stream, const tr__##op##_args *args)              \
  {                                                                            \
    if (args->first.dtype != TR_F32) {                                         \
      tr__ref_##op##_f64(args);                                                \
      return;                                                                  \
    }                                                                          \
    tr__##op##_args copy = *args;                                              \
    tr__pool_run(stream->backend->pool, tr__ref_chunks(channels), op##_task,   \
                 &copy);                                                       \
  }

CHUNKED(norm_backward_weight, dw, tr__tensor_count(&args->dw))
CHUNKED(batchnorm_sums, x, args->x.dims[1])
CHUNKED(batchnorm_backward_sums, x, args->x.dims[1])

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
