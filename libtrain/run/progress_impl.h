/* What a person sees of a run: a bar on a terminal, plain lines elsewhere. */
#ifndef TR_PROGRESS_IMPL_H
#define TR_PROGRESS_IMPL_H

#include "base/base_impl.h"

typedef struct tr__progress_total {
  int64_t steps;  /* of the whole run */
  int64_t epochs; /* 0: the run is counted in steps */
  int64_t batch;  /* global */
} tr__progress_total;

typedef struct tr__progress_now {
  int64_t step, epoch; /* finished */
  double loss, samples_per_s;
} tr__progress_now;

typedef struct tr__progress {
  FILE *stream; /* NULL: nothing is shown */
  bool is_terminal, has_open_bar;
  double shown_at;
  tr__progress_total total;
} tr__progress;

void tr__progress_begin(tr__progress *progress,
                        FILE *stream,
                        const tr__progress_total *total);

/* tr__terminal_columns - the width of a terminal, 80 where it does not say so;
 * 0: fd is none. */
int tr__terminal_columns(int fd);

/* tr__progress_text - a step in one line of fewer than `columns` columns, so
 * that no terminal wraps it. Where there is no room the time that is left goes
 * first, then the rate, then the bar. columns 0: a line of a file, which has
 * no bar and room for all. bytes is at least 256. */
void tr__progress_text(const tr__progress_total *total,
                       const tr__progress_now *now,
                       int columns,
                       char *out,
                       size_t bytes);

/* tr__progress_wrap - a text in lines of fewer than `columns` columns, broken
 * behind its parts ("; ", ", " or two blanks), a part at a time; the lines
 * after the first are indented. columns 0: as it is. */
void tr__progress_wrap(const char *text, int columns, char *out, size_t bytes);

/* tr__progress_step - show a step, unless one was shown a moment ago. */
void tr__progress_step(tr__progress *progress, const tr__progress_now *now);

/* tr__progress_line - a line of its own, instead of an open bar. */
void tr__progress_line(tr__progress *progress, const char *format, ...)
    TR_PRINTF(2, 3);

void tr__progress_end(tr__progress *progress);

#endif
