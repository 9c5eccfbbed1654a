/* A place for checkpoints that all ranks name alike. */
#ifndef TR_SHARED_DIR_H
#define TR_SHARED_DIR_H

#include "mpi_test.h"

#include <mpi.h>

/* shared_dir - a directory of rank 0's, another one at each call, which ends
 * the name before. */
static const char *shared_dir(void)
{
  static char path[300];
  static int number;
  if (world_rank() == 0) {
    snprintf(path, sizeof path, "%s/run%d", test_scratch(), number++);
  }
  MPI_Bcast(path, sizeof path, MPI_CHAR, 0, MPI_COMM_WORLD);
  return path;
}

#endif
