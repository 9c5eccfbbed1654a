/* Metrics on any number of ranks, compared with plain formulas over all rows.
 */
#include "base/random_impl.h"
#include "core/context_impl.h"
#include "mpi_test.h"

#include <train/mpi.h>
#include <train/train.h>

enum { ROWS = 101, CLASSES = 7, TOP = 3, IGNORED = -100 };

static tr_context *ctx;

static void open_context(tr_dtype dtype)
{
  ASSERT_OK(tr_context_create(
      MPI_COMM_WORLD, &(tr_context_opts){.threads = 1, .dtype = dtype}, &ctx));
}

/* Few different numbers, so that some are equal. */
static double value(int64_t i, int stream)
{
  const tr__random random = {.seed = test_seed(),
                             .stream =
                                 tr__random_stream(TR__PURPOSE_TEST, stream)};
  return (double)(tr__random_u32(&random, i) % 33) / 8 - 2;
}

static int32_t target_of(int64_t row)
{
  const tr__random random = {.seed = test_seed(),
                             .stream = tr__random_stream(TR__PURPOSE_TEST, 9)};
  uint32_t drawn = tr__random_u32(&random, row) % (CLASSES + 1);
  return drawn == CLASSES ? IGNORED : (int32_t)drawn;
}

/* Fills in rows in the context's type. */
static void fill(void *out, int64_t count, int64_t first, int stream)
{
  for (int64_t i = 0; i < count; i++) {
    if (ctx->dtype == TR_F64) {
      ((double *)out)[i] = value(first + i, stream);
    } else {
      ((float *)out)[i] = (float)value(first + i, stream);
    }
  }
}

/* The rank of the target's logit among the logits of a row, from 0. */
static int64_t place_of(int64_t row, int64_t target)
{
  int64_t place = 0;
  double own = value(row * CLASSES + target, 1);
  for (int64_t k = 0; k < CLASSES; k++) {
    double x = value(row * CLASSES + k, 1);
    place += x > own || (x == own && k < target);
  }
  return place;
}

typedef struct plain {
  int64_t count, right, in_top, confusion[CLASSES * CLASSES];
  double loss;
} plain;

static void add_plain(plain *p, int64_t row)
{
  int64_t target = target_of(row), guess = 0;
  double sum = 0;
  if (target == IGNORED) {
    return;
  }
  while (place_of(row, guess) != 0) {
    guess++;
  }
  for (int64_t k = 0; k < CLASSES; k++) {
    sum += exp(value(row * CLASSES + k, 1));
  }
  p->count++;
  p->right += place_of(row, target) == 0;
  p->in_top += place_of(row, target) < TOP;
  p->confusion[target * CLASSES + guess]++;
  p->loss += log(sum) - value(row * CLASSES + target, 1);
}

/* Adds this rank's rows in two calls. */
static void add_rows(tr_class_metrics *metrics)
{
  int rank = tr_context_rank(ctx), size = tr_context_size(ctx);
  for (int part = 0; part < 2; part++) {
    int64_t begin = tr__even_split(ROWS, 2 * rank + part, 2 * size);
    int64_t end = tr__even_split(ROWS, 2 * rank + part + 1, 2 * size);
    double logits[ROWS * CLASSES];
    int32_t targets[ROWS];
    fill(logits, (end - begin) * CLASSES, begin * CLASSES, 1);
    for (int64_t i = begin; i < end; i++) {
      targets[i - begin] = target_of(i);
    }
    ASSERT_OK(tr_class_metrics_add(metrics, end - begin, logits, targets));
  }
}

static void check_classes(tr_dtype dtype)
{
  tr_class_metrics *metrics;
  tr_class_result result;
  plain wanted = {0};
  open_context(dtype);
  for (int64_t row = 0; row < ROWS; row++) {
    add_plain(&wanted, row);
  }
  ASSERT_OK(
      tr_class_metrics_create(ctx,
                              &(tr_class_metrics_opts){.classes = CLASSES,
                                                       .top_k = TOP,
                                                       .ignores = 1,
                                                       .ignore_index = IGNORED},
                              &metrics));
  for (int round = 0; round < 2; round++) {
    double count = (double)wanted.count;
    add_rows(metrics);
    ASSERT_OK(tr_class_metrics_get(metrics, &result));
    ASSERT_EQ(result.count, wanted.count);
    ASSERT_NEAR(result.accuracy, (double)wanted.right / count, 0);
    ASSERT_NEAR(result.top_accuracy, (double)wanted.in_top / count, 0);
    ASSERT_NEAR(result.loss, wanted.loss / count, 1e-13);
    ASSERT_NEAR(result.perplexity, exp(wanted.loss / count), 1e-11);
    for (int i = 0; i < CLASSES * CLASSES; i++) {
      ASSERT_EQ(result.confusion[i], wanted.confusion[i]);
    }
  }
  ASSERT_OK(tr_class_metrics_get(metrics, &result));
  ASSERT_EQ(result.count, 0);
  ASSERT_NEAR(result.accuracy, 0, 0);
  tr_class_metrics_destroy(&metrics);
  tr_context_destroy(&ctx);
}

