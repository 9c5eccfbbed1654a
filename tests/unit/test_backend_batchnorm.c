/* BatchNorm of values whose mean is large against their deviation: errors
 * stay those of rounding the mean, on every backend and with virtual shards. */
#include "backend/backend_table_impl.h"
#include "base/random_impl.h"
#include "core/backend_impl.h"
#include "model/model_impl.h"
#include "test.h"

#include <train/train.h>

enum { ROWS = 32, CHANNELS = 3, PLACES = 64 };
enum { ROW = CHANNELS * PLACES, COUNT = ROWS * ROW, N = ROWS * PLACES };

typedef struct values {
  double x[COUNT], dy[COUNT], y[COUNT], dx[COUNT];
  double mean[CHANNELS], var[CHANNELS]; /* unbiased */
} values;

static const double eps = 1e-5;

/* Element i of channel c. */
static int64_t at(int c, int i)
{
  return (int64_t)(i / PLACES) * ROW + c * PLACES + i % PLACES;
}

/* Numbers that are exact in the type. */
static void
draw_values(values *v, tr_dtype dtype, double mean, double deviation)
{
  const tr__random random = {.seed = test_seed(),
                             .stream = tr__random_stream(TR__PURPOSE_TEST, 5)};
  for (int i = 0; i < COUNT; i++) {
    double x = mean + deviation * tr__random_normal(&random, i);
    double dy = tr__random_normal(&random, COUNT + i);
    v->x[i] = dtype == TR_F64 ? x : (double)(float)x;
    v->dy[i] = dtype == TR_F64 ? dy : (double)(float)dy;
  }
}

/* y, dx and the statistics from their definitions. */
static void define(values *v)
{
  for (int c = 0; c < CHANNELS; c++) {
    long double mean = 0, var = 0, g = 0, gx = 0;
    for (int i = 0; i < N; i++) {
      mean += (long double)v->x[at(c, i)] / N;
    }
    for (int i = 0; i < N; i++) {
      long double d = (long double)v->x[at(c, i)] - mean;
      var += d * d / N;
    }
    long double r = 1 / sqrtl(var + (long double)eps);
    for (int i = 0; i < N; i++) {
      long double dy = (long double)v->dy[at(c, i)];
      g += dy / N;
      gx += dy * ((long double)v->x[at(c, i)] - mean) * r / N;
    }
    for (int i = 0; i < N; i++) {
      long double xhat = ((long double)v->x[at(c, i)] - mean) * r;
      v->y[at(c, i)] = (double)xhat;
      v->dx[at(c, i)] =
          (double)(r * ((long double)v->dy[at(c, i)] - g - xhat * gx));
    }
    v->mean[c] = (double)mean;
    v->var[c] = (double)(var * N / (N - 1));
  }
}

static void *to_host(tr_dtype dtype, const double *x)
{
  void *out = malloc(COUNT * sizeof(double));
  ASSERT(out != NULL);
  for (int i = 0; i < COUNT; i++) {
    if (dtype == TR_F64) {
      ((double *)out)[i] = x[i];
    } else {
      ((float *)out)[i] = (float)x[i];
    }
  }
  return out;
}

typedef struct job {
  const char *device;
  tr_dtype dtype;
  int64_t shards;
  double mean, deviation, tolerance;
} job;

static void expect(const job *j,
                   const char *name,
                   const void *got,
                   const double *x,
                   int count,
                   double tolerance)
{
  double largest = 0, worst = 0;
  for (int i = 0; i < count; i++) {
    double value = j->dtype == TR_F64 ? ((const double *)got)[i]
                                      : (double)((const float *)got)[i];
    largest = fmax(largest, fabs(x[i]));
    worst = fmax(worst, isnan(value) ? INFINITY : fabs(value - x[i]));
  }
  if (!(worst <= tolerance * largest)) {
    test_fail(__FILE__, __LINE__,
              "%s, %s, %d shards, mean %g, deviation %g: %s is wrong by %.3g "
              "of its largest, allowed %.3g",
              j->device, tr__dtype_name(j->dtype), (int)j->shards, j->mean,
              j->deviation, name, worst / largest, tolerance);
  }
}

