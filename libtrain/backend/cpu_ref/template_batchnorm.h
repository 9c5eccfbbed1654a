/* BatchNorm: statistics of each channel over samples and places. x is (N, C,
 * S), where S is the number of places of a channel. Sums are in double. */
#include "backend/cpu_ref/moments_impl.h"

/* sums <- sums + (sum of x - shift, sum of (x - shift)^2) */
static TR__CLONES void TR_FN(batchnorm_plane)(double sums[2],
                                              const TR_REAL *x,
                                              int64_t count,
                                              double shift)
{
  double lane[8] = {0}, other[8] = {0};
  int64_t i = 0;
  for (; i + TR_FN(NORM_LANES) <= count; i += TR_FN(NORM_LANES)) {
    for (int l = 0; l < TR_FN(NORM_LANES); l++) {
      double value = (double)x[i + l] - shift;
      lane[l] += value;
      other[l] += value * value;
    }
  }
  for (int l = 0; i + l < count; l++) {
    double value = (double)x[i + l] - shift;
    lane[l] += value;
    other[l] += value * value;
  }
  for (int l = 0; l < 8; l++) {
    sums[0] += lane[l];
    sums[1] += other[l];
  }
}

/* sums <- sums + (sum of dy, sum of dy xhat) */
static TR__CLONES void TR_FN(batchnorm_plane_back)(double sums[2],
                                                   const TR_REAL *dy,
                                                   const TR_REAL *x,
                                                   int64_t count,
                                                   const TR_REAL stats[2])
{
  double lane[8] = {0}, other[8] = {0};
  int64_t i = 0;
  for (; i + TR_FN(NORM_LANES) <= count; i += TR_FN(NORM_LANES)) {
    for (int l = 0; l < TR_FN(NORM_LANES); l++) {
      double g = (double)dy[i + l];
      lane[l] += g;
      other[l] += g * (double)((x[i + l] - stats[0]) * stats[1]);
    }
  }
  for (int l = 0; i + l < count; l++) {
    double g = (double)dy[i + l];
    lane[l] += g;
    other[l] += g * (double)((x[i + l] - stats[0]) * stats[1]);
  }
  for (int l = 0; l < 8; l++) {
    sums[0] += lane[l];
    sums[1] += other[l];
  }
}

/* A block of channels; dy is NULL for the forward sums. */
typedef struct TR_FN(batchnorm_chunk) {
  const tr__tensor *x, *dy;
  const double *stats;
  int64_t C, S, begin, end;
  TR_REAL *wide; /* room for fp32 copies of two planes */
} TR_FN(batchnorm_chunk);

/* Numbers per channel in the tree. Forward: mean, sum of squared deviations,
 * and count of values. Backward: both sums in double, then both as gradients.
 * The latter are rounded at each node, as all-reduce rounds the gradients of
 * ranks. */
enum { BATCHNORM_NUMBERS = 4 };

/* Limit of cancellation: the sum of squares around the shift may be at most so
 * many times the sum of squared deviations. */
enum { BATCHNORM_LOSS = 64 };

/* sum (2) <- sums of x - shift and (x - shift)^2 over samples of one channel */
static void TR_FN(batchnorm_channel)(const TR_FN(batchnorm_chunk) * k,
                                     const int64_t samples[2],
                                     int64_t c,
                                     double shift,
                                     double sum[2])
{
  sum[0] = sum[1] = 0;
  for (int64_t n = samples[0]; n < samples[1]; n++) {
    const TR_REAL *x =
        TR_FN(numbers)(k->x, (n * k->C + c) * k->S, k->S, k->wide);
    TR_FN(batchnorm_plane)(sum, x, k->S, shift);
  }
}

/* Mean, sum of squared deviations and count from the sums around a shift, the
 * channel's first value. If the mean is too far from the shift, the channel is
 * summed again around the mean. */
static void TR_FN(batchnorm_moments)(const TR_FN(batchnorm_chunk) * k,
                                     const int64_t samples[2],
                                     int64_t c,
                                     double sum[BATCHNORM_NUMBERS])
{
  double n = (double)((samples[1] - samples[0]) * k->S), shift = sum[2];
  double squares = sum[1] - sum[0] * (sum[0] / n);
  if (BATCHNORM_LOSS * squares < sum[1]) {
    shift += sum[0] / n;
    TR_FN(batchnorm_channel)(k, samples, c, shift, sum);
    squares = sum[1] - sum[0] * (sum[0] / n);
  }
  sum[0] = shift + sum[0] / n;
  sum[1] = squares < 0 ? 0 : squares;
  sum[2] = n;
}

