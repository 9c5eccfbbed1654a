/* Opening and writing files: what is refused, and what no signal ends. */
#include "test.h"

#include "base/file_impl.h"
#include "run/joblog_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *path_of(const char *name)
{
  static char path[512];
  snprintf(path, sizeof path, "%s/%s", test_scratch(), name);
  return path;
}

static const char *make_file(const char *name, const char *text)
{
  const char *path = path_of(name);
  FILE *file = fopen(path, "wb");
  ASSERT(file != NULL);
  fputs(text, file);
  fclose(file);
  return path;
}

static const char *make_pipe(const char *name)
{
  const char *path = path_of(name);
  ASSERT_EQ(mkfifo(path, 0600), 0);
  return path;
}

static void check_text(const char *path, const char *expected)
{
  char text[512] = "";
  int file;
  size_t got;
  ASSERT_OK(tr__open_read(path, &file, NULL));
  ASSERT_EQ(tr__read_full(file, text, sizeof text - 1, &got), 0);
  close(file);
  ASSERT_STR_EQ(text, expected);
}

static void test_no_file_takes_the_number_of_a_standard_stream(void)
{
  const char *path = make_file("text", "abc");
  int input = dup(STDIN_FILENO), file;
  close(STDIN_FILENO);
  int64_t bytes;
  tr_status status = tr__open_read(path, &file, &bytes);
  int direct = tr__open_fd(path, O_RDONLY, 0);
  bool is_free = fcntl(STDIN_FILENO, F_GETFD) < 0;
  dup2(input, STDIN_FILENO);
  close(input);
  ASSERT_OK(status);
  ASSERT(is_free);
  ASSERT(file > STDERR_FILENO);
  ASSERT(direct > STDERR_FILENO);
  ASSERT_EQ(bytes, 3);
  ASSERT((fcntl(file, F_GETFD) & FD_CLOEXEC) != 0);
  close(file);
  close(direct);
}

static void check_refused(const char *path, tr_status status, const char *text)
{
  int file = 0;
  ASSERT_FAILS(tr__open_read(path, &file, NULL), status, text);
  ASSERT_EQ(file, -1);
  ASSERT(strstr(tr_error_message(), path) != NULL);
}

static void test_only_regular_files_are_read(void)
{
  check_refused(make_pipe("pipe"), TR_EDATA, "is a pipe");
  check_refused(test_scratch(), TR_EDATA, "is a directory");
  check_refused("/dev/null", TR_EDATA, "is a device");
  check_refused(path_of("none"), TR_ENOINPUT, "No such file");
}

static void test_too_many_open_files_are_not_a_missing_file(void)
{
  const char *path = make_file("text", "abc");
  struct rlimit before, none;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  none = before;
  none.rlim_cur = 3;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  int file, copies[3], count = 0;
  while (count < 3 && (copies[count] = dup(STDIN_FILENO)) >= 0) {
    count++;
  }
  tr_status status = tr__open_read(path, &file, NULL);
  for (int i = 0; i < count; i++) {
    close(copies[i]);
  }
  setrlimit(RLIMIT_NOFILE, &before);
  ASSERT_EQ(status, TR_ETEMPORARY);
}

static void test_a_pipe_is_written_only_where_somebody_reads(void)
{
  const char *path = make_pipe("unread");
  int file, reader;
  ASSERT_FAILS(tr__open_write(path, "log", O_APPEND, TR__TO_STREAM, &file),
               TR_EIO, "nobody reads");
  ASSERT((reader = open(path, O_RDONLY | O_NONBLOCK)) >= 0);
  ASSERT_FAILS(tr__open_write(path, "trace", O_TRUNC, TR__TO_FILE, &file),
               TR_EIO, "cannot write the trace");
  ASSERT_OK(tr__open_write(path, "log", O_APPEND, TR__TO_STREAM, &file));
  ASSERT_EQ(fcntl(file, F_GETFL) & O_NONBLOCK, 0);
  close(file);
  close(reader);
}

static void test_what_is_no_file_is_not_written(void)
{
  int file;
  ASSERT_FAILS(tr__open_write(test_scratch(), "log", 0, TR__TO_STREAM, &file),
               TR_EIO, "a directory");
  ASSERT_FAILS(
      tr__open_write(path_of("none/log"), "log", 0, TR__TO_STREAM, &file),
      TR_EIO, "No such file");
  ASSERT_OK(tr__open_write("/dev/null", "log", O_TRUNC, TR__TO_FILE, &file));
  close(file);
}

