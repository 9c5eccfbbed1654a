/* The loader as checkpoints and the trainer see it: its data set and its
 * position. */
#ifndef TR_LOADER_IMPL_H
#define TR_LOADER_IMPL_H

#include "core/dataset_impl.h"

/* The position of a loader: enough to continue on any number of ranks. */
typedef struct tr__loader_state {
  uint64_t seed;
  int64_t epoch;       /* finished epochs */
  int64_t done;        /* samples of the current epoch that were delivered */
  int64_t num_samples; /* of all ranks, to refuse another data set */
  int64_t batch;       /* global */
  int64_t shuffle;
  int64_t deal; /* hash of the sample counts per rank of distributed data; 0:
                   the data are not distributed */
} tr__loader_state;

/* tr__loader_dataset - the data set that a loader reads. */
const tr_dataset *tr__loader_dataset(const tr_loader *loader);

/* tr__loader_get_state - the position after the batch last delivered. */
tr__loader_state tr__loader_get_state(const tr_loader *loader);

/* tr__loader_fits_deal - whether a position means the same samples here. In the
 * middle of an epoch, distributed data need the sample counts per rank that the
 * position was saved with. */
bool tr__loader_fits_deal(const tr_loader *loader,
                          const tr__loader_state *state);

/* tr__loader_set_state - continue from a position. The loader takes over the
 * state's seed and shuffle and keeps its own batch size: the samples of the
 * epoch that were not delivered still come once each. TR_EMISMATCH where the
 * data set has another number of samples, TR_EDATA for an impossible position.
 */
tr_status tr__loader_set_state(tr_loader *loader,
                               const tr__loader_state *state);

#endif
