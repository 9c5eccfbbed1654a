/* Data-parallel digits, every step in view:  mpirun -n 2 ./digits [epochs]
 *
 * The first example: the loop that the trainer runs inside, written out. It
 * trains on digits that the library draws itself, so it needs no data. */
#include <signal.h>
#include <stdlib.h>
#include <train/mpi.h>
#include <train/train.h>

static tr_context *volatile running; /* NULL: there is nothing to stop */

static void on_signal(int number)
{
  (void)number;
  if (running != NULL) {
    tr_context_request_stop(running); /* all ranks learn of it in a step */
  }
}

int main(int argc, char **argv)
{
  int level;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &level);
  long epochs = argc > 1 ? atol(argv[1]) : 3;

  tr_context *ctx; /* this rank's communicator, device, threads and seed */
  TR_MUST(tr_context_create(MPI_COMM_WORLD, NULL, &ctx));
  running = ctx;
  signal(SIGINT, on_signal);
  signal(SIGTERM, on_signal);
  signal(SIGUSR1, on_signal); /* mpirun hands it on, and does not kill */

  tr_dataset *data;
  tr_loader *loader; /* the same number of steps on every rank */
  TR_MUST(tr_digits_open(ctx, "train", &data));
  TR_MUST(tr_loader_create(
      ctx, data, &(tr_loader_opts){.batch = 64, .shuffle = 1}, &loader));

  tr_model *net;
  TR_MUST(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, tr_dataset_shape(data));
  x = tr_conv2d(net, x, &(tr_conv2d_opts){.out = 16, .kernel = 3, .stride = 2});
  x = tr_relu(net, x);
  x = tr_maxpool2d(net, x, &(tr_pool2d_opts){.kernel = 2});
  x = tr_flatten(net, x);
  x = tr_linear(net, x, &(tr_linear_opts){.out = 10});
  tr_cross_entropy(net, x);
  TR_MUST(tr_model_build(net, NULL)); /* names the first bad layer, if any */

  tr_optimizer *opt;
  tr_adamw_opts adamw = tr_adamw_defaults();
  adamw.lr = 2e-3;
  TR_MUST(tr_adamw_create(net, &adamw, &opt));

  tr_checkpoint run = {.model = net, .optimizer = opt, .loader = loader};
  TR_MUST(tr_checkpoint_resume(ctx, "run-digits", &run)); /* none: unchanged */
  int is_stopped = 0;
  while (!is_stopped && tr_loader_epoch(loader) < epochs) {
    tr_batch batch; /* borrowed until the next tr_loader_next() */
    double loss;
    while (tr_loader_next(loader, &batch)) { /* ends on all ranks at once */
      TR_MUST(tr_model_forward(net, &batch));
      TR_MUST(tr_model_backward(net));        /* adds to the gradients */
      TR_MUST(tr_model_allreduce_grads(net)); /* those of the global batch */
      TR_MUST(tr_optimizer_step(opt));        /* uses them, then clears them */
    }
    is_stopped = tr_loader_status(loader) == TR_ESTOPPED;
    TR_MUST(is_stopped ? TR_OK : tr_loader_status(loader)); /* why it ended */
    TR_MUST(tr_checkpoint_save(ctx, "run-digits", &run));
    TR_MUST(tr_model_loss(net, &loss)); /* global; waits for the device */
    tr_log_root(ctx, "epoch %d  loss %.4f", (int)tr_loader_epoch(loader), loss);
  }

  running = NULL;
  if (is_stopped) {
    tr_log_root(ctx, "stopped on request; run it again to go on");
  }
  tr_optimizer_destroy(&opt); /* in the reverse order of creation */
  tr_model_destroy(&net);
  tr_loader_destroy(&loader);
  tr_dataset_destroy(&data);
  tr_context_destroy(&ctx);
  MPI_Finalize();
  return is_stopped ? tr_status_exit_code(TR_ESTOPPED) : EXIT_SUCCESS;
}
