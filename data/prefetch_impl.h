/* Prefetch: threads read batches ahead of their use into a ring buffer. */
#ifndef TR_PREFETCH_IMPL_H
#define TR_PREFETCH_IMPL_H

#include "data/data_impl.h"

/* One prepared batch. */
typedef struct tr__prefetched {
  tr__sampler_step step;
  int64_t *ids;
  void *x; /* (rows, shape...) of the data set's element type */
  void *y; /* (rows, target_values) of its targets' type */
  bool is_ready;
  tr_status status; /* of the read */
  char message[TR__MESSAGE_BYTES];
} tr__prefetched;

typedef struct tr__prefetch tr__prefetch;

typedef struct tr__prefetch_opts {
  const tr_dataset *data; /* borrowed until tr__prefetch_destroy() */
  int64_t rows;           /* the most samples of one batch */
  int threads;
  int depth; /* batches read ahead */
} tr__prefetch_opts;

/* tr__prefetch_create - allocate the buffers and start the threads, which wait
 * for tr__prefetch_start(). */
tr_status tr__prefetch_create(const tr__prefetch_opts *opts,
                              tr__prefetch **out);

/* tr__prefetch_start - drop the batches that were read ahead, and begin at a
 * position. */
void tr__prefetch_start(tr__prefetch *ring,
                        const tr__sampler *sampler,
                        int64_t epoch,
                        int64_t done);

/* tr__prefetch_take - wait for the next batch in order. It stays valid until
 * the next call of this function or of tr__prefetch_start(). */
const tr__prefetched *tr__prefetch_take(tr__prefetch *ring);

/* tr__prefetch_destroy - end the threads and release the buffers. */
void tr__prefetch_destroy(tr__prefetch **ring);

#endif
