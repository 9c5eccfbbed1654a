/* Writes the log of a run as JSON lines, on rank 0. */
#include "run/joblog_impl.h"

#include "base/file_impl.h"
#include "base/locale_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TAIL_BYTES = 1 << 13 };

/* The offset of a last line without newline; -1: there is none.
 * first  [out]  its first character */
static int64_t find_partial_line(int file, int64_t bytes, char *first)
{
  char tail[TAIL_BYTES];
  size_t got;
  int64_t from = tr__max(bytes - TAIL_BYTES, 0);
  if (lseek(file, from, SEEK_SET) < 0 ||
      tr__read_full(file, tail, sizeof tail, &got) != 0 || got == 0 ||
      tail[got - 1] == '\n') {
    return -1;
  }
  size_t begin = got;
  while (begin > 0 && tail[begin - 1] != '\n') {
    begin--;
  }
  *first = tail[begin];
  return from + (int64_t)begin;
}

/* Removes a last line that a full disk or a kill cut off. Text that is no line
 * of a log gets a newline, so that the next line stands alone. */
static void end_last_line(const tr__joblog *log)
{
  int file;
  int64_t bytes;
  char first = '\0';
  if (tr__open_read(log->path, &file, &bytes) != TR_OK) {
    return;
  }
  int64_t begin = find_partial_line(file, bytes, &first);
  close(file);
  if (begin < 0) {
    return;
  }
  if (first != '{') {
    fputc('\n', log->file);
    return;
  }
  /* If this fails, the line stays. */
  (void)!ftruncate(fileno(log->file), begin);
}

tr_status tr__joblog_open(const char *path, tr_dtype dtype, tr__joblog *log)
{
  int file;
  *log = (tr__joblog){.path = path, .digits = dtype == TR_F64 ? 17 : 9};
  if (path == NULL) {
    return TR_OK;
  }
  TR_TRY(tr__open_write(path, "log", O_APPEND, TR__TO_STREAM, &file));
  log->file = fdopen(file, "a");
  if (log->file == NULL) {
    close(file);
    return TR_FAIL(TR_ENOMEM, "no memory for the log %s", path);
  }
  end_last_line(log);
  return TR_OK;
}

void tr__joblog_restart(tr__joblog *log)
{
  /* EINVAL: a pipe or a device has nothing to drop. */
  if (log->file != NULL && ftruncate(fileno(log->file), 0) != 0 &&
      errno != EINVAL) {
    log->failure = errno;
  }
}

/* Writes NaN and infinity as null, which JSON lacks. */
static void put_number(const tr__joblog *log, const char *key, double value)
{
  if (isfinite(value)) {
    fprintf(log->file, ",\"%s\":%.*g", key, log->digits, value);
  } else {
    fprintf(log->file, ",\"%s\":null", key);
  }
}

/* The state to restore after a line is written. */
typedef struct around {
  tr__write_guard guard;
  locale_t locale;
} around;

static void begin_line(around *line)
{
  tr__write_begin(&line->guard);
  line->locale = tr__locale_begin();
}

/* A line is written completely, or not at all. */
static void end_line(tr__joblog *log, const around *line)
{
  fprintf(log->file, "}\n");
  if (!tr__flush(log->file)) {
    log->failure = errno;
    end_last_line(log);
  }
  tr__locale_end(line->locale);
  tr__write_end(&line->guard);
}

void tr__joblog_step(tr__joblog *log, const tr__joblog_entry *entry)
{
  if (log->file == NULL) {
    return;
  }
  around line;
  begin_line(&line);
  fprintf(log->file, "{\"step\":%lld,\"epoch\":%lld", (long long)entry->step,
          (long long)entry->epoch);
  put_number(log, "loss", entry->loss);
  put_number(log, "lr", entry->lr);
  fprintf(log->file, ",\"samples_per_s\":%.1f", entry->samples_per_s);
  end_line(log, &line);
}

void tr__joblog_rollback(tr__joblog *log, const tr__joblog_back *back)
{
  if (log->file == NULL) {
    return;
  }
  around line;
  begin_line(&line);
  fprintf(log->file, "{\"rollback\":true,\"from_step\":%lld,\"to_step\":%lld",
          (long long)back->from_step, (long long)back->to_step);
  put_number(log, "loss", back->loss);
  put_number(log, "lr_scale", back->lr_scale);
  end_line(log, &line);
}

