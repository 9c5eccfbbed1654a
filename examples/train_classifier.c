/* Train a classifier:  mpirun -n 2 train_classifier --model convnet
 *
 * Reads images or vectors with a class each, trains a network on all ranks of
 * the job, keeps checkpoints, and with --resume continues from the newest. */
#include "models.h"
#include "options.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* What a signal handler has to reach. */
static tr_context *signalled;

static void on_signal(int number)
{
  (void)number;
  tr_context_request_stop(signalled);
}

static void stop_on_signals(tr_context *ctx)
{
  signalled = ctx;
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGUSR1, &action, NULL);
}

/* All ranks take part in refusing options: one rank's complaint would leave
 * the others waiting. */
static void
open_context(int argc, char **argv, example_options *options, tr_context **ctx)
{
  char problem[256] = "";
  tr_status status = example_options_parse(argc, argv, options, problem);
  const tr_context_opts defaults = {0};
  const tr_context_opts opts = {
      .threads = (int)options->threads,
      .seed = (uint64_t)options->seed,
      .device = options->device,
      .dtype = strcmp(options->dtype, "f64") == 0 ? TR_F64 : TR_F32};
  TR_MUST(tr_context_create_auto(status == TR_OK ? &opts : &defaults, ctx));
  if (status != TR_OK) {
    tr_error_set(status, problem);
  }
  TR_MUST(tr_context_agree(*ctx, status));
}

static void open_data(tr_context *ctx,
                      const example_options *options,
                      tr_dataset *data[2],
                      tr_loader *loaders[2])
{
  const char *splits[2] = {"train", "test"};
  for (int i = 0; i < 2; i++) {
    const tr_loader_opts opts = {.batch = options->batch,
                                 .shuffle = i == 0 && !options->no_shuffle};
    TR_MUST(tr_dataset_open(ctx, options->data, splits[i], &data[i]));
    TR_MUST(tr_loader_create(ctx, data[i], &opts, &loaders[i]));
  }
}

static void build_model(tr_context *ctx,
                        const example_options *options,
                        const tr_dataset *data,
                        tr_model **net)
{
  TR_MUST(tr_model_create(ctx, net));
  tr_shape shape = tr_dataset_shape(data);
  int64_t classes = tr_dataset_num_classes(data);
  if (strcmp(options->model, "convnet") == 0) {
    example_convnet(*net, shape, classes);
  } else {
    example_mlp(*net, shape, classes);
  }
  TR_MUST(tr_model_build(*net, NULL));
  if (options->init != NULL) {
    TR_MUST(tr_model_load(*net, options->init));
  }
  if (options->print_plan && tr_context_rank(ctx) == 0) {
    TR_MUST(tr_model_print_plan(*net, stdout));
  }
}

static int64_t run_length(const example_options *options,
                          const tr_loader *loader)
{
  int64_t steps = options->epochs * tr_loader_num_steps(loader);
  if (options->steps > 0 && (steps == 0 || options->steps < steps)) {
    return options->steps;
  }
  return steps;
}

static void report(tr_context *ctx, const tr_report *result)
{
  tr_log_root(ctx,
              "done: %lld steps  test accuracy %.4f  test loss %.4f  "
              "%.0f samples/s  params %016" PRIx64,
              (long long)result->steps, result->test_accuracy,
              result->test_loss, result->samples_per_s, result->params_hash);
}

int main(int argc, char **argv)
{
  example_options options;
  tr_context *ctx;
  open_context(argc, argv, &options, &ctx);
  if (options.help) {
    if (tr_context_rank(ctx) == 0) {
      example_options_help("train_classifier", stdout);
    }
    tr_context_destroy(&ctx);
    return EXIT_SUCCESS;
  }
  stop_on_signals(ctx);

  tr_dataset *data[2];
  tr_loader *loaders[2];
  open_data(ctx, &options, data, loaders);
  tr_model *net;
  build_model(ctx, &options, data[0], &net);
  tr_optimizer *opt;
  int64_t steps = run_length(&options, loaders[0]);
  TR_MUST(example_optimizer_create(&options, net, steps, &opt));

  tr_trainer *trainer;
  const tr_trainer_opts opts = {
      .model = net,
      .optimizer = opt,
      .loader = loaders[0],
      .test_loader = loaders[1],
      .epochs = options.epochs,
      .steps = options.steps,
      .checkpoint_dir = options.no_checkpoint ? NULL : options.checkpoint,
      .save_every = options.save_every,
      .on_save_error = strcmp(options.on_save_error, "stop") == 0
                           ? TR_SAVE_ERROR_STOP
                           : TR_SAVE_ERROR_WARN,
      .log_path = options.log,
      .progress = stdout};
  TR_MUST(tr_trainer_create(ctx, &opts, &trainer));
  if (options.resume) {
    TR_MUST(tr_trainer_resume(trainer));
  }
  tr_report result;
  TR_MUST(tr_trainer_fit(trainer, &result));
  report(ctx, &result);

  tr_trainer_destroy(&trainer); /* in the reverse order of creation */
  tr_optimizer_destroy(&opt);
  tr_model_destroy(&net);
  for (int i = 1; i >= 0; i--) {
    tr_loader_destroy(&loaders[i]);
    tr_dataset_destroy(&data[i]);
  }
  tr_context_destroy(&ctx);
  return EXIT_SUCCESS;
}
