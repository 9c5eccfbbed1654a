/* What other rooms ask of a loader: its data and its position in them. */
#ifndef TR_LOADER_IMPL_H
#define TR_LOADER_IMPL_H

#include "core/dataset_impl.h"

/* Where a loader stands: enough to continue on any number of ranks. */
typedef struct tr__loader_state {
  uint64_t seed;
  int64_t epoch;       /* finished epochs */
  int64_t done;        /* samples of the current epoch that were delivered */
  int64_t num_samples; /* of all ranks, to refuse another data set */
  int64_t batch;       /* global */
  int64_t shuffle;
  int64_t deal; /* hash of the counts that distributed data has per rank; 0:
                   the data are not distributed */
} tr__loader_state;

/* tr__loader_dataset - what a loader reads. */
const tr_dataset *tr__loader_dataset(const tr_loader *loader);

/* tr__loader_get_state - the position after the batch last delivered. */
tr__loader_state tr__loader_get_state(const tr_loader *loader);

/* tr__loader_fits_deal - whether a position means the same samples here: in the
 * middle of an epoch distributed data need the counts per rank that they had.
 */
bool tr__loader_fits_deal(const tr_loader *loader,
                          const tr__loader_state *state);

/* tr__loader_set_state - continue from a position. TR_EMISMATCH where the
 * data set has another number of samples. A different batch or seed counts
 * from the state's done samples: those of the epoch still come once each, as
 * long as seed and shuffle are the state's, which therefore replace the
 * loader's own. */
tr_status tr__loader_set_state(tr_loader *loader,
                               const tr__loader_state *state);

#endif
