/* A program that ends as its arguments say, for test_comm_exit.sh:
 *
 *   agreed RANK   that rank fails, all ranks agree, TR_MUST ends them (74)
 *   alone RANK    that rank fails alone while the others wait (65)
 *   device NAME   the context cannot be created (69)
 *   mismatch      ranks give different seeds (78)
 *   well          nothing fails (0) */
#include <stdlib.h>
#include <string.h>
#include <train/train.h>

static tr_status fail_on(tr_context *ctx, int rank)
{
  tr_status status = TR_OK;
  if (tr_context_rank(ctx) == rank) {
    status = TR_EIO;
  }
  return tr_context_agree(ctx, status);
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
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    opts.seed = rank != NULL ? strtoull(rank, NULL, 10) : 0;
  }
  tr_context *ctx;
  TR_MUST(tr_context_create_auto(&opts, &ctx));
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
