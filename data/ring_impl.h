/* A ring of batch buffers that threads fill ahead of their use. */
#ifndef TR_RING_IMPL_H
#define TR_RING_IMPL_H

#include "data/data_impl.h"

/* One prepared batch. */
typedef struct tr__slot {
  tr__sampler_step step;
  int64_t *ids;
  void *x; /* (rows, shape...) of the data set's element type */
  void *y; /* (rows, target_values) of its targets' type */
  bool is_ready;
  tr_status status; /* of reading it */
  char message[TR__MESSAGE_BYTES];
} tr__slot;

typedef struct tr__ring tr__ring;

typedef struct tr__ring_opts {
  const tr_dataset *data; /* borrowed until tr__ring_destroy() */
  int64_t rows;           /* the most of one batch */
  int threads;
  int depth; /* batches prepared ahead */
} tr__ring_opts;

/* tr__ring_create - buffers and threads, which wait for tr__ring_start(). */
tr_status tr__ring_create(const tr__ring_opts *opts, tr__ring **out);

/* tr__ring_start - drop what is prepared and begin at a position. */
void tr__ring_start(tr__ring *ring,
                    const tr__sampler *sampler,
                    int64_t epoch,
                    int64_t done);

/* tr__ring_take - wait for the next batch in order; it stays until the next
 * call of this or of tr__ring_start(). */
const tr__slot *tr__ring_take(tr__ring *ring);

/* tr__ring_destroy - end the threads and release the buffers. */
void tr__ring_destroy(tr__ring **ring);

#endif
