/* What the folder run/ needs of communication: how a process joins and leaves a
 * job, what its launcher says, and how communicators are made. No mpi.h is
 * included here. */
#ifndef TR_COMM_MPI_IMPL_H
#define TR_COMM_MPI_IMPL_H

#include "core/comm_impl.h"

/* tr__comm_algorithm_at - the name of algorithm 0, 1, ..; NULL behind the last.
 * Number 0 is "auto". */
const char *tr__comm_algorithm_at(int number);

extern const tr__comm_type tr__comm_self_type;
extern const tr__comm_type tr__comm_mpi_type;

/* tr__comm_self_create - a communicator of one rank, without messages. */
tr_status tr__comm_self_create(tr__comm **out);

/* tr__comm_mpi_create - a communicator on a duplicate of the caller's, which is
 * given by its Fortran handle. Collective. */
tr_status tr__comm_mpi_create(int handle, tr__comm **out);

/* tr__comm_create - type "self" for a communicator of one rank, else "mpi". */
tr_status tr__comm_create(int handle, tr__comm **out);

/* tr__mpi_is_launched - did a launcher start this process as part of a job? */
bool tr__mpi_is_launched(void);

/* tr__launcher_rank - the number of this process in its job, as the launcher's
 * variables say; -1: no variable says it. Needs no MPI. */
int tr__launcher_rank(void);

/* tr__launcher_rank_name - the variable that gives that number; NULL: none. */
const char *tr__launcher_rank_name(void);

/* tr__mpi_name - the name and version of the MPI library, "MPICH Version:
 * 4.0.2"; also before MPI_Init(). Returns out. */
const char *tr__mpi_name(char *out, size_t bytes);

/* tr__launcher_patience - seconds between the launcher's SIGTERM and its
 * SIGKILL when it ends a job; INFINITY: unknown. option: what else a user may
 * do about it, text that continues a sentence; may be "". */
double tr__launcher_patience(const char **option);

/* The processes of this job on this machine: the lowest rank that is stopped
 * and the lowest that is not. -1: there is none, or none is known. */
typedef struct tr__peers {
  int stopped, running;
} tr__peers;

/* tr__launcher_peers - find them without MPI. Takes a while: reads all of
 * /proc. */
void tr__launcher_peers(tr__peers *out);

/* tr__launcher_check - TR_EMISMATCH where a launcher started several processes
 * but MPI_COMM_WORLD holds this one alone, unless LIBTRAIN_ALLOW_SINGLE_RANK is
 * set. handle: the Fortran handle of the context's communicator. MPI_COMM_SELF
 * passes, since the caller chose one rank. */
tr_status tr__launcher_check(int handle);

/* tr__mpi_is_active - is MPI initialised and not yet finalised? */
bool tr__mpi_is_active(void);

/* tr__mpi_size - the size of a communicator, given by its Fortran handle, and
 * this process's rank in it. 0 and -1 where it is no intracommunicator. */
int tr__mpi_size(int handle, int *rank);

/* tr__mpi_init - initialise MPI for calls from one thread at a time. */
tr_status tr__mpi_init(void);

/* tr__mpi_finalize - finalise MPI; does nothing where MPI is not active. */
void tr__mpi_finalize(void);

/* tr__mpi_abort - end the whole job with this exit code. */
void tr__mpi_abort(int code);

/* tr__mpi_world - the Fortran handle of MPI_COMM_WORLD. tr__mpi_world_rank,
 * tr__mpi_world_size - this process's rank in it, and its size. */
int tr__mpi_world(void);
int tr__mpi_world_rank(void);
int tr__mpi_world_size(void);

#endif
