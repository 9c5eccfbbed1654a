/* The progress of a run for people: a progress bar on a terminal, plain lines
 * elsewhere. */
#ifndef TR_PROGRESS_IMPL_H
#define TR_PROGRESS_IMPL_H

#include "base/base_impl.h"

typedef struct tr__progress_total {
  int64_t steps;  /* of the whole run */
  int64_t epochs; /* 0: the run has a number of steps only */
  int64_t batch;  /* samples of all ranks */
} tr__progress_total;

typedef struct tr__progress_now {
  int64_t step, epoch; /* finished ones */
  double loss, samples_per_s;
} tr__progress_now;

typedef struct tr__progress {
  FILE *stream; /* NULL: show nothing */
  bool is_terminal, has_open_bar;
  double shown_at;
  tr__progress_total total;
} tr__progress;

void tr__progress_begin(tr__progress *progress,
                        FILE *stream,
                        const tr__progress_total *total);

/* tr__terminal_columns - the width of a terminal, 80 if it does not tell; 0: fd
 * is no terminal. */
int tr__terminal_columns(int fd);

/* tr__progress_text - describe a step in one line of fewer than `columns`
 * columns, so that no terminal wraps it. If room is short, the remaining time
 * goes first, then the rate, then the bar. columns 0: a line of a file, which
 * has no bar and no limit. bytes is at least 256. */
void tr__progress_text(const tr__progress_total *total,
                       const tr__progress_now *now,
                       int columns,
                       char *out,
                       size_t bytes);

/* tr__progress_wrap - break a text into lines of fewer than `columns` columns
 * after "; ", ", " or two blanks, if no item is longer. Indents the lines after
 * the first. columns 0: keeps the text as it is. */
void tr__progress_wrap(const char *text, int columns, char *out, size_t bytes);

/* tr__progress_step - show a step, unless one was shown a moment ago. */
void tr__progress_step(tr__progress *progress, const tr__progress_now *now);

/* tr__progress_line - write a line of its own in place of an open bar. */
void tr__progress_line(tr__progress *progress, const char *format, ...)
    TR_PRINTF(2, 3);

void tr__progress_end(tr__progress *progress);

#endif
