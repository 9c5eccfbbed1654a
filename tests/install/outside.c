/* A program of someone else: C11 and C++11, on the caller's communicator. */
#include <train/mpi.h>
#include <train/train.h>

#include <stdio.h>

int main(int argc, char **argv)
{
  int level;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &level);

  tr_context *ctx;
  TR_MUST(tr_context_create(MPI_COMM_WORLD, NULL, &ctx));
  if (tr_context_rank(ctx) == 0) {
    int size = tr_context_size(ctx);
    printf("%s, %d rank%s\n", tr_version(), size, size == 1 ? "" : "s");
  }
  tr_context_destroy(&ctx);
  return MPI_Finalize() == MPI_SUCCESS ? 0 : 1;
}
