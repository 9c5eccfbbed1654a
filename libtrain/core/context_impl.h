/* What a context holds. Made by run/create_context.c, which chooses the tables.
 */
#ifndef TR_CONTEXT_IMPL_H
#define TR_CONTEXT_IMPL_H

#include "base/timeline_impl.h"
#include "core/backend_impl.h"
#include "core/comm_impl.h"

#include <stdatomic.h>

typedef void (*tr__log_fn)(void *user, int level, const char *line);

enum { TR__LOG_INFO = 0, TR__LOG_WARNING = 1 };

/* A sample of this rank that cannot be computed with: core/suspect_impl.h. */
typedef struct tr__suspect {
  int64_t step;   /* that it was read for; 0: there is none */
  bool is_told;   /* the program has been told of it by a warning */
  int64_t blamed; /* the step that has failed for it, on all ranks, which then
                     have the text of the same one; 0: none */
  int num_warnings;
  int num_vain; /* looks at large numbers that were none */
  char text[TR__MESSAGE_BYTES / 2];
} tr__suspect;

/* See comm/queue_impl.h. */
typedef struct tr__queue tr__queue;

struct tr_context {
  tr__comm *comm;
  tr__threads *pool;
  tr__backend *backend;
  tr__queue *queue;                        /* in front of comm */
  const struct tr__step_hooks *step_hooks; /* see model/model_impl.h */
  tr__timeline *timeline;                  /* NULL: no trace */
  uint64_t seed;
  tr_dtype dtype;   /* of parameters, gradients, losses, statistics: TR_F32 or
                       TR_F64 */
  tr_dtype compute; /* of activations and of the weights in products: dtype, or
                       in mixed precision TR_BF16 or TR_F16 */
  tr_dtype wire;    /* in which gradients travel: TR_BF16; 0: as they are */
  int64_t loader_rows; /* most rows per rank of any loader so far; 0: none */
  struct tr__source *sources; /* where batches may come from; borrowed */
  tr__suspect suspect;

  /* A failure of this rank that the next all-reduce of gradients tells the
   * other ranks. It stays: only a resume makes the state whole again. */
  tr_status pending;
  char pending_message[TR__MESSAGE_BYTES];

  atomic_int stop_requested;
  bool stop_agreed;     /* all ranks know that some rank was asked to stop */
  atomic_int is_saving; /* a checkpoint is being committed */
  bool torn;     /* a step failed half-way: the state must not be saved */
  bool owns_mpi; /* tr_context_destroy() finalises MPI */

  int num_works;        /* calls of tr_context_work_begin() that are open */
  tr__work work_before; /* the first of them */

  tr__log_fn log;
  void *log_user;
};

/* tr__context_set_pending - remember this thread's failure for the ranks. The
 * first one stays. */
void tr__context_set_pending(tr_context *ctx, tr_status status);

/* tr__context_agree_pending - tr__agree() on the pending failure. */
tr_status tr__context_agree_pending(tr_context *ctx);

/* tr__warn_root - a warning line from rank 0. */
void tr__warn_root(tr_context *ctx, const char *format, ...) TR_PRINTF(2, 3);

/* tr__warn_here - a warning line from this rank, which says its number. */
void tr__warn_here(tr_context *ctx, const char *format, ...) TR_PRINTF(2, 3);

#endif
