/* The error trace of a thread: the message, the rank where the failure arose,
 * and the source lines that passed it on. */
#include "base/file_impl.h"
#include "base/locale_impl.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FRAMES 16

typedef struct frame {
  const char *file;
  int line;
} frame;

/* The only thread-local state of the library: a failing call on one thread must
 * not disturb what another thread reports. */
static _Thread_local struct {
  tr__origin origin;
  bool is_elsewhere; /* the failure arose on another rank */
  int num_frames;
  frame frames[MAX_FRAMES];
} trace = {.origin = {.rank = -1}};

typedef struct status_info {
  const char *name, *text;
  int exit_code;
} status_info;

static const status_info *find_status(tr_status status)
{
  static const status_info table[] = {
#define STATUS_INFO(name, number, exit_code, text)                             \
  [number] = {"TR_" #name, text, exit_code},
      TR_STATUS_MAP(STATUS_INFO)
#undef STATUS_INFO
  };
  static const status_info unknown = {"TR_UNKNOWN", "unknown status", 70};
  size_t count = sizeof table / sizeof table[0];
  return (size_t)status < count ? &table[status] : &unknown;
}

const char *tr_status_name(tr_status status)
{
  return find_status(status)->name;
}

const char *tr_status_text(tr_status status)
{
  return find_status(status)->text;
}

int tr_status_exit_code(tr_status status)
{
  return find_status(status)->exit_code;
}

tr_status
tr__fail(tr_status status, const char *file, int line, const char *format, ...)
{
  /* The arguments may point into the old message: keep it until the new one is
   * complete. */
  char message[TR__MESSAGE_BYTES];
  va_list arguments;
  va_start(arguments, format);
  tr__format_list(message, sizeof message, format, arguments);
  va_end(arguments);
  memcpy(trace.origin.message, message, sizeof message);
  trace.origin.status = status;
  trace.origin.rank = -1;
  trace.origin.agreed = false;
  trace.is_elsewhere = false;
  trace.num_frames = 0;
  return tr_error_push(status, file, line);
}

tr_status tr_error_push(tr_status status, const char *file, int line)
{
  if (status != TR_OK && trace.num_frames < MAX_FRAMES) {
    trace.frames[trace.num_frames++] = (frame){file, line};
  }
  return status;
}

tr_status tr_error_set(tr_status status, const char *message)
{
  return TR_FAIL(status, "%s", message);
}

const char *tr_error_message(void)
{
  return trace.origin.message;
}

const tr__origin *tr__error_origin(void)
{
  return &trace.origin;
}

void tr__error_set_agreed(int rank, bool here, const char *message)
{
  if (!here) {
    snprintf(trace.origin.message, sizeof trace.origin.message, "%s", message);
    trace.num_frames = 0;
  }
  trace.origin.rank = rank;
  trace.origin.agreed = true;
  trace.is_elsewhere = !here;
}

void tr__error_restore(const tr__origin *origin, bool here)
{
  TR_FAIL(origin->status, "%s", origin->message);
  tr__error_set_agreed(origin->rank, here, origin->message);
}

void tr__error_set_rank(int rank)
{
  if (!trace.origin.agreed) {
    trace.origin.rank = rank;
  }
}

bool tr__error_is_elsewhere(void)
{
  return trace.is_elsewhere;
}

static void print_trace(FILE *stream)
{
  /* Mostly all ranks have the same command line. */
  bool is_usage = trace.origin.status == TR_EUSAGE && trace.origin.rank == 0;
  if (trace.origin.rank >= 0 && !is_usage) {
    fprintf(stream, "error on rank %d: ", trace.origin.rank);
  } else {
    fprintf(stream, "error: ");
  }
  fprintf(stream, "%s\n", trace.origin.message);
  if (getenv("LIBTRAIN_TRACE") == NULL) {
    return;
  }
  for (int i = 0; i < trace.num_frames; i++) {
    fprintf(stream, "  %s %s:%d\n", i == 0 ? "at" : "by", trace.frames[i].file,
            trace.frames[i].line);
  }
}

void tr_error_print(FILE *stream)
{
  tr__write_guard guard;
  tr__write_begin(&guard);
  print_trace(stream);
  tr__flush(stream);
  tr__write_end(&guard);
}
