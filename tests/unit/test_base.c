/* Random numbers, permutations, the thread pool, statuses, shapes, traces. */
#include "test.h"

#include "base/half_impl.h"
#include "base/random_impl.h"
#include "base/thread_pool_impl.h"
#include "base/timeline_impl.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>

/* Known answers of Random123's kat_vectors. */
static void test_philox_gives_the_known_answers(void)
{
  static const uint32_t rows[][10] = {
      {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
      {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff,
       0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
      {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0,
       0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
  };
  for (int i = 0; i < 3; i++) {
    uint32_t out[4];
    tr__philox(rows[i], rows[i] + 4, out);
    for (int k = 0; k < 4; k++) {
      ASSERT_EQ(out[k], rows[i][6 + k]);
    }
  }
}

/* Checkpoints and orders of epochs rest on this layout: it never changes. */
static void test_the_counter_has_its_frozen_layout(void)
{
  const tr__random random = {.seed = 0x299f31d0a4093822,
                             .sample = 0x1285a308d3,
                             .step = 0x3413198a2e,
                             .stream = 0x5678};
  const uint32_t key[2] = {0xa4093822, 0x299f31d0};
  const uint32_t counter[4] = {9, 0x85a308d3, 0x13198a2e, 0x56783412};
  uint32_t words[4];
  tr__philox(counter, key, words);
  for (int i = 0; i < 4; i++) {
    ASSERT_EQ(tr__random_u32(&random, 36 + i), words[i]);
    ASSERT(tr__random_uniform(&random, 36 + i) == words[i] / 4294967296.0);
  }
  ASSERT_EQ(tr__random_stream(TR__PURPOSE_TEST, 0x123), 0xf123);
}

/* Recorded once: a change is a change of every seeded run. */
static void test_recorded_numbers_stay(void)
{
  const tr__random random = {.seed = 42,
                             .sample = 7,
                             .step = 3,
                             .stream = tr__random_stream(TR__PURPOSE_INIT, 1)};
  static const uint32_t words[] = {0xb88d4ee7, 0x686c2dd7, 0xa741509e,
                                   0xc126ffa6, 0x064c66ef, 0x66d4072c};
  static const int64_t order[] = {8, 1, 6, 3, 7, 5, 4, 2, 9, 0};
  for (int i = 0; i < 6; i++) {
    ASSERT_EQ(tr__random_u32(&random, i), words[i]);
  }
  const tr__permutation permutation = tr__permutation_of(42, 1, 10);
  for (int i = 0; i < 10; i++) {
    ASSERT_EQ(tr__permute(&permutation, i), order[i]);
  }
}

static void test_fill_gives_the_single_numbers(void)
{
  const tr__random random = {.seed = test_seed(), .stream = 0xf000};
  double values[103];
  tr__random_fill(&random, -2, 3, 103, values);
  for (int i = 0; i < 103; i++) {
    double wanted = -2 + 5 * tr__random_uniform(&random, i);
    ASSERT(values[i] == wanted && wanted >= -2 && wanted < 3);
  }
}

/* Moments within five standard errors. */
static void test_uniform_and_normal_have_their_moments(void)
{
  enum { COUNT = 200000 };
  const tr__random random = {.seed = test_seed(), .stream = 0xf001};
  double sums[4] = {0}, fourth = 0;
  for (int i = 0; i < COUNT; i++) {
    double u = tr__random_uniform(&random, i);
    double z = tr__random_normal(&random, i);
    sums[0] += u;
    sums[1] += u * u;
    sums[2] += z;
    sums[3] += z * z;
    fourth += z * z * z * z;
  }
  double error = 5 / sqrt(COUNT);
  ASSERT(fabs(sums[0] / COUNT - 0.5) < error * sqrt(1.0 / 12));
  ASSERT(fabs(sums[1] / COUNT - 1.0 / 3) < error * sqrt(4.0 / 45));
  ASSERT(fabs(sums[2] / COUNT) < error);
  ASSERT(fabs(sums[3] / COUNT - 1) < error * sqrt(2));
  ASSERT(fabs(fourth / COUNT - 3) < error * sqrt(96));
}

static void check_permutation(int64_t count, int64_t epoch)
{
  const tr__permutation order = tr__permutation_of(test_seed(), epoch, count);
  char *seen = calloc((size_t)count, 1);
  for (int64_t place = 0; place < count; place++) {
    int64_t number = tr__permute(&order, place);
    ASSERT(number >= 0 && number < count && !seen[number]);
    seen[number] = 1;
  }
  free(seen);
}

static void test_permute_is_a_permutation(void)
{
  static const int64_t counts[] = {1,    2,    3,    4,    5,    15,
                                   16,   17,   63,   64,   65,   1000,
                                   4095, 4096, 4097, 9999, 60000};
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
    check_permutation(counts[i], 0);
    check_permutation(counts[i], 5);
  }
  const tr__random random = {.seed = test_seed(), .stream = 0xf002};
  for (int i = 0; i < 30; i++) {
    check_permutation(1 + tr__random_u32(&random, i) % 3000, i);
  }
}

static int64_t count_equal_places(uint64_t seed, int64_t epoch, int64_t count)
{
  const tr__permutation a = tr__permutation_of(test_seed(), 0, count);
  const tr__permutation b = tr__permutation_of(seed, epoch, count);
  int64_t equal = 0;
  for (int64_t i = 0; i < count; i++) {
    equal += tr__permute(&a, i) == tr__permute(&b, i);
  }
  return equal;
}

/* Two random orders have one place in common on average. */
static void test_epochs_and_seeds_have_other_orders(void)
{
  ASSERT_EQ(count_equal_places(test_seed(), 0, 1000), 1000);
  for (int epoch = 1; epoch < 20; epoch++) {
    ASSERT(count_equal_places(test_seed(), epoch, 1000) < 12);
    ASSERT(count_equal_places(test_seed() + (uint64_t)epoch, 0, 1000) < 12);
  }
}

static void test_a_huge_permutation_stays_in_range(void)
{
  const tr__permutation order =
      tr__permutation_of(test_seed(), 3, ((int64_t)1 << 40) + 1);
  for (int64_t i = 0; i < 1000; i++) {
    int64_t number = tr__permute(&order, (i << 30) + i);
    ASSERT(number >= 0 && number < order.count);
  }
}

/* The pool. */

enum { MAX_TASKS = 64 };

typedef struct tally {
  atomic_int runs[MAX_TASKS];
  atomic_int bad_threads;
  int num_threads;
} tally;

static void count_task(void *arg, int64_t task, int thread)
{
  tally *t = arg;
  atomic_fetch_add(&t->runs[task], 1);
  if (thread < 0 || thread >= t->num_threads) {
    atomic_fetch_add(&t->bad_threads, 1);
  }
}

static void check_pool_run(tr__threads *pool, int num_tasks)
{
  tally t;
  memset(&t, 0, sizeof t);
  t.num_threads = tr__threads_count(pool);
  tr__threads_run(pool, num_tasks, count_task, &t);
  for (int i = 0; i < MAX_TASKS; i++) {
    ASSERT_EQ(atomic_load(&t.runs[i]), i < num_tasks);
  }
  ASSERT_EQ(atomic_load(&t.bad_threads), 0);
}

static void test_the_pool_runs_every_task_exactly_once(void)
{
  for (int threads = 1; threads <= 5; threads++) {
    tr__threads *pool;
    ASSERT_OK(tr__threads_create(threads, &pool));
    ASSERT_EQ(tr__threads_count(pool), threads);
    for (int i = 0; i < 2000; i++) {
      check_pool_run(pool, i % (MAX_TASKS + 1));
    }
    tr__threads_destroy(&pool);
    ASSERT(pool == NULL);
    tr__threads_destroy(&pool);
  }
}

static void test_pools_come_and_go(void)
{
  for (int i = 0; i < 200; i++) {
    tr__threads *pool;
    ASSERT_OK(tr__threads_create(1 + i % 5, &pool));
    if (i % 3 == 0) {
      check_pool_run(pool, i % MAX_TASKS);
    }
    tr__threads_destroy(&pool);
  }
  ASSERT(tr__num_cpus() >= 1);
}

/* Statuses, shapes, traces. */

static void test_statuses_have_unique_numbers_and_exit_codes(void)
{
  static const struct {
    tr_status status;
    int number, exit_code;
    const char *name;
  } rows[] = {
#define ROW(name, number, exit_code, text)                                     \
  {TR_##name, number, exit_code, "TR_" #name},
      TR_STATUS_MAP(ROW)
#undef ROW
  };
  static const int exit_codes[] = {0, 2, 65, 66, 69, 71, 74, 75, 78, 85};
  for (int i = 0; i < (int)(sizeof rows / sizeof rows[0]); i++) {
    ASSERT_EQ(rows[i].status, i);
    ASSERT_STR_EQ(tr_status_name(rows[i].status), rows[i].name);
    ASSERT(strlen(tr_status_text(rows[i].status)) > 3);
    ASSERT_EQ(tr_status_exit_code(rows[i].status), rows[i].exit_code);
    int known = 0;
    for (int k = 0; k < 10; k++) {
      known += exit_codes[k] == rows[i].exit_code;
    }
    ASSERT_EQ(known, 1);
    ASSERT_EQ(rows[i].exit_code == 0, i == 0);
  }
  ASSERT_STR_EQ(tr_status_name((tr_status)99), "TR_UNKNOWN");
  ASSERT_STR_EQ(tr_status_text((tr_status)-1), "unknown status");
  ASSERT_EQ(tr_status_exit_code((tr_status)17), 70);
}

static void test_shapes_that_overflow_are_found(void)
{
  const int64_t big = (int64_t)1 << 40;
  char text[TR__SHAPE_BYTES];
  tr_shape shape = tr_shape_of(3, (int64_t[]){1, 28, 28});
  ASSERT_EQ(tr_shape_count(&shape), 784);
  ASSERT_STR_EQ(tr__shape_text(&shape, text), "(1, 28, 28)");
  tr_shape scalar = tr_shape_of(0, NULL);
  ASSERT_EQ(tr_shape_count(&scalar), 1);
  ASSERT_STR_EQ(tr__shape_text(&scalar, text), "()");
  ASSERT(tr__shape_is_valid(&scalar) && !tr__shape_equal(&scalar, &shape));
  const tr_shape bad[] = {
      tr_shape_of(7, (int64_t[]){1, 1, 1, 1, 1, 1, 1}),
      tr_shape_of(-1, NULL),
      tr_shape_of(2, (int64_t[]){big, big}),
      tr_shape_of(2, (int64_t[]){3, -1}),
      tr_shape_of(2, (int64_t[]){0, -1}),
  };
  for (int i = 0; i < 5; i++) {
    ASSERT_EQ(tr_shape_count(&bad[i]), -1);
    ASSERT(!tr__shape_is_valid(&bad[i]));
  }
  tr_shape empty = tr_shape_of(2, (int64_t[]){3, 0});
  ASSERT_EQ(tr_shape_count(&empty), 0);
  ASSERT(!tr__shape_is_valid(&empty));
  const int64_t least = INT64_MIN;
  tr_shape longest = {6, {least, least, least, least, least, least}};
  ASSERT_EQ(strlen(tr__shape_text(&longest, text)), 2 + 6 * 20 + 5 * 2);
}

static void test_dtypes_have_sizes(void)
{
  ASSERT_EQ(tr_dtype_size(TR_F32), 4);
  ASSERT_EQ(tr_dtype_size(TR_F64), 8);
  ASSERT_EQ(tr_dtype_size(TR_I32), 4);
  ASSERT_EQ(tr_dtype_size(TR_U8), 1);
  ASSERT_EQ(tr_dtype_size(TR_BF16), 2);
  ASSERT_EQ(tr_dtype_size(TR_F16), 2);
  ASSERT_EQ(tr_dtype_size((tr_dtype)9), 0);
  ASSERT_STR_EQ(tr_version(), "0.2.0");
}

/* All numbers of 16 bits come back, and what lies between two of them goes to
 * the nearer one, in the middle to the even one. */
static void check_halves(tr_dtype dtype, uint16_t largest)
{
  for (uint32_t bits = 0; bits < 1u << 16; bits++) {
    float value = tr__half_get(dtype, (uint16_t)bits);
    uint16_t back = tr__half_set(dtype, value);
    if (isnan(value)) {
      ASSERT(isnan(tr__half_get(dtype, back)));
      continue;
    }
    ASSERT_EQ(back, bits);
    if ((bits & 0x7fff) >= largest) {
      continue;
    }
    double next = tr__half_get(dtype, (uint16_t)(bits + 1));
    float middle = (float)((value + next) / 2);
    ASSERT_EQ(tr__half_set(dtype, middle), bits % 2 == 0 ? bits : bits + 1);
    float away = nextafterf(middle, (float)next);
    ASSERT_EQ(tr__half_set(dtype, away), bits + 1);
    ASSERT_EQ(tr__half_set(dtype, nextafterf(middle, value)), bits);
  }
}

static void test_numbers_of_16_bits_are_rounded_to_the_nearest(void)
{
  check_halves(TR_BF16, 0x7f7f);
  check_halves(TR_F16, 0x7bff);
  /* Beyond the middle of the largest and what would be the next. */
  ASSERT_EQ(tr__half_set(TR_F16, 65519.996f), 0x7bff);
  ASSERT_EQ(tr__half_set(TR_F16, 65520), 0x7c00);
  ASSERT_EQ(tr__half_set(TR_F16, -1e30f), 0xfc00);
  ASSERT_EQ(tr__half_set(TR_BF16, FLT_MAX), 0x7f80);
}

static tr_status fails(int depth)
{
  TR_CHECK(depth > 0, TR_EDATA, "file \"%s\": got %d, expected %d", "x.bin", 3,
           4);
  TR_TRY(fails(depth - 1));
  return TR_OK;
}

static void print_trace(char *out, size_t bytes)
{
  FILE *stream = fmemopen(out, bytes, "w");
  tr_error_print(stream);
  fclose(stream);
}

static void test_the_trace_says_what_and_where(void)
{
  char text[4096] = "";
  unsetenv("LIBTRAIN_TRACE");
  ASSERT_FAILS(fails(2), TR_EDATA, "file \"x.bin\": got 3, expected 4");
  print_trace(text, sizeof text);
  ASSERT_STR_EQ(text, "error: file \"x.bin\": got 3, expected 4\n");
  setenv("LIBTRAIN_TRACE", "1", 1);
  print_trace(text, sizeof text);
  unsetenv("LIBTRAIN_TRACE");
  const char *at = strstr(text, "  at "), *by = strstr(text, "  by ");
  ASSERT(at != NULL && by != NULL && at < by);
  ASSERT(strstr(at, "test_base.c:") != NULL);
  ASSERT(strstr(by + 1, "  by ") != NULL);
}

static void test_deep_traces_and_long_messages_are_cut(void)
{
  char name[3 * TR__MESSAGE_BYTES];
  memset(name, 'n', sizeof name);
  name[sizeof name - 1] = '\0';
  ASSERT_FAILS(fails(1000), TR_EDATA, "x.bin");
  ASSERT_EQ(TR_FAIL(TR_EIO, "%s", name), TR_EIO);
  ASSERT_EQ(strlen(tr_error_message()), TR__MESSAGE_BYTES - 1);
  ASSERT_EQ(TR_FAIL(TR_EIO, "again: %.10s", tr_error_message()), TR_EIO);
  ASSERT_STR_EQ(tr_error_message(), "again: nnnnnnnnnn");
  char fits[4];
  ASSERT(tr__copy_name(fits, sizeof fits, "abc"));
  ASSERT(!tr__copy_name(fits, sizeof fits, "abcd") && fits[0] == '\0');
}

static void test_parts_cover_the_whole(void)
{
  const int64_t total = ((int64_t)1 << 62) + 5;
  ASSERT_EQ(tr__even_split(total, 0, 7), 0);
  ASSERT_EQ(tr__even_split(total, 7, 7), total);
  for (int64_t i = 0; i < 7; i++) {
    int64_t length =
        tr__even_split(total, i + 1, 7) - tr__even_split(total, i, 7);
    ASSERT(length == total / 7 || length == total / 7 + 1);
  }
}

static void test_a_timeline_keeps_the_newest_events(void)
{
  tr__timeline *timeline;
  ASSERT_OK(tr__timeline_create(4, &timeline));
  int64_t dropped;
  for (int i = 0; i < 10; i++) {
    ASSERT_EQ(tr__timeline_count(timeline, &dropped), i < 4 ? i : 4);
    ASSERT_EQ(dropped, i < 4 ? 0 : i - 4);
    tr__timeline_add(timeline, &(tr__event){.bytes = i});
  }
  for (int i = 0; i < 4; i++) {
    ASSERT_EQ(tr__timeline_get(timeline, i)->bytes, 6 + i);
  }
  tr__timeline_destroy(&timeline);
}

static const tr_test tests[] = {
    TEST(test_numbers_of_16_bits_are_rounded_to_the_nearest),
    TEST(test_philox_gives_the_known_answers),
    TEST(test_the_counter_has_its_frozen_layout),
    TEST(test_recorded_numbers_stay),
    TEST(test_fill_gives_the_single_numbers),
    TEST(test_uniform_and_normal_have_their_moments),
    TEST(test_permute_is_a_permutation),
    TEST(test_epochs_and_seeds_have_other_orders),
    TEST(test_a_huge_permutation_stays_in_range),
    TEST(test_the_pool_runs_every_task_exactly_once),
    TEST(test_pools_come_and_go),
    TEST(test_statuses_have_unique_numbers_and_exit_codes),
    TEST(test_shapes_that_overflow_are_found),
    TEST(test_dtypes_have_sizes),
    TEST(test_the_trace_says_what_and_where),
    TEST(test_deep_traces_and_long_messages_are_cut),
    TEST(test_parts_cover_the_whole),
    TEST(test_a_timeline_keeps_the_newest_events),
};

TEST_MAIN(tests)
