/* What the run folder needs of communication: how a job is joined and left,
 * and how communicators are made. Free of mpi.h. */
#ifndef TR_COMM_MPI_IMPL_H
#define TR_COMM_MPI_IMPL_H

#include "base/comm_impl.h"

/* tr__comm_table - every collective, NULL at the end; for tests. */
const tr__comm_type *const *tr__comm_table(void);

/* tr__comm_algorithm_names - of all-reduce, by tr__algorithm, NULL at the end.
 */
const char *const *tr__comm_algorithm_names(void);

extern const tr__comm_type tr__comm_self_type;
extern const tr__comm_type tr__comm_mpi_type;

/* tr__comm_self_create - one process, no messages. */
tr_status tr__comm_self_create(tr__comm **out);

/* tr__comm_mpi_create - on a duplicate of a communicator, given by its Fortran
 * handle. Collective. */
tr_status tr__comm_mpi_create(int handle, tr__comm **out);

/* tr__comm_create - self for a communicator of one rank, else mpi. */
tr_status tr__comm_create(int handle, tr__comm **out);

/* tr__comm_choose - the algorithm for so many bytes. */
tr__algorithm tr__comm_choose(const tr__comm *comm, int64_t bytes);

/* tr__mpi_is_launched - a launcher started this program as part of a job. */
bool tr__mpi_is_launched(void);

/* tr__mpi_is_active - MPI is initialised and not yet finalised. */
bool tr__mpi_is_active(void);

/* tr__mpi_init - initialise MPI, for one thread at a time. */
tr_status tr__mpi_init(void);

/* tr__mpi_finalize - leave MPI; without effect where it is not active. */
void tr__mpi_finalize(void);

/* tr__mpi_abort - end the whole job with this exit code. */
void tr__mpi_abort(int code);

/* tr__mpi_world - the Fortran handle of MPI_COMM_WORLD, and its size. */
int tr__mpi_world(void);
int tr__mpi_world_size(void);

#endif
