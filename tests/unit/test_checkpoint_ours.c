/* What a save may remove or replace: nothing that libtrain did not write, and
 * nothing that could not be looked at. */
#include "checkpoint_sample.h"

#include "checkpoint/run_dir_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* A directory of its own for each call, which is there. */
static const char *fresh_dir(void)
{
  static char path[300];
  static int number;
  snprintf(path, sizeof path, "%s/dir%d", test_scratch(), number++);
  ASSERT_EQ(mkdir(path, 0777), 0);
  return path;
}

static const char *in(const char *path, const char *name)
{
  static char full[2][500];
  static int turn;
  turn = 1 - turn;
  snprintf(full[turn], sizeof full[turn], "%s/%s", path, name);
  return full[turn];
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

/* Whether a checkpoint of this run and step is in the directory, whole. */
static bool has(const char *path, char run, int step)
{
  tr__listing listing;
  bool is_there = false;
  ASSERT_OK(tr__run_dir_list(tr__file_ops_system(), path, &listing));
  for (int i = 0; i < listing.count; i++) {
    unsigned char *bytes;
    tr__sealed sealed;
    if (listing.items[i].is_readable &&
        tr__run_dir_load(tr__file_ops_system(), path,
                         &listing.items[i].manifest, &bytes,
                         &sealed) == TR_OK) {
      is_there = is_there || (sealed.seal.run_id[0] == (unsigned char)run &&
                              sealed.seal.step == step);
      tr__sealed_release(&sealed);
      free(bytes);
    }
  }
  tr__listing_release(&listing);
  return is_there;
}

static void holds(const char *path, const char *text)
{
  char bytes[200] = "";
  FILE *file = fopen(path, "rb");
  ASSERT(file != NULL);
  size_t n = fread(bytes, 1, sizeof bytes - 1, file);
  ASSERT_EQ(fclose(file), 0);
  ASSERT_EQ(n, strlen(text));
  ASSERT_STR_EQ(bytes, text);
}

static void copy(const char *from, const char *to)
{
  static char bytes[1 << 16];
  FILE *file = fopen(from, "rb");
  ASSERT(file != NULL);
  size_t n = fread(bytes, 1, sizeof bytes, file);
  ASSERT_EQ(fclose(file), 0);
  sample_store(to, bytes, n);
}

static void test_files_that_others_wrote_stay_as_they_are(void)
{
  static const char *const names[] = {"step-00000003.h5",
                                      "step-00000005.h5",
                                      "step-00000042.h5",
                                      ".tmp-notes",
                                      ".tmp-12-notes",
                                      ".tmp-12-step-00000003.h5",
                                      "step-00000004.manifest",
                                      "step-00000007.save2.h5",
                                      ".tmp-9-step-00000003.manifest",
                                      "run.identity"};
  enum { COUNT = sizeof names / sizeof names[0] };
  const char *path = fresh_dir();
  for (int i = 0; i < COUNT; i++) {
    sample_store(in(path, names[i]), names[i], strlen(names[i]));
  }
  for (int step = 3; step <= 9; step++) {
    saved(path, 'a', step);
    ASSERT(has(path, 'a', step));
  }
  saved(path, 'b', 3);
  ASSERT(has(path, 'b', 3));
  ASSERT(has(in(path, "previous"), 'a', 9));
  for (int i = 0; i < COUNT; i++) {
    holds(in(path, names[i]), names[i]);
  }
}

static void test_a_data_file_whose_manifest_somebody_removed_stays(void)
{
  const char *path = fresh_dir();
  saved(path, 'a', 1);
  ASSERT_EQ(rename(in(path, "step-00000001.manifest"), in(path, "gone")), 0);
  for (int step = 2; step <= 6; step++) {
    saved(path, 'a', step);
  }
  ASSERT_EQ(access(in(path, "step-00000001.h5"), F_OK), 0);
  /* Put back, it is a checkpoint as before, and too old. */
  ASSERT_EQ(rename(in(path, "gone"), in(path, "step-00000001.manifest")), 0);
  ASSERT(has(path, 'a', 1));
}

static void test_somebodys_file_in_place_of_an_old_checkpoint_stays(void)
{
  const char *path = fresh_dir();
  saved(path, 'a', 1);
  sample_store(in(path, "step-00000001.h5"), "mine", 4);
  for (int step = 2; step <= 5; step++) {
    saved(path, 'a', step);
  }
  holds(in(path, "step-00000001.h5"), "mine");
}

static void test_a_copied_manifest_costs_nothing(void)
{
  static const char *const copies[] = {"step-00000006.save9.manifest",
                                       "step-00000006.save1.manifest"};
  for (int i = 0; i < 2; i++) {
    const char *path = fresh_dir();
    saved(path, 'a', 3);
    saved(path, 'a', 6);
    copy(in(path, "step-00000006.manifest"), in(path, copies[i]));
    saved(path, 'a', 9);
    ASSERT(has(path, 'a', 6) && has(path, 'a', 9) && !has(path, 'a', 3));
    ASSERT_EQ(access(in(path, "step-00000006.h5"), F_OK), 0);
    saved(path, 'a', 12);
    ASSERT(has(path, 'a', 9) && has(path, 'a', 12));
    /* What somebody copied he wants to keep. */
    saved(path, 'a', 15);
    ASSERT(has(path, 'a', 6));
    ASSERT(has(path, 'a', 12) && has(path, 'a', 15) && !has(path, 'a', 9));
  }
}

static void test_numbers_in_names_lose_no_save(void)
{
  static const char *const names[] = {
      "step-1.save9223372036854775806",
      "step-1.save9223372036854775807",
      "step-00000001.save9223372036854775806.manifest",
      "step-00000001.save9223372036854775807.h5",
      "step-99999999999999999999.save99999999999999999999.manifest",
      "step-9223372036854775807.manifest"};
  const char *path = fresh_dir();
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    sample_store(in(path, names[i]), "", 0);
  }
  for (int step = 3; step <= 12; step += 3) {
    saved(path, 'a', step);
    ASSERT(has(path, 'a', step));
  }
  ASSERT(has(path, 'a', 9) && !has(path, 'a', 6));
}

