/* Transfers that move along while their rank computes: a queue in front of a
 * collective, which does one transfer at a time.
 *
 * They move by a thread of the queue's own where this rank's node has a CPU to
 * spare and the collective may be called by another thread, otherwise by polls:
 * the pool's first thread looks in between two tasks. Whichever it is, one
 * thread at a time calls the collective, and none after tr__queue_wait() has
 * returned. The order is that of the pushes, never one of time. */
#ifndef TR_QUEUE_IMPL_H
#define TR_QUEUE_IMPL_H

#include "core/context_impl.h"

/* tr__queue_create - an empty queue. All are borrowed until destroy; timeline
 * may be NULL. */
tr_status tr__queue_create(tr__comm *comm,
                           tr__threads *pool,
                           tr__timeline *timeline,
                           tr__queue **out);

void tr__queue_destroy(tr__queue **queue);

/* tr__queue_reserve - room for so many transfers between two waits, so that
 * a push allocates nothing. The queue is empty. */
tr_status tr__queue_reserve(tr__queue *queue, int count);

/* tr__queue_push - transfer number `label` of a step; never waits, but in
 * MPI_Allreduce, which does. It begins at
 * once where no other is under way. All ranks push the same in the same order,
 * between waits; what it points to stays as it is until tr__queue_wait(). */
void tr__queue_push(tr__queue *queue, const tr__transfer *transfer, int label);

/* tr__queue_poll - move along, unless that was done a moment ago. Called by the
 * thread that pushes; nothing where a thread does it. */
void tr__queue_poll(tr__queue *queue);

/* tr__queue_wait - until all are done; returns the first failure, after which
 * the rest was given up. Nothing where the queue is empty. */
tr_status tr__queue_wait(tr__queue *queue);

/* tr__queue_wait_for - until the first `count` since the last wait are done;
 * the rest goes on, and tr__queue_wait() is still to come. */
tr_status tr__queue_wait_for(tr__queue *queue, int count);

/* tr__queue_is_empty - nothing was pushed since the last wait. */
bool tr__queue_is_empty(const tr__queue *queue);

/* For tests and measurements. tr__queue_set_thread - by a thread or by polls,
 * whatever the machine has. num_started - since create. longest_gap - seconds
 * between two polls while something was under way, since create. spent -
 * seconds that the caller gave to transfers, in pushes, polls and waits, since
 * create: what they cost it, but for CPUs that others take from it. */
tr_status tr__queue_set_thread(tr__queue *queue, bool by_thread);
int64_t tr__queue_num_started(const tr__queue *queue);
double tr__queue_longest_gap(const tr__queue *queue);
double tr__queue_spent(const tr__queue *queue);

#endif
