/* Writing and reading rank statuses. */
#include "core/status_board_impl.h"

#include <stdlib.h>
#include <time.h>

#define STORE(field, value)                                                    \
  atomic_store_explicit(&(field), (value), memory_order_relaxed)
#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

/* Only one thread at a time makes a rank's calls, so an update cannot get lost
 * between load and store, and needs no locked instruction. */
#define ADD(field, n) STORE(field, LOAD(field) + (n))

static void release_own(tr__status_board *board)
{
  free(board->lines);
  free(board);
}

tr__status_board *tr__status_board_create(int rank, int size)
{
  tr__status_board *board = calloc(1, sizeof *board);
  tr__rank_status *line =
      aligned_alloc(_Alignof(tr__rank_status), sizeof *line);
  if (board == NULL || line == NULL) {
    free(board);
    free(line);
    return NULL;
  }
  *line = (tr__rank_status){.rank = rank};
  *board = (tr__status_board){.lines = (char *)line,
                              .stride = sizeof *line,
                              .count = 1,
                              .size = size,
                              .release = release_own};
  return board;
}

long long tr__status_now(void)
{
#ifdef CLOCK_MONOTONIC_COARSE
  const clockid_t clock = CLOCK_MONOTONIC_COARSE; /* a resolution of some ms is
                                                     enough */
#else
  const clockid_t clock = CLOCK_MONOTONIC;
#endif
  struct timespec now;
  clock_gettime(clock, &now);
  return (long long)now.tv_sec * 1000000000 + now.tv_nsec;
}

static tr__rank_status *own_line(const tr__status_board *board)
{
  return tr__rank_status_of(board, board->own);
}

static void set_work(tr__rank_status *line, tr__work work)
{
  STORE(line->work, (int)work);
  STORE(line->since, tr__status_now());
}

tr__work
tr__work_begin(const tr__status_board *board, tr__work work, int64_t step)
{
  if (board == NULL) {
    return TR__WORK_OUTSIDE;
  }
  tr__rank_status *line = own_line(board);
  tr__work before = (tr__work)LOAD(line->work);
  if (before <= TR__WORK_TRAINER) {
    if (step != 0) {
      STORE(line->step, step);
    }
    set_work(line, work);
  }
  return before;
}

void tr__work_end(const tr__status_board *board, tr__work before)
{
  if (board == NULL || before > TR__WORK_TRAINER) {
    return;
  }
  tr__rank_status *line = own_line(board);
  bool is_set_up = before == TR__WORK_SETUP && LOAD(line->step) > 0;
  set_work(line, is_set_up ? TR__WORK_OUTSIDE : before);
}

void tr__status_heartbeat(const tr__status_board *board)
{
  if (board != NULL) {
    ADD(own_line(board)->ticks, 1);
  }
}

void tr__infer_begin(const tr__status_board *board)
{
  if (board == NULL) {
    return;
  }
  tr__rank_status *line = own_line(board);
  int set_up = TR__WORK_SETUP;
  if (atomic_compare_exchange_strong(&line->work, &set_up, TR__WORK_OUTSIDE)) {
    STORE(line->since, tr__status_now());
  }
  atomic_fetch_add(&line->inferring, 1);
}

void tr__infer_end(const tr__status_board *board)
{
  if (board != NULL) {
    atomic_fetch_sub(&own_line(board)->inferring, 1);
    atomic_fetch_add(&own_line(board)->ticks, 1);
  }
}

/* A reader that sees the stores of this call also sees that the previous call
 * has ended. From this read_calls() knows whether its numbers belong to one
 * call. */
void tr__call_begin(const tr__status_board *board, tr__call call, int64_t bytes)
{
  if (board == NULL) {
    return;
  }
  tr__rank_status *line = own_line(board);
  tr__calls *calls = &line->calls[tr__series_of(call)];
  atomic_thread_fence(memory_order_release);
  STORE(calls->call, (int)call);
  STORE(calls->bytes, bytes);
  STORE(line->awaited, 0);
  atomic_store_explicit(&calls->begun, LOAD(calls->begun) + 1,
                        memory_order_release);
}

void tr__call_end(const tr__status_board *board, tr__series series)
{
  if (board != NULL) {
    ADD(own_line(board)->calls[series].ended, 1);
  }
}

void tr__wait_begin(const tr__status_board *board, tr__series series)
{
  if (board != NULL) {
    STORE(own_line(board)->series, (int)series);
    ADD(own_line(board)->waiting, 1);
  }
}

void tr__wait_end(const tr__status_board *board)
{
  if (board != NULL) {
    ADD(own_line(board)->waiting, -1);
  }
}

void tr__wait_poll(const tr__status_board *board)
{
  if (board != NULL) {
    ADD(own_line(board)->polls, 1);
  }
}

void tr__block_begin(const tr__status_board *board, tr__series series)
{
  if (board != NULL) {
    ADD(own_line(board)->blocked, 1);
    tr__wait_begin(board, series);
  }
}

void tr__block_end(const tr__status_board *board)
{
  if (board != NULL) {
    tr__wait_end(board);
    ADD(own_line(board)->blocked, -1);
  }
}

void tr__wait_note(const tr__status_board *board, int awaited, int64_t moves)
{
  if (board != NULL) {
    STORE(own_line(board)->awaited, awaited + 1);
    STORE(own_line(board)->moves, moves);
  }
}

static tr__seen_calls read_calls(const tr__calls *calls)
{
  tr__seen_calls seen = {
      .begun = atomic_load_explicit(&calls->begun, memory_order_acquire),
      .call = (tr__call)LOAD(calls->call),
      .bytes = LOAD(calls->bytes)};
  atomic_thread_fence(memory_order_acquire);
  seen.is_open = LOAD(calls->ended) < seen.begun;
  return seen;
}

/* Read a rank status. Returns false where a call began meanwhile, so that the
 * values may be of different moments. */
static bool read_line(const tr__status_board *board, int i, tr__seen *out)
{
  const tr__rank_status *line = tr__rank_status_of(board, i);
  *out = (tr__seen){.calls = {read_calls(&line->calls[TR__TRANSFERS]),
                              read_calls(&line->calls[TR__MEETINGS])},
                    .rank = LOAD(line->rank),
                    .work = (tr__work)LOAD(line->work),
                    .step = LOAD(line->step),
                    .since = LOAD(line->since),
                    .is_waiting = LOAD(line->waiting) > 0,
                    .is_blocked = LOAD(line->blocked) > 0,
                    .is_inferring = LOAD(line->inferring) > 0,
                    .series = (tr__series)LOAD(line->series),
                    .polls = LOAD(line->polls),
                    .moves = LOAD(line->moves),
                    .ticks = LOAD(line->ticks),
                    .alive = LOAD(line->alive),
                    .awaited = LOAD(line->awaited) - 1};
  atomic_thread_fence(memory_order_acquire);
  return LOAD(line->calls[TR__TRANSFERS].begun) ==
             out->calls[TR__TRANSFERS].begun &&
         LOAD(line->calls[TR__MEETINGS].begun) ==
             out->calls[TR__MEETINGS].begun;
}

void tr__status_read(const tr__status_board *board, int i, tr__seen *out)
{
  while (!read_line(board, i, out)) {
  }
}