/* A manifest that is right says that no number is left. */
static void test_a_manifest_with_the_last_number_ends_the_saves(void)
{
  const char *path = fresh_dir();
  char text[TR__MANIFEST_BYTES];
  const tr__manifest last = {.step = 1,
                             .save = TR__MOST_SAVES,
                             .world = 1,
                             .run_id = "aaaaaaaaaaaaaaa",
                             .file = "step-00000001.h5"};
  const size_t length = tr__manifest_format(&last, text);
  sample_store(in(path, "step-00000001.manifest"), text, length);
  ASSERT_FAILS(save(tr__file_ops_system(), path, 'a', 3), TR_EDATA,
               "no more can follow");
  ASSERT(!has(path, 'a', 3));
}

/* Which of the reads and opens for reading fails, and how. */
static struct {
  int at, counted, code;
} fault;

static bool fails_now(void)
{
  if (fault.counted++ != fault.at) {
    return false;
  }
  errno = fault.code;
  return true;
}

static int faulty_open(const char *path, int flags, mode_t mode)
{
  bool reads = (flags & (O_CREAT | O_DIRECTORY)) == 0;
  return reads && fails_now() ? -1
                              : tr__file_ops_system()->open(path, flags, mode);
}

static ssize_t faulty_read(int fd, void *data, size_t bytes, off_t offset)
{
  return fails_now() ? -1
                     : tr__file_ops_system()->read(fd, data, bytes, offset);
}

/* Whether the fault came before the save ended. */
static bool old_run_stays(int at, int code)
{
  const char *path = fresh_dir();
  tr__file_ops ops = *tr__file_ops_system();
  ops.open = faulty_open;
  ops.read = faulty_read;
  saved(path, 'a', 3);
  saved(path, 'a', 6);
  fault.at = at;
  fault.counted = 0;
  fault.code = code;
  tr_status status = save(&ops, path, 'b', 3);
  bool reached = fault.counted > at;
  ASSERT(status != TR_EDATA && status != TR_ENOINPUT);
  ASSERT(status != TR_OK || has(path, 'b', 3));
  for (int step = 3; step <= 6; step += 3) {
    ASSERT(has(path, 'a', step) || has(in(path, "previous"), 'a', step));
  }
  saved(path, 'b', 6);
  ASSERT(has(path, 'b', 6));
  ASSERT(has(in(path, "previous"), 'a', 3) &&
         has(in(path, "previous"), 'a', 6));
  return reached;
}

static void test_what_cannot_be_read_is_not_replaced_by_a_new_run(void)
{
  static const int codes[] = {EIO, EACCES, EMFILE, ENOMEM};
  for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
    int at = 0;
    while (old_run_stays(at, codes[i])) {
      at++;
    }
    ASSERT(at > 5);
  }
}

static void test_a_save_that_cannot_read_a_manifest_fails_and_names_it(void)
{
  const char *path = fresh_dir();
  tr__file_ops ops = *tr__file_ops_system();
  ops.open = faulty_open;
  saved(path, 'a', 3);
  fault.at = 0;
  fault.counted = 0;
  fault.code = EACCES;
  ASSERT_FAILS(save(&ops, path, 'b', 3), TR_EIO,
               "step-00000003.manifest: cannot open: Permission denied");
  ASSERT(has(path, 'a', 3) && !has(path, 'b', 3));
}

static void test_symbolic_links_are_not_followed(void)
{
  static const char *const names[] = {
      "step-00000003.h5", "step-00000003.manifest", "step-00000006.h5"};
  const char *path = fresh_dir();
  char file[400];
  snprintf(file, sizeof file, "%s/precious", test_scratch());
  sample_store(file, "mine", 4);
  for (int i = 0; i < 3; i++) {
    ASSERT_EQ(symlink(file, in(path, names[i])), 0);
  }
  saved(path, 'a', 3);
  saved(path, 'a', 6);
  ASSERT(has(path, 'a', 3) && has(path, 'a', 6));
  for (int i = 0; i < 3; i++) {
    struct stat info;
    ASSERT(lstat(in(path, names[i]), &info) == 0 && S_ISLNK(info.st_mode));
  }
  holds(file, "mine");
}

