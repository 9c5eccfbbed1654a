/* Included before every source that runs in a simulation (gcc -include).
 *
 * Ranks are coroutines of one process, and simulated time stands still while
 * one of them computes. Whoever polls has to let the others go on: a rank that
 * yields sleeps until one of the messages that it has asked for in vain is
 * there. So a poll costs nothing, and the times are those of a rank that
 * notices at once. */
#ifndef SIMULATED_H
#define SIMULATED_H

#include <mpi.h>
#include <sched.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

int sim_isend(const void *buf,
              int count,
              MPI_Datatype type,
              int to,
              int tag,
              MPI_Comm comm,
              MPI_Request *out);
int sim_irecv(void *buf,
              int count,
              MPI_Datatype type,
              int from,
              int tag,
              MPI_Comm comm,
              MPI_Request *out);
int sim_test(MPI_Request *handle, int *flag, MPI_Status *status);
int sim_testall(int count,
                MPI_Request handles[],
                int *flag,
                MPI_Status *statuses);
int sim_get_status(MPI_Request handle, int *flag, MPI_Status *status);
int sim_yield(void);

/* sim_fold - large memory of a node becomes one block for all ranks of all
 * nodes: for times alone, the numbers in it are worthless. */
void sim_fold(void);

/* sim_set_add - what it costs a rank to add bytes to bytes. */
void sim_set_add(double bytes_per_s);

#ifndef SIMULATED_OWN
/* Every call that makes or takes a request. The library waits at once for what
 * a collective of MPI's does. */
#define MPI_Ibarrier(comm, out) (*(out) = MPI_REQUEST_NULL, MPI_Barrier(comm))
#define MPI_Ibcast(buf, count, type, root, comm, out)                          \
  (*(out) = MPI_REQUEST_NULL, MPI_Bcast(buf, count, type, root, comm))
#define MPI_Iallreduce(from, to, count, type, op, comm, out)                   \
  (*(out) = MPI_REQUEST_NULL, MPI_Allreduce(from, to, count, type, op, comm))
#define MPI_Iallgather(from, n, type, to, m, type2, comm, out)                 \
  (*(out) = MPI_REQUEST_NULL, MPI_Allgather(from, n, type, to, m, type2, comm))
#define MPI_Isend              sim_isend
#define MPI_Irecv              sim_irecv
#define MPI_Test               sim_test
#define MPI_Testall            sim_testall
#define MPI_Request_get_status sim_get_status
#define sched_yield            sim_yield
#undef sleep /* a field of tr__comm_type */
#undef nanosleep
#define nanosleep(time, rest) sim_yield()
#undef syscall
#define syscall(...) sim_yield() /* a futex; its waits have a limit */
#endif

#endif
