/* Contexts on an MPI communicator: the one public header that needs mpi.h. */
#ifndef TRAIN_MPI_H
#define TRAIN_MPI_H

#include <mpi.h>
#include <train/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/* tr_context_create - create a context on a communicator.
 *
 * comm  [in]   any intracommunicator, which the call duplicates
 * opts  [in]   options, or NULL for the defaults
 * out   [out]  the new context, NULL on failure
 *
 * Calls:     collective on comm
 * Errors:    TR_EINVAL, TR_EUNSUPPORTED, TR_EMISMATCH where ranks give
 *            different options or the launcher belongs to another MPI (see
 *            tr_context_create_f()), TR_ECOMM; agreed on all ranks
 * Ownership: *out is owned by the caller; comm is borrowed for the call
 * Threads:   one thread per context. The library calls MPI from one thread at a
 *            time, so MPI_THREAD_FUNNELED is enough where that thread is the
 *            main one, MPI_THREAD_SERIALIZED otherwise */
static inline tr_status
tr_context_create(MPI_Comm comm, const tr_context_opts *opts, tr_context **out)
{
  return tr_context_create_f((int)MPI_Comm_c2f(comm), opts, out);
}

#ifdef __cplusplus
}

inline tr_status
tr_context_create(MPI_Comm comm, const tr_context_opts &opts, tr_context **out)
{
  return tr_context_create(comm, &opts, out);
}
#endif

#endif
