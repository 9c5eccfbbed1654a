#include "checkpoint_sample.h"

#include "checkpoint/checkpoint_impl.h"
#include "checkpoint/run_dir_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Which call fails and how; counted over all operations. */
static struct {
  int at;   /* this call, counted from 0; -1: none */
  int code; /* with this errno; 0: writes are short instead */
  int last; /* calls at..last fail */
  int counted;
} fault = {.at = -1};

/* A dead process loses nothing that it wrote, only a dead machine does, so most
 * of these tests need no fsync, which is slow. */
static int no_sync(int fd)
{
  return fd >= 0 ? 0 : -1;
}

static const tr__file_ops *quick(void)
{
  static tr__file_ops ops;
  ops = *tr__file_ops_system();
  ops.sync = no_sync;
  return &ops;
}

/* One letter per call. */
static char order[4096];

static bool fails_now(char letter)
{
  size_t used = strlen(order);
  if (used + 1 < sizeof order) {
    order[used] = letter;
    order[used + 1] = '\0';
  }
  int n = fault.counted++;
  if (fault.at < 0 || n < fault.at || n > fault.last || fault.code == 0) {
    return false;
  }
  errno = fault.code;
  return true;
}

static int faulty_open(const char *path, int flags, mode_t mode)
{
  return fails_now('o') ? -1 : tr__file_ops_system()->open(path, flags, mode);
}

static int faulty_allocate(int fd, off_t bytes)
{
  return fails_now('a') ? -1 : tr__file_ops_system()->allocate(fd, bytes);
}

static ssize_t
faulty_write(int fd, const void *data, size_t bytes, off_t offset)
{
  bool is_here =
      fault.at >= 0 && fault.counted >= fault.at && fault.counted <= fault.last;
  if (fails_now('w')) {
    return -1;
  }
  bytes = is_here && fault.code == 0 ? (bytes + 1) / 2 : bytes;
  return tr__file_ops_system()->write(fd, data, bytes, offset);
}

static ssize_t faulty_read(int fd, void *data, size_t bytes, off_t offset)
{
  return fails_now('r') ? -1
                        : tr__file_ops_system()->read(fd, data, bytes, offset);
}

static int faulty_sync(int fd)
{
  return fails_now('s') ? -1 : no_sync(fd);
}

static int faulty_close(int fd)
{
  /* A close that fails has closed all the same. */
  int closed = tr__file_ops_system()->close(fd);
  return fails_now('c') ? -1 : closed;
}

static int faulty_rename(const char *from, const char *to)
{
  return fails_now('n') ? -1 : tr__file_ops_system()->rename(from, to);
}

static int faulty_unlink(const char *path)
{
  return fails_now('u') ? -1 : tr__file_ops_system()->unlink(path);
}

static int faulty_make_dir(const char *path, mode_t mode)
{
  return fails_now('m') ? -1 : tr__file_ops_system()->make_dir(path, mode);
}

static int faulty_lock(int fd, int operation)
{
  return fails_now('l') ? -1 : tr__file_ops_system()->lock(fd, operation);
}

static int faulty_link(const char *from, const char *to)
{
  return fails_now('k') ? -1 : tr__file_ops_system()->link(from, to);
}

static const tr__file_ops faulty = {
    faulty_open,     faulty_allocate, faulty_write,  faulty_read,
    faulty_sync,     faulty_close,    faulty_rename, faulty_unlink,
    faulty_make_dir, faulty_lock,     faulty_link,
};

/* A directory of its own for each test. */
static const char *fresh_dir(void)
{
  static char path[300];
  static int number;
  snprintf(path, sizeof path, "%s/dir%d/run", test_scratch(), number++);
  return path;
}

static tr_status
save(const tr__file_ops *ops, const char *path, int version, int keep)
{
  tr__run_dir dir;
  tr__image *image = sample_image();
  tr__seal seal = {.step = version, .run_id = "sample run 0001"};
  sample_fill(image, version);
  tr_status status = tr__run_dir_open(ops, path, 0, &dir);
  if (status == TR_OK) {
    status = tr__run_dir_commit(&dir, image, &seal, 1, keep);
    tr__run_dir_close(&dir);
  }
  tr__image_destroy(&image);
  return status;
}

/* The version of the newest checkpoint that can be loaded, all of whose bytes
 * are right; 0 where there is none. refused counts the newer ones. */
