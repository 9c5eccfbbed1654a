/* The content of a context. run/create_context.c creates it and chooses the
 * function tables. */
#ifndef TR_CONTEXT_IMPL_H
#define TR_CONTEXT_IMPL_H

#include "base/timeline_impl.h"
#include "core/backend_impl.h"
#include "core/comm_impl.h"

#include <stdatomic.h>

typedef void (*tr__log_fn)(void *user, int level, const char *line);

enum { TR__LOG_INFO = 0, TR__LOG_WARNING = 1 };

/* The sample of this rank that spoils a loss: see core/suspect_impl.h. */
typedef struct tr__suspect {
  int64_t step;   /* the step that computed it; 0: there is no such sample */
  bool is_told;   /* this rank has warned of it */
  int64_t blamed; /* the step that failed on all ranks because of a sample,
                     whose text all ranks then have; 0: none */
  int num_warnings;
  int num_vain; /* searches for a large number that found no fault */
  char text[TR__MESSAGE_BYTES / 2];
} tr__suspect;

/* See comm/queue_impl.h. */
typedef struct tr__queue tr__queue;

struct tr_context {
  tr__comm *comm;
  tr__threads *pool;
  tr__backend *backend;
  tr__queue *queue;                        /* the queue whose transfers comm
                                              executes */
  const struct tr__step_hooks *step_hooks; /* see model/model_impl.h */
  tr__timeline *timeline;                  /* NULL: the context records no
                                              trace */
  uint64_t seed;
  tr_dtype dtype;   /* type of parameters, gradients, losses and statistics:
                       TR_F32 or TR_F64 */
  tr_dtype compute; /* type of activations and of weights in products: dtype, or
                       in mixed precision TR_BF16 or TR_F16 */
  tr_dtype wire;    /* type of gradients in messages: TR_BF16; 0: dtype */
  int64_t loader_rows; /* most rows per rank and step of any loader so far; 0:
                          no loader yet */
  struct tr__source *sources; /* the loaders whose batches can be named;
                                 borrowed */
  tr__suspect suspect;

  /* A failure of this rank that the next all-reduce of gradients reports to all
   * ranks. It stays until a resume restores the whole state. */
  tr_status pending;
  char pending_message[TR__MESSAGE_BYTES];

  atomic_int stop_requested;
  bool stop_agreed;     /* all ranks know that some rank was asked to stop */
  atomic_int is_saving; /* this rank is committing a checkpoint */
  bool torn;     /* a step failed half-way, so the state must not be saved */
  bool owns_mpi; /* tr_context_destroy() calls MPI_Finalize() */

  int num_works;        /* open calls of tr_context_work_begin() */
  tr__work work_before; /* the phase before the outermost of these calls */

  tr__log_fn log;
  void *log_user;
};

/* tr__context_set_pending - keep this thread's failure until the ranks agree on
 * it. A later failure does not replace it. */
void tr__context_set_pending(tr_context *ctx, tr_status status);

/* tr__context_agree_pending - tr__agree() on the pending failure. */
tr_status tr__context_agree_pending(tr_context *ctx);

/* tr__warn_root - log a warning from rank 0. */
void tr__warn_root(tr_context *ctx, const char *format, ...) TR_PRINTF(2, 3);

/* tr__warn_here - log a warning from this rank, with its number. */
void tr__warn_here(tr_context *ctx, const char *format, ...) TR_PRINTF(2, 3);

#endif
