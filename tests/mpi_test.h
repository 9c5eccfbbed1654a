/* The harness for programs whose ranks use MPI. */
#ifndef TR_MPI_TEST_H
#define TR_MPI_TEST_H

#include "test.h"

#include <mpi.h>

/* world_rank, world_size - of MPI_COMM_WORLD. */
static inline int world_rank(void)
{
  int rank;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

static inline int world_size(void)
{
  int size;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

/* TEST_MPI_MAIN - TEST_MAIN() between MPI_Init_thread() and MPI_Finalize(). */
#define TEST_MPI_MAIN(list)                                                    \
  int main(int argc, char **argv)                                              \
  {                                                                            \
    int level;                                                                 \
    MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &level);              \
    int code = test_main(argc, argv, (list),                                   \
                         (int)(sizeof(list) / sizeof((list)[0])));             \
    MPI_Finalize();                                                            \
    return code;                                                               \
  }

#endif
