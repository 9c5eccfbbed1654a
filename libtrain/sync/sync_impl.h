/* Data parallelism of one model: all-reduce of gradients in buckets that
 * overlaps with backward, ZeRO stage 1, and loss and accuracy over all
 * ranks. */
#ifndef TR_SYNC_IMPL_H
#define TR_SYNC_IMPL_H

#include "model/model_impl.h"
#include "sync/partition_impl.h"
#include "sync/staging_impl.h"

/* tr__sync_hooks - the hooks of this folder, for tr_context.step_hooks. */
const tr__step_hooks *tr__sync_hooks(void);

/* tr__sync_num_transfers - the number of transfers that sum gradients and tail
 * over the ranks: an all-reduce per bucket, or with a partition a
 * reduce-scatter.
 * tr__sync_transfer - transfer i; buf is backend memory. Transfer i carries
 * bucket i. The last transfer carries the tail, alone or with the last
 * bucket. */
int tr__sync_num_transfers(const tr_model *net);
tr__transfer tr__sync_transfer(const tr_model *net, int i);

/* tr__sync_reduce_grads - sum gradients and tail over the ranks without
 * overlap: by these transfers, or by one all-reduce of the whole arena.
 * Collective; fails as tr__staged_allreduce(). */
tr_status tr__sync_reduce_grads(tr_model *net);

/* tr__sync_gather_values - ZeRO stage 1: all-gather of the updated parameters.
 * Collective; fails as tr__staged_allreduce().
 *
 * may_defer  the next call on every rank is a forward. Then the transfers only
 *            begin. Before code reads values, it calls tr__sync_wait_for(),
 *            which waits for those from `element` on, or waits for the
 *            context's queue. */
tr_status tr__sync_gather_values(tr_model *net, bool may_defer);
tr_status tr__sync_wait_for(tr_model *net, int64_t element);

/* Reproducible mode: a step of several micro-batches sums the gradients of each
 * over the ranks before it adds the next. tr__micro_batch_drop_empty - before
 * the sum of the elements begin..end-1: clears those of a rank without rows.
 * tr__micro_batch_begin - before the backward of the next micro-batch;
 * collective. tr__micro_batch_finish - after the sum of the last one. */
void tr__micro_batch_drop_empty(tr_model *net, int64_t begin, int64_t end);
tr_status tr__micro_batch_begin(tr_model *net);
void tr__micro_batch_finish(tr_model *net);

/* tr__sync_backward - tr_model_backward() and tr_model_allreduce_grads(),
 * overlapped. Collective. The sums have the same bits as those of the two calls
 * where bits do not depend on the bounds of buckets: in shared memory, but not
 * with the ring. */
tr_status tr__sync_backward(tr_model *net);

/* tr__sync_upload_flags - before the sum over the ranks: write this rank's
 * flags into the tail. tr__sync_take_sums - after it: act on the summed tail.
 * Collective; fails as tr_model_allreduce_grads(). */
void tr__sync_upload_flags(tr_model *net);
tr_status tr__sync_take_sums(tr_model *net);

/* tr__sync_make_buckets - set net->buckets, see tr__bucket. Local. */
tr_status tr__sync_make_buckets(tr_model *net);

/* tr__sync_wait_values - wait for a deferred all-gather of values; does nothing
 * where there is none. Returns a failure of the transfers since the step,
 * TR_ECOMM. */
tr_status tr__sync_wait_values(tr_model *net);

/* tr__loss_mean - tr_model_loss() without the warning of bad samples: the
 * caller checks the loss. */
tr_status tr__loss_mean(tr_model *net, double *loss);

/* tr__read_tail - copy a tail in backend memory to net->known. Waits for the
 * device. */
tr_status tr__read_tail(tr_model *net, const void *tail);

/* tr__loss_local_sums - copy this rank's sums of the last forward, the first
 * TR__TAIL_FAILED entries of the tail. Waits for the device. */
tr_status tr__loss_local_sums(tr_model *net, double *sums);

#endif
