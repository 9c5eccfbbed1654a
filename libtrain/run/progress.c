/* What a person sees of a run: a bar on a terminal, plain lines elsewhere. */
#include "run/progress_impl.h"

#include "base/file_impl.h"
#include "base/locale_impl.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BAR_WIDTH       24
#define BAR_INTERVAL_S  0.1
#define LINE_INTERVAL_S 10.0
#define LINE_BYTES      512

/* Open MPI gives the ranks a pseudo-terminal whatever its own output is, so
 * under it the question goes to the process that started this one. */
static bool is_watched(FILE *stream)
{
  if (!isatty(fileno(stream)) || getenv("OMPI_COMM_WORLD_SIZE") == NULL) {
    return isatty(fileno(stream));
  }
  char path[64];
  snprintf(path, sizeof path, "/proc/%ld/fd/1", (long)getppid());
  int parent = tr__open_fd(path, O_WRONLY | O_NONBLOCK, 0);
  bool answer = parent >= 0 && isatty(parent);
  if (parent >= 0) {
    close(parent);
  }
  return answer;
}

void tr__progress_begin(tr__progress *progress,
                        FILE *stream,
                        const tr__progress_total *total)
{
  *progress = (tr__progress){.stream = stream, .total = *total};
  if (stream != NULL) {
    progress->is_terminal = is_watched(stream);
    progress->shown_at = tr__now();
  }
}

static void write_time(char *out, size_t bytes, double seconds)
{
  long whole = seconds > 0 ? (long)(seconds + 0.5) : 0;
  if (whole >= 3600) {
    snprintf(out, bytes, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60,
             whole % 60);
    return;
  }
  snprintf(out, bytes, "%ld:%02ld", whole / 60, whole % 60);
}

static void write_bar(char *out, double share)
{
  int full = (int)(share * BAR_WIDTH);
  for (int i = 0; i < BAR_WIDTH; i++) {
    out[i] = i < full ? '#' : '.';
  }
  out[BAR_WIDTH] = '\0';
}

/* A reader that goes away is no reason to end. */
static void write_out(FILE *stream, const char *text)
{
  tr__write_guard guard;
  tr__write_begin(&guard);
  fputs(text, stream);
  tr__flush(stream);
  tr__write_end(&guard);
}

static void show(tr__progress *progress, const tr__progress_now *now)
{
  const tr__progress_total *total = &progress->total;
  char left[32], bar[BAR_WIDTH + 1], where[64], line[LINE_BYTES];
  double share =
      total->steps > 0 ? (double)now->step / (double)total->steps : 0;
  double samples_left =
      (double)(total->steps - now->step) * (double)total->batch;
  write_time(left, sizeof left,
             now->samples_per_s > 0 ? samples_left / now->samples_per_s : 0);
  write_bar(bar, share);
  if (total->epochs > 0) {
    snprintf(where, sizeof where, "epoch %lld/%lld  ",
             (long long)now->epoch + 1, (long long)total->epochs);
  } else {
    snprintf(where, sizeof where, "epoch %lld  ", (long long)now->epoch + 1);
  }
  const char *prefix = progress->is_terminal ? "\r[" : "";
  tr__format(line, sizeof line,
             "%s%s%s%sstep %lld/%lld  loss %.5g  %.0f samples/s  %s left%s",
             prefix, progress->is_terminal ? bar : "",
             progress->is_terminal ? "] " : "", where, (long long)now->step,
             (long long)total->steps, now->loss, now->samples_per_s, left,
             progress->is_terminal ? " \033[K" : "\n");
  write_out(progress->stream, line);
  progress->has_open_bar = progress->is_terminal;
}

void tr__progress_step(tr__progress *progress, const tr__progress_now *now)
{
  if (progress->stream == NULL) {
    return;
  }
  double interval = progress->is_terminal ? BAR_INTERVAL_S : LINE_INTERVAL_S;
  double time = tr__now();
  if (time - progress->shown_at < interval) {
    return;
  }
  progress->shown_at = time;
  show(progress, now);
}

void tr__progress_line(tr__progress *progress, const char *format, ...)
{
  if (progress->stream == NULL) {
    return;
  }
  char line[LINE_BYTES];
  const char *prefix = progress->has_open_bar ? "\r\033[K" : "";
  progress->has_open_bar = false;
  va_list arguments;
  va_start(arguments, format);
  tr__format_list(line, sizeof line, format, arguments);
  va_end(arguments);
  tr__print_line(progress->stream, prefix, line);
}

void tr__progress_end(tr__progress *progress)
{
  if (progress->stream != NULL && progress->has_open_bar) {
    write_out(progress->stream, "\r\033[K");
    progress->has_open_bar = false;
  }
}
