/* Trains on the embedded digits with every all-reduce algorithm in turn. After
 * each training every rank prints "hash ALGORITHM RANK HASH" of its parameters.
 * Where the ranks cannot use an algorithm, rank 0 prints "skip ALGORITHM WHY".
 */
#include "comm/mpi/algorithm_table_impl.h"
#include "comm/mpi/comm_mpi_impl.h"
#include "core/comm_impl.h"
#include "core/context_impl.h"
#include "models.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <train/mpi.h>
#include <train/train.h>

enum { STEPS = 8 };

static void train(tr_context *ctx, tr_dataset *data, uint64_t *hash)
{
  tr_loader *loader;
  tr_model *net;
  tr_optimizer *opt;
  TR_MUST(tr_loader_create(
      ctx, data, &(tr_loader_opts){.batch = 64, .shuffle = 1}, &loader));
  TR_MUST(tr_model_create(ctx, &net));
  example_mlp(net, tr_dataset_shape(data), tr_dataset_num_classes(data));
  TR_MUST(tr_model_build(net, NULL));
  tr_adamw_opts adamw = tr_adamw_defaults();
  TR_MUST(tr_adamw_create(net, &adamw, &opt));
  tr_batch batch;
  for (int i = 0; i < STEPS && tr_loader_next(loader, &batch); i++) {
    TR_MUST(tr_model_forward(net, &batch));
    TR_MUST(tr_model_backward(net));
    TR_MUST(tr_model_allreduce_grads(net));
    TR_MUST(tr_optimizer_step(opt));
  }
  TR_MUST(tr_loader_status(loader));
  TR_MUST(tr_model_params_hash(net, hash));
  tr_optimizer_destroy(&opt);
  tr_model_destroy(&net);
  tr_loader_destroy(&loader);
}

int main(int argc, char **argv)
{
  int level;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &level);
  tr_context *ctx;
  tr_dataset *data;
  const tr_context_opts opts = {.threads = 1, .seed = 5};
  TR_MUST(tr_context_create(MPI_COMM_WORLD, &opts, &ctx));
  TR_MUST(tr_digits_open(ctx, "train", &data));
  const char *name;
  for (int i = 0; (name = tr__comm_algorithm_at(i)) != NULL; i++) {
    uint64_t hash;
    tr_status status = tr__comm_set_algorithm(ctx->comm, name);
    if (status == TR_EUNSUPPORTED) {
      tr_log_root(ctx, "skip %s %s", name, tr_error_message());
      continue;
    }
    TR_MUST(status);
    train(ctx, data, &hash);
    printf("hash %s %d %016" PRIx64 "\n", name, tr_context_rank(ctx), hash);
    fflush(stdout);
  }
  tr_dataset_destroy(&data);
  tr_context_destroy(&ctx);
  return MPI_Finalize() == MPI_SUCCESS ? EXIT_SUCCESS : EXIT_FAILURE;
}
