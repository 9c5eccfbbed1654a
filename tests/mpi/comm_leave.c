/* A program whose arguments say how it ends, for test_comm_exit.sh; in brackets
 * its exit code:
 *
 *   agreed RANK   that rank fails, all ranks agree, TR_MUST ends them (74)
 *   alone RANK    that rank fails alone while the others wait (65)
 *   device NAME   the context cannot be created (69)
 *   mismatch      ranks give different seeds (78)
 *   self, world, copy   the program initialises MPI, and the context is on this
 *                 communicator, or on a copy of MPI_COMM_WORLD
 *   slow RANK     as agreed 0, and that rank never ends MPI_Finalize (74)
 *   well          nothing fails (0) */
#include <stdlib.h>
#include <string.h>
#include <train/mpi.h>
#include <train/train.h>
#include <unistd.h>

/* Replaces the function of the MPI library for all callers. */
int MPI_Finalize(void)
{
  const char *slow = getenv("SLOW_RANK");
  int rank;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  while (slow != NULL && atoi(slow) == rank) {
    sleep(1);
  }
  return PMPI_Finalize();
}

static void finalize(void)
{
  int is_over;
  MPI_Finalized(&is_over);
  if (!is_over) {
    MPI_Finalize();
  }
}

static tr_status fail_on(tr_context *ctx, int rank)
{
  tr_status status = TR_OK;
  if (tr_context_rank(ctx) == rank) {
    status = TR_EIO;
  }
  return tr_context_agree(ctx, status);
}

static tr_status
create_on(const char *name, const tr_context_opts *opts, tr_context **ctx)
{
  MPI_Comm comm = MPI_COMM_WORLD;
  MPI_Init(NULL, NULL);
  atexit(finalize);
  if (strcmp(name, "self") == 0) {
    comm = MPI_COMM_SELF;
  }
  if (strcmp(name, "copy") == 0) {
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
  }
  return tr_context_create(comm, opts, ctx);
}

int main(int argc, char **argv)
{
  const char *how = argc > 1 ? argv[1] : "well";
  const char *what = argc > 2 ? argv[2] : "0";
  tr_context_opts opts = {.threads = 1};
  if (strcmp(how, "device") == 0) {
    opts.device = what;
  }
  if (strcmp(how, "mismatch") == 0) {
    const char *open_mpi = getenv("OMPI_COMM_WORLD_RANK");
    const char *rank = open_mpi != NULL ? open_mpi : getenv("PMI_RANK");
    opts.seed = rank != NULL ? strtoull(rank, NULL, 10) : 0;
  }
  tr_context *ctx;
  if (strcmp(how, "self") == 0 || strcmp(how, "world") == 0 ||
      strcmp(how, "copy") == 0) {
    TR_MUST(create_on(how, &opts, &ctx));
  } else {
    TR_MUST(tr_context_create_auto(&opts, &ctx));
  }
  if (strcmp(how, "slow") == 0) {
    setenv("SLOW_RANK", what, 1);
    TR_MUST(fail_on(ctx, 0));
  }
  if (strcmp(how, "agreed") == 0) {
    TR_MUST(fail_on(ctx, atoi(what)));
  }
  if (strcmp(how, "alone") == 0) {
    if (tr_context_rank(ctx) == atoi(what)) {
      TR_MUST(TR_EDATA);
    }
    TR_MUST(tr_context_agree(ctx, TR_OK));
  }
  tr_log_root(ctx, "left well");
  tr_context_destroy(&ctx);
  return EXIT_SUCCESS;
}
