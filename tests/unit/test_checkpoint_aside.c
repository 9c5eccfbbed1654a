/* A run that did not resume and the checkpoints that it finds. */
#include "checkpoint_sample.h"

#include "checkpoint/run_dir_impl.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A directory of its own for each call. */
static const char *fresh_dir(void)
{
  static char path[300];
  static int number;
  snprintf(path, sizeof path, "%s/dir%d", test_scratch(), number++);
  return path;
}

/* A save of the run that is named by a letter. */
static tr_status
save(const tr__file_ops *ops, const char *path, char run, int step)
{
  tr__run_dir dir;
  tr__image *image = sample_image();
  tr__seal seal = {.step = step};
  memset(seal.run_id, run, sizeof seal.run_id);
  sample_fill(image, step);
  tr_status status = tr__run_dir_open(ops, path, 0, &dir);
  if (status == TR_OK) {
    status = tr__run_dir_commit(&dir, image, &seal, 1, 2);
    tr__run_dir_close(&dir);
  }
  tr__image_destroy(&image);
  return status;
}

static void saved(const char *path, char run, int step)
{
  ASSERT_OK(save(tr__file_ops_system(), path, run, step));
}

/* What can be loaded from path or from a folder in it, newest first, as
 * "b5 b4 "; what cannot be is an 'x'. */
static const char *contents(const char *path, const char *folder)
{
  static char text[200], full[400];
  tr__listing listing;
  text[0] = '\0';
  snprintf(full, sizeof full, "%s%s%s", path, folder[0] != '\0' ? "/" : "",
           folder);
  ASSERT_OK(tr__run_dir_list(tr__file_ops_system(), full, &listing));
  for (int i = 0; i < listing.count; i++) {
    unsigned char *bytes;
    tr__sealed sealed;
    char item[40] = "x ";
    if (listing.items[i].is_readable &&
        tr__run_dir_load(tr__file_ops_system(), full,
                         &listing.items[i].manifest, &bytes,
                         &sealed) == TR_OK) {
      snprintf(item, sizeof item, "%c%lld ", sealed.seal.run_id[0],
               (long long)sealed.seal.step);
      tr__sealed_release(&sealed);
      free(bytes);
    }
    strncat(text, item, sizeof text - strlen(text) - 1);
  }
  tr__listing_release(&listing);
  return text;
}

static void test_a_new_run_sets_the_old_one_aside_at_its_first_save(void)
{
  const char *path = fresh_dir();
  saved(path, 'a', 250);
  saved(path, 'a', 375);
  ASSERT_STR_EQ(contents(path, ""), "a375 a250 ");
  saved(path, 'b', 125);
  ASSERT_STR_EQ(contents(path, ""), "b125 ");
  ASSERT_STR_EQ(contents(path, TR__PREVIOUS_DIR), "a375 a250 ");
  saved(path, 'b', 250);
  saved(path, 'b', 375);
  ASSERT_STR_EQ(contents(path, ""), "b375 b250 ");
  ASSERT_STR_EQ(contents(path, TR__PREVIOUS_DIR), "a375 a250 ");
}

static void test_equal_steps_of_two_runs_do_not_replace_each_other(void)
{
  const char *path = fresh_dir();
  for (const char *run = "ab"; *run != '\0'; run++) {
    saved(path, *run, 3);
    saved(path, *run, 6);
  }
  ASSERT_STR_EQ(contents(path, ""), "b6 b3 ");
  ASSERT_STR_EQ(contents(path, TR__PREVIOUS_DIR), "a6 a3 ");
}

static void test_an_even_earlier_run_goes_once_the_move_is_complete(void)
{
  const char *path = fresh_dir();
  saved(path, 'a', 3);
  saved(path, 'a', 4);
  saved(path, 'b', 3);
  ASSERT_STR_EQ(contents(path, TR__PREVIOUS_DIR), "a4 a3 ");
  saved(path, 'c', 3);
  ASSERT_STR_EQ(contents(path, ""), "c3 ");
  ASSERT_STR_EQ(contents(path, TR__PREVIOUS_DIR), "b3 ");
}

static void test_a_manifest_that_cannot_be_read_goes_with_the_old_run(void)
{
  const char *path = fresh_dir();
  char name[400];
  saved(path, 'a', 3);
  saved(path, 'a', 4);
  snprintf(name, sizeof name, "%s/step-00000004.manifest", path);
  ASSERT_EQ(truncate(name, 20), 0);
  saved(path, 'b', 4);
  ASSERT_STR_EQ(contents(path, ""), "b4 ");
  ASSERT_STR_EQ(contents(path, TR__PREVIOUS_DIR), "x a3 ");
  /* A run's own damage stays with it. */
  saved(path, 'b', 5);
  snprintf(name, sizeof name, "%s/step-00000005.manifest", path);
  ASSERT_EQ(truncate(name, 20), 0);
  saved(path, 'b', 6);
  ASSERT_STR_EQ(contents(path, ""), "x b6 b4 ");
  ASSERT_STR_EQ(contents(path, TR__PREVIOUS_DIR), "x a3 ");
}

