/* Choice of the algorithm that a transfer uses: by name, or by the table. */
#ifndef TR_ALGORITHM_TABLE_IMPL_H
#define TR_ALGORITHM_TABLE_IMPL_H

#include "core/comm_impl.h"

/* tr__comm_set_algorithm - "auto", "doubling", "ring", "mpi", "shm", "direct",
 * "halving" or "hierarchical". TR_EINVAL for another name. TR_EUNSUPPORTED
 * where the ranks lack the shared memory that the algorithm needs, or where
 * virtual shards are set and it does not keep their order. */
tr_status tr__comm_set_algorithm(tr__comm *comm, const char *name);

/* tr__comm_algorithm_name - the algorithm that an all-reduce of so many bytes
 * of TR_F32 uses. */
const char *tr__comm_algorithm_name(const tr__comm *comm, int64_t bytes);

#endif