static void test_a_write_to_a_pipe_without_reader_fails(void)
{
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  FILE *stream = fdopen(ends[1], "w");
  tr__print_line(stream, "", "a line that nobody reads");
  fputs("more", stream);
  ASSERT(!tr__flush(stream));
  ASSERT_EQ(errno, EPIPE);
  fclose(stream); /* nothing is left that would be tried again */
  sigset_t pending;
  sigpending(&pending);
  ASSERT_EQ(sigismember(&pending, SIGPIPE), 0);
}

static void test_a_write_beyond_the_limit_of_files_fails(void)
{
  const char *path = make_file("limited", "");
  struct rlimit before, small;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  small = before;
  small.rlim_cur = 4;
  FILE *stream = fopen(path, "wb");
  fputs("12345678", stream);
  setrlimit(RLIMIT_FSIZE, &small);
  bool is_whole = tr__flush(stream);
  fputs("9", stream);
  is_whole = tr__flush(stream) || is_whole;
  setrlimit(RLIMIT_FSIZE, &before);
  ASSERT(!is_whole);
  fclose(stream);
}

static void test_a_signal_that_was_pending_stays(void)
{
  sigset_t one, before, pending;
  sigemptyset(&one);
  sigaddset(&one, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &one, &before);
  raise(SIGPIPE);
  tr__write_guard guard;
  tr__write_begin(&guard);
  tr__write_end(&guard);
  sigpending(&pending);
  bool is_pending = sigismember(&pending, SIGPIPE) == 1;
  const struct timespec now = {0, 0};
  sigtimedwait(&one, NULL, &now);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  ASSERT(is_pending);
}

static const tr__joblog_entry entry = {.step = 1, .loss = 2, .lr = 1};

#define STEP                                                                   \
  "{\"step\":1,\"epoch\":0,\"loss\":2,\"lr\":1,\"samples_per_s\":0.0}\n"

static void append_step(const char *path)
{
  tr__joblog log;
  ASSERT_OK(tr__joblog_open(path, TR_F32, &log));
  tr__joblog_step(&log, &entry);
  ASSERT_OK(tr__joblog_check(&log));
  tr__joblog_close(&log);
}

static void test_a_line_of_a_log_that_was_cut_short_is_removed(void)
{
  append_step(make_file("log", STEP "{\"step\":2,\"ep"));
  check_text(path_of("log"), STEP STEP);
  append_step(make_file("first", "{\"st"));
  check_text(path_of("first"), STEP);
  append_step(make_file("notes", "my notes"));
  check_text(path_of("notes"), "my notes\n" STEP);
}

static void test_a_lost_line_of_a_log_is_told_once(void)
{
  tr__joblog log;
  ASSERT_OK(tr__joblog_open("/dev/full", TR_F32, &log));
  tr__joblog_restart(&log);
  ASSERT_OK(tr__joblog_check(&log));
  tr__joblog_step(&log, &entry);
  ASSERT_FAILS(tr__joblog_check(&log), TR_EIO, "/dev/full are lost: No space");
  ASSERT_OK(tr__joblog_check(&log));
  tr__joblog_close(&log);
}

static void test_no_part_of_a_lost_line_stays_in_a_log(void)
{
  const char *path = make_file("part", STEP);
  tr__joblog log;
  struct rlimit before, small;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  small = before;
  small.rlim_cur = sizeof STEP + 10;
  ASSERT_OK(tr__joblog_open(path, TR_F32, &log));
  setrlimit(RLIMIT_FSIZE, &small);
  tr__joblog_step(&log, &entry);
  setrlimit(RLIMIT_FSIZE, &before);
  ASSERT_EQ(tr__joblog_check(&log), TR_EIO);
  tr__joblog_close(&log);
  check_text(path, STEP);
}

static const tr_test tests[] = {
    TEST(test_no_file_takes_the_number_of_a_standard_stream),
    TEST(test_only_regular_files_are_read),
    TEST(test_too_many_open_files_are_not_a_missing_file),
    TEST(test_a_pipe_is_written_only_where_somebody_reads),
    TEST(test_what_is_no_file_is_not_written),
    TEST(test_a_write_to_a_pipe_without_reader_fails),
    TEST(test_a_write_beyond_the_limit_of_files_fails),
    TEST(test_a_signal_that_was_pending_stays),
    TEST(test_a_line_of_a_log_that_was_cut_short_is_removed),
    TEST(test_a_lost_line_of_a_log_is_told_once),
    TEST(test_no_part_of_a_lost_line_stays_in_a_log),
};

TEST_MAIN(tests)
