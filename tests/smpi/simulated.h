/* Redirects MPI requests and yields to the simulation: gcc includes this file
 * before every source that runs there (-include).
 *
 * Ranks are coroutines of one process, and simulated time stands still while
 * one of them computes. A rank that polls has to let the others continue: when
 * it yields, it sleeps until one of the messages that it has tested in vain has
 * come. So a poll costs no time, and the times are those of a rank that notices
 * a message at once. */
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

/* sim_fold - make large memory of a node one block for all ranks of all nodes.
 * For timings only: the numbers in it are worthless. */
void sim_fold(void);

/* sim_set_add - the speed at which a rank adds bytes to bytes. */
void sim_set_add(double bytes_per_s);

#ifndef SIMULATED_OWN
/* Replaces every call that makes or takes a request. Nonblocking collectives of
 * MPI become blocking ones here: the library waits for them at once anyway. */
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
#define syscall(...) sim_yield() /* a futex; its waits have a time limit */
#endif

#endif