static int newest(const char *path, int *refused)
{
  tr__listing listing;
  int version = 0;
  *refused = 0;
  ASSERT_OK(tr__run_dir_list(tr__file_ops_system(), path, &listing));
  for (int i = 0; i < listing.count && version == 0; i++) {
    unsigned char *bytes;
    tr__sealed sealed;
    if (!listing.items[i].is_readable ||
        tr__run_dir_load(tr__file_ops_system(), path,
                         &listing.items[i].manifest, &bytes,
                         &sealed) != TR_OK) {
      ++*refused;
      continue;
    }
    version = (int)sealed.seal.step;
    sample_file expected = sample_sealed(version);
    ASSERT_EQ(sealed.seal.length, expected.length);
    ASSERT(memcmp(bytes, expected.bytes, expected.length) == 0);
    free(expected.bytes);
    tr__sealed_release(&sealed);
    free(bytes);
  }
  tr__listing_release(&listing);
  return version;
}

static int count_names(const char *path, const char *part)
{
  int count = 0;
  DIR *stream = opendir(path);
  ASSERT(stream != NULL);
  for (struct dirent *e = readdir(stream); e != NULL; e = readdir(stream)) {
    count += strstr(e->d_name, part) != NULL;
  }
  closedir(stream);
  return count;
}

static void test_a_saved_checkpoint_is_the_newest_and_two_stay(void)
{
  const char *path = fresh_dir();
  int refused;
  for (int version = 1; version <= 5; version++) {
    ASSERT_OK(save(tr__file_ops_system(), path, version, 2));
    ASSERT_EQ(newest(path, &refused), version);
    ASSERT_EQ(refused, 0);
  }
  ASSERT_EQ(count_names(path, ".manifest"), 2);
  ASSERT_EQ(count_names(path, ".h5"), 2);
  ASSERT_EQ(count_names(path, "tmp"), 0);
}

static void test_going_back_to_an_earlier_step_supersedes_the_later_ones(void)
{
  const char *path = fresh_dir();
  int refused;
  ASSERT_OK(save(quick(), path, 100, 2));
  ASSERT_OK(save(quick(), path, 200, 2));
  ASSERT_OK(save(quick(), path, 150, 2));
  ASSERT_EQ(newest(path, &refused), 150);
  ASSERT_OK(save(quick(), path, 160, 2));
  ASSERT_EQ(newest(path, &refused), 160);
  ASSERT_EQ(count_names(path, ".manifest"), 2);
}

static void test_saving_one_step_again_never_touches_the_first_file(void)
{
  const char *path = fresh_dir();
  int refused;
  ASSERT_OK(save(quick(), path, 7, 2));
  /* Every call of the second save fails once: the first must stay. */
  for (int k = 0;; k++) {
    fault.at = fault.last = k;
    fault.code = EIO;
    fault.counted = 0;
    tr_status status = save(&faulty, path, 7, 2);
    bool reached = fault.counted > k;
    fault.at = -1;
    ASSERT_EQ(newest(path, &refused), 7);
    ASSERT_EQ(refused, 0);
    if (!reached) {
      ASSERT_EQ(status, TR_OK);
      break;
    }
  }
  ASSERT_EQ(count_names(path, ".h5"), 1);
  ASSERT_OK(save(quick(), path, 8, 1));
  ASSERT_EQ(count_names(path, ".h5"), 1);
}

/* One fault at call k of a save over an existing checkpoint. */
static bool survives_fault(int k, int code, bool for_ever)
{
  const char *path = fresh_dir();
  int refused;
  ASSERT_OK(save(quick(), path, 1, 2));
  ASSERT_OK(save(quick(), path, 2, 2));
  fault.at = k;
  fault.last = for_ever ? INT32_MAX : k;
  fault.code = code;
  fault.counted = 0;
  tr_status status = save(&faulty, path, 3, 2);
  bool reached = fault.counted > k;
  fault.at = -1;
  if (status != TR_OK) {
    ASSERT(status == TR_EIO || status == TR_ETEMPORARY);
    ASSERT(strstr(tr_error_message(), path) != NULL);
  }
  if (status != TR_OK && code != EWOULDBLOCK) {
    ASSERT(strstr(tr_error_message(), strerror(code)) != NULL);
  }
  int version = newest(path, &refused);
  ASSERT_EQ(refused, 0);
  ASSERT(status == TR_OK ? version == 3 : version == 2 || version == 3);
  ASSERT_OK(save(quick(), path, 4, 2));
  ASSERT_EQ(newest(path, &refused), 4);
  ASSERT_EQ(count_names(path, "tmp"), 0);
  ASSERT_EQ(count_names(path, ".manifest"), 2);
  ASSERT_EQ(count_names(path, ".h5"), 2);
  return reached;
}