static void check_running(const job *j, tr_model *net, const values *v)
{
  double got[CHANNELS];
  bool is_single = j->dtype != TR_F64;
  ASSERT_OK(tr_model_get_param(net, "norm.running_mean", got));
  /* Of the values themselves; that of the mean may be smaller. */
  double unit = is_single ? 0x1p-23 : 0x1p-49;
  double size = fabs(j->mean) + j->deviation, largest = 0;
  for (int c = 0; c < CHANNELS; c++) {
    largest = fmax(largest, fabs(v->mean[c]));
  }
  expect(j, "mean", got, v->mean, CHANNELS, unit * size / largest);
  ASSERT_OK(tr_model_get_param(net, "norm.running_var", got));
  expect(j, "variance", got, v->var, CHANNELS, fmax(j->tolerance, 1e-13));
}

static void check(const job *j, const values *v)
{
  tr_context *ctx;
  tr_model *net;
  const tr_context_opts opts = {.device = j->device,
                                .dtype = j->dtype,
                                .threads = 2,
                                .virtual_shards = j->shards};
  ASSERT_OK(tr_context_create_auto(&opts, &ctx));
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, (tr_shape){2, {CHANNELS, PLACES}});
  const tr_batchnorm_opts norm = {.momentum = 1, .eps = eps, .name = "norm"};
  tr_node y = tr_batchnorm(net, x, &norm);
  net->wants_input_gradients = true;
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = ROWS}));
  void *in = to_host(j->dtype, v->x), *dy = to_host(j->dtype, v->dy);
  void *out = malloc(COUNT * sizeof(double));
  const tr_batch batch = {.count = ROWS, .global_count = ROWS, .inputs = {in}};
  ASSERT_OK(tr_model_forward(net, &batch));
  ASSERT_OK(tr_model_get_output(net, y, out));
  expect(j, "output", out, v->y, COUNT, j->tolerance);
  ASSERT_OK(tr__model_backward_from(net, dy));
  ASSERT_OK(tr__model_get_node_gradient(net, 0, out));
  expect(j, "gradient", out, v->dx, COUNT, j->tolerance);
  check_running(j, net, v);
  free(in);
  free(dy);
  free(out);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

/* Half a unit of the mean's last place is an error of the output; merging
 * shards rounds the mean some times more. In single precision the mean counts
 * with the places that it loses. */
static const job jobs[] = {
    {.dtype = TR_F64, .mean = 0, .deviation = 1, .tolerance = 1e-14},
    {.dtype = TR_F64, .mean = 1e4, .deviation = 1, .tolerance = 1e-12},
    {.dtype = TR_F64, .mean = 1e6, .deviation = 1, .tolerance = 5e-11},
    {.dtype = TR_F64, .mean = 1e8, .deviation = 1, .tolerance = 4e-9},
    {.dtype = TR_F64, .mean = 101325, .deviation = .01, .tolerance = 1e-9},
    {.dtype = TR_F64, .mean = -1.7e9, .deviation = 100, .tolerance = 2e-9},
    {.dtype = TR_F32, .mean = 0, .deviation = 1, .tolerance = 1e-6},
    {.dtype = TR_F32, .mean = 1e4, .deviation = 1, .tolerance = 1e-6},
    {.dtype = TR_F32, .mean = -1e6, .deviation = 1, .tolerance = 1e-6},
    {.dtype = TR_F32, .mean = 1e7, .deviation = 3, .tolerance = 1e-6},
};

static void check_everywhere(values *v, const job *of)
{
  static const int64_t shards[] = {0, 1, 7, 32};
  draw_values(v, of->dtype, of->mean, of->deviation);
  define(v);
  for (int b = 0; tr__backend_table()[b] != NULL; b++) {
    for (int s = 0; s < 4; s++) {
      job j = *of;
      j.device = tr__backend_table()[b]->name;
      j.shards = shards[s];
      check(&j, v);
    }
  }
}

static void test_batchnorm_is_exact_where_the_mean_is_large(void)
{
  values *v = malloc(sizeof *v);
  ASSERT(v != NULL);
  for (size_t i = 0; i < sizeof jobs / sizeof jobs[0]; i++) {
    check_everywhere(v, &jobs[i]);
  }
  free(v);
}

static const tr_test tests[] = {
    TEST(test_batchnorm_is_exact_where_the_mean_is_large),
};
TEST_MAIN(tests)
