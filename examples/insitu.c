/* Training on arrays that are spread over ranks:  mpirun -n 4 ./insitu
 *
 * Every rank of a solver holds the states of its own part of the domain. Here
 * they are made up: rank r has 100 (r + 1) pairs of a state and what it became.
 * No sample leaves its rank; every step takes some from each in proportion to
 * what it holds, and the gradient is the mean over all of them. */
#include <math.h>
#include <stdlib.h>
#include <train/mpi.h>
#include <train/train.h>

enum { CELLS = 8, BATCH = 40, EPOCHS = 60 };

/* A wave that moves on and fades. */
static void solve(int64_t count, int rank, double *now, double *later)
{
  for (int64_t i = 0; i < count * CELLS; i++) {
    double place = (double)(i % CELLS) / CELLS;
    double phase = 0.1 * (double)(i / CELLS) + rank;
    now[i] = sin(6.283185307179586 * place + phase);
    later[i] = 0.5 * sin(6.283185307179586 * (place - 0.125) + phase);
  }
}

int main(int argc, char **argv)
{
  int level, rank; /* the solver's own MPI, which libtrain shares */
  MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &level);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  int64_t count = 100 * (rank + 1); /* may be 0 */
  double *now = calloc((size_t)count * CELLS, sizeof *now);
  double *later = calloc((size_t)count * CELLS, sizeof *later);
  if (now == NULL || later == NULL) {
    MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
    return EXIT_FAILURE;
  }
  solve(count, rank, now, later);

  tr_context *ctx;
  TR_MUST(tr_context_create(MPI_COMM_WORLD, NULL, &ctx));
  const tr_array_opts arrays = {.x = now,
                                .targets = later,
                                .num_samples = count, /* of this rank */
                                .shape = {1, {CELLS}},
                                .target_shape = {1, {CELLS}},
                                .distributed = 1,
                                .dtype = TR_F64}; /* a solver has doubles */
  tr_dataset *data;
  tr_loader *loader;
  TR_MUST(tr_array_open(ctx, &arrays, &data));
  TR_MUST(tr_loader_create(
      ctx, data, &(tr_loader_opts){.batch = BATCH, .shuffle = 1}, &loader));

  tr_model *net;
  TR_MUST(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, tr_dataset_shape(data));
  tr_mse(net, tr_linear(net, x, &(tr_linear_opts){.out = CELLS}), NULL);
  TR_MUST(tr_model_build(net, NULL));
  tr_optimizer *opt;
  TR_MUST(tr_sgd_create(net, &(tr_sgd_opts){.lr = 0.5}, &opt));

  double loss = 0;
  while (tr_loader_epoch(loader) < EPOCHS) {
    tr_batch batch; /* its count may be 0 on a rank */
    while (tr_loader_next(loader, &batch)) {
      TR_MUST(tr_model_forward(net, &batch));
      TR_MUST(tr_model_backward(net));
      TR_MUST(tr_model_allreduce_grads(net));
      TR_MUST(tr_model_loss(net, &loss));
      TR_MUST(tr_optimizer_step(opt));
    }
    TR_MUST(tr_loader_status(loader));
  }
  tr_log_root(ctx, "%lld samples, loss %.6f",
              (long long)tr_loader_num_samples(loader), loss);

  tr_optimizer_destroy(&opt);
  tr_model_destroy(&net);
  tr_loader_destroy(&loader);
  tr_dataset_destroy(&data);
  tr_context_destroy(&ctx);
  free(later);
  free(now);
  return MPI_Finalize() == MPI_SUCCESS ? EXIT_SUCCESS : EXIT_FAILURE;
}