static void test_a_failure_of_any_call_leaves_a_loadable_checkpoint(void)
{
  static const int codes[] = {ENOSPC, EIO};
  for (size_t c = 0; c < sizeof codes / sizeof codes[0]; c++) {
    for (int for_ever = 0; for_ever < 2; for_ever++) {
      int k = 0;
      while (survives_fault(k, codes[c], for_ever == 1)) {
        k++;
      }
      ASSERT(k > 20);
    }
  }
}

/* Short writes and interrupted calls are no failures, fsync and close apart,
 * which are not repeated. */
static void test_short_writes_and_interruptions_lose_nothing(void)
{
  const char *path = fresh_dir();
  int refused;
  fault.at = 0;
  fault.last = INT32_MAX;
  fault.code = 0;
  fault.counted = 0;
  ASSERT_OK(save(&faulty, path, 1, 2));
  fault.at = -1;
  ASSERT_EQ(newest(path, &refused), 1);
  int k = 0;
  while (survives_fault(k, EINTR, false)) {
    k++;
  }
}

/* The order is what survives a power cut: data and manifest before their names,
 * the data's name before the manifest's, and that before anything older goes.
 */
static void test_each_file_is_synced_before_and_after_it_gets_its_name(void)
{
  const char *path = fresh_dir();
  ASSERT_OK(save(quick(), path, 1, 1));
  order[0] = '\0';
  ASSERT_OK(save(&faulty, path, 2, 1));
  char once[sizeof order];
  size_t n = 0;
  for (const char *c = order; *c != '\0'; c++) {
    /* Data is written in any number of calls. */
    if (*c != 'w' || n == 0 || once[n - 1] != 'w') {
      once[n++] = *c;
    }
  }
  once[n] = '\0';
  const char *data = strstr(once, "oawscoawscnoscnosc");
  ASSERT(data != NULL);
  const char *removed = strchr(once, 'u');
  ASSERT(removed != NULL && removed >= data + 18);
}

static int fsyncs;

static int failing_sync(int fd)
{
  (void)fd;
  fsyncs++;
  errno = EIO;
  return -1;
}

static void test_a_failed_fsync_is_not_repeated(void)
{
  const char *path = fresh_dir();
  ASSERT_OK(save(tr__file_ops_system(), path, 1, 2));
  tr__file_ops ops = *tr__file_ops_system();
  ops.sync = failing_sync;
  fsyncs = 0;
  ASSERT_FAILS(save(&ops, path, 2, 2), TR_EIO, "step-00000002.h5");
  ASSERT_EQ(fsyncs, 1);
  ASSERT_EQ(count_names(path, "tmp"), 0);
}

static void test_a_file_size_limit_is_a_failure_and_not_the_end(void)
{
  const char *path = fresh_dir();
  struct rlimit old, small;
  int refused;
  ASSERT_OK(save(tr__file_ops_system(), path, 1, 2));
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  small = old;
  small.rlim_cur = 1000;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  tr_status status = save(tr__file_ops_system(), path, 2, 2);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  ASSERT_FAILS(status, TR_EIO, "File too large");
  ASSERT_EQ(newest(path, &refused), 1);
  ASSERT_OK(save(tr__file_ops_system(), path, 2, 2));
  ASSERT_EQ(newest(path, &refused), 2);
}

static void test_damage_of_the_newest_falls_back_to_the_one_before(void)
{
  const char *path = fresh_dir();
  char name[400];
  int refused;
  ASSERT_OK(save(quick(), path, 1, 3));
  ASSERT_OK(save(quick(), path, 2, 3));
  ASSERT_OK(save(quick(), path, 3, 3));
  /* The manifest of 3 and the data of 2. */
  snprintf(name, sizeof name, "%s/step-00000003.manifest", path);
  sample_store(name, "libtrain checkpoint 1\nstep 3\n", 29);
  snprintf(name, sizeof name, "%s/step-00000002.h5", path);
  ASSERT_EQ(truncate(name, 3000), 0);
  ASSERT_EQ(newest(path, &refused), 1);
  ASSERT_EQ(refused, 2);
  /* The next save counts on and may not use their names up. */
  ASSERT_OK(save(quick(), path, 2, 3));
  ASSERT_EQ(newest(path, &refused), 2);
}

