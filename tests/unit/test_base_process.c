/* What a context takes of the process it lives in, and gives back. */
#include "test.h"

#include "base/thread_impl.h"

#include <signal.h>
#include <train/train.h>

/* OpenBLAS' own; its header belongs to the backend. */
int openblas_get_num_threads(void);
void openblas_set_num_threads(int threads);

static tr_context *make_context(void)
{
  tr_context *ctx;
  ASSERT_OK(tr_context_create_auto(NULL, &ctx));
  return ctx;
}

static void test_the_last_context_gives_openblas_its_threads_back(void)
{
  openblas_set_num_threads(2);
  if (openblas_get_num_threads() != 2) {
    test_skip("OpenBLAS has one thread only");
  }
  tr_context *first = make_context(), *second = make_context();
  ASSERT_EQ(openblas_get_num_threads(), 1);
  tr_context_destroy(&first);
  ASSERT_EQ(openblas_get_num_threads(), 1);
  tr_context_destroy(&second);
  ASSERT_EQ(openblas_get_num_threads(), 2);
}

static void test_a_number_of_threads_that_the_caller_sets_stays(void)
{
  openblas_set_num_threads(1);
  tr_context *ctx = make_context();
  openblas_set_num_threads(2);
  if (openblas_get_num_threads() != 2) {
    tr_context_destroy(&ctx);
    test_skip("OpenBLAS has one thread only");
  }
  tr_context_destroy(&ctx);
  ASSERT_EQ(openblas_get_num_threads(), 2);
}

/* More than the limit that the test sets. */
static void *use_stack(void *arg)
{
  volatile char large[1 << 20];
  for (size_t i = 0; i < sizeof large; i += 1024) {
    large[i] = (char)i;
  }
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  *(bool *)arg = sigismember(&mask, SIGTERM) == 1 &&
                 sigismember(&mask, SIGSEGV) == 0 && large[1024] == 0;
  return NULL;
}

static void test_a_thread_has_a_stack_of_its_own_size(void)
{
  pthread_attr_t usual, tiny;
  ASSERT_EQ(pthread_getattr_default_np(&usual), 0);
  ASSERT_EQ(pthread_attr_init(&tiny), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&tiny, 64 << 10), 0);
  ASSERT_EQ(pthread_setattr_default_np(&tiny), 0);
  pthread_t thread;
  bool is_right = false;
  tr_status status =
      tr__thread_start("a thread of a test", use_stack, &is_right, &thread);
  pthread_setattr_default_np(&usual);
  ASSERT_OK(status);
  pthread_join(thread, NULL);
  ASSERT(is_right);
}

static const tr_test tests[] = {
    TEST(test_the_last_context_gives_openblas_its_threads_back),
    TEST(test_a_number_of_threads_that_the_caller_sets_stays),
    TEST(test_a_thread_has_a_stack_of_its_own_size),
};

TEST_MAIN(tests)