/* Leaf of the forward sums; out is (channels of the block, BATCHNORM_NUMBERS).
 */
static void TR_FN(batchnorm_leaf)(
    void *arg, int64_t begin, int64_t end, void *out, int accumulate)
{
  const TR_FN(batchnorm_chunk) *k = arg;
  double *sum = out;
  TR_ASSERT(!accumulate);
  (void)accumulate;
  for (int64_t n = begin; n < end; n++) {
    for (int64_t c = k->begin; c < k->end; c++, sum += BATCHNORM_NUMBERS) {
      int64_t at = (n * k->C + c) * k->S;
      const TR_REAL *x = TR_FN(numbers)(k->x, at, k->S, k->wide);
      if (n == begin) {
        sum[0] = sum[1] = 0;
        sum[2] = (double)x[0];
      }
      TR_FN(batchnorm_plane)(sum, x, k->S, sum[2]);
    }
    sum = out;
  }
  for (int64_t c = k->begin; c < k->end; c++, sum += BATCHNORM_NUMBERS) {
    TR_FN(batchnorm_moments)(k, (int64_t[2]){begin, end}, c, sum);
  }
}

static void TR_FN(batchnorm_add)(void *arg, void *sum, const void *other)
{
  const TR_FN(batchnorm_chunk) *k = arg;
  double *a = sum;
  const double *b = other;
  int64_t count = (k->end - k->begin) * BATCHNORM_NUMBERS;
  for (int64_t i = 0; i < count; i += BATCHNORM_NUMBERS) {
    tr__moments_add(a + i, a + i + 1, a[i + 2], b[i], b[i + 1], b[i + 2]);
    a[i + 2] += b[i + 2];
  }
}

/* The mean, rounded to the type of the elements; *rest <- what rounding lost.
 */
static inline TR_REAL TR_FN(batchnorm_mean)(double mean, double *rest)
{
  TR_REAL rounded = (TR_REAL)mean;
  *rest = mean - (double)rounded;
  return rounded;
}

static void TR_FN(batchnorm_back_leaf)(
    void *arg, int64_t begin, int64_t end, void *out, int accumulate)
{
  const TR_FN(batchnorm_chunk) *k = arg;
  double *sum = out, rest;
  TR_ASSERT(!accumulate);
  (void)accumulate;
  int64_t count = (k->end - k->begin) * BATCHNORM_NUMBERS;
  memset(sum, 0, (size_t)count * sizeof *sum);
  for (int64_t n = begin; n < end; n++) {
    for (int64_t c = k->begin; c < k->end; c++, sum += BATCHNORM_NUMBERS) {
      int64_t at = (n * k->C + c) * k->S;
      const TR_REAL *x = TR_FN(numbers)(k->x, at, k->S, k->wide);
      const TR_REAL *dy =
          TR_FN(numbers)(k->dy, at, k->S, TR_FN(behind)(k->wide, k->S));
      const TR_REAL stats[2] = {TR_FN(batchnorm_mean)(k->stats[c], &rest),
                                (TR_REAL)k->stats[k->C + c]};
      TR_FN(batchnorm_plane_back)(sum, dy, x, k->S, stats);
    }
    sum = out;
  }
  for (int64_t c = k->begin; c < k->end; c++, sum += BATCHNORM_NUMBERS) {
    TR_FN(batchnorm_mean)(k->stats[c], &rest);
    sum[1] -= rest * k->stats[k->C + c] * sum[0];
    sum[2] = (double)(TR_REAL)sum[0];
    sum[3] = (double)(TR_REAL)sum[1];
  }
}

static void TR_FN(batchnorm_back_add)(void *arg, void *sum, const void *other)
{
  const TR_FN(batchnorm_chunk) *k = arg;
  double *a = sum;
  const double *b = other;
  int64_t count = (k->end - k->begin) * BATCHNORM_NUMBERS;
  for (int64_t i = 0; i < count; i += BATCHNORM_NUMBERS) {
    a[i] += b[i];
    a[i + 1] += b[i + 1];
    a[i + 2] = (double)((TR_REAL)a[i + 2] + (TR_REAL)b[i + 2]);
    a[i + 3] = (double)((TR_REAL)a[i + 3] + (TR_REAL)b[i + 3]);
  }
}

/* sums (2, C) <- the first two numbers of each channel of the block; out
 * (channels of the block, BATCHNORM_NUMBERS) <- all. scratch has room for all
 * blocks. */
