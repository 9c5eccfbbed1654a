/* Shows the progress of a run: a progress bar on a terminal, plain lines
 * elsewhere. */
#include "run/progress_impl.h"

#include "base/file_impl.h"
#include "base/locale_impl.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define BAR_INTERVAL_S  0.1
#define LINE_INTERVAL_S 10.0
#define LINE_BYTES      512
#define PATH_BYTES      64

/* The width of the terminal that a person sees; 0: none. Open MPI gives the
 * ranks a pseudo-terminal without a width, whatever its own output is. So under
 * Open MPI this looks at the output of the parent process. */
static int find_columns(FILE *stream)
{
  if (!isatty(fileno(stream)) || getenv("OMPI_COMM_WORLD_SIZE") == NULL) {
    return tr__terminal_columns(fileno(stream));
  }
  char path[PATH_BYTES];
  snprintf(path, sizeof path, "/proc/%ld/fd/1", (long)getppid());
  int parent = tr__open_fd(path, O_WRONLY | O_NONBLOCK, 0);
  if (parent < 0) {
    return 0;
  }
  int columns = tr__terminal_columns(parent);
  close(parent);
  return columns;
}

void tr__progress_begin(tr__progress *progress,
                        FILE *stream,
                        const tr__progress_total *total)
{
  *progress = (tr__progress){.stream = stream, .total = *total};
  if (stream != NULL) {
    progress->is_terminal = find_columns(stream) > 0;
    progress->shown_at = tr__now();
  }
}

/* The guard blocks SIGPIPE: a reader that goes away does not end the run. */
static void write_out(FILE *stream, const char *text)
{
  tr__write_guard guard;
  tr__write_begin(&guard);
  fputs(text, stream);
  tr__flush(stream);
  tr__write_end(&guard);
}

/* Asks for the width again each time, because a window may have been resized.
 */
static void show(tr__progress *progress, const tr__progress_now *now)
{
  int columns = progress->is_terminal ? find_columns(progress->stream) : 0;
  char text[LINE_BYTES / 2], line[LINE_BYTES];
  tr__progress_text(&progress->total, now, columns, text, sizeof text);
  snprintf(line, sizeof line, progress->is_terminal ? "\r%s\033[K" : "%s\n",
           text);
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
  char line[LINE_BYTES], lines[LINE_BYTES];
  int columns = progress->is_terminal ? find_columns(progress->stream) : 0;
  const char *prefix = progress->has_open_bar ? "\r\033[K" : "";
  progress->has_open_bar = false;
  va_list arguments;
  va_start(arguments, format);
  tr__format_list(line, sizeof line, format, arguments);
  va_end(arguments);
  tr__progress_wrap(line, columns, lines, sizeof lines);
  tr__print_line(progress->stream, prefix, lines);
}

void tr__progress_end(tr__progress *progress)
{
  if (progress->stream != NULL && progress->has_open_bar) {
    write_out(progress->stream, "\r\033[K");
    progress->has_open_bar = false;
  }
}
