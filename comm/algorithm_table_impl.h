/* Which algorithm a transfer takes. */
#ifndef TR_ALGORITHM_TABLE_IMPL_H
#define TR_ALGORITHM_TABLE_IMPL_H

#include "core/comm_impl.h"

/* tr__comm_set_algorithm - "auto", "doubling", "ring", "mpi", "shm", "direct",
 * "halving" or "hierarchical". TR_EUNSUPPORTED where the ranks do not share the
 * memory that it needs, or where there is a cut and it does not keep the order.
 */
tr_status tr__comm_set_algorithm(tr__comm *comm, const char *name);

/* tr__comm_algorithm_name - what an all-reduce of so many bytes would use. */
const char *tr__comm_algorithm_name(const tr__comm *comm, int64_t bytes);

#endif