static void TR_FN(batchnorm_chunk_sums)(TR_FN(batchnorm_chunk) * chunk,
                                        const tr__shards *shards,
                                        char *scratch,
                                        double *sums,
                                        double *out)
{
  int64_t count = chunk->end - chunk->begin;
  size_t bytes = BATCHNORM_NUMBERS * sizeof(double);
  tr__tree tree = {.shards = *shards,
                   .bytes = (size_t)count * bytes,
                   .leaf = chunk->dy == NULL ? TR_FN(batchnorm_leaf)
                                             : TR_FN(batchnorm_back_leaf),
                   .add = chunk->dy == NULL ? TR_FN(batchnorm_add)
                                            : TR_FN(batchnorm_back_add),
                   .arg = chunk};
  if (scratch != NULL) {
    scratch += (size_t)(chunk->begin / TR__REF_CHUNK) *
               tr__ref_chunk_bytes(shards, bytes);
  }
  tr__tree_sum(&tree, out, 0, scratch);
  for (int64_t c = 0; c < count; c++) {
    sums[chunk->begin + c] = out[BATCHNORM_NUMBERS * c];
    sums[chunk->C + chunk->begin + c] = out[BATCHNORM_NUMBERS * c + 1];
  }
}

/* Block `number` of the channels of x. */
static inline TR_FN(batchnorm_chunk)
    TR_FN(batchnorm_chunk_of)(const tr__tensor *x, int64_t number, void *wide)
{
  int64_t C = x->dims[1];
  return (TR_FN(batchnorm_chunk)){.x = x,
                                  .wide = wide,
                                  .C = C,
                                  .S = tr__tensor_row(x) / C,
                                  .begin = number * TR__REF_CHUNK,
                                  .end =
                                      tr__min((number + 1) * TR__REF_CHUNK, C)};
}

void TR_FN(batchnorm_sums_chunk)(const tr__batchnorm_sums_args *args,
                                 int64_t number,
                                 void *wide)
{
  TR_FN(batchnorm_chunk)
  chunk = TR_FN(batchnorm_chunk_of)(&args->x, number, wide);
  double *sums = args->sums.data, out[BATCHNORM_NUMBERS * TR__REF_CHUNK];
  TR_FN(batchnorm_chunk_sums)
  (&chunk, &args->shards, args->workspace.data, sums, out);
  if (number == 0) {
    sums[2 * chunk.C] = (double)(args->x.dims[0] * chunk.S);
  }
}

void TR_FN(batchnorm_sums)(const tr__batchnorm_sums_args *args)
{
  for (int64_t i = 0; i < tr__ref_chunks(args->x.dims[1]); i++) {
    TR_FN(batchnorm_sums_chunk)(args, i, NULL);
  }
}

/* Skip values that are not finite: the step may be skipped, but its running
 * values would stay. */
static inline void TR_FN(batchnorm_run)(TR_REAL *running_mean,
                                        TR_REAL *running_var,
                                        TR_REAL mean,
                                        TR_REAL var)
{
  if (isfinite(mean) && isfinite(var)) {
    *running_mean = mean;
    *running_var = var;
  }
}

void TR_FN(batchnorm_stats)(const tr__batchnorm_stats_args *args)
{
  TR_REAL *running_mean = args->running_mean.data;
  TR_REAL *running_var = args->running_var.data;
  const double *sums = args->sums.data;
  double *stats = args->stats.data;
  int64_t C = tr__tensor_count(&args->running_mean);
  if (args->parts.data != NULL) {
    tr__moments_merge(args->sums.data, &args->parts, C, args->num_shards);
  }
  double n = sums != NULL ? sums[2 * C] : 0, keep = 1 - args->momentum;
  for (int64_t c = 0; c < C; c++) {
    double mean = (double)running_mean[c], var = (double)running_var[c];
    if (n > 0) {
      mean = sums[c];
      var = sums[C + c] / n;
      double unbiased = n > 1 ? sums[C + c] / (n - 1) : var;
      TR_FN(batchnorm_run)
      (running_mean + c, running_var + c,
       (TR_REAL)(keep * (double)running_mean[c] + args->momentum * mean),
       (TR_REAL)(keep * (double)running_var[c] + args->momentum * unbiased));
    }
    stats[c] = mean;
    stats[C + c] = 1 / sqrt(var + args->eps);
  }
  if (n > 0) {
    *(TR_REAL *)args->batches.data += 1;
  }
}

