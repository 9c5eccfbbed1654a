/* A small test harness that speaks TAP, so that meson counts every claim.
 *
 * A test program lists its functions and ends with TEST_MAIN(list). A function
 * is named after what it claims. Under mpirun rank 0 reports; a rank whose
 * assertion fails reports too and ends the job. */
#ifndef TR_TEST_H
#define TR_TEST_H

#include "base/base_impl.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <train/context.h>

typedef struct tr_test {
  const char *name;
  void (*run)(void);
} tr_test;

#define TEST(function)                                                         \
  {                                                                            \
#function, function                                                        \
  }

/* test_main - run the tests and report them; the program's exit code. */
int test_main(int argc, char **argv, const tr_test *tests, int count);

/* Tests that need the command line find it here. */
extern int test_argc;
extern char **test_argv;

#define TEST_MAIN(list)                                                        \
  int main(int argc, char **argv)                                              \
  {                                                                            \
    return test_main(argc, argv, (list),                                       \
                     (int)(sizeof(list) / sizeof((list)[0])));                 \
  }

/* test_fail - report where and what, and end this test. */
_Noreturn void test_fail(const char *file, int line, const char *format, ...)
    TR_PRINTF(3, 4);

/* test_skip - end this test as skipped, with the reason. */
_Noreturn void test_skip(const char *format, ...) TR_PRINTF(1, 2);

/* test_not_here - end this test, which does not apply to so many ranks or this
 * layout on any machine: no claim, and nobody is told of a skip. */
_Noreturn void test_not_here(const char *why);

/* test_seed - the seed of this run's random cases: option --seed N, else a
 * fixed one; printed with every failure. */
uint64_t test_seed(void);

/* test_scratch - a fresh folder for this process' files, removed at exit. */
const char *test_scratch(void);

/* test_no_log - a context's log that is not looked at: its lines are no TAP. */
void test_no_log(void *user, tr_log_level level, const char *line);

/* test_tensor_near - max |a - b| <= tolerance * max |b| over count values of a
 * dtype; both NaN are equal. Fails with the worst index and both sides. */
void test_tensor_near(const char *file,
                      int line,
                      const char *what,
                      tr_dtype dtype,
                      const void *a,
                      const void *b,
                      int64_t count,
                      double tolerance);

#define ASSERT(condition)                                                      \
  do {                                                                         \
    if (!(condition)) {                                                        \
      test_fail(__FILE__, __LINE__, "expected %s", #condition);                \
    }                                                                          \
  } while (0)

#define ASSERT_EQ(a, b)                                                        \
  do {                                                                         \
    int64_t tr__a = (int64_t)(a), tr__b = (int64_t)(b);                        \
    if (tr__a != tr__b) {                                                      \
      test_fail(__FILE__, __LINE__, "%s is %lld, %s is %lld", #a,              \
                (long long)tr__a, #b, (long long)tr__b);                       \
    }                                                                          \
  } while (0)

/* |a - b| <= tolerance * max(1, |b|) */
#define ASSERT_NEAR(a, b, tolerance)                                           \
  do {                                                                         \
    double tr__a = (a), tr__b = (b);                                           \
    if (!(fabs(tr__a - tr__b) <= (tolerance)*fmax(1.0, fabs(tr__b)))) {        \
      test_fail(__FILE__, __LINE__,                                            \
                "%s is %.17g, %s is %.17g, difference %.3g", #a, tr__a, #b,    \
                tr__b, tr__a - tr__b);                                         \
    }                                                                          \
  } while (0)

#define ASSERT_STR_EQ(a, b)                                                    \
  do {                                                                         \
    const char *tr__a = (a), *tr__b = (b);                                     \
    if (strcmp(tr__a, tr__b) != 0) {                                           \
      test_fail(__FILE__, __LINE__, "\"%s\" is not \"%s\"", tr__a, tr__b);     \
    }                                                                          \
  } while (0)

#define ASSERT_OK(expression)                                                  \
  do {                                                                         \
    tr_status tr__s = (expression);                                            \
    if (tr__s != TR_OK) {                                                      \
      test_fail(__FILE__, __LINE__, "%s: %s: %s", #expression,                 \
                tr_status_name(tr__s), tr_error_message());                    \
    }                                                                          \
  } while (0)

/* The call fails with this status and its message contains the text. */
#define ASSERT_FAILS(expression, expected, text)                               \
  do {                                                                         \
    tr_status tr__s = (expression);                                            \
    if (tr__s != (expected) || strstr(tr_error_message(), (text)) == NULL) {   \
      test_fail(__FILE__, __LINE__, "%s: %s \"%s\", expected %s \"...%s...\"", \
                #expression, tr_status_name(tr__s), tr_error_message(),        \
                #expected, (text));                                            \
    }                                                                          \
  } while (0)

#define ASSERT_TENSOR_NEAR(what, dtype, a, b, count, tolerance)                \
  test_tensor_near(__FILE__, __LINE__, (what), (dtype), (a), (b), (count),     \
                   (tolerance))

#endif