static void test_what_cannot_be_moved_stays_until_it_can(void)
{
  const char *path = fresh_dir();
  char name[400];
  saved(path, 'a', 3);
  snprintf(name, sizeof name, "%s/" TR__PREVIOUS_DIR, path);
  sample_store(name, "a file", 6);
  saved(path, 'b', 1);
  saved(path, 'b', 2);
  saved(path, 'b', 3);
  ASSERT_STR_EQ(contents(path, ""), "b3 b2 a3 ");
  ASSERT_EQ(unlink(name), 0);
  saved(path, 'b', 4);
  ASSERT_STR_EQ(contents(path, ""), "b4 b3 ");
  ASSERT_STR_EQ(contents(path, TR__PREVIOUS_DIR), "a3 ");
}

/* The process dies before this many further calls. */
static int calls_left;

static void die_in_time(void)
{
  if (calls_left-- == 0) {
    kill(getpid(), SIGKILL);
  }
}

static int dying_open(const char *path, int flags, mode_t mode)
{
  die_in_time();
  return tr__file_ops_system()->open(path, flags, mode);
}

static ssize_t dying_write(int fd, const void *data, size_t n, off_t offset)
{
  die_in_time();
  return tr__file_ops_system()->write(fd, data, n, offset);
}

static int dying_rename(const char *from, const char *to)
{
  die_in_time();
  return tr__file_ops_system()->rename(from, to);
}

static int dying_unlink(const char *path)
{
  die_in_time();
  return tr__file_ops_system()->unlink(path);
}

static int dying_make_dir(const char *path, mode_t mode)
{
  die_in_time();
  return tr__file_ops_system()->make_dir(path, mode);
}

/* Whether the save of 'c' ended before it had made so many calls. */
static bool survives_kill(const tr__file_ops *ops, int calls)
{
  const char *path = fresh_dir();
  int state;
  saved(path, 'a', 3);
  saved(path, 'b', 3);
  saved(path, 'b', 6);
  fflush(stdout);
  pid_t child = fork();
  ASSERT(child >= 0);
  if (child == 0) {
    calls_left = calls;
    _exit(save(ops, path, 'c', 3) == TR_OK ? 0 : 1);
  }
  ASSERT_EQ(waitpid(child, &state, 0), child);
  bool ended = WIFEXITED(state);
  ASSERT(!ended || WEXITSTATUS(state) == 0);
  /* Newest is the old run's, until it is the new run's. */
  const char *found = contents(path, "");
  bool is_old = strcmp(found, "b6 b3 ") == 0;
  ASSERT(is_old || strncmp(found, "c3 ", 3) == 0);
  ASSERT(!ended || strcmp(found, "c3 ") == 0);
  /* Whoever goes on finishes the move, and has lost nothing of it. */
  saved(path, is_old ? 'b' : 'c', 7);
  ASSERT_STR_EQ(contents(path, ""), is_old ? "b7 b6 " : "c7 c3 ");
  const char *aside = contents(path, TR__PREVIOUS_DIR);
  ASSERT(is_old ? strcmp(aside, "a3 ") == 0 : strstr(aside, "b6 b3 ") == aside);
  return ended;
}

static void test_a_kill_before_every_call_leaves_the_old_or_the_new_run(void)
{
  tr__file_ops ops = *tr__file_ops_system();
  ops.open = dying_open;
  ops.write = dying_write;
  ops.rename = dying_rename;
  ops.unlink = dying_unlink;
  ops.make_dir = dying_make_dir;
  int calls = 0;
  while (!survives_kill(&ops, calls)) {
    calls++;
  }
  ASSERT(calls > 20);
}

static const tr_test tests[] = {
    TEST(test_a_new_run_sets_the_old_one_aside_at_its_first_save),
    TEST(test_equal_steps_of_two_runs_do_not_replace_each_other),
    TEST(test_an_even_earlier_run_goes_once_the_move_is_complete),
    TEST(test_a_manifest_that_cannot_be_read_goes_with_the_old_run),
    TEST(test_what_cannot_be_moved_stays_until_it_can),
    TEST(test_a_kill_before_every_call_leaves_the_old_or_the_new_run),
};
TEST_MAIN(tests)
