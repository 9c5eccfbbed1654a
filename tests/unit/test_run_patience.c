/* Runs whose steps are longer than the launcher's patience. */
#include "test.h"

#include "run/patience_impl.h"

#include <signal.h>

static void on_signal(int number)
{
  (void)number;
}

static void start_by(const char *variable)
{
  unsetenv("OMPI_MCA_orte_hnp_uri");
  unsetenv("OMPI_MCA_odls_base_sigkill_timeout");
  unsetenv("PRTE_LAUNCHED");
  if (variable != NULL) {
    setenv(variable, "1", 1);
  }
  signal(SIGTERM, on_signal);
}

/* At which of some steps of so many seconds it warns; 0: at none. */
static int warns_at(double seconds, char line[TR__MESSAGE_BYTES])
{
  tr__patience patience = {0};
  int at = 0;
  for (int i = 1; i <= 5; i++) {
    if (tr__patience_note(&patience, seconds, line)) {
      ASSERT_EQ(at, 0);
      at = i;
    }
  }
  return at;
}

static void test_long_steps_are_told_once_with_the_way_out(void)
{
  char line[TR__MESSAGE_BYTES];
  start_by("OMPI_MCA_orte_hnp_uri");
  ASSERT_EQ(warns_at(0.9, line), 0);
  ASSERT_EQ(warns_at(3.25, line), 2);
  ASSERT(strcmp(line,
                "a step takes 3.2 s, but mpirun kills its ranks 1 s after "
                "Ctrl-C or SIGTERM, before they have saved: to stop, send "
                "SIGUSR1 to mpirun, or start it with --mca "
                "odls_base_sigkill_timeout SECONDS") == 0);
  start_by("PRTE_LAUNCHED");
  ASSERT_EQ(warns_at(0.9, line), 2);
  ASSERT(strstr(line, "0.25 s after") != NULL);
}

static void test_one_long_step_is_none(void)
{
  char line[TR__MESSAGE_BYTES];
  start_by("OMPI_MCA_orte_hnp_uri");
  tr__patience patience = {0};
  for (int i = 0; i < 6; i++) {
    ASSERT(!tr__patience_note(&patience, i % 2 == 0 ? 5 : 0.1, line));
  }
}

static void test_a_longer_patience_is_believed(void)
{
  char line[TR__MESSAGE_BYTES];
  start_by("OMPI_MCA_orte_hnp_uri");
  setenv("OMPI_MCA_odls_base_sigkill_timeout", "10", 1);
  ASSERT_EQ(warns_at(3, line), 0);
  ASSERT_EQ(warns_at(11, line), 2);
}

static void test_nothing_is_said_where_nothing_is_lost(void)
{
  char line[TR__MESSAGE_BYTES];
  start_by(NULL);
  ASSERT_EQ(warns_at(100, line), 0);
  start_by("OMPI_MCA_orte_hnp_uri");
  signal(SIGTERM, SIG_DFL); /* a program that does not save then */
  ASSERT_EQ(warns_at(100, line), 0);
}

static const tr_test tests[] = {
    TEST(test_long_steps_are_told_once_with_the_way_out),
    TEST(test_one_long_step_is_none),
    TEST(test_a_longer_patience_is_believed),
    TEST(test_nothing_is_said_where_nothing_is_lost),
};
TEST_MAIN(tests)
