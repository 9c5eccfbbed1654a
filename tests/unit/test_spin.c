/* How long waits poll, after waits that are made up. */
#include "test.h"

#include "base/random_impl.h"
#include "base/spin_impl.h"
#include "core/comm_impl.h"

#include <sched.h>

static const double most = 1e-3;

static void note(tr__spin *spin, double seconds, int times)
{
  for (int i = 0; i < times; i++) {
    tr__spin_note(spin, seconds, most);
  }
}

static void test_the_first_waits_poll_for_as_long_as_they_may(void)
{
  tr__spin spin = {0};
  ASSERT(tr__spin_limit(&spin, most) == most);
  note(&spin, 1, 7);
  ASSERT(tr__spin_limit(&spin, most) == most);
}

static void test_after_short_waits_polls_are_short(void)
{
  tr__spin spin = {0};
  note(&spin, 40e-6, 100);
  double limit = tr__spin_limit(&spin, most);
  ASSERT(limit >= 40e-6 && limit <= 80e-6);
}

static void test_waits_that_vary_are_mostly_seen_to_end(void)
{
  tr__spin spin = {0};
  int missed = 0;
  for (int i = 0; i < 1000; i++) { /* exponential, of 100 us in the middle */
    const tr__random random = {.seed = 1,
                               .sample = i,
                               .stream =
                                   tr__random_stream(TR__PURPOSE_TEST, 1)};
    double seconds = -100e-6 * log(1 - tr__random_uniform(&random, 0));
    missed += i > 100 && seconds > tr__spin_limit(&spin, most);
    tr__spin_note(&spin, seconds, most);
  }
  ASSERT(missed < 50);
}

static void test_where_most_waits_are_long_none_polls(void)
{
  tr__spin spin = {0};
  note(&spin, 40e-6, 100);
  note(&spin, 5e-3, 3);
  ASSERT(tr__spin_limit(&spin, most) > 0); /* a few are no rule */
  ASSERT(tr__spin_limit(&spin, most) <= 100e-6);
  note(&spin, 5e-3, 10);
  ASSERT(tr__spin_limit(&spin, most) == 0);
  note(&spin, 40e-6, 10);
  ASSERT(tr__spin_limit(&spin, most) > 0);
}

static void test_where_polling_is_off_it_stays_off(void)
{
  tr__spin spin = {0};
  note(&spin, 40e-6, 100);
  ASSERT(tr__spin_limit(&spin, 0) == 0);
  ASSERT(tr__spin_limit(&spin, -1) == -1);
}

static int num_yields;

/* In place of the system's own. */
int sched_yield(void)
{
  num_yields++;
  return 0;
}

static int yields_at(tr__comm *comm, double waited)
{
  num_yields = 0;
  tr__comm_rest(comm, NULL, waited);
  return num_yields;
}

/* Two ranks of one CPU that only yield to each other keep all else from it. */
static void test_a_wait_yields_for_a_moment_only(void)
{
  static const tr__comm_type none = {.name = "none"};
  tr__comm comm = {.type = &none, .spin_s = most};
  ASSERT_EQ(yields_at(&comm, most / 2), 0); /* it polls */
  ASSERT_EQ(yields_at(&comm, most + 10e-6), 1);
  ASSERT_EQ(yields_at(&comm, most + 50e-6), 0); /* it sleeps */
  ASSERT_EQ(yields_at(&comm, most + 5e-3), 0);
  ASSERT_EQ(yields_at(&comm, 1), 0);
  comm.spin_s = 0;
  ASSERT_EQ(yields_at(&comm, 10e-6), 1);
  ASSERT_EQ(yields_at(&comm, 50e-6), 0);
}

static const tr_test tests[] = {
    TEST(test_the_first_waits_poll_for_as_long_as_they_may),
    TEST(test_after_short_waits_polls_are_short),
    TEST(test_waits_that_vary_are_mostly_seen_to_end),
    TEST(test_where_most_waits_are_long_none_polls),
    TEST(test_where_polling_is_off_it_stays_off),
    TEST(test_a_wait_yields_for_a_moment_only),
};
TEST_MAIN(tests)
