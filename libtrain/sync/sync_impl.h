/* Gradients over the ranks: buckets, ZeRO stage 1, overlap with backward. */
#ifndef TR_SYNC_IMPL_H
#define TR_SYNC_IMPL_H

#include "model/model_impl.h"
#include "sync/partition_impl.h"
#include "sync/staging_impl.h"

/* tr__sync_hooks - for tr_context.step_hooks. */
const tr__step_hooks *tr__sync_hooks(void);

/* tr__sync_num_transfers - transfers that make gradients and tail the sums over
 * the ranks: all of the gradients, or with a partition this rank's share.
 * tr__sync_transfer - one of them; buf is backend memory. A bucket's has its
 * number; the last one brings the tail, alone or with the last bucket. */
int tr__sync_num_transfers(const tr_model *net);
tr__transfer tr__sync_transfer(const tr_model *net, int i);

/* tr__sync_reduce_grads - all of them at once. As tr__staged_allreduce(). */
tr_status tr__sync_reduce_grads(tr_model *net);

/* tr__sync_gather_values - all-gather of the values: every rank gets the slices
 * that the others have updated. Collective, as tr__staged_allreduce().
 *
 * may_defer: nothing but forward follows on any rank. Then the transfers only
 * begin, and whoever reads a value first calls tr__sync_wait_for(), which waits
 * for the values from an element on, or waits for the context's queue. */
tr_status tr__sync_gather_values(tr_model *net, bool may_defer);
tr_status tr__sync_wait_for(tr_model *net, int64_t element);

/* With virtual shards a step of several batches sums each over ranks before it
 * adds the next. tr__micro_batch_drop_empty - before the elements begin..end-1
 * of the gradients are summed: a rank without rows has none.
 * tr__micro_batch_begin - before the next batch's backward; collective.
 * tr__micro_batch_finish - behind the last one's sum. */
void tr__micro_batch_drop_empty(tr_model *net, int64_t begin, int64_t end);
tr_status tr__micro_batch_begin(tr_model *net);
void tr__micro_batch_finish(tr_model *net);

/* tr__sync_backward - tr_model_backward() and
 * tr_model_allreduce_grads() at once. The same bits where a sum's bits do not
 * depend on where its buffer is cut: with shared memory, not with the ring. */
tr_status tr__sync_backward(tr_model *net);

/* tr__sync_upload_flags, tr__sync_take_sums - before and after the sum over
 * the ranks: this rank's flags into the tail; what the tail then says, with the
 * failures of tr_model_allreduce_grads(). */
void tr__sync_upload_flags(tr_model *net);
tr_status tr__sync_take_sums(tr_model *net);

/* tr__sync_make_buckets - see tr__bucket. */
tr_status tr__sync_make_buckets(tr_model *net);

/* tr__overlap_create - buckets, and what their transfers need; local.
 * tr__overlap_pass - backward has passed a node: never waits for other ranks.
 */
tr_status tr__overlap_create(tr_model *net);
void tr__overlap_pass(tr_model *net, int node);
void tr__overlap_release(tr_model *net);

/* Where the values of the other ranks' shares are still on their way to this
 * one: tr__overlap_await - until those are here that a node reads, none: all.
 * tr__sync_wait_values - all; TR_ECOMM for what has failed since the step. */
void tr__overlap_await(tr_model *net, const tr__node *node);
tr_status tr__sync_wait_values(tr_model *net);

/* tr__loss_mean - tr_model_loss() without a warning of bad samples: the
 * caller looks at it. */
tr_status tr__loss_mean(tr_model *net, double *loss);

/* tr__read_tail - the sums of a tail in backend memory, to net->known. */
tr_status tr__read_tail(tr_model *net, const void *tail);

/* tr__loss_local_sums - this rank's sums of the last forward: the first
 * TR__TAIL_FAILED entries of a tail. Waits for the device. */
tr_status tr__loss_local_sums(tr_model *net, double *sums);

#endif
