/* The status board of a node: what each rank does now, for the watchdogs.
 *
 * Each rank of a node has a rank status in memory that all ranks of the node
 * can read. A rank writes its own with a few plain stores, where its phase
 * changes and around collective calls. The watchdog threads, which make no MPI
 * call, read it (run/watchdog.c). A status belongs to a rank, not to a thread:
 * the thread that makes the rank's calls writes it. */
#ifndef TR_STATUS_BOARD_IMPL_H
#define TR_STATUS_BOARD_IMPL_H

#include "base/base_impl.h"

#include <stdatomic.h>

/* X(name, text, relation between the phase and the step number in messages) */
#define TR__WORKS(X)                                                           \
  X(OUTSIDE, "outside libtrain", "after")                                      \
  X(SETUP, "set-up", "before")                                                 \
  X(TRAINER, "trainer", "after")                                               \
  X(LOADING, "loading", "after")                                               \
  X(FORWARD, "forward", "of")                                                  \
  X(BACKWARD, "backward", "of")                                                \
  X(ALLREDUCE, "all-reduce", "of")                                             \
  X(UPDATE, "optimizer", "of")                                                 \
  X(EVALUATION, "evaluation", "after")                                         \
  X(SAVE, "checkpoint save", "after")                                          \
  X(RESUME, "resume", "after")                                                 \
  X(OWN, "own work", "after")                                                  \
  X(LEFT, "tr_context_destroy", "after")

/* The phases of a rank. The ones up to TRAINER fill the time between the
 * others; SETUP does so before the first step. */
typedef enum tr__work {
#define TR__WORK_ENUM(name, text, relation) TR__WORK_##name,
  TR__WORKS(TR__WORK_ENUM)
#undef TR__WORK_ENUM
} tr__work;

#define TR__CALLS(X)                                                           \
  X(NONE, "no call")                                                           \
  X(ALLREDUCE, "all-reduce")                                                   \
  X(REDUCE_SCATTER, "reduce-scatter")                                          \
  X(ALLGATHER, "all-gather")                                                   \
  X(BROADCAST, "broadcast")                                                    \
  X(AGREE, "agreement")                                                        \
  X(SUM, "sum")                                                                \
  X(BARRIER, "barrier")                                                        \
  X(SHARE, "allocation")                                                       \
  X(INIT, "MPI_Init")                                                          \
  X(CREATE, "tr_context_create")                                               \
  X(LEAVE, "MPI_Finalize")

/* The calls in which ranks wait. ALLREDUCE to ALLGATHER are the tr__collective
 * of the same order, their numbers plus one. */
typedef enum tr__call {
#define TR__CALL_ENUM(name, text) TR__CALL_##name,
  TR__CALLS(TR__CALL_ENUM)
#undef TR__CALL_ENUM
} tr__call;

/* The two series of calls. Within a series all ranks make the same calls in the
 * same order. A transfer that advances while its rank computes may begin before
 * or after a meeting. */
typedef enum tr__series {
  TR__TRANSFERS, /* transfers, which tr__comm_type.start begins */
  TR__MEETINGS,  /* meetings: all other calls; they block */
  TR__SERIES_COUNT
} tr__series;

/* The calls of a series so far. */
typedef struct tr__calls {
  atomic_llong begun, ended; /* counters: calls of equal number belong
                                together */
  atomic_int call;           /* tr__call of the last one begun */
  atomic_llong bytes;        /* bytes of the same */
} tr__calls;

/* A rank status. All zero: nothing has happened yet. */
typedef struct tr__rank_status {
  _Alignas(128) atomic_int rank;
  atomic_int work;    /* tr__work */
  atomic_llong step;  /* the step that it works on, from 1 */
  atomic_llong since; /* start of its phase, ns of tr__status_now() */
  tr__calls calls[TR__SERIES_COUNT];
  atomic_int waiting;         /* threads that wait for a call to end */
  atomic_int series;          /* tr__series of the call that they wait for */
  atomic_int blocked;         /* of these, the ones whose polls are not
                                 counted */
  atomic_llong polls;         /* number of polls of a long wait */
  atomic_llong moves;         /* increases while a wait makes progress */
  atomic_int awaited;         /* rank whose message it waits for, + 1; 0:
                                 unknown */
  atomic_llong ticks;         /* increases while long work makes progress */
  atomic_int inferring;       /* threads in tr_inference_forward() */
  atomic_llong alive;         /* time of its watchdog's last check; 0: none */
  atomic_int claimed, spoken; /* of the first one: see run/watchdog.c */
} tr__rank_status;

