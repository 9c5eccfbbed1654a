/* Activations, softmax over the last axis, and dropout. */

/* No intermediate value overflows if the result does not: vector code computes
 * both sides of a choice, and a host may trap floating-point overflow. For Inf
 * and NaN the results are those of PyTorch. */

static inline TR_REAL TR_FN(within)(TR_REAL x, TR_REAL far)
{
  return sizeof(TR_REAL) == sizeof(float)
             ? (TR_REAL)tr__within_f32((float)x, (float)far)
             : (TR_REAL)tr__within_f64((double)x, (double)far);
}

/* e^x for x up to 88, in double precision up to 709. Single precision uses a
 * polynomial on [-ln 2 / 2, ln 2 / 2] and a power of two, which compilers
 * vectorise. The error is at most 2 units in the last place, and the result is
 * 0 below -87. Source of the coefficients: Cephes, expf.c. */
static inline TR_REAL TR_FN(power_of_e)(TR_REAL x)
{
  if (sizeof(TR_REAL) == sizeof(double)) {
    return (TR_REAL)exp((double)x);
  }
  float u = tr__within_f32((float)x, 88);
  /* Adding 1.5 2^23 leaves the integer nearest to u / ln 2 in the low bits. */
  float shifted = u * 1.44269504f + 12582912.0f;
  float whole = shifted - 12582912.0f;
  float r = u - whole * 0.693359375f + whole * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1;
  uint32_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127) << 23;
  float power;
  memcpy(&power, &bits, sizeof power);
  return (TR_REAL)(u < -87 ? 0 : p * power);
}

static inline TR_REAL TR_FN(logistic)(TR_REAL x)
{
  const TR_REAL far = sizeof(TR_REAL) == sizeof(double) ? 709 : 88;
  TR_REAL value = 1 / (1 + TR_FN(power_of_e)(-TR_FN(within)(x, far)));
  return x < -far ? 0 : value;
}

/* Near 0, where the exponentials cancel, tanh is a polynomial. Source: Cephes,
 * tanhf.c. */
static inline TR_REAL TR_FN(hyperbolic_tangent)(TR_REAL x)
{
  if (sizeof(TR_REAL) == sizeof(double)) {
    return (TR_REAL)tanh((double)x);
  }
  /* Beyond 20 tanh rounds to 1. */
  float u = (float)TR_FN(within)(x, 20), z = u * u;
  float far = 1 - 2 / (1 + (float)TR_FN(power_of_e)((TR_REAL)(2 * u)));
  float near = -5.70498872745e-3f;
  near = near * z + 2.06390887954e-2f;
  near = near * z - 5.37397155531e-2f;
  near = near * z + 1.33314422036e-1f;
  near = near * z - 3.33332819422e-1f;
  near = near * z * u + u;
  return (TR_REAL)(z < 0.390625f ? near : far);
}

/* Cumulative distribution and density of the normal distribution. */
static inline TR_REAL TR_FN(normal_cdf)(TR_REAL x)
{
  return sizeof(TR_REAL) == sizeof(float)
             ? (TR_REAL)(0.5f * (1 + erff((float)x * 0.70710678f)))
             : (TR_REAL)(0.5 * (1 + erf((double)x * 0.70710678118654752440)));
}

static inline TR_REAL TR_FN(normal_density)(TR_REAL x)
{
  const TR_REAL far = sizeof(TR_REAL) == sizeof(double) ? 40 : 14;
  x = TR_FN(within)(x, far);
  return (TR_REAL)0.39894228040143267794 * TR_FN(power_of_e)(-x * x / 2);
}

/* tanh(sqrt(2 / pi) (x + 0.044715 x^3)) of the approximate GELU; beyond 10 it
 * rounds to 1. */
static inline TR_REAL TR_FN(gelu_tangent)(TR_REAL x)
{
  const TR_REAL a = (TR_REAL)0.79788456080286535588, b = (TR_REAL)0.044715;
  x = TR_FN(within)(x, 10);
  return TR_FN(hyperbolic_tangent)(a * (x + b * x * x * x));
}

/* The activations f(x), all with the same arguments. */
static inline TR_REAL TR_FN(leaky_relu)(TR_REAL x, TR_REAL slope)
{
  return x < 0 ? slope * x : x;
}

static inline TR_REAL TR_FN(gelu)(TR_REAL x, TR_REAL slope)
{
  (void)slope;
  return x * TR_FN(normal_cdf)(x);
}

static inline TR_REAL TR_FN(gelu_tanh)(TR_REAL x, TR_REAL slope)
{
  (void)slope;
  return x / 2 * (1 + TR_FN(gelu_tangent)(x));
}

