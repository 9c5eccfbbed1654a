/* LayerNorm, GroupNorm and RMSNorm: each group of a sample has statistics of
 * its own. */

/* Partial sums (lanes) of a sum in double: a fixed order of additions that wide
 * vectors can use. */
enum { TR_FN(NORM_LANES) = 8 };

static inline double TR_FN(norm_total)(double *lane)
{
  return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
         ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* The sum of (x - mean)^power, power 1 or 2. */
static TR__CLONES double
TR_FN(norm_moment)(const TR_REAL *x, int64_t count, double mean, int power)
{
  double lane[8] = {0};
  int64_t i = 0;
  for (; i + TR_FN(NORM_LANES) <= count; i += TR_FN(NORM_LANES)) {
    for (int l = 0; l < TR_FN(NORM_LANES); l++) {
      double value = (double)x[i + l] - mean;
      lane[l] += power == 1 ? value : value * value;
    }
  }
  for (int l = 0; i + l < count; l++) {
    double value = (double)x[i + l] - mean;
    lane[l] += power == 1 ? value : value * value;
  }
  return TR_FN(norm_total)(lane);
}

/* sums <- sum of dy, sum of dy xhat; the caller multiplies them by w */
static TR__CLONES void TR_FN(norm_slopes)(double sums[2],
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
  sums[0] = TR_FN(norm_total)(lane);
  sums[1] = TR_FN(norm_total)(other);
}

/* The same for elements that each have a weight: sums of g and of g xhat, g =
 * dy w. from: dy, x, w. */
static TR__CLONES void TR_FN(norm_slopes_each)(double sums[2],
                                               const TR_REAL *const from[3],
                                               int64_t count,
                                               const TR_REAL stats[2])
{
  const TR_REAL *dy = from[0], *x = from[1], *w = from[2];
  double lane[8] = {0}, other[8] = {0};
  int64_t i = 0;
  for (; i + TR_FN(NORM_LANES) <= count; i += TR_FN(NORM_LANES)) {
    for (int l = 0; l < TR_FN(NORM_LANES); l++) {
      double g = (double)(dy[i + l] * w[i + l]);
      lane[l] += g;
      other[l] += g * (double)((x[i + l] - stats[0]) * stats[1]);
    }
  }
  for (int l = 0; i + l < count; l++) {
    double g = (double)(dy[i + l] * w[i + l]);
    lane[l] += g;
    other[l] += g * (double)((x[i + l] - stats[0]) * stats[1]);
  }
  sums[0] = TR_FN(norm_total)(lane);
  sums[1] = TR_FN(norm_total)(other);
}

/* Index of the first weight of a group. */
static inline int64_t TR_FN(norm_weights)(const tr__norm *norm, int64_t group)
{
  return norm->shared ? 0 : group % norm->groups * norm->channels;
}

/* y <- (x - mean) r w + b over contiguous elements that have the same weight */
static TR__CLONES void TR_FN(norm_apply)(TR_REAL *y,
                                         const TR_REAL *x,
                                         int64_t count,
                                         const TR_REAL numbers[4])
{
  TR_REAL mean = numbers[0], r = numbers[1], w = numbers[2], b = numbers[3];
  for (int64_t i = 0; i < count; i++) {
    y[i] = (x[i] - mean) * r * w + b;
  }
}

static TR__CLONES void TR_FN(norm_apply_each)(TR_REAL *y,
                                              const TR_REAL *x,
                                              const TR_REAL *const affine[2],
                                              int64_t count,
                                              const TR_REAL stats[2])
{
  const TR_REAL *w = affine[0], *b = affine[1];
  TR_REAL mean = stats[0], r = stats[1];
  if (b == NULL) {
    for (int64_t i = 0; i < count; i++) {
      y[i] = (x[i] - mean) * r * w[i];
    }
    return;
  }
  for (int64_t i = 0; i < count; i++) {
    y[i] = (x[i] - mean) * r * w[i] + b[i];
  }
}

/* stats <- mean and r of a group */
static void TR_FN(norm_statistics)(TR_REAL stats[2],
                                   const TR_REAL *x,
                                   int64_t count,
                                   const tr__norm *norm)
{
  double n = (double)count;
  double mean = norm->centred ? TR_FN(norm_moment)(x, count, 0, 1) / n : 0;
  double var = TR_FN(norm_moment)(x, count, mean, 2) / n;
  stats[0] = (TR_REAL)mean;
  stats[1] = (TR_REAL)(1 / sqrt(var + norm->eps));
}

void TR_FN(norm_forward)(const tr__norm_forward_args *args)
{
  const tr__norm *norm = &args->norm;
  int64_t count = norm->channels * norm->inner;
  const TR_REAL *w = args->w.data, *b = args->b.data;
  for (int64_t g = 0; g < args->x.dims[0] * norm->groups; g++) {
    const TR_REAL *x = (const TR_REAL *)args->x.data + g * count;
    TR_REAL *y = (TR_REAL *)args->y.data + g * count;
    TR_REAL *stats = (TR_REAL *)args->stats.data + 2 * g;
    TR_FN(norm_statistics)(stats, x, count, norm);
    int64_t first = TR_FN(norm_weights)(norm, g);
    if (norm->inner == 1 && w != NULL) {
      const TR_REAL *affine[2] = {w + first, b != NULL ? b + first : NULL};
      TR_FN(norm_apply_each)(y, x, affine, count, stats);
      continue;
    }
    for (int64_t c = 0; c < norm->channels; c++) {
      int64_t i = first + c;
      const TR_REAL numbers[4] = {stats[0], stats[1], w != NULL ? w[i] : 1,
                                  b != NULL ? b[i] : 0};
      TR_FN(norm_apply)
      (y + c * norm->inner, x + c * norm->inner, norm->inner, numbers);
    }
  }
}

/* dx <- (dx +) r (g - mean(g) - xhat mean(g xhat)), g = dy w. from: dy, x, w;
 * numbers: mean, r, mean(g), mean(g xhat), and w where from[2] is NULL. */
static TR__CLONES void TR_FN(norm_spread)(TR_REAL *dx,
                                          const TR_REAL *const from[3],
                                          int64_t count,
                                          const TR_REAL numbers[5],
                                          int accumulate)
{
  const TR_REAL *dy = from[0], *x = from[1], *w = from[2];
  TR_REAL mean = numbers[0], r = numbers[1], all = numbers[4];
  TR_REAL mean_g = numbers[2], mean_gx = numbers[3];
  for (int64_t i = 0; i < count; i++) {
    TR_REAL g = dy[i] * (w != NULL ? w[i] : all);
    TR_REAL value = r * (g - mean_g - (x[i] - mean) * r * mean_gx);
    dx[i] = accumulate ? dx[i] + value : value;
  }
}

static void TR_FN(norm_backward_group)(const tr__norm_backward_input_args *args,
                                       int64_t g)
{
  const tr__norm *norm = &args->norm;
  int64_t inner = norm->inner, count = norm->channels * inner;
  int64_t channels = norm->channels;
  const TR_REAL *w = args->w.data;
  const TR_REAL *dy = (const TR_REAL *)args->dy.data + g * count;
  const TR_REAL *x = (const TR_REAL *)args->x.data + g * count;
  TR_REAL *dx = (TR_REAL *)args->dx.data + g * count;
  const TR_REAL *stats = (const TR_REAL *)args->stats.data + 2 * g;
  bool each = inner == 1 && w != NULL;
  w = w != NULL ? w + TR_FN(norm_weights)(norm, g) : NULL;
  double sums[2] = {0, 0}, part[2];
  if (each) {
    TR_FN(norm_slopes_each)
    (sums, (const TR_REAL *const[3]){dy, x, w}, count, stats);
  }
  for (int64_t c = 0; c < channels && !each; c++) {
    TR_FN(norm_slopes)(part, dy + c * inner, x + c * inner, inner, stats);
    sums[0] += part[0] * (w != NULL ? (double)w[c] : 1);
    sums[1] += part[1] * (w != NULL ? (double)w[c] : 1);
  }
  double n = (double)count;
  TR_REAL numbers[5] = {stats[0], stats[1],
                        (TR_REAL)(norm->centred ? sums[0] / n : 0),
                        (TR_REAL)(sums[1] / n), 1};
  /* If each element has its own weight, all channels are one run. */
  int64_t runs = each ? 1 : channels, length = each ? count : inner;
  for (int64_t c = 0; c < runs; c++) {
    const TR_REAL *from[3] = {dy + c * length, x + c * length, each ? w : NULL};
    numbers[4] = w != NULL ? w[c] : 1;
    TR_FN(norm_spread)
    (dx + c * length, from, length, numbers, args->accumulate);
  }
}

void TR_FN(norm_backward_input)(const tr__norm_backward_input_args *args)
{
  for (int64_t g = 0; g < args->x.dims[0] * args->norm.groups; g++) {
    TR_FN(norm_backward_group)(args, g);
  }
}

/* A block of channels of dw or db. */
typedef struct TR_FN(norm_chunk) {
  const tr__norm_backward_weight_args *args;
  int64_t begin, end;
  bool is_bias;
  TR_REAL *wide; /* fp32 copies of dy and x of the block in a group */
} TR_FN(norm_chunk);

/* sum (one number per channel of the block) <- sum + that of group g */
static void TR_FN(norm_weight_group)(const TR_FN(norm_chunk) * chunk,
                                     TR_REAL *sum,
                                     int64_t g)
{
  const tr__norm_backward_weight_args *args = chunk->args;
  const tr__norm *norm = &args->norm;
  int64_t inner = norm->inner, first = TR_FN(norm_weights)(norm, g);
  const TR_REAL *stats = (const TR_REAL *)args->stats.data + 2 * g;
  int64_t begin = tr__max(chunk->begin, first);
  int64_t end = tr__min(chunk->end, first + norm->channels);
  int64_t count = tr__max(end - begin, 0) * inner;
  int64_t at = (g * norm->channels + begin - first) * inner;
  const TR_REAL *dy = TR_FN(numbers)(&args->dy, at, count, chunk->wide);
  const TR_REAL *x =
      TR_FN(numbers)(&args->x, at, count, TR_FN(behind)(chunk->wide, count));
  for (int64_t c = begin; c < end; c++, dy += inner, x += inner) {
    TR_REAL value = 0;
    for (int64_t i = 0; i < inner; i++) {
      value += chunk->is_bias ? dy[i] : dy[i] * ((x[i] - stats[0]) * stats[1]);
    }
    sum[c - chunk->begin] += value;
  }
}

static void TR_FN(norm_weight_leaf)(
    void *arg, int64_t begin, int64_t end, void *sum, int accumulate)
{
  const TR_FN(norm_chunk) *chunk = arg;
  int64_t groups = chunk->args->norm.groups;
  if (!accumulate) {
    set_zero(sum, chunk->end - chunk->begin);
  }
  for (int64_t g = begin * groups; g < end * groups; g++) {
    TR_FN(norm_weight_group)(chunk, sum, g);
  }
}

static void TR_FN(norm_weight_add)(void *arg, void *sum, const void *other)
{
  const TR_FN(norm_chunk) *chunk = arg;
  TR_FN(add_numbers)(sum, other, chunk->end - chunk->begin);
}

void TR_FN(norm_backward_weight_chunk)(
    const tr__norm_backward_weight_args *args, int64_t number, void *wide)
{
  TR_FN(norm_chunk)
  chunk = {.args = args,
           .wide = wide,
           .begin = number * TR__REF_CHUNK,
           .end = tr__min((number + 1) * TR__REF_CHUNK,
                          tr__tensor_count(&args->dw))};
  tr__tree tree = {.shards = args->shards,
                   .bytes = (size_t)(chunk.end - chunk.begin) * sizeof(TR_REAL),
                   .leaf = TR_FN(norm_weight_leaf),
                   .add = TR_FN(norm_weight_add),
                   .arg = &chunk};
  char *scratch = args->workspace.data;
  if (scratch != NULL) {
    scratch +=
        (size_t)number * tr__ref_chunk_bytes(&args->shards, sizeof(TR_REAL));
  }
  if (args->dw.data != NULL) {
    tr__tree_sum(&tree, (TR_REAL *)args->dw.data + chunk.begin,
                 args->accumulate, scratch);
  }
  if (args->db.data != NULL) {
    chunk.is_bias = true;
    tr__tree_sum(&tree, (TR_REAL *)args->db.data + chunk.begin,
                 args->accumulate, scratch);
  }
}

void TR_FN(norm_backward_weight)(const tr__norm_backward_weight_args *args)
{
  int64_t chunks = tr__ref_chunks(tr__tensor_count(&args->dw));
  for (int64_t i = 0; i < chunks; i++) {
    TR_FN(norm_backward_weight_chunk)(args, i, NULL);
  }
}
