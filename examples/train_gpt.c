/* Train a character model on a text:  mpirun -n 2 train_gpt --data input.txt
 *
 * A transformer learns each character from up to 128 before it, on all ranks
 * of the job, with checkpoints as in train_classifier; at the end it writes a
 * text of its own. */
#include "models.h"
#include "program.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 128, BATCH = 16, SAMPLED = 400 };

static void open_data(tr_context *ctx,
                      const example_options *options,
                      tr_dataset *data[2],
                      tr_loader *loaders[2])
{
  const char *splits[2] = {"train", "test"};
  for (int i = 0; i < 2; i++) {
    const tr_text_opts text = {.context = CONTEXT, .split = splits[i]};
    const tr_loader_opts opts = {.batch = options->batch > 0 ? options->batch
                                                             : BATCH,
                                 .shuffle = i == 0 && !options->no_shuffle};
    TR_MUST(tr_text_open(ctx, options->data, &text, &data[i]));
    TR_MUST(tr_loader_create(ctx, data[i], &opts, &loaders[i]));
  }
}

static tr_node build_model(tr_context *ctx,
                           const example_options *options,
                           const tr_dataset *data,
                           tr_model **net)
{
  const example_gpt_opts opts = {.layers = 4, .heads = 6, .width = 192};
  TR_MUST(tr_model_create(ctx, net));
  tr_node logits = example_gpt_sized(*net, tr_dataset_shape(data),
                                     tr_dataset_num_classes(data), &opts);
  TR_MUST(tr_model_build(*net, NULL));
  if (options->init != NULL) {
    TR_MUST(tr_model_load(*net, options->init));
  }
  if (options->print_plan && tr_context_rank(ctx) == 0) {
    TR_MUST(tr_model_print_plan(*net, stdout));
  }
  return logits;
}

/* What the sampling of one text keeps. */
typedef struct writer {
  tr_model *net;
  tr_node logits;
  int64_t classes;
  int is_double;
  void *values; /* (CONTEXT, classes) */
  uint64_t state;
  int32_t ids[CONTEXT];
  int64_t length;
} writer;

/* Marsaglia's xorshift, 64 bits; uniform in [0, 1). */
static double next_uniform(writer *w)
{
  w->state ^= w->state << 13;
  w->state ^= w->state >> 7;
  w->state ^= w->state << 17;
  return (double)(w->state >> 11) / 9007199254740992.0;
}

static double logit(const writer *w, int64_t k)
{
  int64_t i = (w->length - 1) * w->classes + k;
  return w->is_double ? ((const double *)w->values)[i]
                      : (double)((const float *)w->values)[i];
}

/* Draws by softmax(logits / 0.8): a little more careful than it learned. */
static int32_t draw(writer *w)
{
  const double temperature = 0.8;
  double largest = logit(w, 0), sum = 0;
  for (int64_t k = 1; k < w->classes; k++) {
    largest = fmax(largest, logit(w, k));
  }
  for (int64_t k = 0; k < w->classes; k++) {
    sum += exp((logit(w, k) - largest) / temperature);
  }
  double left = next_uniform(w) * sum;
  for (int64_t k = 0; k < w->classes; k++) {
    left -= exp((logit(w, k) - largest) / temperature);
    if (left < 0) {
      return (int32_t)k;
    }
  }
  return (int32_t)(w->classes - 1);
}

/* The next character behind the ids. What lies behind them in the window is
 * seen by none of them. */
static int32_t write_next(writer *w)
{
  static const int32_t targets[CONTEXT];
  const tr_batch batch = {.count = 1,
                          .global_count = 1,
                          .inputs = {w->ids},
                          .targets = {targets},
                          .target_values = {CONTEXT}};
  TR_MUST(tr_model_forward(w->net, &batch));
  TR_MUST(tr_model_get_output(w->net, w->logits, w->values));
  int32_t id = draw(w);
  if (w->length == CONTEXT) {
    /* The window moves on by half of it, not by one: cheaper, and no worse. */
    w->length = CONTEXT / 2;
    memmove(w->ids, w->ids + CONTEXT / 2, sizeof w->ids / 2);
  }
  w->ids[w->length++] = id;
  return id;
}

static void
write_text(const example_options *options, const tr_dataset *data, writer *w)
{
  w->classes = tr_dataset_num_classes(data);
  w->is_double = strcmp(options->dtype, "f64") == 0;
  w->state = 0x9e3779b97f4a7c15u ^ (uint64_t)options->seed;
  w->values = malloc((size_t)(CONTEXT * w->classes) * sizeof(double));
  if (w->values == NULL) {
    TR_MUST(tr_error_set(TR_ENOMEM, "no memory to write a text"));
  }
  /* It begins behind a line's end, where the text has lines. */
  for (int64_t id = 0; id < w->classes; id++) {
    w->ids[0] = tr_text_code(data, id) == '\n' ? (int32_t)id : w->ids[0];
  }
  w->length = 1;
  tr_model_set_training(w->net, 0);
  for (int i = 0; i < SAMPLED; i++) {
    putchar(tr_text_code(data, write_next(w)));
  }
  putchar('\n');
  free(w->values);
}

/* What Muon leaves to AdamW, as Jordan 2024 advises. */
static const tr_param_group by_adamw[] = {
    {.pattern = "tok.*", .by_adamw = 1},
    {.pattern = "pos.*", .by_adamw = 1},
    {.pattern = "head.*", .by_adamw = 1},
};

int main(int argc, char **argv)
{
  example_options options;
  tr_context *ctx;
  example_open_context(argc, argv, &options, &ctx);
  if (options.help || options.data == NULL) {
    if (tr_context_rank(ctx) == 0 && options.help) {
      example_options_help("train_gpt", stdout);
    }
    if (!options.help) {
      tr_log_root(ctx, "train_gpt wants a text: --data FILE");
    }
    tr_context_destroy(&ctx);
    return options.help ? EXIT_SUCCESS : 2;
  }
  example_stop_on_signals(ctx);

  tr_dataset *data[2];
  example_run run;
  options.lr = options.lr < 0 ? 3e-4 : options.lr;
  options.by_adamw = by_adamw;
  options.num_by_adamw = sizeof by_adamw / sizeof by_adamw[0];
  open_data(ctx, &options, data, run.loaders);
  tr_node logits = build_model(ctx, &options, data[0], &run.net);
  example_train(ctx, &options, &run);
  if (tr_context_rank(ctx) == 0) {
    writer w = {.net = run.net, .logits = logits};
    write_text(&options, data[0], &w);
  }

  tr_model_destroy(&run.net); /* in the reverse order of creation */
  for (int i = 1; i >= 0; i--) {
    tr_loader_destroy(&run.loaders[i]);
    tr_dataset_destroy(&data[i]);
  }
  tr_context_destroy(&ctx);
  return EXIT_SUCCESS;
}
