/* What a rank does now, for the watchdogs of its node.
 *
 * Each rank of a node has a line in memory that all of them may read. It is
 * written where the phase changes and around collective calls, a few plain
 * stores, and read by threads that make no MPI call (run/watchdog.c). A line
 * belongs to a rank, not to a thread: whoever runs its calls writes it. */
#ifndef TR_STATUS_BOARD_IMPL_H
#define TR_STATUS_BOARD_IMPL_H

#include "base/base_impl.h"

#include <stdatomic.h>

/* X(name, text, what a step's number says of it) */
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

/* The phases of a rank. Those up to TRAINER are what is between the others;
 * SETUP is so before the first step. */
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

/* What ranks wait in. The first ones are the tr__collective of the same
 * number, plus one. */
typedef enum tr__call {
#define TR__CALL_ENUM(name, text) TR__CALL_##name,
  TR__CALLS(TR__CALL_ENUM)
#undef TR__CALL_ENUM
} tr__call;

/* Calls of either kind come in the same order on all ranks; but a transfer that
 * moves along while its rank computes may begin before or after a meeting. */
typedef enum tr__series {
  TR__TRANSFERS, /* what tr__comm_type.start begins */
  TR__MEETINGS,  /* all other calls, which wait */
  TR__SERIES_COUNT
} tr__series;

/* The calls of a series. */
typedef struct tr__calls {
  atomic_llong begun, ended; /* equal numbers meet */
  atomic_int call;           /* tr__call, of the last one begun */
  atomic_llong bytes;        /* of the same */
} tr__calls;

/* A rank's line. Zero: nothing has happened yet. */
typedef struct tr__rank_status {
  _Alignas(128) atomic_int rank;
  atomic_int work;    /* tr__work */
  atomic_llong step;  /* that it works on, from 1 */
  atomic_llong since; /* when its phase began, ns of tr__status_now() */
  tr__calls calls[TR__SERIES_COUNT];
  atomic_int waiting;         /* threads that wait for the end of one */
  atomic_int series;          /* of what they wait for */
  atomic_int blocked;         /* of these, the ones that show no polls */
  atomic_llong polls;         /* of a wait that takes long */
  atomic_llong moves;         /* grows while a wait gets on */
  atomic_int awaited;         /* whose message it waits for, + 1; 0: unknown */
  atomic_llong ticks;         /* grows while long work gets on */
  atomic_int inferring;       /* threads in tr_inference_forward() */
  atomic_llong alive;         /* when its watchdog last looked; 0: none */
  atomic_int claimed, spoken; /* of the first line: see run/watchdog.c */
} tr__rank_status;

/* The lines of one node. */
typedef struct tr__status_board tr__status_board;
struct tr__status_board {
  char *lines;
  size_t stride;
  int count, own; /* lines, and which one is this rank's */
  int size;       /* ranks of the job; more than count: they are elsewhere */
  void (*release)(tr__status_board *board); /* itself too */
};

static inline tr__rank_status *tr__rank_status_of(const tr__status_board *board,
                                                  int i)
{
  return (tr__rank_status *)(void *)(board->lines + (size_t)i * board->stride);
}

/* tr__status_board_create - a board of this rank alone; NULL where there is no
 * memory. */
tr__status_board *tr__status_board_create(int rank, int size);

/* tr__status_now - ns of a clock that all ranks of a node share. */
long long tr__status_now(void);

/* In all of the following a board of NULL is nobody's: nothing happens.
 *
 * tr__work_begin - this rank's phase from now on; returns the one before, for
 * tr__work_end(). A phase within another one is that one. A step of 0 leaves
 * the step as it is. */
tr__work
tr__work_begin(const tr__status_board *board, tr__work work, int64_t step);
void tr__work_end(const tr__status_board *board, tr__work before);

/* tr__status_heartbeat - work between messages gets on: nobody counts the time
 * that he waits for it. For what has an end, as the batches of an evaluation.
 */
void tr__status_heartbeat(const tr__status_board *board);

/* tr__infer_begin, tr__infer_end - around an inference, of any thread. Each is
 * a sign that the rank gets on, and says that its set-up is over. */
void tr__infer_begin(const tr__status_board *board);
void tr__infer_end(const tr__status_board *board);

/* tr__call_begin, tr__call_end - around a collective call of all ranks. */
void tr__call_begin(const tr__status_board *board,
                    tr__call call,
                    int64_t bytes);
void tr__call_end(const tr__status_board *board, tr__series series);

/* tr__wait_begin, tr__wait_end - around what ends when others have come.
 * tr__wait_poll - between its polls, once it takes long: a rank that waits and
 * does not poll hangs. */
void tr__wait_begin(const tr__status_board *board, tr__series series);
void tr__wait_end(const tr__status_board *board);
void tr__wait_poll(const tr__status_board *board);

/* tr__block_begin, tr__block_end - the same around a foreign call that waits,
 * of whose polls nobody knows. */
void tr__block_begin(const tr__status_board *board, tr__series series);
void tr__block_end(const tr__status_board *board);

/* tr__wait_note - where a long wait stands: whose message it needs (-1:
 * unknown), and a number that changes as it gets on. */
void tr__wait_note(const tr__status_board *board, int awaited, int64_t moves);

/* tr__series_of - of a call. */
static inline tr__series tr__series_of(tr__call call)
{
  return call >= TR__CALL_ALLREDUCE && call <= TR__CALL_ALLGATHER
             ? TR__TRANSFERS
             : TR__MEETINGS;
}

/* A series as it was read. */
typedef struct tr__seen_calls {
  long long begun;
  bool is_open; /* number `begun` has not ended: call and bytes are its own */
  tr__call call;
  long long bytes;
} tr__seen_calls;

/* A line as it was read. */
typedef struct tr__seen {
  int rank;
  tr__work work;
  long long step, since;
  tr__seen_calls calls[TR__SERIES_COUNT];
  bool is_waiting, is_blocked, is_inferring;
  tr__series series; /* of what it waits for */
  long long polls, moves, ticks, alive;
  int awaited;    /* -1: unknown */
  double still_s; /* how long its wait has shown no poll; the reader's own
                     knowledge */
} tr__seen;

void tr__status_read(const tr__status_board *board, int i, tr__seen *out);

#endif
