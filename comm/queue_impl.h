/* A work queue of transfers, which move along while their rank computes. It
 * stands in front of a collective, which does one transfer at a time.
 *
 * Where this rank's node has a CPU to spare and MPI allows calls from another
 * thread, a thread of the queue moves the transfers. Otherwise polls move them:
 * the pool's first thread calls tr__queue_poll() between two tasks. In both
 * cases one thread at a time calls the collective, and none calls it after
 * tr__queue_wait() has returned. Transfers begin in the order of the pushes and
 * never in an order of time. */
#ifndef TR_QUEUE_IMPL_H
#define TR_QUEUE_IMPL_H

#include "core/context_impl.h"

/* tr__queue_create - an empty queue. It borrows its arguments until destroy;
 * timeline may be NULL. */
tr_status tr__queue_create(tr__comm *comm,
                           tr__threads *pool,
                           tr__timeline *timeline,
                           tr__queue **out);

void tr__queue_destroy(tr__queue **queue);

/* tr__queue_reserve - room for `count` transfers between two waits, so that a
 * push allocates nothing. The queue must be empty. */
tr_status tr__queue_reserve(tr__queue *queue, int count);

/* tr__queue_push - append transfer number `label` of a step. It begins at once
 * where no other transfer is under way. A push never waits, except in the
 * algorithm "mpi", whose MPI calls block. All ranks push the same transfers in
 * the same order between two waits. What the transfer points to stays as it is
 * until tr__queue_wait(). */
void tr__queue_push(tr__queue *queue, const tr__transfer *transfer, int label);

/* tr__queue_poll - move the transfers along, unless the last poll was a moment
 * ago. The thread that pushes calls this. Where the queue has a thread, it does
 * nothing. */
void tr__queue_poll(tr__queue *queue);

/* tr__queue_wait - wait until all transfers are done. Returns the first
 * failure, after which the queue drops the transfers behind it. Does nothing
 * where the queue is empty. */
tr_status tr__queue_wait(tr__queue *queue);

/* tr__queue_wait_for - wait until the first `count` transfers since the last
 * tr__queue_wait() are done. The others go on, and a tr__queue_wait() must
 * follow. */
tr_status tr__queue_wait_for(tr__queue *queue, int count);

/* tr__queue_is_empty - nothing was pushed since the last tr__queue_wait(). */
bool tr__queue_is_empty(const tr__queue *queue);

/* For tests and measurements. tr__queue_set_thread - move transfers by a thread
 * or by polls, whatever CPUs the machine has. The others count since create.
 * num_started - transfers begun. longest_gap - seconds between two polls while
 * a transfer was under way. spent - seconds that the caller gave to transfers
 * in pushes, polls and waits. That is what transfers cost it, except for CPU
 * time that other threads take from it. */
tr_status tr__queue_set_thread(tr__queue *queue, bool by_thread);
int64_t tr__queue_num_started(const tr__queue *queue);
double tr__queue_longest_gap(const tr__queue *queue);
double tr__queue_spent(const tr__queue *queue);

#endif
