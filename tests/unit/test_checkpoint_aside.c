/* A run that did not resume and the checkpoints that it finds. */
#include "checkpoint_sample.h"

#include "checkpoint/run_dir_impl.h"

#include <errno.h>
#include <fcntl.h>
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

static void test_each_earlier_run_has_a_folder_of_its_own(void)
{
  const char *path = fresh_dir();
  saved(path, 'a', 3);
  saved(path, 'a', 4);
  for (const char *run = "bcd"; *run != '\0'; run++) {
    saved(path, *run, 3);
  }
  ASSERT_STR_EQ(contents(path, ""), "d3 ");
  ASSERT_STR_EQ(contents(path, "previous"), "a4 a3 ");
  ASSERT_STR_EQ(contents(path, "previous-2"), "b3 ");
  ASSERT_STR_EQ(contents(path, "previous-3"), "c3 ");
}

static void test_a_move_says_what_went_where(void)
{
  const char *path = fresh_dir();
  char expected[500];
  tr__run_dir dir;
  tr__image *image = sample_image();
  tr__seal seal = {.step = 9, .run_id = "another run"};
  saved(path, 'a', 3);
  saved(path, 'a', 4);
  ASSERT_OK(tr__run_dir_open(tr__file_ops_system(), path, 0, &dir));
  ASSERT_OK(tr__run_dir_commit(&dir, image, &seal, 1, 2));
  snprintf(expected, sizeof expected,
           "2 checkpoints of another run (the newest of step 4) moved to "
           "%s/previous",
           path);
  ASSERT_STR_EQ(dir.moved, expected);
  dir.moved[0] = '\0';
  ASSERT_OK(tr__run_dir_commit(&dir, image, &seal, 1, 2));
  ASSERT_STR_EQ(dir.moved, "");
  tr__run_dir_close(&dir);
  tr__image_destroy(&image);
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

static int failing_link(const char *from, const char *to)
{
  (void)from;
  (void)to;
  errno = EIO;
  return -1;
}

static void test_what_cannot_be_moved_stays_until_it_can(void)
{
  const char *path = fresh_dir();
  tr__file_ops ops = *tr__file_ops_system();
  ops.link = failing_link;
  saved(path, 'a', 3);
  for (int step = 1; step <= 2; step++) {
    ASSERT_OK(save(&ops, path, 'b', step));
  }
  ASSERT_STR_EQ(contents(path, ""), "b2 b1 a3 ");
  saved(path, 'b', 4);
  ASSERT_STR_EQ(contents(path, ""), "b4 b2 ");
  ASSERT_STR_EQ(contents(path, "previous"), "a3 ");
}

static int no_link(const char *from, const char *to)
{
  (void)from;
  (void)to;
  errno = EPERM;
  return -1;
}

static void test_file_systems_without_hard_links_move_too(void)
{
  const char *path = fresh_dir();
  tr__file_ops ops = *tr__file_ops_system();
  ops.link = no_link;
  for (int step = 1; step <= 4; step++) {
    ASSERT_OK(save(&ops, path, 'a', step));
  }
  ASSERT_STR_EQ(contents(path, ""), "a4 a3 ");
  ASSERT_OK(save(&ops, path, 'b', 1));
  ASSERT_STR_EQ(contents(path, ""), "b1 ");
  ASSERT_STR_EQ(contents(path, "previous"), "a4 a3 ");
}

/* Neither a file nor a link of that name, nor a folder of somebody's. */
static void test_what_is_in_the_way_of_a_folder_stays_as_it_is(void)
{
  const char *path = fresh_dir();
  char name[400], other[400];
  saved(path, 'a', 3);
  snprintf(name, sizeof name, "%s/previous", path);
  sample_store(name, "a file", 6);
  snprintf(name, sizeof name, "%s/previous-2", path);
  snprintf(other, sizeof other, "%s/elsewhere", test_scratch());
  ASSERT_EQ(mkdir(other, 0777), 0);
  ASSERT_EQ(symlink(other, name), 0);
  snprintf(name, sizeof name, "%s/previous-3", path);
  ASSERT_EQ(mkdir(name, 0777), 0);
  strcat(name, "/notes");
  sample_store(name, "mine", 4);
  saved(path, 'b', 1);
  ASSERT_STR_EQ(contents(path, ""), "b1 ");
  ASSERT_STR_EQ(contents(path, "previous-3"), "");
  ASSERT_STR_EQ(contents(path, "previous-4"), "a3 ");
  ASSERT_EQ(rmdir(other), 0);
}

/* What the last fsync of a directory made durable, for two folders: each time
 * an old name goes, the new one has to be among it. */
static char ordered[4000];

static void add_call(const char *what, const char *path)
{
  const char *slash = strrchr(path, '/');
  snprintf(ordered + strlen(ordered), sizeof ordered - strlen(ordered),
           "%s %s\n", what, slash != NULL ? slash + 1 : path);
}

static int noted_open(const char *path, int flags, mode_t mode)
{
  if ((flags & O_DIRECTORY) != 0) {
    add_call("sync", path);
  }
  return tr__file_ops_system()->open(path, flags, mode);
}

static int noted_unlink(const char *path)
{
  add_call("unlink", path);
  return tr__file_ops_system()->unlink(path);
}

static int noted_link(const char *from, const char *to)
{
  add_call("link", to);
  return tr__file_ops_system()->link(from, to);
}

static int noted_make_dir(const char *path, mode_t mode)
{
  int made = tr__file_ops_system()->make_dir(path, mode);
  if (made == 0) {
    add_call("make", path);
  }
  return made;
}

static void test_a_new_name_is_durable_before_the_old_one_goes(void)
{
  const char *path = fresh_dir();
  char expected[700];
  const char *name = strrchr(path, '/') + 1;
  tr__file_ops ops = *tr__file_ops_system();
  ops.open = noted_open;
  ops.unlink = noted_unlink;
  ops.link = noted_link;
  ops.make_dir = noted_make_dir;
  saved(path, 'a', 3);
  ordered[0] = '\0';
  ASSERT_OK(save(&ops, path, 'b', 1));
  snprintf(expected, sizeof expected,
           "make previous\nsync %s\n"
           "link step-00000003.h5\nlink step-00000003.manifest\n"
           "sync previous\n"
           "unlink step-00000003.manifest\nunlink step-00000003.h5\nsync %s\n",
           name, name);
  ASSERT(strstr(ordered, expected) != NULL);
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

static int dying_link(const char *from, const char *to)
{
  die_in_time();
  return tr__file_ops_system()->link(from, to);
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
  ASSERT_STR_EQ(contents(path, "previous"), "a3 ");
  ASSERT(is_old || strcmp(contents(path, "previous-2"), "b6 b3 ") == 0);
  ASSERT_STR_EQ(contents(path, "previous-3"), "");
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
  ops.link = dying_link;
  int calls = 0;
  while (!survives_kill(&ops, calls)) {
    calls++;
  }
  ASSERT(calls > 20);
}

static const tr_test tests[] = {
    TEST(test_a_new_run_sets_the_old_one_aside_at_its_first_save),
    TEST(test_equal_steps_of_two_runs_do_not_replace_each_other),
    TEST(test_each_earlier_run_has_a_folder_of_its_own),
    TEST(test_a_move_says_what_went_where),
    TEST(test_a_manifest_that_cannot_be_read_goes_with_the_old_run),
    TEST(test_what_cannot_be_moved_stays_until_it_can),
    TEST(test_file_systems_without_hard_links_move_too),
    TEST(test_what_is_in_the_way_of_a_folder_stays_as_it_is),
    TEST(test_a_new_name_is_durable_before_the_old_one_goes),
    TEST(test_a_kill_before_every_call_leaves_the_old_or_the_new_run),
};
TEST_MAIN(tests)
