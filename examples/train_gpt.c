/* Train a character model on a text:  mpirun -n 2 train_gpt --data input.txt
 *
 * A transformer learns each character from up to 128 before it, on all ranks
 * of the job, with checkpoints as in train_classifier; at the end it writes a
 * text of its own. With --generate it only writes, from the newest checkpoint:
 *
 *   train_gpt --data input.txt --generate --prompt "ROMEO:" --length 1000 */
#include "models.h"
#include "program.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 128, BATCH = 16 };

/* A run that goes on reads every text in the alphabet that it was trained in.
 */
static void open_data(tr_context *ctx,
                      const example_options *options,
                      tr_dataset *data[2],
                      tr_loader *loaders[2])
{
  const char *splits[2] = {"train", "test"};
  tr_alphabet alphabet = {.count = 0};
  if (options->resume || options->generate) {
    TR_MUST(tr_checkpoint_get_alphabet(ctx, options->checkpoint, &alphabet));
  }
  for (int i = 0; i < 2; i++) {
    const tr_text_opts text = {
        .context = CONTEXT, .split = splits[i], .alphabet = &alphabet};
    const tr_loader_opts opts = {.batch = options->batch,
                                 .shuffle = i == 0 && !options->no_shuffle};
    TR_MUST(tr_text_open(ctx, options->data, &text, &data[i]));
    TR_MUST(tr_loader_create(ctx, data[i], &opts, &loaders[i]));
  }
}

/* 0 where the text has no such character. */
static int32_t id_of(const tr_dataset *data, char character)
{
  int64_t id = tr_dataset_num_classes(data) - 1;
  while (id > 0 && tr_text_code(data, id) != (unsigned char)character) {
    id--;
  }
  return (int32_t)id;
}

/* Before training, so that nobody waits for it in vain. */
static void
check_prompt(tr_context *ctx, const tr_dataset *data, const char *prompt)
{
  tr_status status = TR_OK;
  for (const char *c = prompt; *c != '\0'; c++) {
    if (tr_text_code(data, id_of(data, *c)) != (unsigned char)*c) {
      status = tr_error_set(TR_EUSAGE, "--prompt has a character that the text "
                                       "has not");
    }
  }
  TR_MUST(tr_context_agree(ctx, status));
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
  example_build(options, *net, NULL);
  return logits;
}

/* What the writing of one text keeps. */
typedef struct writer {
  tr_inference *plan;
  tr_node logits;
  int64_t classes;
  double temperature;
  int is_double;
  void *values; /* (CONTEXT, classes): the logits behind each character */
  uint64_t state;
  int32_t ids[CONTEXT]; /* the characters that the next one follows */
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

/* Draws by softmax(logits / temperature); the most likely one where that is 0.
 */
static int32_t draw(writer *w)
{
  int64_t best = 0;
  for (int64_t k = 1; k < w->classes; k++) {
    best = logit(w, k) > logit(w, best) ? k : best;
  }
  if (w->temperature == 0) {
    return (int32_t)best;
  }
  double largest = logit(w, best), sum = 0;
  for (int64_t k = 0; k < w->classes; k++) {
    sum += exp((logit(w, k) - largest) / w->temperature);
  }
  double left = next_uniform(w) * sum;
  for (int64_t k = 0; k < w->classes; k++) {
    left -= exp((logit(w, k) - largest) / w->temperature);
    if (left < 0) {
      return (int32_t)k;
    }
  }
  return (int32_t)best;
}

static void append(writer *w, int32_t id)
{
  if (w->length == CONTEXT) {
    /* The window moves on by half of it, not by one: that is as good. */
    w->length = CONTEXT / 2;
    memmove(w->ids, w->ids + CONTEXT / 2, sizeof w->ids / 2);
  }
  w->ids[w->length++] = id;
}

/* The next character behind the ids. What lies behind them in the window is
 * seen by none of them. */
static int32_t write_next(writer *w)
{
  const tr_batch batch = {.count = 1, .inputs = {w->ids}};
  TR_MUST(tr_inference_forward(w->plan, &batch));
  TR_MUST(tr_inference_get_output(w->plan, w->logits, w->values));
  int32_t id = draw(w);
  append(w, id);
  return id;
}

static void write_text(const example_options *options,
                       const tr_dataset *data,
                       tr_model *net,
                       tr_node logits)
{
  writer w = {.logits = logits,
              .classes = tr_dataset_num_classes(data),
              .temperature = options->temperature,
              .is_double = strcmp(options->dtype, "f64") == 0,
              .state = 0x9e3779b97f4a7c15u ^ (uint64_t)options->seed};
  w.values = malloc((size_t)(CONTEXT * w.classes) * sizeof(double));
  if (w.values == NULL) {
    TR_MUST(tr_error_set(TR_ENOMEM, "no memory to write a text"));
  }
  TR_MUST(tr_inference_create(net, &(tr_inference_opts){.batch = 1}, &w.plan));
  fputs(options->prompt, stdout);
  const char *first = options->prompt[0] != '\0' ? options->prompt : "\n";
  for (const char *c = first; *c != '\0'; c++) {
    append(&w, id_of(data, *c));
  }
  for (int64_t i = 0; i < options->length; i++) {
    putchar(tr_text_code(data, write_next(&w)));
  }
  putchar('\n');
  tr_inference_destroy(&w.plan);
  free(w.values);
}

/* What Muon leaves to AdamW, as Jordan 2024 advises. */
static const tr_param_group by_adamw[] = {
    {.pattern = "tok.*", .by_adamw = 1},
    {.pattern = "pos.*", .by_adamw = 1},
    {.pattern = "head.*", .by_adamw = 1},
};

int main(int argc, char **argv)
{
  example_options options = example_options_of(TRAIN_GPT);
  options.batch = BATCH;
  options.lr = 3e-4;
  options.prompt = "";
  tr_context *ctx;
  if (!example_open_context(argc, argv, &options, &ctx)) {
    return EXIT_SUCCESS;
  }
  if (options.data == NULL) {
    tr_error_set(TR_EUSAGE, "train_gpt wants a text: --data FILE");
    TR_MUST(tr_context_agree(ctx, TR_EUSAGE));
  }
  example_stop_on_signals(ctx);

  tr_dataset *data[2];
  example_run run;
  options.title = "gpt";
  options.by_adamw = by_adamw;
  options.num_by_adamw = sizeof by_adamw / sizeof by_adamw[0];
  open_data(ctx, &options, data, run.loaders);
  check_prompt(ctx, data[0], options.prompt);
  tr_node logits = build_model(ctx, &options, data[0], &run.net);
  if (options.generate) {
    const tr_checkpoint saved = {.model = run.net,
                                 .allow_changes = options.allow_changes,
                                 .take_over = options.take_over,
                                 .must_exist = 1};
    TR_MUST(tr_checkpoint_resume(ctx, options.checkpoint, &saved));
  } else {
    example_train(ctx, &options, &run);
  }
  if (tr_context_rank(ctx) == 0) {
    tr_context_work_begin(ctx); /* the others wait for as long as it takes */
    write_text(&options, data[0], run.net, logits);
    tr_context_work_end(ctx);
  }

  tr_model_destroy(&run.net); /* in the reverse order of creation */
  for (int i = 1; i >= 0; i--) {
    tr_loader_destroy(&run.loaders[i]);
    tr_dataset_destroy(&data[i]);
  }
  example_close_context(&ctx);
  return EXIT_SUCCESS;
}