static inline TR_REAL TR_FN(silu)(TR_REAL x, TR_REAL slope)
{
  (void)slope;
  return x * TR_FN(logistic)(x);
}

static inline TR_REAL TR_FN(sigmoid)(TR_REAL x, TR_REAL slope)
{
  (void)slope;
  return TR_FN(logistic)(x);
}

static inline TR_REAL TR_FN(tangent)(TR_REAL x, TR_REAL slope)
{
  (void)slope;
  return TR_FN(hyperbolic_tangent)(x);
}

/* The derivatives f'(x), as functions of the output y or of the input x. */
static inline TR_REAL TR_FN(leaky_relu_slope)(TR_REAL y, TR_REAL slope)
{
  return y > 0 ? 1 : slope;
}

static inline TR_REAL TR_FN(gelu_slope)(TR_REAL x, TR_REAL slope)
{
  (void)slope;
  return TR_FN(normal_cdf)(x) + x * TR_FN(normal_density)(x);
}

static inline TR_REAL TR_FN(gelu_tanh_slope)(TR_REAL x, TR_REAL slope)
{
  (void)slope;
  const TR_REAL a = (TR_REAL)0.79788456080286535588;
  const TR_REAL b = (TR_REAL)(3 * 0.044715);
  TR_REAL t = TR_FN(gelu_tangent)(x), near = TR_FN(within)(x, 10);
  return (1 + t) / 2 + x / 2 * (1 - t * t) * a * (1 + b * near * near);
}

static inline TR_REAL TR_FN(silu_slope)(TR_REAL x, TR_REAL slope)
{
  (void)slope;
  TR_REAL s = TR_FN(logistic)(x);
  return s * (1 + x * (1 - s));
}

static inline TR_REAL TR_FN(sigmoid_slope)(TR_REAL y, TR_REAL slope)
{
  (void)slope;
  return y * (1 - y);
}

static inline TR_REAL TR_FN(tangent_slope)(TR_REAL y, TR_REAL slope)
{
  (void)slope;
  return 1 - y * y;
}