static void test_classes_are_counted_over_all_ranks(void)
{
  check_classes(TR_F64);
  check_classes(TR_F32);
}

static void test_a_bad_target_fails_on_all_ranks(void)
{
  tr_class_metrics *metrics;
  tr_class_result result;
  open_context(TR_F32);
  ASSERT_FAILS(
      tr_class_metrics_create(
          ctx, &(tr_class_metrics_opts){.classes = 2, .top_k = 3}, &metrics),
      TR_EINVAL, "top_k is 3");
  ASSERT(metrics == NULL);
  ASSERT_OK(tr_class_metrics_create(ctx, &(tr_class_metrics_opts){.classes = 2},
                                    &metrics));
  const float logits[2] = {0, 1};
  int32_t target = 2;
  if (tr_context_rank(ctx) == tr_context_size(ctx) - 1) {
    ASSERT_FAILS(tr_class_metrics_add(metrics, 1, logits, &target), TR_EINVAL,
                 "targets[0] is 2");
  }
  ASSERT_FAILS(tr_class_metrics_get(metrics, &result), TR_EINVAL,
               "targets[0] is 2");
  target = 1;
  ASSERT_OK(tr_class_metrics_add(metrics, 1, logits, &target));
  ASSERT_OK(tr_class_metrics_get(metrics, &result));
  ASSERT_EQ(result.count, tr_context_size(ctx));
  ASSERT_NEAR(result.accuracy, 1, 0);
  tr_class_metrics_destroy(&metrics);
  tr_context_destroy(&ctx);
}

/* A mean far from 0: the difference of sums of squares would lose its digits.
 */
static const double offset = 1e6;

static void check_errors(void)
{
  int rank = tr_context_rank(ctx), size = tr_context_size(ctx);
  int64_t begin = tr__even_split(ROWS, rank, size);
  int64_t end = tr__even_split(ROWS, rank + 1, size);
  double mean = 0, spread = 0, squared = 0, absolute = 0;
  for (int64_t i = 0; i < ROWS; i++) {
    double error = value(i, 2) - value(i, 3);
    mean += value(i, 3) / ROWS;
    absolute += fabs(error);
    squared += error * error;
  }
  for (int64_t i = 0; i < ROWS; i++) {
    spread += (value(i, 3) - mean) * (value(i, 3) - mean);
  }
  tr_error_metrics *metrics;
  tr_error_result result;
  ASSERT_OK(tr_error_metrics_create(ctx, &metrics));
  for (int64_t i = begin; i < end; i++) {
    const double x = value(i, 2) + offset, t = value(i, 3) + offset;
    tr_error_metrics_add(metrics, 1, &x, &t);
  }
  ASSERT_OK(tr_error_metrics_get(metrics, &result));
  ASSERT_EQ(result.count, ROWS);
  ASSERT_NEAR(result.mae, absolute / ROWS, 1e-9);
  ASSERT_NEAR(result.mse, squared / ROWS, 1e-9);
  ASSERT_NEAR(result.rmse, sqrt(squared / ROWS), 1e-9);
  ASSERT_NEAR(result.r2, 1 - squared / spread, 1e-8);
  ASSERT_OK(tr_error_metrics_get(metrics, &result));
  ASSERT_EQ(result.count, 0);
  ASSERT_NEAR(result.r2, 0, 0);
  tr_error_metrics_destroy(&metrics);
}

static void test_errors_are_those_of_the_whole(void)
{
  open_context(TR_F64);
  check_errors();
  tr_context_destroy(&ctx);
}

/* Each rank adds a correct row and one whose logits hold a NaN at index `nan`.
 */
static void check_nan(int nan, int32_t target)
{
  tr_class_metrics *metrics;
  tr_class_result result;
  const tr_class_metrics_opts opts = {.classes = 3, .top_k = 2};
  float logits[2][3] = {{0, 2, 1}, {3, 2, 1}};
  const int32_t targets[2] = {1, target};
  int64_t size = tr_context_size(ctx), counted = 0;
  logits[1][nan] = NAN;
  ASSERT_OK(tr_class_metrics_create(ctx, &opts, &metrics));
  ASSERT_OK(tr_class_metrics_add(metrics, 2, logits, targets));
  ASSERT_OK(tr_class_metrics_get(metrics, &result));
  ASSERT_EQ(result.count, 2 * size);
  ASSERT_NEAR(result.accuracy, 0.5, 0);
  ASSERT_NEAR(result.top_accuracy, 0.5, 0);
  ASSERT(isnan(result.loss));
  for (int i = 0; i < 9; i++) {
    counted += result.confusion[i];
  }
  ASSERT_EQ(counted, size);
  ASSERT_EQ(result.confusion[4], size);
  tr_class_metrics_destroy(&metrics);
}

