/* Train a surrogate of a solver:  mpirun -n 2 train_surrogate
 *
 * The solver is a stand-in for a real one: viscous Burgers' equation between
 * two walls,
 *
 *   u_t + u u_x = nu u_xx,   u(0) = u(1) = 0,
 *
 * by central differences and Euler steps. A job that runs it holds states in
 * its arrays. From them a network learns where a state and its nu lead to
 * after an interval of time, at one stride instead of 100 steps; then it takes
 * the solver's place and goes on for several intervals. */
#include "program.h"

#include <math.h>
#include <stdlib.h>
#include <train/mpi.h>

enum { CELLS = 64, STEPS = 100, STRIDES = 5 };
enum { NUM_TRAIN = 2048, NUM_TEST = 256, NUM_RUNS = 64, BATCH = 32 };

/* u after an interval of 0.2. */
static void solve(double u[CELLS], double nu)
{
  const double dt = 0.2 / STEPS, dx = 1.0 / (CELLS + 1);
  for (int step = 0; step < STEPS; step++) {
    double left = 0; /* as it was before this step */
    for (int i = 0; i < CELLS; i++) {
      double here = u[i], right = i + 1 < CELLS ? u[i + 1] : 0;
      double slope = (right - left) / (2 * dx);
      double bend = (right - 2 * here + left) / (dx * dx);
      u[i] = here + dt * (nu * bend - here * slope);
      left = here;
    }
  }
}

