/* Train one of the networks and print every bit of what comes out:
 *
 *   train_bits --list                         the cases, each with its ranks
 *   mpirun -n RANKS train_bits CASE FILE      FILE is a text for the gpt cases
 *     [--save DIR]                            end after half the epochs, saved
 *     [--resume DIR]                          begin from there
 *
 * Rank 0 prints the loss of each step and of the evaluation after each epoch as
 * hexadecimal floats, then the hash of the parameters. */
#include "bits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 32, NUM_TRAIN = 15 * BATCH + 7, NUM_TEST = 45, EPOCHS = 2 };

typedef struct arrays {
  float *x, *targets;
  int32_t *y;
} arrays;

typedef struct training {
  const bits_case *what;
  const char *text, *save, *resume;
  int is_root;
  tr_context *ctx;
  arrays arrays[2];
  tr_dataset *data[2];
  tr_loader *train, *test;
  tr_model *net;
  tr_optimizer *opt;
  tr_trainer *trainer;
} training;

/* Uniform in [0, 1): splitmix64. */
static double uniform(uint64_t place)
{
  uint64_t z = (place + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static void *allocate(int64_t count, size_t size)
{
  void *memory = calloc((size_t)count, size);
  if (memory == NULL) {
    exit(69);
  }
  return memory;
}

/* A sample's first numbers lean towards its class, so that there is something
 * to learn; a target is the mean of neighbours in the first channel. */
static void fill_arrays(const bits_network *net, int is_test, arrays *out)
{
  int64_t num = is_test ? NUM_TEST : NUM_TRAIN;
  int64_t width = tr_shape_count(&net->shape);
  int64_t wanted = tr_shape_count(&net->target_shape);
  uint64_t from = is_test ? 1u << 30 : 0;
  out->x = allocate(num * width, sizeof(float));
  out->y = allocate(num, sizeof(int32_t));
  out->targets = allocate(num * wanted, sizeof(float));
  for (int64_t i = 0; i < num; i++) {
    float *x = out->x + i * width;
    for (int64_t k = 0; k < width; k++) {
      x[k] = (float)(2 * uniform(from + (uint64_t)(i * width + k)) - 1);
    }
    if (net->data == CLASSES) {
      out->y[i] = (int32_t)(uniform(from + (uint64_t)(i * width) + (1u << 29)) *
                            (double)net->classes);
      x[out->y[i]] += 1;
    }
    for (int64_t k = 0; k < wanted; k++) {
      out->targets[i * wanted + k] = (x[k] + x[(k + 1) % wanted]) / 2;
    }
  }
}

static void open_data(training *t, int is_test, tr_loader **loader)
{
  const bits_network *net = t->what->network;
  arrays *own = &t->arrays[is_test];
  tr_dataset **data = &t->data[is_test];
  if (net->data == TEXT) {
    const tr_text_opts text = {.context = net->shape.dims[0],
                               .split = is_test ? "test" : "train"};
    TR_MUST(tr_text_open(t->ctx, t->text, &text, data));
  } else {
    fill_arrays(net, is_test, own);
    const tr_array_opts opts = {.x = own->x,
                                .y = net->data == CLASSES ? own->y : NULL,
                                .targets =
                                    net->data == NUMBERS ? own->targets : NULL,
                                .num_samples = is_test ? NUM_TEST : NUM_TRAIN,
                                .num_classes = net->classes,
                                .shape = net->shape,
                                .target_shape = net->target_shape,
                                .single = 1};
    TR_MUST(tr_array_open(t->ctx, &opts, data));
  }
  const tr_loader_opts opts = {.batch = BATCH, .shuffle = !is_test};
  TR_MUST(tr_loader_create(t->ctx, *data, &opts, loader));
}

static void create_optimizer(training *t)
{
  const tr_update_opts update = {.clip_norm = t->what->clip_norm,
                                 .shard_state = t->what->zero1};
  tr_adam_opts adam =
      t->what->optimizer == ADAM ? tr_adam_defaults() : tr_adamw_defaults();
  tr_sgd_opts sgd = {.lr = 0.05, .weight_decay = 5e-4, .update = update};
  tr_rmsprop_opts rmsprop = tr_rmsprop_defaults();
  tr_adagrad_opts adagrad = tr_adagrad_defaults();
  tr_muon_opts muon = tr_muon_defaults();
  adam.update = rmsprop.update = adagrad.update = muon.update = update;
  adam.schedule =
      (tr_schedule){.kind = TR_SCHEDULE_COSINE, .warmup = 5, .total = 40};
  rmsprop.lr = 1e-3;
  switch (t->what->optimizer) {
  case ADAM:
    TR_MUST(tr_adam_create(t->net, &adam, &t->opt));
    break;
  case ADAMW:
    TR_MUST(tr_adamw_create(t->net, &adam, &t->opt));
    break;
  case MOMENTUM:
    sgd.momentum = 0.9;
    TR_MUST(tr_sgd_create(t->net, &sgd, &t->opt));
    break;
  case SGD:
    TR_MUST(tr_sgd_create(t->net, &sgd, &t->opt));
    break;
  case RMSPROP:
    TR_MUST(tr_rmsprop_create(t->net, &rmsprop, &t->opt));
    break;
  case ADAGRAD:
    TR_MUST(tr_adagrad_create(t->net, &adagrad, &t->opt));
    break;
  case MUON:
    TR_MUST(tr_muon_create(t->net, &muon, &t->opt));
    break;
  }
}

static int num_parts(const training *t)
{
  return t->what->micro_batches > 0 ? t->what->micro_batches : 1;
}

static int num_epochs(const training *t)
{
  return EPOCHS * num_parts(t);
}

static void create(training *t)
{
  const bits_case *what = t->what;
  const tr_context_opts opts = {.threads =
                                    what->threads > 0 ? what->threads : 1,
                                .seed = 7,
                                .device = what->device,
                                .dtype = what->dtype,
                                .wire = what->wire,
                                .virtual_shards = what->shards};
  TR_MUST(tr_context_create_auto(&opts, &t->ctx));
  t->is_root = tr_context_rank(t->ctx) == 0;
  open_data(t, 0, &t->train);
  open_data(t, 1, &t->test);
  TR_MUST(tr_model_create(t->ctx, &t->net));
  what->network->build(t->net, tr_dataset_shape(t->data[0]),
                       tr_dataset_num_classes(t->data[0]));
  if (what->frozen != NULL) {
    TR_MUST(tr_model_freeze(t->net, what->frozen, 1));
  }
  TR_MUST(tr_model_build(t->net, NULL));
  create_optimizer(t);
  const tr_trainer_opts trainer = {.model = t->net,
                                   .optimizer = t->opt,
                                   .loader = t->train,
                                   .test_loader = t->test,
                                   .epochs = num_epochs(t)};
  TR_MUST(tr_trainer_create(t->ctx, &trainer, &t->trainer));
}

static void print_number(const training *t, const char *what, double value)
{
  if (t->is_root) {
    printf("%s %a\n", what, value);
  }
}

static void step_explicitly(training *t, int is_last)
{
  TR_MUST(tr_model_backward(t->net));
  if (is_last) {
    TR_MUST(tr_model_allreduce_grads(t->net));
    TR_MUST(tr_optimizer_step(t->opt));
  }
}

static void run_epoch(training *t)
{
  tr_batch batch;
  double loss, accuracy;
  int parts = num_parts(t);
  for (int i = 1; tr_loader_next(t->train, &batch); i++) {
    if (t->what->loop == TRAINER_STEP) {
      TR_MUST(tr_trainer_step(t->trainer, &batch));
    } else {
      TR_MUST(tr_model_forward(t->net, &batch));
      step_explicitly(t, i % parts == 0);
    }
    if (i % parts == 0) {
      TR_MUST(tr_model_loss(t->net, &loss));
      print_number(t, "loss", loss);
    }
  }
  TR_MUST(tr_loader_status(t->train));
  TR_MUST(tr_trainer_evaluate(t->trainer, t->test, &loss, &accuracy));
  print_number(t, "test loss", loss);
  print_number(t, "test accuracy", accuracy);
}

static void fit(training *t)
{
  tr_report report;
  TR_MUST(tr_trainer_fit(t->trainer, &report));
  print_number(t, "loss", report.train_loss);
  print_number(t, "test loss", report.test_loss);
  print_number(t, "test accuracy", report.test_accuracy);
}

static void train(training *t)
{
  const tr_checkpoint run = {.model = t->net,
                             .optimizer = t->opt,
                             .loader = t->train,
                             .must_exist = 1};
  int end = t->save != NULL ? num_epochs(t) / 2 : num_epochs(t);
  if (t->resume != NULL) {
    TR_MUST(tr_checkpoint_resume(t->ctx, t->resume, &run));
  }
  if (t->what->loop == TRAINER_FIT) {
    fit(t);
  } else {
    while (tr_loader_epoch(t->train) < end) {
      run_epoch(t);
    }
  }
  if (t->save != NULL) {
    TR_MUST(tr_checkpoint_save(t->ctx, t->save, &run));
  }
  uint64_t hash;
  TR_MUST(tr_model_params_hash(t->net, &hash));
  if (t->is_root) {
    printf("params_hash %016llx\n", (unsigned long long)hash);
  }
}

static void destroy(training *t)
{
  tr_trainer_destroy(&t->trainer);
  tr_optimizer_destroy(&t->opt);
  tr_model_destroy(&t->net);
  tr_loader_destroy(&t->test);
  tr_loader_destroy(&t->train);
  for (int i = 1; i >= 0; i--) {
    tr_dataset_destroy(&t->data[i]);
    free(t->arrays[i].targets);
    free(t->arrays[i].y);
    free(t->arrays[i].x);
  }
  tr_context_destroy(&t->ctx);
}

static const bits_case *find_case(const char *name)
{
  for (int i = 0; i < bits_num_cases; i++) {
    if (strcmp(bits_cases[i].name, name) == 0) {
      return &bits_cases[i];
    }
  }
  return NULL;
}

int main(int argc, char **argv)
{
  if (argc == 2 && strcmp(argv[1], "--list") == 0) {
    for (int i = 0; i < bits_num_cases; i++) {
      int ranks = bits_cases[i].ranks;
      printf("%s %d\n", bits_cases[i].name, ranks > 0 ? ranks : 1);
    }
    return 0;
  }
  training t = {.what = argc > 2 ? find_case(argv[1]) : NULL};
  if (t.what == NULL || argc % 2 == 0) {
    fprintf(stderr, "usage: train_bits --list | CASE FILE [--save DIR] "
                    "[--resume DIR]\n");
    return 2;
  }
  t.text = argv[2];
  for (int i = 3; i + 1 < argc; i += 2) {
    *(strcmp(argv[i], "--save") == 0 ? &t.save : &t.resume) = argv[i + 1];
  }
  create(&t);
  train(&t);
  destroy(&t);
  return 0;
}