static void test_every_changed_byte_of_a_manifest_is_refused(void)
{
  tr__manifest manifest = {.step = 3,
                           .save = 4,
                           .world = 2,
                           .run_id = "run 0001",
                           .file = "step-00000003.h5",
                           .length = 5000,
                           .hash = {1, 2, 3}};
  tr__manifest again;
  char text[TR__MANIFEST_BYTES];
  size_t length = tr__manifest_format(&manifest, text);
  ASSERT_OK(tr__manifest_parse("m", text, length, &again));
  ASSERT(memcmp(&manifest, &again, sizeof again) == 0);
  for (size_t at = 0; at < length; at++) {
    for (int change = 1; change < 256; change++) {
      text[at] ^= (char)change;
      ASSERT_FAILS(tr__manifest_parse("m", text, length, &again), TR_EDATA,
                   "m: ");
      text[at] ^= (char)change;
    }
    ASSERT_FAILS(tr__manifest_parse("m", text, at, &again), TR_EDATA, "m: ");
  }
}

static void test_names_of_steps_are_read_strictly(void)
{
  ASSERT_EQ(tr__step_of_name("step-00000120.h5", ".h5"), 120);
  ASSERT_EQ(tr__step_of_name("step-00000120.save3.h5", ".h5"), 120);
  ASSERT_EQ(tr__step_of_name("step-1234567890123.h5", ".h5"), 1234567890123);
  ASSERT_EQ(tr__step_of_name("step-120.h5", ".h5"), -1);
  ASSERT_EQ(tr__step_of_name("step-00000120.h5x", ".h5"), -1);
  ASSERT_EQ(tr__step_of_name("step--0000120.h5", ".h5"), -1);
  ASSERT_EQ(tr__step_of_name("step-00000120.manifest", ".h5"), -1);
  ASSERT_EQ(tr__step_of_name("xstep-00000120.h5", ".h5"), -1);
}

