/* The harness for programs whose ranks use MPI. */
#ifndef TR_MPI_TEST_H
#define TR_MPI_TEST_H

#include "test.h"

#include <mpi.h>

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