static void test_a_lock_that_is_no_file_of_its_own_is_refused(void)
{
  char file[400], missing[400];
  snprintf(file, sizeof file, "%s/precious-too", test_scratch());
  snprintf(missing, sizeof missing, "%s/not-there", test_scratch());
  sample_store(file, "mine", 4);
  const tr__file_ops *ops = tr__file_ops_system();
  const char *path = fresh_dir();
  ASSERT_EQ(symlink(file, in(path, "run.lock")), 0);
  ASSERT_FAILS(save(ops, path, 'a', 1), TR_EIO, "run.lock");
  path = fresh_dir();
  ASSERT_EQ(symlink(missing, in(path, "run.lock")), 0);
  ASSERT_FAILS(save(ops, path, 'a', 1), TR_EIO, "symbolic link");
  ASSERT(access(missing, F_OK) != 0);
  path = fresh_dir();
  ASSERT_EQ(link(file, in(path, "run.lock")), 0);
  ASSERT_FAILS(save(ops, path, 'a', 1), TR_EIO, "no file of its own");
  path = fresh_dir();
  ASSERT_EQ(mkfifo(in(path, "run.lock"), 0600), 0);
  ASSERT_FAILS(save(ops, path, 'a', 1), TR_EIO, "no file of its own");
  holds(file, "mine");
}

static void test_somebodys_file_of_the_lock_s_name_keeps_what_it_holds(void)
{
  const char *path = fresh_dir();
  sample_store(in(path, "run.lock"), "my notes", 8);
  saved(path, 'a', 1);
  holds(in(path, "run.lock"), "my notes");
}

static void test_leftovers_of_ours_are_known_by_what_they_hold(void)
{
  static const char zeros[600] = "";
  static const struct {
    const char *name, *text;
    size_t bytes;
  } leftovers[] = {
      {".tmp-7-step-00000009.h5", "", 0},
      {".tmp-8-step-00000009.h5", zeros, sizeof zeros},
      {".tmp-9-step-00000009.h5", TR__UNFINISHED_MARK "x", 21},
      {".tmp-7.3-step-00000009.save4.h5", TR__UNFINISHED_MARK "x", 21},
      {".tmp-7-step-00000009.manifest", "libtrain checkpoint 1\nstep", 26},
      {".tmp-7-run.identity", "libtrain run 1\n", 15},
  };
  enum { COUNT = sizeof leftovers / sizeof leftovers[0] };
  const char *path = fresh_dir();
  for (int i = 0; i < COUNT; i++) {
    sample_store(in(path, leftovers[i].name), leftovers[i].text,
                 leftovers[i].bytes);
  }
  sample_file sealed = sample_sealed(9);
  sample_store(in(path, ".tmp-5-step-00000009.h5"), sealed.bytes,
               sealed.length);
  free(sealed.bytes);
  saved(path, 'a', 1);
  for (int i = 0; i < COUNT; i++) {
    ASSERT(access(in(path, leftovers[i].name), F_OK) != 0);
  }
  ASSERT(access(in(path, ".tmp-5-step-00000009.h5"), F_OK) != 0);
}

/* As a kill between the two renames leaves them. */
static void test_a_data_file_that_was_not_committed_goes(void)
{
  const char *path = fresh_dir();
  saved(path, 'a', 1);
  saved(path, 'a', 2);
  ASSERT_EQ(rename(in(path, "step-00000002.manifest"),
                   in(path, ".tmp-77-step-00000002.manifest")),
            0);
  saved(path, 'a', 3);
  ASSERT(access(in(path, "step-00000002.h5"), F_OK) != 0);
  ASSERT(access(in(path, ".tmp-77-step-00000002.manifest"), F_OK) != 0);
  ASSERT(has(path, 'a', 1) && has(path, 'a', 3));
}

static const tr_test tests[] = {
    TEST(test_files_that_others_wrote_stay_as_they_are),
    TEST(test_a_data_file_whose_manifest_somebody_removed_stays),
    TEST(test_somebodys_file_in_place_of_an_old_checkpoint_stays),
    TEST(test_a_copied_manifest_costs_nothing),
    TEST(test_numbers_in_names_lose_no_save),
    TEST(test_a_manifest_with_the_last_number_ends_the_saves),
    TEST(test_what_cannot_be_read_is_not_replaced_by_a_new_run),
    TEST(test_a_save_that_cannot_read_a_manifest_fails_and_names_it),
    TEST(test_symbolic_links_are_not_followed),
    TEST(test_a_lock_that_is_no_file_of_its_own_is_refused),
    TEST(test_somebodys_file_of_the_lock_s_name_keeps_what_it_holds),
    TEST(test_leftovers_of_ours_are_known_by_what_they_hold),
    TEST(test_a_data_file_that_was_not_committed_goes),
};
TEST_MAIN(tests)
