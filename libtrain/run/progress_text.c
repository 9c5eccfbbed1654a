/* Formats the progress of a step as one line that fits into the terminal, and
 * wraps longer texts. */
#include "base/locale_impl.h"
#include "run/progress_impl.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { NARROWEST_BAR = 10, WIDEST_BAR = 24, BRACKETS = 3, COLUMNS = 80 };
enum { LOSS_WIDTH = 10, PART_BYTES = 64 };

/* The items of the line. */
typedef struct parts {
  char place[2 * PART_BYTES], loss[PART_BYTES], rate[PART_BYTES],
      left[PART_BYTES];
} parts;

int tr__terminal_columns(int fd)
{
  struct winsize size = {0};
  if (!isatty(fd)) {
    return 0;
  }
  bool is_known = ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return is_known ? size.ws_col : COLUMNS;
}

static void write_left(char out[PART_BYTES], double seconds)
{
  long whole = seconds > 0 ? (long)(seconds + 0.5) : 0;
  if (whole >= 3600) {
    snprintf(out, PART_BYTES, "  %ld:%02ld:%02ld left", whole / 3600,
             whole / 60 % 60, whole % 60);
    return;
  }
  snprintf(out, PART_BYTES, "  %ld:%02ld left", whole / 60, whole % 60);
}

static void write_parts(const tr__progress_total *total,
                        const tr__progress_now *now,
                        parts *out)
{
  double samples_left =
      (double)(total->steps - now->step) * (double)total->batch;
  char of[PART_BYTES / 2] = "";
  if (total->epochs > 0) {
    snprintf(of, sizeof of, "/%lld", (long long)total->epochs);
  }
  snprintf(out->place, sizeof out->place, "epoch %lld%s  step %lld/%lld",
           (long long)now->epoch + 1, of, (long long)now->step,
           (long long)total->steps);
  tr__format(out->loss, PART_BYTES, "  loss %.5g", now->loss);
  tr__format(out->rate, PART_BYTES, "  %.0f samples/s", now->samples_per_s);
  write_left(out->left,
             now->samples_per_s > 0 ? samples_left / now->samples_per_s : 0);
}

/* The widest bar that fits; 0: none. */
static int bar_width(int room)
{
  int width = room - BRACKETS;
  if (width < NARROWEST_BAR) {
    return 0;
  }
  return width < WIDEST_BAR ? width : WIDEST_BAR;
}

/* "[###...] ", or nothing if width is 0. */
static void write_bar(char out[PART_BYTES], int width, double share)
{
  int full = (int)(share * width);
  out[0] = '\0';
  if (width > 0) {
    memset(out + 1, '.', (size_t)width);
    memset(out + 1, '#', (size_t)(full < width ? full : width));
    out[0] = '[';
    memcpy(out + 1 + width, "] ", sizeof "] ");
  }
}

static int width_of(const char *text)
{
  return (int)strlen(text);
}

void tr__progress_text(const tr__progress_total *total,
                       const tr__progress_now *now,
                       int columns,
                       char *out,
                       size_t bytes)
{
  parts p;
  char bar[PART_BYTES] = "";
  write_parts(total, now, &p);
  /* All losses get the same room, so that the bar keeps its width. */
  int needed =
      width_of(p.place) + (int)tr__max(width_of(p.loss), LOSS_WIDTH + 7);
  int room = columns - 1 - needed;
  int rate = width_of(p.rate), left = width_of(p.left);
  if (columns > 0) {
    int has_left = room >= rate + left + NARROWEST_BAR + BRACKETS;
    int has_rate = room >= rate + NARROWEST_BAR + BRACKETS;
    p.left[has_left ? left : 0] = '\0';
    p.rate[has_rate ? rate : 0] = '\0';
    double share =
        total->steps > 0 ? (double)now->step / (double)total->steps : 0;
    write_bar(bar, bar_width(room - width_of(p.rate) - width_of(p.left)),
              share);
  }
  snprintf(out, bytes, "%s%s%s%s%s", bar, p.place, p.loss, p.rate, p.left);
  if (columns > 0 && width_of(out) >= columns) {
    out[columns - 1] = '\0';
  }
}

/* Length of the next item, with the blanks after it. */
static size_t part_length(const char *text)
{
  size_t i = 0;
  while (text[i] != '\0') {
    bool is_end = (text[i] == ',' || text[i] == ';') && text[i + 1] == ' ';
    bool is_gap = text[i] == ' ' && text[i + 1] == ' ';
    i++;
    if (is_end || is_gap) {
      return i + strspn(text + i, " ");
    }
  }
  return i;
}

/* Length without the blanks at the end. */
static size_t visible_length(const char *text, size_t length)
{
  while (length > 0 && text[length - 1] == ' ') {
    length--;
  }
  return length;
}

void tr__progress_wrap(const char *text, int columns, char *out, size_t bytes)
{
  size_t used = 0, column = 0;
  out[0] = '\0';
  while (*text != '\0' && used + 1 < bytes) {
    size_t length = part_length(text);
    bool fits = columns == 0 || column == 0 ||
                column + visible_length(text, length) < (size_t)columns;
    if (!fits) {
      used = visible_length(out, used);
    }
    int added = snprintf(out + used, bytes - used, "%s%.*s", fits ? "" : "\n  ",
                         (int)length, text);
    used = (size_t)tr__min((int64_t)used + added, (int64_t)bytes - 1);
    column = fits ? column + length : length + 2;
    text += length;
  }
}
