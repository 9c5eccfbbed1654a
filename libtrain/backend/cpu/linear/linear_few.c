/* Fully connected layers whose shards have few rows: sums of outer products
 * (outer_impl.h). Their bits do not depend on the number of rows, so one call
 * computes all shards together. */
#include "backend/cpu/linear/linear_impl.h"
#include "backend/cpu/linear/outer_impl.h"

#include <string.h>

/* Samples of a panel of x^T; a panel is (D, PANEL). */
enum { PANEL = TR__OUTER_COLUMNS };

/* Output or input features of a task. */
enum { STRIP = 64 };

/* NEAR: rows of w that stay in the near cache. ALIAS: if the length of a row is
 * a multiple of so many floats, all rows fall on the same cache sets, and are
 * copied first. */
enum { NEAR = 256, ALIAS = 512 };

/* Input features of a task of the transposition. */
enum { TRANSPOSED = 256 };

typedef struct few_call {
  const void *args;
  tr__cpu_outer_fn run;
} few_call;

/* What a task computes: a range of samples and a range of features. */
typedef struct piece {
  int64_t sample, samples; /* the first, and how many */
  int64_t begin, end;
} piece;

static int64_t
num_pieces(int64_t samples, int64_t panel, int64_t extent, int64_t strip)
{
  return tr__cpu_blocks(samples, panel) * tr__cpu_blocks(extent, strip);
}

static piece piece_of(
    int64_t task, int64_t samples, int64_t panel, int64_t extent, int64_t strip)
{
  int64_t across = tr__cpu_blocks(extent, strip);
  piece p = {.sample = task / across * panel, .begin = task % across * strip};
  p.samples = tr__min(panel, samples - p.sample);
  p.end = tr__min(extent, p.begin + strip);
  return p;
}

size_t tr__cpu_linear_few_bytes(const tr__tensor *x)
{
  return (size_t)(tr__cpu_blocks(x->dims[0], PANEL) * PANEL *
                  tr__tensor_row(x)) *
         sizeof(float);
}

static void transpose_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  const tr__linear_forward_args *a = ((few_call *)arg)->args;
  int64_t N = a->x.dims[0], D = tr__tensor_row(&a->x);
  piece p = piece_of(task, N, PANEL, D, TRANSPOSED);
  const float *x = (const float *)a->x.data + p.sample * D;
  float *to = (float *)a->workspace.data + p.sample * D;
  for (int64_t d = p.begin; d < p.end; d++) {
    for (int64_t n = 0; n < p.samples; n++) {
      to[d * PANEL + n] = x[n * D + d];
    }
  }
}

/* y <- the transpose of a block of y^T */
static void put_transposed(float *y,
                           int64_t stride,
                           const float *block,
                           const int64_t *size)
{
  for (int64_t n = 0; n < size[1]; n++) {
    for (int64_t k = 0; k < size[0]; k++) {
      y[n * stride + k] = block[k * PANEL + n];
    }
  }
}

static void forward_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  const few_call *call = arg;
  const tr__linear_forward_args *a = call->args;
  int64_t N = a->x.dims[0], D = tr__tensor_row(&a->x), K = a->w.dims[0];
  piece p = piece_of(task, N, PANEL, K, STRIP);
  float block[TR__OUTER_BLOCK], *y = (float *)a->y.data + p.sample * K;
  tr__cpu_outer sum = {.a_row = D,
                       .b = (const float *)a->workspace.data + p.sample * D,
                       .b_step = PANEL,
                       .count = D};
  tr__cpu_block out = {.data = block, .stride = PANEL, .columns = p.samples};
  for (int64_t k = p.begin; k < p.end; k += TR__OUTER_ROWS) {
    sum.a = (const float *)a->w.data + k * D;
    out.rows = tr__min(TR__OUTER_ROWS, p.end - k);
    call->run(&sum, &out);
    put_transposed(y + k, K, block, (int64_t[2]){out.rows, out.columns});
  }
  const float *b = a->b.data;
  tr__cpu_finish((tr__cpu_matrix){y + p.begin, K},
                 b != NULL ? b + p.begin : NULL, p.samples, p.end - p.begin,
                 a->activation);
}

void tr__cpu_linear_few_forward(tr__threads *pool,
                                const tr__linear_forward_args *args)
{
  few_call call = {.args = args, .run = tr__cpu_outer_best()};
  int64_t N = args->x.dims[0], D = tr__tensor_row(&args->x);
  tr__threads_run(pool, num_pieces(N, PANEL, D, TRANSPOSED), transpose_task,
                  &call);
  tr__threads_run(pool, num_pieces(N, PANEL, args->w.dims[0], STRIP),
                  forward_task, &call);
}

/* Copy rows of TR__OUTER_COLUMNS columns: D is a multiple of these here. */
static void copy_rows(float *to, tr__cpu_outer *sum)
{
  for (int64_t k = 0; k < sum->count; k++) {
    memcpy(to + k * TR__OUTER_COLUMNS, sum->b + k * sum->b_step,
           TR__OUTER_COLUMNS * sizeof *to);
  }
  sum->b = to;
  sum->b_step = TR__OUTER_COLUMNS;
}

static void backward_input_task(void *arg, int64_t task, int thread)
{
  (void)thread;
  const few_call *call = arg;
  const tr__linear_backward_input_args *a = call->args;
  int64_t N = a->dx.dims[0], D = tr__tensor_row(&a->dx), K = a->w.dims[0];
  piece p = piece_of(task, N, STRIP, D, STRIP);
  int64_t last = p.sample + p.samples;
  float copy[NEAR * TR__OUTER_COLUMNS];
  for (int64_t k = 0; k < K; k += NEAR) {
    tr__cpu_outer sum = {.a_row = K, .count = tr__min(NEAR, K - k)};
    tr__cpu_block out = {.stride = D, .accumulate = a->accumulate || k > 0};
    for (int64_t d = p.begin; d < p.end; d += TR__OUTER_COLUMNS) {
      sum.b = (const float *)a->w.data + k * D + d;
      sum.b_step = D;
      out.columns = tr__min(TR__OUTER_COLUMNS, p.end - d);
      if (D % ALIAS == 0 && p.samples > TR__OUTER_ROWS) {
        copy_rows(copy, &sum);
      }
      for (int64_t n = p.sample; n < last; n += TR__OUTER_ROWS) {
        sum.a = (const float *)a->dy.data + n * K + k;
        out.data = (float *)a->dx.data + n * D + d;
        out.rows = tr__min(TR__OUTER_ROWS, last - n);
        call->run(&sum, &out);
      }
    }
  }
}

void tr__cpu_linear_few_backward_input(
    tr__threads *pool, const tr__linear_backward_input_args *args)
{
  few_call call = {.args = args, .run = tr__cpu_outer_best()};
  tr__threads_run(
      pool,
      num_pieces(args->dx.dims[0], STRIP, tr__tensor_row(&args->dx), STRIP),
      backward_input_task, &call);
}