/* The status board: the rank statuses of one node. */
typedef struct tr__status_board tr__status_board;
struct tr__status_board {
  char *lines;
  size_t stride;
  int count, own; /* number of rank statuses, and the index of this rank's */
  int size;       /* ranks of the job; where it exceeds count, the others are on
                     other nodes */
  void (*release)(tr__status_board *board); /* releases the board too */
};

static inline tr__rank_status *tr__rank_status_of(const tr__status_board *board,
                                                  int i)
{
  return (tr__rank_status *)(void *)(board->lines + (size_t)i * board->stride);
}

/* tr__status_board_create - a board for this rank alone; NULL without
 * memory. */
tr__status_board *tr__status_board_create(int rank, int size);

/* tr__status_now - nanoseconds of a clock that all ranks of a node read
 * alike. */
long long tr__status_now(void);

/* The functions below do nothing where board is NULL.
 *
 * tr__work_begin - set this rank's phase. Returns the previous phase, for
 * tr__work_end(). Inside a phase above TRAINER the call changes nothing: the
 * outer phase stays. A step of 0 keeps the step. */
tr__work
tr__work_begin(const tr__status_board *board, tr__work work, int64_t step);
void tr__work_end(const tr__status_board *board, tr__work before);

/* tr__status_heartbeat - tell the watchdogs that long work of this rank between
 * two calls is progressing: peers that wait for this rank restart their stall
 * timers. Only for work that ends, such as the batches of an evaluation. */
void tr__status_heartbeat(const tr__status_board *board);

/* tr__infer_begin, tr__infer_end - enclose an inference, in any thread.
 * tr__infer_begin ends the set-up phase; tr__infer_end is a heartbeat. */
void tr__infer_begin(const tr__status_board *board);
void tr__infer_end(const tr__status_board *board);

/* tr__call_begin, tr__call_end - enclose a collective call of all ranks. */
void tr__call_begin(const tr__status_board *board,
                    tr__call call,
                    int64_t bytes);
void tr__call_end(const tr__status_board *board, tr__series series);

/* tr__wait_begin, tr__wait_end - enclose a wait that ends when other ranks have
 * come.
 * tr__wait_poll - count a poll of a long wait. A rank that waits without
 * polling counts as hanging. */
void tr__wait_begin(const tr__status_board *board, tr__series series);
void tr__wait_end(const tr__status_board *board);
void tr__wait_poll(const tr__status_board *board);

/* tr__block_begin, tr__block_end - the same for a foreign call that blocks and
 * whose polls cannot be counted. */
void tr__block_begin(const tr__status_board *board, tr__series series);
void tr__block_end(const tr__status_board *board);

/* tr__wait_note - record the progress of a long wait: the rank whose message it
 * needs (-1: unknown), and a number that changes with its progress. */
void tr__wait_note(const tr__status_board *board, int awaited, int64_t moves);

/* tr__series_of - the series of a call. */
static inline tr__series tr__series_of(tr__call call)
{
  return call >= TR__CALL_ALLREDUCE && call <= TR__CALL_ALLGATHER
             ? TR__TRANSFERS
             : TR__MEETINGS;
}

/* A consistent copy of a series. */
typedef struct tr__seen_calls {
  long long begun;
  bool is_open; /* call number `begun` has not ended; call and bytes describe
                   it */
  tr__call call;
  long long bytes;
} tr__seen_calls;

/* A consistent copy of a rank status. */
typedef struct tr__seen {
  int rank;
  tr__work work;
  long long step, since;
  tr__seen_calls calls[TR__SERIES_COUNT];
  bool is_waiting, is_blocked, is_inferring;
  tr__series series; /* series of the call that it waits for */
  long long polls, moves, ticks, alive;
  int awaited;    /* -1: unknown */
  double still_s; /* seconds without a poll of its wait; the reader measures
                     them */
} tr__seen;

void tr__status_read(const tr__status_board *board, int i, tr__seen *out);

#endif
