/* The watchdog of one rank: a thread that sleeps most of the time and never
 * calls MPI.
 *
 * It sums how long its rank waits in one call without progress, look by look:
 * while a job is suspended as a whole, no time passes. Beyond the limit it
 * writes one line and ends the process, and the launcher ends the job. If
 * several watchdogs of a node reach the limit, the first one writes. */
#include "run/watchdog_impl.h"

#include "base/thread_impl.h"
#include "comm/mpi/comm_mpi_impl.h"
#include "run/stall_impl.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { DEFAULT_LIMIT_S = 120 };

static const double longest_look_s = 0.5; /* between two looks */
static const double shortest_look_s = 0.05;
static const double late_s = 1; /* a look that is later than this: the process
                                   was stopped */
static const double hold_s = 1; /* lets watchdogs that know more write first */

struct tr__watchdog {
  pthread_t thread;
  pthread_mutex_t mutex; /* protects board, is_over and seen */
  pthread_cond_t wake;
  bool is_over;
  double limit_s, look_s;
  tr__status_board *first;       /* until the communicator has one */
  const tr__status_board *board; /* NULL: none */
  tr__seen *seen;                /* [board->count], of the last look */
  char host[64];
  /* of the present wait */
  long long last;  /* time of the last look */
  long long mark;  /* changes with any progress */
  double waited_s; /* 0: the last look saw progress or no wait */
};

double tr__watchdog_limit(double option)
{
  return option == 0 ? DEFAULT_LIMIT_S : option;
}

static void pause_s(double seconds)
{
  struct timespec time = {.tv_sec = (time_t)seconds};
  time.tv_nsec = (long)((seconds - (double)time.tv_sec) * 1e9);
  nanosleep(&time, NULL);
}

/* Write the line in one call, so that lines of several ranks do not mix. Skip
 * it if nobody reads within a second, which must not keep the job. */
static void write_line(const char *text)
{
  char line[1100];
  int length = snprintf(line, sizeof line, "%s%s\n",
                        isatty(STDERR_FILENO) ? "\r\033[K" : "", text);
  struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
  if (poll(&out, 1, 1000) == 1) {
    (void)!write(STDERR_FILENO, line, (size_t)length);
  }
}

/* The first watchdog of the node that comes here writes. The others wait until
 * it has written, and write themselves if it does not. */
static _Noreturn void end_job(const tr__status_board *board,
                              const tr__stall *stall)
{
  tr__rank_status *first = tr__rank_status_of(board, 0);
  bool is_mine = atomic_exchange(&first->claimed, 1) == 0;
  double held = 0;
  while (!is_mine && atomic_load(&first->spoken) == 0 && held < hold_s) {
    pause_s(shortest_look_s);
    held += shortest_look_s;
  }
  if (is_mine || atomic_load(&first->spoken) == 0) {
    write_line(stall->text);
    atomic_store(&first->spoken, 1);
  }
  _exit(stall->exit_code);
}

static long long num_calls(const tr__seen *seen)
{
  return seen->calls[TR__TRANSFERS].begun + seen->calls[TR__MEETINGS].begun;
}

static void read_board(tr__watchdog *dog, double passed)
{
  for (int i = 0; i < dog->board->count; i++) {
    tr__seen *seen = &dog->seen[i], before = *seen;
    tr__status_read(dog->board, i, seen);
    bool is_still = num_calls(seen) == num_calls(&before) &&
                    seen->polls == before.polls &&
                    seen->is_waiting == before.is_waiting;
    seen->still_s = is_still ? before.still_s + passed : 0;
  }
}

/* A number that changes with every call and every sign of progress that the
 * wait depends on. */
static long long mark_of(const tr__watchdog *dog)
{
  const tr__seen *own = &dog->seen[dog->board->own];
  long long mark = num_calls(own) * 1000003 + own->moves;
  for (int i = 0; i < dog->board->count; i++) {
    mark += dog->seen[i].ticks * 1009;
  }
  return mark;
}

static void show_life(const tr__status_board *board, long long now)
{
  atomic_store(&tr__rank_status_of(board, board->own)->alive, now);
}

/* Before the ranks have a common status board, the job's processes on this
 * machine tell which rank is stopped. The lowest rank that runs writes first.
 */
static void look_at_processes(tr__sight *sight, tr__stall *stall)
{
  tr__peers peers;
  tr__launcher_peers(&peers);
  sight->stopped = peers.stopped + 1;
  tr__stall_judge(sight, stall);
  if (peers.running >= 0 && peers.running != tr__launcher_rank()) {
    pause_s(hold_s);
  }
}

