/* Which checkpoint a resume takes, and what ends its search. */
#include "resume_helper.h"

#include <errno.h>
#include <unistd.h>

/* One call of the system fails, counted from 0, or all from it on. */
static struct {
  int fails_at, calls, code;
  bool for_ever;
} fault;

static bool fails(void)
{
  int call = fault.calls++;
  errno = fault.code;
  return call == fault.fails_at || (fault.for_ever && call > fault.fails_at);
}

static int faulty_open(const char *path, int flags, mode_t mode)
{
  return fails() ? -1 : tr__file_ops_system()->open(path, flags, mode);
}

static ssize_t faulty_read(int fd, void *to, size_t bytes, off_t offset)
{
  return fails() ? -1 : tr__file_ops_system()->read(fd, to, bytes, offset);
}

static const tr__file_ops *faulty(int fails_at, int code, bool for_ever)
{
  static tr__file_ops ops;
  fault.fails_at = fails_at;
  fault.calls = 0;
  fault.code = code;
  fault.for_ever = for_ever;
  ops = *tr__file_ops_system();
  ops.open = faulty_open;
  ops.read = faulty_read;
  return &ops;
}

/* Saved after 3 and 6 steps. */
static const char *two_checkpoints(void)
{
  const char *dir = new_dir();
  run r = begin((run_opts){0});
  for (int i = 0; i < 2; i++) {
    train(&r, 3);
    ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &r.checkpoint));
  }
  end(&r);
  return dir;
}

static bool is_told_code(tr_status status, int code)
{
  return status == (code == EMFILE   ? TR_ETEMPORARY
                    : code == ENOMEM ? TR_ENOMEM
                                     : TR_EIO);
}

/* Returns false once the resume makes fewer calls than that. */
static bool holds_at(const char *dir, int call, int code, bool for_ever)
{
  run r = begin((run_opts){0});
  tr_status status = tr__checkpoint_resume_with(
      r.ctx, faulty(call, code, for_ever), dir, &r.checkpoint);
  bool was_reached = fault.calls > call;
  int64_t step = tr_optimizer_num_steps(r.opt);
  if (status == TR_OK) {
    ASSERT_EQ(step, 6);
  } else {
    ASSERT_EQ(step, 0);
    if (!is_told_code(status, code)) {
      test_fail(__FILE__, __LINE__, "call %d, errno %d: %s %s", call, code,
                tr_status_name(status), tr_error_message());
    }
  }
  end(&r);
  return was_reached;
}

static void test_what_cannot_be_looked_at_is_neither_damaged_nor_gone(void)
{
  static const int codes[] = {EIO, EACCES, EMFILE, ENOMEM};
  const char *dir = two_checkpoints();
  for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
    for (int for_ever = 0; for_ever < 2; for_ever++) {
      int call = 0;
      while (holds_at(dir, call, codes[i], for_ever)) {
        call++;
      }
      ASSERT(call >= 6);
    }
  }
}

static void test_a_data_file_that_is_gone_is_passed_over(void)
{
  const char *dir = two_checkpoints();
  char path[400];
  snprintf(path, sizeof path, "%s/step-00000006.h5", dir);
  ASSERT_EQ(unlink(path), 0);
  run r = begin((run_opts){0});
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint));
  ASSERT_EQ(tr_optimizer_num_steps(r.opt), 3);
  ASSERT(was_told("!checkpoint refused: ") && was_told("step-00000006.h5"));
  end(&r);
}

static const tr_test tests[] = {
    TEST(test_what_cannot_be_looked_at_is_neither_damaged_nor_gone),
    TEST(test_a_data_file_that_is_gone_is_passed_over),
};

TEST_MAIN(tests)
