/* Regression on arrays in memory:  mpirun -n 2 ./regress [epochs]
 *
 * It learns y = sin(3a) cos(2b) from points of the square, with a schedule of
 * its own, and keeps what it learns in run-regress, for ./predict. SIGTERM,
 * SIGUSR1 and Ctrl-C end it after the current step with exit code 85; the same
 * command goes on, on any number of ranks. */
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <train/mpi.h>
#include <train/train.h>

enum { POINTS = 2000, BATCH = 50, EPOCHS = 100 };

static tr_context *volatile running; /* NULL: there is nothing to stop */

static void on_signal(int number)
{
  (void)number;
  if (running != NULL) {
    tr_context_request_stop(running);
  }
}

/* The share of the rate in step t. It depends on t alone, so that a run that
 * goes on has the rates of one that was not stopped. */
static double halved_every(void *user, int64_t t)
{
  const double *steps = user;
  return pow(0.5, (double)t / *steps);
}

/* The same points on every rank; they fill the square evenly. */
static void make_points(float x[POINTS][2], float y[POINTS])
{
  for (int i = 0; i < POINTS; i++) {
    x[i][0] = (float)(2 * fmod(0.7548776662466927 * i, 1) - 1);
    x[i][1] = (float)(2 * fmod(0.5698402909980532 * i, 1) - 1);
    y[i] = sinf(3 * x[i][0]) * cosf(2 * x[i][1]);
  }
}

static void build_model(tr_context *ctx, tr_model **net)
{
  TR_MUST(tr_model_create(ctx, net));
  tr_node x = tr_input(*net, (tr_shape){1, {2}});
  x = tr_tanh(*net, tr_linear(*net, x, &(tr_linear_opts){.out = 32}));
  x = tr_tanh(*net, tr_linear(*net, x, &(tr_linear_opts){.out = 32}));
  x = tr_linear(*net, x, &(tr_linear_opts){.out = 1});
  tr_mse(*net, x, NULL); /* against the targets of the arrays */
  TR_MUST(tr_model_build(*net, NULL));
}

int main(int argc, char **argv)
{
  int level;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &level);
  tr_context *ctx;
  TR_MUST(tr_context_create(MPI_COMM_WORLD, NULL, &ctx));
  running = ctx;
  signal(SIGINT, on_signal);
  signal(SIGTERM, on_signal);
  signal(SIGUSR1, on_signal);

  static float x[POINTS][2], y[POINTS];
  make_points(x, y);
  const tr_array_opts arrays = {.x = x,
                                .targets = y, /* numbers; y would be classes */
                                .num_samples = POINTS,
                                .shape = {1, {2}},
                                .target_shape = {1, {1}}};
  tr_dataset *data;
  tr_loader *loader; /* before the model, which asks it how large batches are */
  TR_MUST(tr_array_open(ctx, &arrays, &data));
  TR_MUST(tr_loader_create(
      ctx, data, &(tr_loader_opts){.batch = BATCH, .shuffle = 1}, &loader));
  tr_model *net;
  build_model(ctx, &net);

  double steps = 2000;
  tr_adam_opts adam = tr_adam_defaults();
  adam.lr = 1e-2;
  adam.schedule = (tr_schedule){
      .kind = TR_SCHEDULE_CALLBACK, .rate = halved_every, .user = &steps};
  tr_optimizer *opt;
  TR_MUST(tr_adam_create(net, &adam, &opt));

  const tr_trainer_opts fit = {.model = net,
                               .optimizer = opt,
                               .loader = loader,
                               .epochs = argc > 1 ? atol(argv[1]) : EPOCHS,
                               .checkpoint_dir = "run-regress",
                               .progress = stderr};
  tr_trainer *trainer;
  TR_MUST(tr_trainer_create(ctx, &fit, &trainer));
  TR_MUST(tr_trainer_resume(trainer)); /* nothing there: from the beginning */
  tr_status status = tr_trainer_fit(trainer, NULL);
  running = NULL;
  TR_MUST(status == TR_ESTOPPED ? TR_OK : status);
  tr_log_root(ctx, "%s after step %lld", status == TR_OK ? "done" : "stopped",
              (long long)tr_optimizer_num_steps(opt));

  tr_trainer_destroy(&trainer); /* in the reverse order of creation */
  tr_optimizer_destroy(&opt);
  tr_model_destroy(&net);
  tr_loader_destroy(&loader);
  tr_dataset_destroy(&data);
  tr_context_destroy(&ctx);
  MPI_Finalize();
  return tr_status_exit_code(status); /* 85 where it was stopped */
}