/* One look. It judges a wait only if the look before saw the same wait. */
static void look(tr__watchdog *dog)
{
  const tr__status_board *board = dog->board;
  long long now = tr__status_now();
  double passed = (double)(now - dog->last) * 1e-9;
  passed = passed < dog->look_s + late_s ? passed : dog->look_s;
  dog->last = now;
  show_life(board, now);
  read_board(dog, passed);
  long long mark = mark_of(dog);
  if (!dog->seen[board->own].is_waiting || mark != dog->mark) {
    dog->mark = mark;
    dog->waited_s = 0;
    return;
  }
  dog->waited_s += passed;
  tr__sight sight = {.seen = dog->seen,
                     .count = board->count,
                     .own = board->own,
                     .size = board->size,
                     .heartbeat_s = late_s + 2 * dog->look_s,
                     .waited_s = dog->waited_s,
                     .limit_s = dog->limit_s,
                     .now = now,
                     .host = dog->host};
  tr__stall stall;
  tr__stall_judge(&sight, &stall);
  if (stall.exit_code != 0 && board == dog->first) {
    look_at_processes(&sight, &stall);
  }
  bool is_held = stall.is_elsewhere && board->count < board->size &&
                 dog->waited_s < dog->limit_s + hold_s;
  if (stall.exit_code != 0 && !is_held) {
    end_job(board, &stall);
  }
}

static struct timespec next_look(const tr__watchdog *dog)
{
  long long at = tr__status_now() + (long long)(dog->look_s * 1e9);
  return (struct timespec){.tv_sec = (time_t)(at / 1000000000),
                           .tv_nsec = (long)(at % 1000000000)};
}

static void *watch(void *argument)
{
  tr__watchdog *dog = argument;
  pthread_mutex_lock(&dog->mutex);
  while (!dog->is_over) {
    struct timespec at = next_look(dog);
    pthread_cond_timedwait(&dog->wake, &dog->mutex, &at);
    if (!dog->is_over && dog->board != NULL) {
      look(dog);
    }
  }
  pthread_mutex_unlock(&dog->mutex);
  return NULL;
}

static void release(tr__watchdog *dog)
{
  if (dog->first != NULL) {
    dog->first->release(dog->first);
  }
  free(dog->seen);
  free(dog);
}

static tr_status start_thread(tr__watchdog *dog)
{
  pthread_condattr_t clock;
  pthread_condattr_init(&clock);
  pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
  pthread_mutex_init(&dog->mutex, NULL);
  pthread_cond_init(&dog->wake, &clock);
  pthread_condattr_destroy(&clock);
  return tr__thread_start("the watchdog", watch, dog, &dog->thread);
}

tr_status
tr__watchdog_start(double limit_s, int rank, tr__call call, tr__watchdog **out)
{
  *out = NULL;
  if (limit_s < 0) {
    return TR_OK;
  }
  tr__watchdog *dog = calloc(1, sizeof *dog);
  TR_CHECK(dog != NULL, TR_ENOMEM, "no memory for the watchdog");
  dog->limit_s = limit_s;
  double look_s = limit_s / 8;
  look_s = look_s < longest_look_s ? look_s : longest_look_s;
  dog->look_s = look_s > shortest_look_s ? look_s : shortest_look_s;
  gethostname(dog->host, sizeof dog->host - 1);
  dog->first = tr__status_board_create(rank, 1);
  dog->seen = calloc(1, sizeof *dog->seen);
  dog->board = dog->first;
  dog->last = tr__status_now();
  bool has_memory = dog->first != NULL && dog->seen != NULL;
  tr__work_begin(dog->first, TR__WORK_SETUP, 0);
  tr__call_begin(dog->first, call, 0);
  tr__block_begin(dog->first, TR__MEETINGS);
  tr_status status = has_memory
                         ? start_thread(dog)
                         : TR_FAIL(TR_ENOMEM, "no memory for the watchdog");
  if (status != TR_OK) {
    release(dog);
    return status;
  }
  *out = dog;
  return TR_OK;
}

void tr__watchdog_see(tr__watchdog *dog, const tr__status_board *board)
{
  if (dog == NULL) {
    return;
  }
  int count = board != NULL ? board->count : 0;
  tr__seen *seen = calloc((size_t)count + 1, sizeof *seen);
  pthread_mutex_lock(&dog->mutex);
  free(dog->seen);
  dog->seen = seen;
  dog->board = seen != NULL ? board : NULL;
  dog->waited_s = 0;
  dog->mark = -1;
  if (board != NULL) {
    show_life(board, tr__status_now());
  }
  pthread_mutex_unlock(&dog->mutex);
}

void tr__watchdog_stop(tr__watchdog **dog)
{
  if (*dog == NULL) {
    return;
  }
  pthread_mutex_lock(&(*dog)->mutex);
  (*dog)->is_over = true;
  pthread_cond_signal(&(*dog)->wake);
  pthread_mutex_unlock(&(*dog)->mutex);
  pthread_join((*dog)->thread, NULL);
  pthread_mutex_destroy(&(*dog)->mutex);
  pthread_cond_destroy(&(*dog)->wake);
  release(*dog);
  *dog = NULL;
}
