/* The log of a run as JSON lines, written by rank 0. */
#include "run/joblog_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

tr_status tr__joblog_open(const char *path, tr_dtype dtype, tr__joblog *log)
{
  *log = (tr__joblog){.digits = dtype == TR_F64 ? 17 : 9};
  if (path == NULL) {
    return TR_OK;
  }
  log->file = fopen(path, "a");
  TR_CHECK(log->file != NULL, TR_EIO, "cannot write the log %s: %s", path,
           strerror(errno));
  return TR_OK;
}

void tr__joblog_restart(tr__joblog *log)
{
  if (log->file != NULL && ftruncate(fileno(log->file), 0) != 0) {
    log->has_failed = true;
  }
}

/* JSON has no NaN and no infinity. */
static void put_number(const tr__joblog *log, const char *key, double value)
{
  if (isfinite(value)) {
    fprintf(log->file, ",\"%s\":%.*g", key, log->digits, value);
  } else {
    fprintf(log->file, ",\"%s\":null", key);
  }
}

static void end_line(tr__joblog *log)
{
  fprintf(log->file, "}\n");
  if (fflush(log->file) != 0) {
    log->has_failed = true;
  }
}

void tr__joblog_step(tr__joblog *log, const tr__joblog_entry *entry)
{
  if (log->file == NULL) {
    return;
  }
  fprintf(log->file, "{\"step\":%lld,\"epoch\":%lld", (long long)entry->step,
          (long long)entry->epoch);
  put_number(log, "loss", entry->loss);
  put_number(log, "lr", entry->lr);
  fprintf(log->file, ",\"samples_per_s\":%.1f", entry->samples_per_s);
  end_line(log);
}

void tr__joblog_rollback(tr__joblog *log, const tr__joblog_back *back)
{
  if (log->file == NULL) {
    return;
  }
  fprintf(log->file, "{\"rollback\":true,\"from_step\":%lld,\"to_step\":%lld",
          (long long)back->from_step, (long long)back->to_step);
  put_number(log, "loss", back->loss);
  put_number(log, "lr_scale", back->lr_scale);
  end_line(log);
}

/* Where there were any. */
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
  end_line(log);
}

bool tr__joblog_close(tr__joblog *log)
{
  bool is_whole = !log->has_failed;
  if (log->file != NULL && fclose(log->file) != 0) {
    is_whole = false;
  }
  log->file = NULL;
  return is_whole;
}
