/* Test helper: a checkpoint directory with the same path on all ranks. */
#ifndef TR_SHARED_DIR_H
#define TR_SHARED_DIR_H

#include "mpi_test.h"

#include <mpi.h>

/* shared_dir - a new directory of rank 0 at each call. The next call overwrites
 * the returned path. */
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
