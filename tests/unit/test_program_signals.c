/* The signal handlers of the programs, each in a process of its own, with a
 * context of which only the calls count. */
#include "test.h"

#include "program.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <train/context.h>
#include <unistd.h>

enum { LIVES = 42, NUM_TRIED = 3 };

static const int tried[NUM_TRIED] = {SIGINT, SIGTERM, SIGUSR1};

static atomic_int num_requests;
static int is_saving, is_closed;
static char context; /* its address is one */

/* These stand in for the library's: the build renames them. */
void tr_context_request_stop(tr_context *ctx)
{
  if ((char *)ctx != &context || is_closed) {
    _exit(3); /* a context that is no more */
  }
  num_requests++;
}

int tr_context_is_saving(const tr_context *ctx)
{
  if ((const char *)ctx != &context || is_closed) {
    _exit(3);
  }
  return is_saving;
}

void tr_context_destroy(tr_context **ctx)
{
  is_closed = 1;
  *ctx = NULL;
}

/* Longer than signals of one wish are apart. */
static void pause_between(void)
{
  nanosleep(&(struct timespec){.tv_nsec = 400000000}, NULL);
}

/* How a process ends in which the body runs with handlers installed. */
static int outcome(void (*body)(int number), int number)
{
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    signal(SIGINT, SIG_DFL);
    example_stop_on_signals((tr_context *)(void *)&context);
    body(number);
    _exit(LIVES);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void once(int number)
{
  raise(number);
  _exit(num_requests == 1 ? LIVES : 1);
}

static void test_the_first_signal_asks_to_stop(void)
{
  for (int i = 0; i < NUM_TRIED; i++) {
    ASSERT_EQ(outcome(once, tried[i]), LIVES);
  }
}

static void twice(int number)
{
  raise(number);
  pause_between();
  raise(number);
}

static void test_a_second_one_ends_the_process_at_once(void)
{
  ASSERT_EQ(outcome(twice, SIGINT), 128 + SIGINT);
  ASSERT_EQ(outcome(twice, SIGTERM), 128 + SIGTERM);
  ASSERT_EQ(outcome(twice, SIGUSR1), LIVES);
}

static void both(int number)
{
  raise(SIGINT);
  pause_between();
  raise(number);
}

static void test_a_second_one_may_be_of_another_kind(void)
{
  ASSERT_EQ(outcome(both, SIGTERM), 128 + SIGTERM);
}

/* As timeout(1) does, and a terminal together with a launcher. */
static void at_the_same_time(int number)
{
  raise(number);
  raise(number);
}

static void test_two_at_the_same_time_are_one_wish(void)
{
  ASSERT_EQ(outcome(at_the_same_time, SIGTERM), LIVES);
}

/* As a scheduler does when time is nearly up, and when it is. */
static void after_a_warning(int number)
{
  raise(SIGUSR1);
  pause_between();
  raise(number);
}

static void test_a_schedulers_warning_is_no_first_one(void)
{
  ASSERT_EQ(outcome(after_a_warning, SIGTERM), LIVES);
}

static void while_saving(int number)
{
  is_saving = 1;
  twice(number);
  is_saving = 0;
  raise(number);
}

static void test_a_second_one_waits_for_a_checkpoint(void)
{
  ASSERT_EQ(outcome(while_saving, SIGTERM), 128 + SIGTERM);
  is_saving = 1;
  ASSERT_EQ(outcome(twice, SIGTERM), LIVES);
  is_saving = 0;
}

static void after_the_end(int number)
{
  tr_context *ctx = (tr_context *)(void *)&context;
  example_close_context(&ctx);
  raise(number);
}

static void test_a_signal_after_the_end_reaches_no_context(void)
{
  for (int i = 0; i < NUM_TRIED; i++) {
    ASSERT_EQ(outcome(after_the_end, tried[i]), LIVES);
  }
}

static void in_a_call(int number)
{
  int ends[2];
  char byte;
  ASSERT_EQ(pipe(ends), 0);
  pid_t parent = getpid();
  if (fork() == 0) {
    for (int i = 0; i < 2; i++) {
      pause_between();
      kill(parent, number);
    }
    _exit(0);
  }
  (void)!read(ends[0], &byte, 1); /* nobody writes */
}

static void test_a_second_one_ends_a_call_that_waits_for_ever(void)
{
  ASSERT_EQ(outcome(in_a_call, SIGTERM), 128 + SIGTERM);
}

static void test_an_ignored_interrupt_stays_ignored(void)
{
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    signal(SIGINT, SIG_IGN);
    example_stop_on_signals((tr_context *)(void *)&context);
    raise(SIGINT);
    _exit(num_requests == 0 ? LIVES : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(WEXITSTATUS(status), LIVES);
}

static const tr_test tests[] = {
    TEST(test_the_first_signal_asks_to_stop),
    TEST(test_a_second_one_ends_the_process_at_once),
    TEST(test_a_second_one_may_be_of_another_kind),
    TEST(test_two_at_the_same_time_are_one_wish),
    TEST(test_a_schedulers_warning_is_no_first_one),
    TEST(test_a_second_one_waits_for_a_checkpoint),
    TEST(test_a_signal_after_the_end_reaches_no_context),
    TEST(test_a_second_one_ends_a_call_that_waits_for_ever),
    TEST(test_an_ignored_interrupt_stays_ignored),
};
TEST_MAIN(tests)
