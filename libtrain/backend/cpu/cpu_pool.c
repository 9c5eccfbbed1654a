/* Pooling and upsampling on all threads, split over planes. A plane is one
 * channel of one sample. */
#include "backend/cpu/cpu_impl.h"
#include "backend/cpu_ref/reference_impl.h"
#include "base/clones_impl.h"

#include <math.h>

enum { TASK_ELEMENTS = 1 << 15 };

/* Elements of a plane; 1 for the output of a global average. */
static int64_t plane_size(const tr__tensor *t)
{
  int64_t size = 1;
  for (int i = 2; i < t->ndim; i++) {
    size *= t->dims[i];
  }
  return size;
}

/* Shape a split tensor as one image whose channels are its planes. */
static void as_image(tr__tensor *part, const tr__tensor *whole)
{
  int64_t planes = tr__tensor_count(part) / plane_size(whole);
  part->ndim = whole->ndim;
  part->dims[0] = 1;
  part->dims[1] = planes;
  for (int i = 2; i < whole->ndim; i++) {
    part->dims[i] = whole->dims[i];
  }
}

/* For ops whose first two tensors, or three with an index, are images. */
static void adapt_two(tr__any_args *part, const void *whole, int64_t begin)
{
  (void)begin;
  const tr__tensor *images = whole;
  as_image(&part->tensors[0], &images[0]);
  as_image(&part->tensors[1], &images[1]);
}

static void adapt_three(tr__any_args *part, const void *whole, int64_t begin)
{
  adapt_two(part, whole, begin);
  as_image(&part->tensors[2], (const tr__tensor *)whole + 2);
}

/* PLANES defines an op split over planes. `image` is the larger of its images;
 * `count` tensors are split. */
#define PLANES(op, image, count, run_)                                         \
  static void op(tr__stream *stream, const tr__##op##_args *args)              \
  {                                                                            \
    const tr__tensor *t = &args->image;                                        \
    tr__cpu_parallel_for(                                                      \
        stream, TR__OP_##op, args,                                             \
        &(tr__cpu_split){                                                      \
            .units = t->dims[0] * t->dims[1],                                  \
            .step = tr__max(1, TASK_ELEMENTS / tr__max(1, plane_size(t))),     \
            .adapt = (count) == 2 ? adapt_two : adapt_three,                   \
            .run = run_});                                                     \
  }

/* A row of 2 x 2 windows that do not overlap, without padding. */
typedef struct window_row {
  float *y;
  int32_t *index;
  const float *x;
  int32_t W, R, origin; /* origin: the place of x[0] in its channel */
} window_row;

/* Without branches: no branch predictor can guess which number is the largest.
 * Returns non-zero if there is a NaN, which these comparisons do not handle;
 * then maximum_2x2_with_nan repeats the row. */
static TR__CLONES int32_t maximum_2x2(float *restrict y,
                                      int32_t *restrict index,
                                      const float *restrict x,
                                      const int32_t sizes[3])
{
  int32_t W = sizes[0], R = sizes[1], origin = sizes[2], nan = 0;
  const float *below = x + W;
  for (int32_t r = 0; r < R; r++) {
    float a = x[2 * r], b = x[2 * r + 1];
    float c = below[2 * r], d = below[2 * r + 1];
    float upper = a >= b ? a : b, lower = c >= d ? c : d;
    int32_t at_upper = a >= b ? 0 : 1, at_lower = c >= d ? W : W + 1;
    nan |= isunordered(a, b) | isunordered(c, d);
    y[r] = upper >= lower ? upper : lower;
    index[r] = origin + 2 * r + (upper >= lower ? at_upper : at_lower);
  }
  return nan;
}

/* True if b is greater than a, or b is a NaN and a is not. */
static inline bool wins(float b, float a)
{
  return b > a || (b != b && a == a);
}

static void maximum_2x2_with_nan(const window_row *row)
{
  for (int32_t r = 0; r < row->R; r++) {
    int32_t upper = 2 * r, lower = 2 * r + row->W;
    upper += wins(row->x[upper + 1], row->x[upper]);
    lower += wins(row->x[lower + 1], row->x[lower]);
    int32_t place = wins(row->x[lower], row->x[upper]) ? lower : upper;
    row->y[r] = row->x[place];
    row->index[r] = row->origin + place;
  }
}

static void maxpool_2x2(const tr__maxpool_forward_args *a)
{
  int64_t W = a->x.dims[4], R = a->y.dims[4], size = tr__places(&a->x);
  int64_t rows = a->y.dims[2] * a->y.dims[3];
  for (int64_t i = 0; i < a->x.dims[1] * rows; i++) {
    int64_t plane = i / rows, p = i % rows;
    int64_t d = p / a->y.dims[3], h = p % a->y.dims[3] * 2;
    int64_t origin = (d * a->x.dims[3] + h) * W;
    window_row row = {.y = (float *)a->y.data + i * R,
                      .index = (int32_t *)a->index.data + i * R,
                      .x = (const float *)a->x.data + plane * size + origin,
                      .W = (int32_t)W,
                      .R = (int32_t)R,
                      .origin = (int32_t)origin};
    if (maximum_2x2(row.y, row.index, row.x,
                    (int32_t[3]){row.W, row.R, row.origin})) {
      maximum_2x2_with_nan(&row);
    }
  }
}

static bool is_2x2(const tr__window *w)
{
  bool is = w->kernel[0] == 1 && w->stride[0] == 1 && w->padding[0] == 0;
  for (int i = 1; i < 3; i++) {
    is = is && w->kernel[i] == 2 && w->stride[i] == 2 && w->padding[i] == 0;
  }
  return is;
}

static void run_maxpool(tr__op op, const void *args)
{
  const tr__maxpool_forward_args *a = args;
  if (a->y.dtype == TR_F32 && is_2x2(&a->window)) {
    maxpool_2x2(a);
    return;
  }
  tr__ref_run(op, args);
}

PLANES(maxpool_forward, x, 3, run_maxpool)
PLANES(maxpool_backward, dx, 3, NULL)
PLANES(avgpool_forward, x, 2, NULL)
PLANES(avgpool_backward, dx, 2, NULL)
PLANES(global_avgpool2d_forward, x, 2, NULL)
PLANES(global_avgpool2d_backward, dx, 2, NULL)
PLANES(upsample2d_forward, y, 2, NULL)
PLANES(upsample2d_backward, dy, 2, NULL)

void tr__cpu_set_pool(tr__ops *ops)
{
  ops->maxpool_forward = maxpool_forward;
  ops->maxpool_backward = maxpool_backward;
  ops->avgpool_forward = avgpool_forward;
  ops->avgpool_backward = avgpool_backward;
  ops->global_avgpool2d_forward = global_avgpool2d_forward;
  ops->global_avgpool2d_backward = global_avgpool2d_backward;
  ops->upsample2d_forward = upsample2d_forward;
  ops->upsample2d_backward = upsample2d_backward;
}