/* Bytes after the first one of a UTF-8 character; -1: text begins with none. */
static int num_following(const unsigned char *text)
{
  int count = text[0] < 0x80                       ? 0
              : text[0] >= 0xc2 && text[0] <= 0xdf ? 1
              : text[0] >= 0xe0 && text[0] <= 0xef ? 2
              : text[0] >= 0xf0 && text[0] <= 0xf4 ? 3
                                                   : -1;
  for (int i = 1; i <= count; i++) {
    if ((text[i] & 0xc0) != 0x80) {
      return -1;
    }
  }
  return count;
}

/* JSON is UTF-8, but file names may have any bytes: U+FFFD replaces illegal
 * ones. */
static void put_text(const tr__joblog *log, const char *key, const char *text)
{
  if (text == NULL) {
    return;
  }
  fprintf(log->file, ",\"%s\":\"", key);
  const unsigned char *c = (const unsigned char *)text;
  while (*c != '\0') {
    int following = num_following(c);
    if (*c < ' ' || *c == '"' || *c == '\\' || following < 0) {
      fprintf(log->file, "\\u%04x", following < 0 ? 0xfffdu : *c);
      c++;
      continue;
    }
    fwrite(c, 1, (size_t)following + 1, log->file);
    c += following + 1;
  }
  fputc('"', log->file);
}

static void put_time(const tr__joblog *log)
{
  char text[32] = "";
  struct tm parts;
  time_t now = time(NULL);
  if (gmtime_r(&now, &parts) != NULL) {
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  }
  put_text(log, "time", text);
}

void tr__joblog_start(tr__joblog *log, const tr__joblog_begin *begin)
{
  if (log->file == NULL) {
    return;
  }
  around line;
  begin_line(&line);
  fprintf(log->file, "{\"start\":true,\"version\":\"%s\"", tr_version());
  put_time(log);
  put_text(log, "command", begin->command);
  put_text(log, "model", begin->title);
  put_text(log, "optimizer", begin->optimizer);
  put_text(log, "data", begin->data);
  put_text(log, "mpi", begin->mpi);
  fprintf(log->file,
          ",\"ranks\":%d,\"threads\":%d,\"batch\":%lld,\"parameters\":%lld,"
          "\"samples\":%lld,\"test_samples\":%lld,\"from_step\":%lld",
          begin->ranks, begin->threads, (long long)begin->batch,
          (long long)begin->parameters, (long long)begin->samples,
          (long long)begin->test_samples, (long long)begin->step);
  end_line(log, &line);
}

void tr__joblog_epoch(tr__joblog *log,
                      int64_t epoch,
                      const tr_report *report,
                      bool is_tested)
{
  if (log->file == NULL) {
    return;
  }
  around line;
  begin_line(&line);
  fprintf(log->file, "{\"epoch_end\":%lld", (long long)epoch);
  if (is_tested) {
    put_number(log, "test_loss", report->test_loss);
    put_number(log, "test_accuracy", report->test_accuracy);
  }
  end_line(log, &line);
}

/* Leaves out a count of 0. */
static void put_count(const tr__joblog *log, const char *key, int64_t count)
{
  if (count > 0) {
    fprintf(log->file, ",\"%s\":%lld", key, (long long)count);
  }
}

void tr__joblog_final(tr__joblog *log, const tr_report *report)
{
  if (log->file == NULL) {
    return;
  }
  around line;
  begin_line(&line);
  fprintf(log->file, "{\"final\":true,\"steps\":%lld",
          (long long)report->steps);
  put_number(log, "test_accuracy", report->test_accuracy);
  put_number(log, "test_loss", report->test_loss);
  fprintf(log->file,
          ",\"params_hash\":\"%016" PRIx64 "\",\"samples_per_s\":%.1f,"
          "\"peak_rss_mib\":%.1f",
          report->params_hash, report->samples_per_s, report->peak_rss_mib);
  put_count(log, "skipped", report->skipped);
  put_count(log, "rollbacks", report->rollbacks);
  end_line(log, &line);
}

tr_status tr__joblog_check(tr__joblog *log)
{
  int code = log->failure;
  log->failure = 0;
  TR_CHECK(code == 0, TR_EIO, "lines of the log %s are lost: %s", log->path,
           strerror(code));
  return TR_OK;
}

void tr__joblog_close(tr__joblog *log)
{
  if (log->file != NULL) {
    tr__flush(log->file);
    fclose(log->file);
  }
  log->file = NULL;
}
