/* A save that fails for a while costs no run. */
#include "checkpoint/run_dir_impl.h"
#include "resume_helper.h"

#include <sys/wait.h>
#include <unistd.h>

enum { HOLD_S = 12 }; /* longer than a save waits for the lock */

/* Once the run has saved, another process takes the lock: that of a name that
 * somebody has removed. */
static void take_lock(const char *path)
{
  tr__run_dir dir;
  char lock[400], first[400];
  snprintf(lock, sizeof lock, "%s/run.lock", path);
  snprintf(first, sizeof first, "%s/step-00000001.manifest", path);
  for (int i = 0; access(first, F_OK) != 0; i++) {
    if (i == 60000) {
      _exit(1);
    }
    usleep(500);
  }
  if (unlink(lock) != 0 ||
      tr__run_dir_open(tr__file_ops_system(), path, 0, &dir) != TR_OK) {
    _exit(1);
  }
  sleep(HOLD_S);
  _exit(0);
}

/* Begins before there are threads, which a fork does not take along. */
static pid_t start_rival(const char *path)
{
  fflush(stdout);
  pid_t pid = fork();
  ASSERT(pid >= 0);
  if (pid == 0) {
    take_lock(path);
  }
  return pid;
}

static void test_a_lock_that_is_busy_for_a_while_costs_no_run(void)
{
  enum { STEPS = 60 };
  const char *dir = new_dir();
  const pid_t rival = start_rival(dir);
  int state;
  tr_trainer *trainer;
  tr_report report;
  run r = begin((run_opts){0});
  const tr_trainer_opts opts = {.model = r.net,
                                .optimizer = r.opt,
                                .loader = r.loader,
                                .steps = STEPS,
                                .save_every = 1,
                                .checkpoint_dir = dir};
  ASSERT_OK(tr_trainer_create(r.ctx, &opts, &trainer));
  ASSERT_OK(tr_trainer_fit(trainer, &report));
  ASSERT_EQ(report.steps, STEPS);
  ASSERT(was_told("!") && was_told("in use by process"));
  tr_trainer_destroy(&trainer);
  end(&r);
  ASSERT_EQ(waitpid(rival, &state, 0), rival);
  ASSERT_EQ(state, 0);
  run again = begin((run_opts){0});
  ASSERT_OK(tr_checkpoint_resume(again.ctx, dir, &again.checkpoint));
  ASSERT_EQ(tr_optimizer_num_steps(again.opt), STEPS);
  end(&again);
}

static const tr_test tests[] = {
    TEST(test_a_lock_that_is_busy_for_a_while_costs_no_run),
};

TEST_MAIN(tests)
