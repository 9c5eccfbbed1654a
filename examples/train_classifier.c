/* Train a classifier:  mpirun -n 2 train_classifier --model convnet
 *
 * Reads images or vectors with a class each, trains a network on all ranks of
 * the job, keeps checkpoints, and with --resume continues from the newest. */
#include "models.h"
#include "program.h"

#include <stdlib.h>
#include <string.h>

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
  } else if (strcmp(options->model, "resnet18") == 0) {
    example_resnet18(*net, shape, classes);
  } else if (strcmp(options->model, "resnet50") == 0) {
    example_resnet50(*net, shape, classes);
  } else {
    example_mlp(*net, shape, classes);
  }
  int is_resnet = strncmp(options->model, "resnet", 6) == 0;
  example_build(options, *net, is_resnet ? example_resnet_init : NULL);
}

int main(int argc, char **argv)
{
  example_options options = example_options_of(TRAIN_CLASSIFIER);
  tr_context *ctx;
  if (!example_open_context(argc, argv, &options, &ctx)) {
    return EXIT_SUCCESS;
  }
  example_stop_on_signals(ctx);

  tr_dataset *data[2];
  example_run run;
  const tr_param_group last = {
      .pattern = strcmp(options.model, "mlp") == 0 ? "fc3.*" : "fc.*",
      .by_adamw = 1};
  options.title = options.model;
  options.by_adamw = &last;
  options.num_by_adamw = 1;
  open_data(ctx, &options, data, run.loaders);
  build_model(ctx, &options, data[0], &run.net);
  example_train(ctx, &options, &run);

  tr_model_destroy(&run.net); /* in the reverse order of creation */
  for (int i = 1; i >= 0; i--) {
    tr_loader_destroy(&run.loaders[i]);
    tr_dataset_destroy(&data[i]);
  }
  example_close_context(&ctx);
  return EXIT_SUCCESS;
}
