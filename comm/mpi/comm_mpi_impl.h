/* What the run folder needs of communication: how a job is joined and left,
 * and how communicators are made. Free of mpi.h. */
#ifndef TR_COMM_MPI_IMPL_H
#define TR_COMM_MPI_IMPL_H

#include "core/comm_impl.h"

/* tr__comm_algorithm_at - the name of a tr__algorithm; NULL behind the last. */
const char *tr__comm_algorithm_at(int number);

extern const tr__comm_type tr__comm_self_type;
extern const tr__comm_type tr__comm_mpi_type;

/* tr__comm_self_create - one process, no messages. */
tr_status tr__comm_self_create(tr__comm **out);

/* tr__comm_mpi_create - on a duplicate of a communicator, given by its Fortran
 * handle. Collective. */
tr_status tr__comm_mpi_create(int handle, tr__comm **out);

/* tr__comm_create - self for a communicator of one rank, else mpi. */
tr_status tr__comm_create(int handle, tr__comm **out);

/* tr__comm_choose - the algorithm for a transfer. */
tr__algorithm tr__comm_choose(const tr__comm *comm,
                              const tr__transfer *transfer);

/* tr__comm_check_order - TR_EUNSUPPORTED, with the reason, where there is a cut
 * and an algorithm's sums do not follow its tree on these ranks. */
tr_status tr__comm_check_order(const tr__comm *comm, tr__algorithm algorithm);

/* tr__pairs_keep_order - the sums of recursive doubling and halving follow the
 * fixed tree: with 2^k ranks of equal parts, and some others. */
bool tr__pairs_keep_order(const tr__comm *comm);

/* tr__nodes_keep_order - each node's ranks hold one node of the tree. */
bool tr__nodes_keep_order(const tr__comm *comm);

/* tr__mpi_is_launched - a launcher started this program as part of a job. */
bool tr__mpi_is_launched(void);

/* tr__launcher_rank - which process of its job a launcher says that this is; -1
 * where none says so. Needs no MPI. */
int tr__launcher_rank(void);

/* tr__launcher_rank_name - the variable that says so; NULL: none. */
const char *tr__launcher_rank_name(void);

/* tr__mpi_name - which MPI this is, "MPICH Version: 4.0.2"; also before
 * MPI_Init(). Returns out. */
const char *tr__mpi_name(char *out, size_t bytes);

/* tr__launcher_patience - seconds between the launcher's SIGTERM and its
 * SIGKILL where it ends a job; INFINITY: unknown. option: what else a user may
 * do about it, to follow a sentence; may be "". */
double tr__launcher_patience(const char **option);

/* The lowest ranks of this job on this machine whose processes are stopped, and
 * whose are not; -1: none is known. */
typedef struct tr__peers {
  int stopped, running;
} tr__peers;

/* tr__launcher_peers - look at them, without MPI. Takes a while. */
void tr__launcher_peers(tr__peers *out);

/* tr__launcher_check - TR_EMISMATCH where a launcher started several processes,
 * but MPI_COMM_WORLD is this one alone, unless LIBTRAIN_ALLOW_SINGLE_RANK is
 * set. For a context on this communicator, given by its Fortran handle:
 * MPI_COMM_SELF is a caller's wish. */
tr_status tr__launcher_check(int handle);

/* tr__mpi_is_active - MPI is initialised and not yet finalised. */
bool tr__mpi_is_active(void);

/* tr__mpi_size - ranks of a communicator, given by its Fortran handle, and
 * which one this is; 0 for what is none. */
int tr__mpi_size(int handle, int *rank);

/* tr__mpi_init - initialise MPI, for one thread at a time. */
tr_status tr__mpi_init(void);

/* tr__mpi_finalize - leave MPI; without effect where it is not active. */
void tr__mpi_finalize(void);

/* tr__mpi_abort - end the whole job with this exit code. */
void tr__mpi_abort(int code);

/* tr__mpi_world - the Fortran handle of MPI_COMM_WORLD, its size, and which of
 * its ranks this is. */
int tr__mpi_world(void);
int tr__mpi_world_rank(void);
int tr__mpi_world_size(void);

#endif