/* y <- activation((x - mean) a + b); numbers are mean, a = r w and b */
static TR__CLONES void TR_FN(batchnorm_apply)(TR_REAL *y,
                                              const TR_REAL *x,
                                              int64_t count,
                                              const TR_REAL numbers[3],
                                              bool has_relu)
{
  TR_REAL mean = numbers[0], a = numbers[1], b = numbers[2];
  if (!has_relu) {
    for (int64_t i = 0; i < count; i++) {
      y[i] = (x[i] - mean) * a + b;
    }
    return;
  }
  for (int64_t i = 0; i < count; i++) {
    TR_REAL value = (x[i] - mean) * a + b;
    y[i] = value < 0 ? 0 : value;
  }
}

void TR_FN(batchnorm_forward)(const tr__batchnorm_forward_args *args)
{
  int64_t C = args->x.dims[1], S = tr__tensor_row(&args->x) / C;
  const double *stats = args->stats.data;
  const TR_REAL *w = args->w.data, *b = args->b.data;
  for (int64_t plane = 0; plane < args->x.dims[0] * C; plane++) {
    int64_t c = plane % C;
    double rest, factor = stats[C + c] * (w != NULL ? (double)w[c] : 1);
    TR_REAL mean = TR_FN(batchnorm_mean)(stats[c], &rest);
    const TR_REAL numbers[3] = {
        mean, (TR_REAL)factor,
        (TR_REAL)((b != NULL ? (double)b[c] : 0) - rest * factor)};
    TR_FN(batchnorm_apply)
    ((TR_REAL *)args->y.data + plane * S,
     (const TR_REAL *)args->x.data + plane * S, S, numbers,
     args->activation == TR__ACTIVATION_RELU);
  }
}

void TR_FN(batchnorm_backward_sums_chunk)(
    const tr__batchnorm_backward_sums_args *args, int64_t number, void *wide)
{
  TR_FN(batchnorm_chunk)
  chunk = TR_FN(batchnorm_chunk_of)(&args->x, number, wide);
  chunk.dy = &args->dy;
  chunk.stats = args->stats.data;
  double *sums = args->sums.data, out[BATCHNORM_NUMBERS * TR__REF_CHUNK];
  TR_REAL *dw = args->dw.data, *db = args->db.data;
  TR_FN(batchnorm_chunk_sums)
  (&chunk, &args->shards, args->workspace.data, sums, out);
  const double *grads = out + 2;
  for (int64_t c = chunk.begin; c < chunk.end; c++) {
    if (db != NULL) {
      db[c] = (args->accumulate ? db[c] : 0) + (TR_REAL)grads[0];
    }
    if (dw != NULL) {
      dw[c] = (args->accumulate ? dw[c] : 0) + (TR_REAL)grads[1];
    }
    grads += BATCHNORM_NUMBERS;
  }
}

void TR_FN(batchnorm_backward_sums)(
    const tr__batchnorm_backward_sums_args *args)
{
  for (int64_t i = 0; i < tr__ref_chunks(args->x.dims[1]); i++) {
    TR_FN(batchnorm_backward_sums_chunk)(args, i, NULL);
  }
}

void TR_FN(batchnorm_backward_input)(
    const tr__batchnorm_backward_input_args *args)
{
  int64_t C = args->x.dims[1], S = tr__tensor_row(&args->x) / C;
  const double *stats = args->stats.data, *grad = args->grad_sums.data;
  const TR_REAL *w = args->w.data;
  double n =
      args->sums.data != NULL ? ((const double *)args->sums.data)[2 * C] : 0;
  for (int64_t plane = 0; plane < args->x.dims[0] * C; plane++) {
    int64_t c = plane % C;
    double rest, factor = w != NULL ? (double)w[c] : 1;
    TR_REAL mean = TR_FN(batchnorm_mean)(stats[c], &rest);
    double slope = n > 0 ? factor * grad[C + c] / n : 0;
    double level = n > 0 ? factor * grad[c] / n : 0;
    const TR_REAL numbers[5] = {mean, (TR_REAL)stats[C + c],
                                (TR_REAL)(level - rest * stats[C + c] * slope),
                                (TR_REAL)slope, (TR_REAL)factor};
    const TR_REAL *from[3] = {(const TR_REAL *)args->dy.data + plane * S,
                              (const TR_REAL *)args->x.data + plane * S, NULL};
    TR_FN(norm_spread)
    ((TR_REAL *)args->dx.data + plane * S, from, S, numbers, args->accumulate);
  }
}