/* Runs a save in a child; its exit code. */
static int save_in_child(const char *path, int version)
{
  int state;
  fflush(stdout);
  pid_t child = fork();
  ASSERT(child >= 0);
  if (child == 0) {
    tr_status status = save(tr__file_ops_system(), path, version, 2);
    bool says = strstr(tr_error_message(), "in use by process") != NULL;
    _exit(status == TR_ETEMPORARY && says ? 75 : (int)status);
  }
  ASSERT_EQ(waitpid(child, &state, 0), child);
  return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

static void test_two_processes_do_not_write_in_one_directory(void)
{
  const char *path = fresh_dir();
  tr__run_dir dir;
  int refused;
  ASSERT_OK(tr__run_dir_open(tr__file_ops_system(), path, 0, &dir));
  ASSERT_EQ(save_in_child(path, 1), 75);
  ASSERT_EQ(newest(path, &refused), 0);
  tr__run_dir_close(&dir);
  ASSERT_EQ(save_in_child(path, 1), 0);
  ASSERT_EQ(newest(path, &refused), 1);
}

/* As in two containers, whose first processes have the same number. */
static void test_another_process_of_the_same_name_is_another_one(void)
{
  const char *path = fresh_dir();
  char name[400], text[200] = "", host[64];
  tr__run_dir dir, again;
  ASSERT_OK(tr__run_dir_open(tr__file_ops_system(), path, 0, &dir));
  ASSERT_FAILS(tr__run_dir_open(tr__file_ops_system(), path, 0, &again),
               TR_ESTATE, "another model of this process");
  snprintf(name, sizeof name, "%s/run.lock", path);
  FILE *file = fopen(name, "r+");
  ASSERT(file != NULL);
  ASSERT(gethostname(host, sizeof host) == 0);
  snprintf(text, sizeof text, "process %ld on %s token 123", (long)getpid(),
           host);
  fwrite(text, 1, 128, file);
  fclose(file);
  ASSERT_FAILS(tr__run_dir_open(tr__file_ops_system(), path, 0, &again),
               TR_ETEMPORARY, "in use by process");
  tr__run_dir_close(&dir);
}

static void test_two_models_of_a_process_do_not_share_a_directory(void)
{
  const char *path = fresh_dir();
  tr__checkpoint_cache first = {0}, second = {0};
  const tr__file_ops *ops = tr__file_ops_system();
  ASSERT_OK(tr__checkpoint_lock(&first, ops, path));
  ASSERT_FAILS(tr__checkpoint_lock(&second, ops, path), TR_ESTATE,
               "another model of this process keeps its checkpoints there");
  ASSERT_OK(tr__checkpoint_lock(&first, ops, path));
  ASSERT_EQ(save_in_child(path, 1), 75);
  /* They may follow each other. */
  tr__run_dir_close(&first.dir);
  ASSERT_OK(tr__checkpoint_lock(&second, ops, path));
  ASSERT_EQ(save_in_child(path, 1), 75);
  tr__run_dir_close(&second.dir);
}

/* The child holds the lock of the directory that bears the name by now. */
static void test_a_lock_that_was_removed_is_no_lock(void)
{
  const char *path = fresh_dir();
  char name[400];
  tr__checkpoint_cache cache = {0};
  const tr__file_ops *ops = tr__file_ops_system();
  ASSERT_OK(tr__checkpoint_lock(&cache, ops, path));
  snprintf(name, sizeof name, "%s/run.lock", path);
  ASSERT_EQ(unlink(name), 0);
  ASSERT_EQ(save_in_child(path, 1), 0);
  ASSERT_OK(tr__checkpoint_lock(&cache, ops, path));
  ASSERT_EQ(save_in_child(path, 2), 75);
  tr__run_dir_close(&cache.dir);
}

static void test_a_removed_directory_is_made_again(void)
{
  const char *path = fresh_dir();
  char name[400];
  tr__checkpoint_cache cache = {0};
  const tr__file_ops *ops = tr__file_ops_system();
  ASSERT_OK(tr__checkpoint_lock(&cache, ops, path));
  snprintf(name, sizeof name, "%s/run.lock", path);
  ASSERT_EQ(unlink(name), 0);
  ASSERT_EQ(rmdir(path), 0);
  ASSERT_OK(tr__checkpoint_lock(&cache, ops, path));
  ASSERT_EQ(save_in_child(path, 1), 75);
  tr__run_dir_close(&cache.dir);
}

static void test_a_directory_that_cannot_be_is_named(void)
{
  char path[400];
  snprintf(path, sizeof path, "%s/a-file", test_scratch());
  sample_store(path, "x", 1);
  ASSERT_FAILS(save(tr__file_ops_system(), path, 1, 2), TR_EIO, "a-file");
  strcat(path, "/run");
  ASSERT_FAILS(save(tr__file_ops_system(), path, 1, 2), TR_EIO, "a-file/run");
  ASSERT_FAILS(save(tr__file_ops_system(), "", 1, 2), TR_EINVAL, "directory");
}

static double kill_after(const char *path, int version, double seconds)
{
  int state, ready[2];
  char byte = 1;
  ASSERT_EQ(pipe(ready), 0);
  fflush(stdout);
  double start = tr__now();
  pid_t child = fork();
  ASSERT(child >= 0);
  if (child == 0) {
    _exit(write(ready[1], &byte, 1) == 1 &&
                  save(tr__file_ops_system(), path, version, 2) == TR_OK
              ? 0
              : 1);
  }
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  close(ready[1]);
  if (seconds >= 0) {
    struct timespec wait = {0, (long)(seconds * 1e9)};
    nanosleep(&wait, NULL);
    kill(child, SIGKILL);
  }
  ASSERT_EQ(waitpid(child, &state, 0), child);
  ASSERT(seconds >= 0 || (WIFEXITED(state) && WEXITSTATUS(state) == 0));
  return tr__now() - start;
}

static void test_two_hundred_kills_while_saving_lose_nothing(void)
{
  const char *path = fresh_dir();
  uint64_t random = test_seed();
  int refused, last = 1, old = 0, new = 0;
  double whole = kill_after(path, 1, -1);
  for (int i = 0; i < 200; i++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    double after = 1.1 * whole * (double)(random >> 11) / 9007199254740992.0;
    kill_after(path, last + 1, after);
    int version = newest(path, &refused);
    ASSERT_EQ(refused, 0);
    ASSERT(version == last || version == last + 1);
    old += version == last;
    new += version == last + 1;
    last = version;
  }
  printf("# 200 kills: %d times the old checkpoint, %d times the new\n", old,
         new);
  ASSERT_OK(save(tr__file_ops_system(), path, last + 1, 2));
  ASSERT_EQ(count_names(path, "tmp"), 0);
  ASSERT_EQ(count_names(path, ".h5"), 2);
}

static int calls_left;

static bool dies_now(void)
{
  if (calls_left-- == 0) {
    kill(getpid(), SIGKILL);
  }
  return false;
}

static int dying_open(const char *path, int flags, mode_t mode)
{
  return dies_now() ? -1 : tr__file_ops_system()->open(path, flags, mode);
}

static ssize_t dying_write(int fd, const void *data, size_t n, off_t offset)
{
  return dies_now() ? -1 : tr__file_ops_system()->write(fd, data, n, offset);
}

static int dying_sync(int fd)
{
  return dies_now() ? -1 : no_sync(fd);
}

static int dying_close(int fd)
{
  return dies_now() ? -1 : tr__file_ops_system()->close(fd);
}

static int dying_rename(const char *from, const char *to)
{
  return dies_now() ? -1 : tr__file_ops_system()->rename(from, to);
}

static int dying_unlink(const char *path)
{
  return dies_now() ? -1 : tr__file_ops_system()->unlink(path);
}

static int dying_link(const char *from, const char *to)
{
  return dies_now() ? -1 : tr__file_ops_system()->link(from, to);
}

static void test_a_kill_before_every_call_loses_nothing(void)
{
  tr__file_ops ops = *tr__file_ops_system();
  ops.open = dying_open;
  ops.write = dying_write;
  ops.sync = dying_sync;
  ops.close = dying_close;
  ops.rename = dying_rename;
  ops.unlink = dying_unlink;
  ops.link = dying_link;
  int calls = 0, refused, state = 0;
  for (bool ended = false; !ended; calls++) {
    const char *path = fresh_dir();
    ASSERT_OK(save(quick(), path, 1, 2));
    ASSERT_OK(save(quick(), path, 2, 2));
    fflush(stdout);
    pid_t child = fork();
    ASSERT(child >= 0);
    if (child == 0) {
      calls_left = calls;
      _exit(save(&ops, path, 3, 2) == TR_OK ? 0 : 1);
    }
    ASSERT_EQ(waitpid(child, &state, 0), child);
    ended = WIFEXITED(state);
    int version = newest(path, &refused);
    ASSERT_EQ(refused, 0);
    ASSERT(version == 3 || (version == 2 && !ended));
    ASSERT_OK(save(quick(), path, 4, 2));
    ASSERT_EQ(count_names(path, "tmp"), 0);
    ASSERT_EQ(count_names(path, ".h5"), 2);
  }
  ASSERT_EQ(WEXITSTATUS(state), 0);
  ASSERT(calls > 20);
}

static const tr_test tests[] = {
    TEST(test_a_saved_checkpoint_is_the_newest_and_two_stay),
    TEST(test_going_back_to_an_earlier_step_supersedes_the_later_ones),
    TEST(test_saving_one_step_again_never_touches_the_first_file),
    TEST(test_a_failure_of_any_call_leaves_a_loadable_checkpoint),
    TEST(test_short_writes_and_interruptions_lose_nothing),
    TEST(test_each_file_is_synced_before_and_after_it_gets_its_name),
    TEST(test_a_failed_fsync_is_not_repeated),
    TEST(test_a_file_size_limit_is_a_failure_and_not_the_end),
    TEST(test_damage_of_the_newest_falls_back_to_the_one_before),
    TEST(test_every_changed_byte_of_a_manifest_is_refused),
    TEST(test_names_of_steps_are_read_strictly),
    TEST(test_two_processes_do_not_write_in_one_directory),
    TEST(test_another_process_of_the_same_name_is_another_one),
    TEST(test_two_models_of_a_process_do_not_share_a_directory),
    TEST(test_a_lock_that_was_removed_is_no_lock),
    TEST(test_a_removed_directory_is_made_again),
    TEST(test_a_directory_that_cannot_be_is_named),
    TEST(test_two_hundred_kills_while_saving_lose_nothing),
    TEST(test_a_kill_before_every_call_loses_nothing),
};
TEST_MAIN(tests)
