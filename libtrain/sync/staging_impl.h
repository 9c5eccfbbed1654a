/* Sums of backend memory over the ranks. */
#ifndef TR_STAGING_IMPL_H
#define TR_STAGING_IMPL_H

#include "core/context_impl.h"

/* tr__staged_allreduce - data <- sum over ranks of data, backend memory.
 *
 * Waits for the stream. A rank whose device has failed takes part with NaN, so
 * that the tail's failure flag is not zero on any rank, and keeps its failure
 * as pending: the caller goes on to tr__context_agree_pending(). What is
 * returned is TR_ECOMM, or agreed. */
tr_status tr__staged_allreduce(tr_context *ctx,
                               void *data,
                               int64_t count,
                               tr_dtype dtype);

/* tr__staged_transfer - the same for any transfer of backend memory. */
tr_status tr__staged_transfer(tr_context *ctx, const tr__transfer *transfer);

/* tr__stage_in - make gradients that ops have written ready for a transfer
 * of host memory, to->buf: data itself, or where they are staged. Waits for the
 * stream; a failure is treated as in tr__staged_allreduce(). */
void tr__stage_in(tr_context *ctx, void *data, const tr__transfer *to);

#endif
