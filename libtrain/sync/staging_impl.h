/* Collectives on backend memory. Where the host cannot access this memory, the
 * numbers travel through a staging buffer in host memory. */
#ifndef TR_STAGING_IMPL_H
#define TR_STAGING_IMPL_H

#include "core/context_impl.h"

/* tr__staged_allreduce - data <- sum over ranks of data, in backend memory.
 *
 * Waits for the stream. A rank whose device has failed takes part with NaN, so
 * that every rank finds a non-zero failure flag in the tail. It keeps its
 * failure as pending, and the caller continues to tr__context_agree_pending().
 * Returns TR_ECOMM, or a status that all ranks agree on. */
tr_status tr__staged_allreduce(tr_context *ctx,
                               void *data,
                               int64_t count,
                               tr_dtype dtype);

/* tr__staged_transfer - the same for any transfer whose buf is backend
 * memory. */
tr_status tr__staged_transfer(tr_context *ctx, const tr__transfer *transfer);

/* tr__stage_in - make numbers that ops have written available in host memory
 * at to->buf: this is data itself, or staging memory that gets a copy. Waits
 * for the stream. Handles a failure as tr__staged_allreduce() does. */
void tr__stage_in(tr_context *ctx, void *data, const tr__transfer *to);

#endif
