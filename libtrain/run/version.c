/* The versions on which results may depend, for bug reports. */
#include "backend/cpu/cpu_impl.h"
#include "checkpoint/image_impl.h"
#include "comm/mpi/comm_mpi_impl.h"

#include <stdio.h>

enum { NAME_BYTES = 128 };

void tr_version_print(FILE *out)
{
  char name[NAME_BYTES];
  fprintf(out, "libtrain %s\n", tr_version());
  fprintf(out, "MPI:     %s\n", tr__mpi_name(name, sizeof name));
  fprintf(out, "BLAS:    %s\n", tr__blas_name(name, sizeof name));
  fprintf(out, "HDF5:    %s\n", tr__hdf5_name(name, sizeof name));
  fprintf(out, "kernels: %s\n", tr__cpu_kernels_name());
}