/* One loop per function, so that TR__CLONES compiles each for wide vectors. */
#define LOOPS(f)                                                               \
  static TR__CLONES void TR_FN(f##_loop)(TR_REAL * y, const TR_REAL *x,        \
                                         int64_t count, TR_REAL slope)         \
  {                                                                            \
    for (int64_t i = 0; i < count; i++) {                                      \
      y[i] = TR_FN(f)(x[i], slope);                                            \
    }                                                                          \
  }                                                                            \
  static TR__CLONES void TR_FN(f##_back)(TR_REAL * dx, const TR_REAL *dy,      \
                                         const TR_REAL *value, int64_t count,  \
                                         TR_REAL slope)                        \
  {                                                                            \
    for (int64_t i = 0; i < count; i++) {                                      \
      dx[i] = dy[i] * TR_FN(f##_slope)(value[i], slope);                       \
    }                                                                          \
  }                                                                            \
  static TR__CLONES void TR_FN(f##_back_add)(TR_REAL * dx, const TR_REAL *dy,  \
                                             const TR_REAL *value,             \
                                             int64_t count, TR_REAL slope)     \
  {                                                                            \
    for (int64_t i = 0; i < count; i++) {                                      \
      dx[i] += dy[i] * TR_FN(f##_slope)(value[i], slope);                      \
    }                                                                          \
  }

#define KINDS(X)                                                               \
  X(LEAKY_RELU, leaky_relu)                                                    \
  X(GELU, gelu)                                                                \
  X(GELU_TANH, gelu_tanh)                                                      \
  X(SILU, silu)                                                                \
  X(SIGMOID, sigmoid)                                                          \
  X(TANH, tangent)

#define KIND_LOOPS(kind, f) LOOPS(f)
KINDS(KIND_LOOPS)
#undef KIND_LOOPS
#undef LOOPS

void TR_FN(activation_forward)(const tr__activation_forward_args *args)
{
  int64_t count = tr__tensor_count(&args->y);
  TR_REAL slope = (TR_REAL)args->slope;
#define CASE(kind, f)                                                          \
  case TR__ACTIVATION_##kind:                                                  \
    TR_FN(f##_loop)(args->y.data, args->x.data, count, slope);                 \
    break;
  switch (args->kind) {
    KINDS(CASE)
  case TR__ACTIVATION_NONE:
  case TR__ACTIVATION_RELU:
    TR_ASSERT(false);
    break;
  }
#undef CASE
}

void TR_FN(activation_backward)(const tr__activation_backward_args *args)
{
  int64_t count = tr__tensor_count(&args->dx);
  TR_REAL slope = (TR_REAL)args->slope;
#define CASE(kind, f)                                                          \
  case TR__ACTIVATION_##kind:                                                  \
    (args->accumulate ? TR_FN(f##_back_add) : TR_FN(f##_back))(                \
        args->dx.data, args->dy.data, args->value.data, count, slope);         \
    break;
  switch (args->kind) {
    KINDS(CASE)
  case TR__ACTIVATION_NONE:
  case TR__ACTIVATION_RELU:
    TR_ASSERT(false);
    break;
  }
#undef CASE
}
#undef KINDS

/* y <- e^(x - largest) */
static TR__CLONES void TR_FN(softmax_numbers)(TR_REAL *y,
                                              const TR_REAL *x,
                                              int64_t count,
                                              TR_REAL largest)
{
  for (int64_t i = 0; i < count; i++) {
    y[i] = TR_FN(power_of_e)(x[i] - largest);
  }
}

/* Returns the extent of the last axis; *rows <- the vectors along it. */
static inline int64_t TR_FN(last_extent)(const tr__tensor *t, int64_t *rows)
{
  int64_t extent = t->dims[t->ndim - 1];
  *rows = tr__tensor_count(t) / extent;
  return extent;
}

void TR_FN(softmax_forward)(const tr__softmax_forward_args *args)
{
  int64_t rows, K = TR_FN(last_extent)(&args->y, &rows);
  for (int64_t n = 0; n < rows; n++) {
    const TR_REAL *x = (const TR_REAL *)args->x.data + n * K;
    TR_REAL *y = (TR_REAL *)args->y.data + n * K;
    TR_REAL largest = x[0];
    for (int64_t k = 1; k < K; k++) {
      largest = x[k] > largest ? x[k] : largest;
    }
    TR_FN(softmax_numbers)(y, x, K, largest);
    double sum = 0;
    for (int64_t k = 0; k < K; k++) {
      sum += (double)y[k];
    }
    TR_REAL factor = (TR_REAL)(1 / sum);
    for (int64_t k = 0; k < K; k++) {
      y[k] *= factor;
    }
  }
}

void TR_FN(softmax_backward)(const tr__softmax_backward_args *args)
{
  int64_t rows, K = TR_FN(last_extent)(&args->dx, &rows);
  for (int64_t n = 0; n < rows; n++) {
    const TR_REAL *dy = (const TR_REAL *)args->dy.data + n * K;
    const TR_REAL *y = (const TR_REAL *)args->y.data + n * K;
    TR_REAL *dx = (TR_REAL *)args->dx.data + n * K;
    double sum = 0;
    for (int64_t k = 0; k < K; k++) {
      sum += (double)dy[k] * (double)y[k];
    }
    for (int64_t k = 0; k < K; k++) {
      TR_REAL value = y[k] * (dy[k] - (TR_REAL)sum);
      dx[k] = args->accumulate ? dx[k] + value : value;
    }
  }
}

/* One row. An element is kept where its random number is at least p, that is,
 * where its 32 random bits are at least p 2^32. */
static void TR_FN(dropout_row)(const tr__dropout_args *args,
                               const tr__random *random,
                               int64_t n,
                               int64_t count)
{
  const TR_REAL *x = (const TR_REAL *)args->x.data + n * count;
  TR_REAL *y = (TR_REAL *)args->y.data + n * count;
  TR_REAL scale = (TR_REAL)(args->p < 1 ? 1 / (1 - args->p) : 0);
  double numbers[4];
  for (int64_t i = 0; i < count; i++) {
    if (i % 4 == 0) {
      tr__random_four(random, i / 4, numbers);
    }
    TR_REAL value = numbers[i % 4] >= args->p ? x[i] * scale : 0;
    y[i] = args->accumulate ? y[i] + value : value;
  }
}

void TR_FN(dropout)(const tr__dropout_args *args)
{
  const tr__step_block *block = args->block.data;
  int64_t count = tr__tensor_row(&args->y);
  uint64_t seed = tr__random_round(args->seed, (int64_t)block->rng_round);
  for (int64_t n = 0; n < args->y.dims[0]; n++) {
    const tr__random random = {.seed = seed,
                               .sample = (int64_t)block->rng_first +
                                         args->first_row + n,
                               .step = (int64_t)block->rng_step,
                               .stream = args->stream};
    TR_FN(dropout_row)(args, &random, n, count);
  }
}