static void test_a_row_with_a_nan_is_wrong(void)
{
  open_context(TR_F32);
  for (int nan = 0; nan < 3; nan++) {
    for (int32_t target = 0; target < 3; target++) {
      check_nan(nan, target);
    }
  }
  tr_context_destroy(&ctx);
}

/* A row of weight 0 may hold anything; a row of weight 2 counts twice. */
static void test_weighted_rows_are_left_out_or_repeated(void)
{
  tr_class_metrics *metrics;
  tr_class_result result;
  const tr_class_metrics_opts opts = {.classes = 2};
  const double logits[4][2] = {{0, 1}, {NAN, 0}, {1, 0}, {0, INFINITY}};
  const int32_t targets[4] = {1, 0, 1, 77};
  const double weights[4] = {2, 0, 1, 0};
  open_context(TR_F64);
  ASSERT_OK(tr_class_metrics_create(ctx, &opts, &metrics));
  ASSERT_OK(
      tr_class_metrics_add_weighted(metrics, 4, logits, targets, weights));
  ASSERT_OK(tr_class_metrics_get(metrics, &result));
  ASSERT_EQ(result.count, 2 * tr_context_size(ctx));
  ASSERT_NEAR(result.accuracy, 2.0 / 3, 1e-15);
  ASSERT_NEAR(result.loss, (2 * log1p(exp(-1)) + log1p(exp(1))) / 3, 1e-14);
  tr_class_metrics_destroy(&metrics);
  tr_context_destroy(&ctx);
}

static void test_weighted_errors_are_left_out_or_repeated(void)
{
  tr_error_metrics *metrics;
  tr_error_result result;
  const double x[4] = {1, NAN, 3, 0}, t[4] = {2, 5, 1, INFINITY};
  const double weights[4] = {2, 0, 1, 0};
  open_context(TR_F64);
  ASSERT_OK(tr_error_metrics_create(ctx, &metrics));
  tr_error_metrics_add_weighted(metrics, 4, x, t, weights);
  tr_error_metrics_add_weighted(metrics, 1, x + 1, t + 1, weights + 1);
  ASSERT_OK(tr_error_metrics_get(metrics, &result));
  ASSERT_EQ(result.count, 2 * tr_context_size(ctx));
  ASSERT_NEAR(result.mae, 4.0 / 3, 1e-15);
  ASSERT_NEAR(result.mse, 2, 1e-15);
  ASSERT_NEAR(result.r2, 1 - 6 / (2.0 / 3), 1e-13);
  tr_error_metrics_destroy(&metrics);
  tr_context_destroy(&ctx);
}

/* Targets near 1e9 that alternate by one, added `part` rows at a time: their
 * variance is known, and the rounding of their mean must not enter it. */
static void check_far(int64_t part)
{
  enum { COUNT = 60000 };
  static double x[COUNT], t[COUNT];
  tr_error_metrics *metrics;
  tr_error_result result;
  for (int i = 0; i < COUNT; i++) {
    t[i] = 1e9 + (i % 2) + 1.0 / 3;
    x[i] = t[i] + 0.25;
  }
  ASSERT_OK(tr_error_metrics_create(ctx, &metrics));
  for (int64_t i = 0; i < COUNT; i += part) {
    int64_t count = tr__min(part, COUNT - i);
    tr_error_metrics_add(metrics, count, x + i, t + i);
  }
  ASSERT_OK(tr_error_metrics_get(metrics, &result));
  ASSERT_NEAR(result.r2, 1 - 0.0625 / 0.25, 1e-9);
  tr_error_metrics_destroy(&metrics);
}

static void test_a_large_mean_does_not_enter_the_spread(void)
{
  open_context(TR_F64);
  check_far(1);
  check_far(2);
  check_far(999);
  check_far(60000);
  tr_context_destroy(&ctx);
}

static const tr_test tests[] = {
    TEST(test_a_row_with_a_nan_is_wrong),
    TEST(test_weighted_rows_are_left_out_or_repeated),
    TEST(test_weighted_errors_are_left_out_or_repeated),
    TEST(test_a_large_mean_does_not_enter_the_spread),
    TEST(test_classes_are_counted_over_all_ranks),
    TEST(test_a_bad_target_fails_on_all_ranks),
    TEST(test_errors_are_those_of_the_whole),
};

TEST_MPI_MAIN(tests)