/* Uniform in [0, 1): splitmix64. */
static double draw(uint64_t *state)
{
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

/* Four waves and their nu, which is returned: a function of the number alone,
 * and so the same on any number of ranks. */
static double begin(int64_t number, double u[CELLS])
{
  uint64_t state = (uint64_t)number << 32;
  double nu = 0.01 * pow(5, draw(&state)), height[4];
  for (int k = 0; k < 4; k++) {
    height[k] = 2 * draw(&state) - 1;
  }
  for (int i = 0; i < CELLS; i++) {
    u[i] = 0;
    for (int k = 0; k < 4; k++) {
      u[i] += height[k] * sin(M_PI * (k + 1) * (i + 1) / (CELLS + 1));
    }
  }
  return nu;
}

/* What the network sees: one channel of u, and one that is nu everywhere. */
static void to_input(const double u[CELLS], double nu, float x[2][CELLS])
{
  for (int i = 0; i < CELLS; i++) {
    x[0][i] = (float)u[i];
    x[1][i] = (float)log(nu / 0.02);
  }
}

static void to_target(const double u[CELLS], float y[CELLS])
{
  for (int i = 0; i < CELLS; i++) {
    y[i] = (float)u[i];
  }
}

typedef struct samples {
  int64_t first, count; /* their numbers */
  float (*x)[2][CELLS];
  float (*y)[CELLS];
} samples;

/* Each rank solves its share; then every rank gets all of them. A sample is one
 * interval of the run with its number: the first, the second, ... */
static void make_samples(tr_context *ctx, samples *s)
{
  s->x = calloc((size_t)s->count, sizeof *s->x);
  s->y = calloc((size_t)s->count, sizeof *s->y);
  if (s->x == NULL || s->y == NULL) {
    TR_MUST(tr_error_set(TR_ENOMEM, "no memory for the samples"));
  }
  int rank = tr_context_rank(ctx), size = tr_context_size(ctx);
  for (int64_t i = rank; i < s->count; i += size) {
    double u[CELLS], nu = begin(s->first + i, u);
    for (int64_t age = i % STRIDES; age > 0; age--) {
      solve(u, nu);
    }
    to_input(u, nu, s->x[i]);
    solve(u, nu);
    to_target(u, s->y[i]);
  }
  int cells = (int)s->count * CELLS;
  MPI_Allreduce(MPI_IN_PLACE, s->x, 2 * cells, MPI_FLOAT, MPI_SUM,
                MPI_COMM_WORLD);
  MPI_Allreduce(MPI_IN_PLACE, s->y, cells, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
}

static void open_data(tr_context *ctx,
                      const example_options *options,
                      samples *s,
                      tr_dataset **data,
                      tr_loader **loader)
{
  make_samples(ctx, s);
  const tr_array_opts arrays = {.x = s->x,
                                .targets = s->y,
                                .num_samples = s->count,
                                .shape = {2, {2, CELLS}},
                                .target_shape = {2, {1, CELLS}}};
  const tr_loader_opts opts = {.batch = options->batch,
                               .shuffle =
                                   s->first == 0 && !options->no_shuffle};
  TR_MUST(tr_array_open(ctx, &arrays, data));
  TR_MUST(tr_loader_create(ctx, *data, &opts, loader));
}

/* No normalisation: how high the waves are decides how fast they go. */
static tr_node filters(tr_model *net, tr_node x, int64_t channels)
{
  const tr_conv1d_opts opts = {.out = channels, .kernel = 5, .padding = 2};
  return tr_relu(net, tr_conv1d(net, x, &opts));
}

static tr_node halve(tr_model *net, tr_node x)
{
  return tr_maxpool1d(net, x, &(tr_pool1d_opts){.kernel = 2});
}

static tr_node join(tr_model *net, tr_node coarse, tr_node fine)
{
  const tr_node both[] = {tr_upsample1d(net, coarse, 2), fine};
  return tr_concat(net, both, 2, 0);
}

/* A small U-Net (Ronneberger et al. 2015, arXiv:1505.04597) on 64, 32 and 16
 * cells. Its last filter sees the state itself beside what the others found. */
static tr_node
build_model(tr_context *ctx, const example_options *options, tr_model **out)
{
  TR_MUST(tr_model_create(ctx, out));
  tr_model *net = *out;
  tr_node x = tr_input(net, (tr_shape){2, {2, CELLS}});
  tr_node fine = filters(net, x, 16);
  tr_node middle = filters(net, halve(net, fine), 32);
  tr_node coarse = filters(net, halve(net, middle), 64);
  coarse = filters(net, coarse, 64);
  middle = filters(net, join(net, coarse, middle), 32);
  fine = filters(net, join(net, middle, fine), 16);
  const tr_node all[] = {fine, x};
  const tr_conv1d_opts last = {.out = 1, .kernel = 5, .padding = 2};
  tr_node y = tr_conv1d(net, tr_concat(net, all, 2, 0), &last);
  tr_mse(net, y, NULL);
  example_build(options, net, NULL);
  return y;
}

static void show(tr_context *ctx, const char *what, tr_error_metrics *errors)
{
  tr_error_result result; /* over all ranks */
  TR_MUST(tr_error_metrics_get(errors, &result));
  tr_log_root(ctx, "%-30s MAE %.5f  RMSE %.5f  R2 %.5f", what, result.mae,
              result.rmse, result.r2);
}

/* On samples that training has not seen, beside the guess that nothing moves.
 */
static void evaluate(tr_context *ctx, tr_model *net, tr_node y, tr_loader *test)
{
  tr_error_metrics *learned, *still;
  TR_MUST(tr_error_metrics_create(ctx, &learned));
  TR_MUST(tr_error_metrics_create(ctx, &still));
  tr_model_set_training(net, 0);
  tr_batch batch;
  float found[NUM_TEST][CELLS];
  while (tr_loader_next(test, &batch)) {
    const float *x = batch.inputs[0], *wanted = batch.targets[0];
    TR_MUST(tr_model_forward(net, &batch));
    TR_MUST(tr_model_get_output(net, y, found));
    tr_error_metrics_add(learned, batch.count * CELLS, found, wanted);
    for (int64_t i = 0; i < batch.count; i++) {
      tr_error_metrics_add(still, CELLS, x + i * 2 * CELLS, wanted + i * CELLS);
    }
  }
  TR_MUST(tr_loader_status(test));
  show(ctx, "the network, one interval", learned);
  show(ctx, "a state that stays as it is", still);
  tr_error_metrics_destroy(&still);
  tr_error_metrics_destroy(&learned);
}

/* The network in the solver's place: what comes out goes in again. The plan is
 * this thread's own; other threads of the rank could have theirs. */
static void take_over(tr_context *ctx, tr_model *net, tr_node y)
{
  tr_inference *plan;
  tr_error_metrics *errors;
  TR_MUST(tr_inference_create(net, &(tr_inference_opts){.batch = 1}, &plan));
  TR_MUST(tr_error_metrics_create(ctx, &errors));
  int rank = tr_context_rank(ctx), size = tr_context_size(ctx);
  for (int64_t i = rank; i < NUM_RUNS; i += size) {
    double u[CELLS], nu = begin(NUM_TRAIN + NUM_TEST + i, u);
    float x[2][CELLS], wanted[CELLS];
    to_input(u, nu, x);
    for (int k = 0; k < STRIDES; k++) {
      TR_MUST(
          tr_inference_forward(plan, &(tr_batch){.count = 1, .inputs = {x}}));
      TR_MUST(tr_inference_get_output(plan, y, x[0]));
      solve(u, nu);
    }
    to_target(u, wanted);
    tr_error_metrics_add(errors, CELLS, x[0], wanted);
  }
  show(ctx, "the network, five in a row", errors);
  tr_error_metrics_destroy(&errors);
  tr_inference_destroy(&plan);
}

int main(int argc, char **argv)
{
  int level; /* the solver's own MPI, which libtrain shares */
  MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &level);
  example_options options = example_options_of(TRAIN_SURROGATE);
  options.batch = BATCH;
  options.lr = 3e-3;
  options.title = "surrogate";
  options.schedule = "cosine";
  options.clip_norm = 1;
  tr_context *ctx;
  if (!example_open_context(argc, argv, &options, &ctx)) {
    return MPI_Finalize();
  }
  example_stop_on_signals(ctx);

  samples parts[2] = {{.first = 0, .count = NUM_TRAIN},
                      {.first = NUM_TRAIN, .count = NUM_TEST}};
  tr_dataset *data[2];
  example_run run;
  for (int i = 0; i < 2; i++) {
    open_data(ctx, &options, &parts[i], &data[i], &run.loaders[i]);
  }
  tr_node y = build_model(ctx, &options, &run.net);
  example_train(ctx, &options, &run);
  evaluate(ctx, run.net, y, run.loaders[1]);
  take_over(ctx, run.net, y);

  tr_model_destroy(&run.net); /* in the reverse order of creation */
  for (int i = 1; i >= 0; i--) {
    tr_loader_destroy(&run.loaders[i]);
    tr_dataset_destroy(&data[i]);
    free(parts[i].y);
    free(parts[i].x);
  }
  example_close_context(&ctx);
  return MPI_Finalize();
}
