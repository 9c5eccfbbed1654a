/* How a process joins and leaves a job: init, finalize, abort. */
#include "comm/mpi/mpi_impl.h"

#include <string.h>

bool tr__mpi_is_active(void)
{
  int initialized = 0, finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  return initialized && !finalized;
}

tr_status tr__mpi_init(void)
{
  int finalized = 0, level;
  MPI_Finalized(&finalized);
  TR_CHECK(!finalized, TR_ESTATE,
           "MPI was finalised before the context was created; it cannot be "
           "initialised again");
  TR_TRY_MPI(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level));
  return TR_OK;
}

int tr__mpi_size(int handle, int *rank)
{
  int size = 0, is_inter = 1;
  MPI_Comm comm =
      tr__mpi_is_active() ? MPI_Comm_f2c((MPI_Fint)handle) : MPI_COMM_NULL;
  *rank = -1;
  if (comm == MPI_COMM_NULL ||
      MPI_Comm_test_inter(comm, &is_inter) != MPI_SUCCESS || is_inter) {
    return 0;
  }
  MPI_Comm_rank(comm, rank);
  MPI_Comm_size(comm, &size);
  return size;
}

void tr__mpi_finalize(void)
{
  if (tr__mpi_is_active()) {
    MPI_Finalize();
  }
}

void tr__mpi_abort(int code)
{
  MPI_Abort(MPI_COMM_WORLD, code);
}

int tr__mpi_world(void)
{
  return (int)MPI_Comm_c2f(MPI_COMM_WORLD);
}

int tr__mpi_world_rank(void)
{
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

int tr__mpi_world_size(void)
{
  int size = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

tr_status tr__mpi_fail(int code, const char *call, const char *file, int line)
{
  char text[MPI_MAX_ERROR_STRING + 1] = "unknown error";
  int length = 0;
  MPI_Error_string(code, text, &length);
  return tr__fail(TR_ECOMM, file, line, "%.*s: %s", (int)strcspn(call, "("),
                  call, text);
}
