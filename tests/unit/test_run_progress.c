/* What a person and a program see of a run. */
#include "test.h"

#include "run/joblog_impl.h"
#include "run/progress_impl.h"

#include <string.h>
#include <unistd.h>

enum { BYTES = 256 };

/* As the first run of a newcomer. */
static const tr__progress_total small = {
    .steps = 1250, .epochs = 10, .batch = 64};
static const tr__progress_now late = {
    .step = 1232, .epoch = 9, .loss = 0.0017799, .samples_per_s = 8707};

static void write_at(int columns, char out[BYTES])
{
  tr__progress_text(&small, &late, columns, out, BYTES);
}

static void test_the_bar_never_fills_a_line(void)
{
  static const tr__progress_total huge = {
      .steps = INT64_C(999999999999), .epochs = 100000, .batch = 4096};
  static const tr__progress_now begin = {.step = 12345678901,
                                         .epoch = 54321,
                                         .loss = -1.2345e-05,
                                         .samples_per_s = 1e9};
  char out[BYTES];
  for (int columns = 1; columns <= 200; columns++) {
    write_at(columns, out);
    ASSERT((int)strlen(out) < columns);
    tr__progress_text(&huge, &begin, columns, out, sizeof out);
    ASSERT((int)strlen(out) < columns);
  }
}

static void test_time_rate_and_bar_go_in_turn(void)
{
  char out[BYTES];
  bool has_left = false, has_rate = false, has_bar = false;
  for (int columns = 1; columns <= 120; columns++) {
    write_at(columns, out);
    bool left = strstr(out, " left") != NULL;
    bool rate = strstr(out, " samples/s") != NULL;
    bool bar = out[0] == '[';
    ASSERT(bar || !rate);
    ASSERT(rate || !left);
    /* What a line has, all wider ones have. */
    ASSERT(left >= has_left && rate >= has_rate && bar >= has_bar);
    has_left = left;
    has_rate = rate;
    has_bar = bar;
  }
  ASSERT(has_left && has_rate && has_bar);
  write_at(80, out);
  ASSERT(strstr(out, "samples/s") != NULL && strstr(out, " left") == NULL);
}

static void test_a_file_gets_the_whole_line_without_a_bar(void)
{
  char out[BYTES];
  write_at(0, out);
  ASSERT_STR_EQ(out, "epoch 10/10  step 1232/1250  loss 0.0017799  8707 "
                     "samples/s  0:00 left");
}

static void test_the_bar_keeps_its_width_while_the_loss_changes(void)
{
  static const double losses[] = {1, 0.25, 0.0017799, 0.00084494, 1.2345e-05};
  char out[BYTES];
  int first = -1;
  for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++) {
    tr__progress_now now = late;
    now.loss = losses[i];
    tr__progress_text(&small, &now, 80, out, sizeof out);
    int width = (int)(strchr(out, ']') - out);
    first = first < 0 ? width : first;
    ASSERT_EQ(width, first);
  }
}

static void test_a_line_is_broken_between_its_parts(void)
{
  static const char text[] =
      "mlp, 535818 parameters; digits: 8000 samples, 2000 to test  run/";
  char out[BYTES];
  tr__progress_wrap(text, 0, out, sizeof out);
  ASSERT(strcmp(out, text) == 0);
  tr__progress_wrap(text, 65, out, sizeof out);
  ASSERT(strcmp(out, text) == 0);
  tr__progress_wrap(text, 64, out, sizeof out);
  ASSERT(strcmp(out, "mlp, 535818 parameters; digits: 8000 samples, 2000 to "
                     "test\n  run/") == 0);
  tr__progress_wrap(text, 30, out, sizeof out);
  ASSERT(strcmp(out, "mlp, 535818 parameters;\n  digits: 8000 samples,\n  2000 "
                     "to test  run/") == 0);
  /* A part that has no room stays whole; no line is lost. */
  tr__progress_wrap(text, 10, out, sizeof out);
  ASSERT(strcmp(out, "mlp,\n  535818 parameters;\n  digits: 8000 "
                     "samples,\n  2000 to test\n  run/") == 0);
  tr__progress_wrap(text, 30, out, 12);
  ASSERT(strcmp(out, "mlp, 535818") == 0);
}

static void test_a_file_is_no_terminal(void)
{
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_EQ(tr__terminal_columns(ends[1]), 0);
  close(ends[0]);
  close(ends[1]);
}

/* A name of a file may have any bytes, and the log is JSON in UTF-8. */
static void test_a_log_begins_with_how_it_was_made(void)
{
  char path[512], line[BYTES * 4] = "";
  tr__joblog log;
  snprintf(path, sizeof path, "%s/log", test_scratch());
  ASSERT_OK(tr__joblog_open(path, TR_F32, &log));
  tr__joblog_start(
      &log, &(tr__joblog_begin){
                .command = "a\"\\\n\xff\xc3\xa9\xc3", .step = 7, .ranks = 2});
  ASSERT_OK(tr__joblog_check(&log));
  tr__joblog_close(&log);
  FILE *file = fopen(path, "r");
  ASSERT(file != NULL && fgets(line, sizeof line, file) != NULL);
  fclose(file);
  ASSERT(strncmp(line, "{\"start\":true,\"version\":\"0.", 27) == 0);
  ASSERT(strstr(line, "\"command\":\"a\\u0022\\u005c\\u000a\\ufffd\xc3\xa9"
                      "\\ufffd\"") != NULL);
  ASSERT(strstr(line, "\"ranks\":2,") != NULL);
  ASSERT(strstr(line, "\"from_step\":7}\n") != NULL);
}

static const tr_test tests[] = {
    TEST(test_the_bar_never_fills_a_line),
    TEST(test_time_rate_and_bar_go_in_turn),
    TEST(test_a_file_gets_the_whole_line_without_a_bar),
    TEST(test_the_bar_keeps_its_width_while_the_loss_changes),
    TEST(test_a_line_is_broken_between_its_parts),
    TEST(test_a_file_is_no_terminal),
    TEST(test_a_log_begins_with_how_it_was_made),
};

TEST_MAIN(tests)
