#include "options.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef enum kind { TEXT, COUNT, NUMBER, FLAG } kind;

/* One option: where its value goes and what it may be. */
typedef struct entry {
  const char *name, *value, *help;
  const char *unset; /* what happens without the option; NULL: its default */
  int programs;      /* that have it; 0: all */
  kind kind;
  size_t offset;
  const char *choices; /* of a TEXT, separated by '|'; NULL: any */
  const char *missing; /* choices that a later version brings */
  double least, most;  /* of COUNT and NUMBER */
} entry;

#define AT(field) .offset = offsetof(example_options, field)
#define CHOICE(option, values, field)                                          \
  .name = (option), .value = "NAME", .help = (values), .choices = (values),    \
  AT(field)

static const entry table[] = {
    {CHOICE("model", "mlp|convnet|resnet18|resnet50", model),
     .programs = TRAIN_CLASSIFIER},
    {.name = "data",
     .value = "PATH",
     .help = "HDF5 file or folder of IDX files",
     .unset = "embedded digits",
     .programs = TRAIN_CLASSIFIER,
     AT(data)},
    {.name = "data",
     .value = "FILE",
     .help = "the text to learn from; required",
     .programs = TRAIN_GPT,
     AT(data)},
    {.name = "batch",
     .value = "N",
     .help = "samples per step, over all ranks",
     .kind = COUNT,
     AT(batch),
     .least = 1,
     .most = 1e9},
    {.name = "epochs",
     .value = "N",
     .help = "end after N epochs",
     .unset = "10, unless --steps says when",
     .kind = COUNT,
     AT(epochs),
     .least = 1,
     .most = 1e9},
    {.name = "steps",
     .value = "N",
     .help = "end after N steps",
     .kind = COUNT,
     AT(steps),
     .least = 1,
     .most = 1e15},
    {CHOICE("optimizer", "sgd|momentum|adam|adamw|muon", optimizer)},
    {.name = "lr",
     .value = "X",
     .help = "learning rate",
     .unset = "0.001 for Adam, 0.01 for SGD",
     .kind = NUMBER,
     AT(lr),
     .least = 1e-30,
     .most = 1e30},
    {CHOICE("schedule", "constant|cosine|step", schedule)},
    {.name = "warmup",
     .value = "N",
     .help = "steps in which the rate rises to its value",
     .unset = "0",
     .kind = COUNT,
     AT(warmup),
     .most = 1e15},
    {.name = "weight-decay",
     .value = "X",
     .help = "how fast weights shrink",
     .unset = "PyTorch's for the optimizer",
     .kind = NUMBER,
     AT(weight_decay),
     .most = 1e30},
    {.name = "clip-norm",
     .value = "X",
     .help = "scale larger gradients down to this norm",
     .unset = "never",
     .kind = NUMBER,
     AT(clip_norm),
     .most = 1e30},
    {.name = "zero1",
     .help = "each rank keeps only its share of the optimizer's state",
     .kind = FLAG,
     AT(zero1)},
    {CHOICE("wire", "full|bf16", wire)},
    {CHOICE("dtype", "f32|f64|bf16|f16", dtype),
     .programs = TRAIN_CLASSIFIER | TRAIN_GPT},
    {CHOICE("conv", "auto|exact", conv)},
    {CHOICE("device", "cpu|reference|strict|cuda", device), .missing = "cuda"},
    {.name = "threads",
     .value = "N",
     .help = "of each rank",
     .unset = "its share of the CPUs",
     .kind = COUNT,
     AT(threads),
     .least = 1,
     .most = 4096},
    {.name = "seed",
     .value = "N",
     .help = "of everything random",
     .unset = "0",
     .kind = COUNT,
     AT(seed),
     .most = 1e18},
    {.name = "no-shuffle",
     .help = "take the samples in their order",
     .kind = FLAG,
     AT(no_shuffle)},
    {.name = "init",
     .value = "FILE",
     .help = "first parameters from an HDF5 file",
     AT(init)},
    {.name = "checkpoint",
     .value = "DIR",
     .help = "where checkpoints are kept",
     AT(checkpoint)},
    {.name = "no-checkpoint",
     .help = "keep none",
     .kind = FLAG,
     AT(no_checkpoint)},
    {.name = "save-every",
     .value = "STEPS",
     .help = "between checkpoints",
     .unset = "an epoch",
     .kind = COUNT,
     AT(save_every),
     .least = 1,
     .most = 1e15},
    {CHOICE("on-save-error", "warn|stop", on_save_error)},
    {CHOICE("on-nonfinite", "stop|skip|rollback|ignore", on_nonfinite)},
    {.name = "resume",
     .help = "continue from the newest checkpoint",
     .kind = FLAG,
     AT(resume)},
    {.name = "allow-changes",
     .help = "resume though options of layers differ from the saved ones",
     .kind = FLAG,
     AT(allow_changes)},
    {.name = "log", .value = "FILE", .help = "one JSON line per step", AT(log)},
    {.name = "stall-timeout",
     .value = "SECONDS",
     .help = "for a rank that others wait for; -1: none",
     .kind = NUMBER,
     AT(stall_timeout),
     .least = -1,
     .most = 1e9},
    {.name = "trace",
     .value = "FILE",
     .help = "what every rank did when, for a browser's trace viewer",
     AT(trace)},
    {.name = "virtual-shards",
     .value = "V",
     .help = "cut each batch into V parts: the same bits on 1 to V ranks",
     .unset = "none",
     .kind = COUNT,
     AT(virtual_shards),
     .least = 1,
     .most = 1e6},
    {.name = "generate",
     .help = "only write, from the newest checkpoint",
     .kind = FLAG,
     .programs = TRAIN_GPT,
     AT(generate)},
    {.name = "prompt",
     .value = "TEXT",
     .help = "what the written text begins with",
     .unset = "a new line",
     .programs = TRAIN_GPT,
     AT(prompt)},
    {.name = "length",
     .value = "N",
     .help = "characters to write",
     .kind = COUNT,
     .programs = TRAIN_GPT,
     AT(length),
     .most = 1e9},
    {.name = "temperature",
     .value = "X",
     .help = "1: as it learned; less: more careful; 0: the likeliest",
     .kind = NUMBER,
     .programs = TRAIN_GPT,
     AT(temperature),
     .most = 100},
    {.name = "print-plan",
     .help = "show layers, shapes and bytes before training",
     .kind = FLAG,
     AT(print_plan)},
    {.name = "help", .help = "show this", .kind = FLAG, AT(help)},
};

enum { NUM_OPTIONS = sizeof table / sizeof table[0] };

static int has_option(example_program program, const entry *option)
{
  return option->programs == 0 || (option->programs & (int)program) != 0;
}

static const void *field_of(const example_options *options, const entry *option)
{
  return (const char *)options + option->offset;
}

/* The default in brackets: a value, or else in words. */
static void write_default(const example_options *defaults,
                          const entry *option,
                          char text[64])
{
  const void *field = field_of(defaults, option);
  const char *name = option->unset;
  double number = 0;
  if (option->kind == COUNT) {
    number = (double)*(const int64_t *)field;
  }
  if (option->kind == NUMBER) {
    number = *(const double *)field;
  }
  if (option->kind == TEXT && option->unset == NULL) {
    name = *(const char *const *)field;
  }
  text[0] = '\0';
  if (number > 0) {
    snprintf(text, 64, " [%g]", number);
  } else if (name != NULL) {
    snprintf(text, 64, " [%s]", name);
  }
}

void example_options_help(const example_options *defaults, FILE *out)
{
  static const char *const names[] = {[TRAIN_CLASSIFIER] = "train_classifier",
                                      [TRAIN_GPT] = "train_gpt",
                                      [TRAIN_SURROGATE] = "train_surrogate"};
  fprintf(out, "usage: %s [options]\n", names[defaults->program]);
  for (int i = 0; i < NUM_OPTIONS; i++) {
    if (!has_option(defaults->program, &table[i])) {
      continue;
    }
    char left[64], unset[64];
    const char *value = table[i].value;
    snprintf(left, sizeof left, "--%s%s%s", table[i].name,
             value != NULL ? " " : "", value != NULL ? value : "");
    write_default(defaults, &table[i], unset);
    fprintf(out, "  %-22s %s%s\n", left, table[i].help, unset);
  }
}

static int is_choice(const char *choices, const char *value)
{
  size_t length = strlen(value);
  while (choices != NULL) {
    const char *bar = strchr(choices, '|');
    size_t width = bar != NULL ? (size_t)(bar - choices) : strlen(choices);
    if (width == length && strncmp(choices, value, length) == 0) {
      return 1;
    }
    choices = bar != NULL ? bar + 1 : NULL;
  }
  return 0;
}

static tr_status
set_text(const entry *option, const char *value, void *field, char problem[256])
{
  if (option->choices != NULL && !is_choice(option->choices, value)) {
    snprintf(problem, 256, "--%s is \"%.60s\", expected %s", option->name,
             value, option->choices);
    return TR_EUSAGE;
  }
  if (is_choice(option->missing, value)) {
    snprintf(problem, 256, "--%s %s is not supported by libtrain %s",
             option->name, value, tr_version());
    return TR_EUNSUPPORTED;
  }
  memcpy(field, &value, sizeof value);
  return TR_OK;
}

static tr_status set_number(const entry *option,
                            const char *value,
                            void *field,
                            char problem[256])
{
  char *end;
  errno = 0;
  double number = strtod(value, &end);
  int is_number = end != value && *end == '\0' && errno == 0;
  int is_whole = number == floor(number);
  if (!is_number || !(number >= option->least && number <= option->most) ||
      (option->kind == COUNT && !is_whole)) {
    snprintf(problem, 256, "--%s is \"%.60s\", expected %s from %g to %g",
             option->name, value,
             option->kind == COUNT ? "a whole number" : "a number",
             option->least, option->most);
    return TR_EUSAGE;
  }
  if (option->kind == NUMBER) {
    memcpy(field, &number, sizeof number);
    return TR_OK;
  }
  /* Read again as an integer: a double holds only 53 bits of a seed. */
  int64_t count = strtoll(value, &end, 10);
  if (*end != '\0') {
    count = (int64_t)number;
  }
  memcpy(field, &count, sizeof count);
  return TR_OK;
}

static const entry *find_option(example_program program, const char *argument)
{
  for (int i = 0; i < NUM_OPTIONS && strncmp(argument, "--", 2) == 0; i++) {
    if (strcmp(argument + 2, table[i].name) == 0 &&
        has_option(program, &table[i])) {
      return &table[i];
    }
  }
  return NULL;
}

static tr_status check_together(const example_options *options,
                                char problem[256])
{
  if (options->resume && options->no_checkpoint) {
    snprintf(problem, 256, "--resume and --no-checkpoint exclude each other");
    return TR_EUSAGE;
  }
  return TR_OK;
}

example_options example_options_of(example_program program)
{
  return (example_options){.program = program,
                           .model = "mlp",
                           .batch = 64,
                           .optimizer = "adamw",
                           .schedule = "constant",
                           .dtype = "f32",
                           .wire = "full",
                           .device = "cpu",
                           .conv = "auto",
                           .checkpoint = "run",
                           .on_save_error = "warn",
                           .on_nonfinite = "ignore",
                           .stall_timeout = 120,
                           .lr = -1,
                           .weight_decay = -1,
                           .length = 400,
                           .temperature = 0.8};
}

static tr_status
parse(int argc, char **argv, example_options *options, char problem[256])
{
  for (int i = 1; i < argc; i++) {
    const entry *option = find_option(options->program, argv[i]);
    if (option == NULL) {
      snprintf(problem, 256, "unknown option \"%.60s\"; --help lists them",
               argv[i]);
      return TR_EUSAGE;
    }
    void *field = (char *)options + option->offset;
    if (option->kind == FLAG) {
      memcpy(field, &(int){1}, sizeof(int));
      continue;
    }
    if (++i == argc) {
      snprintf(problem, 256, "--%s wants a value", option->name);
      return TR_EUSAGE;
    }
    tr_status status = option->kind == TEXT
                           ? set_text(option, argv[i], field, problem)
                           : set_number(option, argv[i], field, problem);
    if (status != TR_OK) {
      return status;
    }
  }
  if (options->epochs == 0 && options->steps == 0) {
    options->epochs = 10;
  }
  return check_together(options, problem);
}

/* Numbers have a decimal point, whatever the user's language is. */
tr_status example_options_parse(int argc,
                                char **argv,
                                example_options *options,
                                char problem[256])
{
  locale_t before = uselocale(newlocale(LC_ALL_MASK, "C", (locale_t)0));
  tr_status status = parse(argc, argv, options, problem);
  uselocale(before);
  return status;
}

static tr_schedule make_schedule(const example_options *options, int64_t steps)
{
  tr_schedule schedule = {.warmup = options->warmup, .total = steps};
  if (strcmp(options->schedule, "cosine") == 0) {
    schedule.kind = TR_SCHEDULE_COSINE;
  }
  if (strcmp(options->schedule, "step") == 0) {
    /* A tenth of the rate after each third of the run. */
    schedule.kind = TR_SCHEDULE_STEP;
    schedule.every = (steps + 2) / 3;
  }
  return schedule;
}

/* At AdamW's rates, which the last layer and what is no matrix have too. */
static tr_status create_muon(const example_options *options,
                             tr_model *net,
                             tr_schedule schedule,
                             tr_update_opts update,
                             tr_optimizer **out)
{
  tr_muon_opts muon = tr_muon_defaults();
  muon.scale = TR_MUON_SCALE_MATCH_RMS_ADAMW;
  muon.schedule = schedule;
  muon.update = update;
  muon.update.groups = options->by_adamw;
  muon.update.num_groups = options->num_by_adamw;
  if (options->lr >= 0) {
    muon.lr = muon.adamw_lr = options->lr;
  }
  if (options->weight_decay >= 0) {
    muon.weight_decay = muon.adamw_weight_decay = options->weight_decay;
  }
  return tr_muon_create(net, &muon, out);
}

static tr_nonfinite policy_of(const example_options *options)
{
  static const char *const names[] = {[TR_NONFINITE_IGNORE] = "ignore",
                                      [TR_NONFINITE_SKIP] = "skip",
                                      [TR_NONFINITE_STOP] = "stop",
                                      [TR_NONFINITE_ROLLBACK] = "rollback"};
  int policy = TR_NONFINITE_ROLLBACK;
  while (policy > 0 && strcmp(options->on_nonfinite, names[policy]) != 0) {
    policy--;
  }
  return (tr_nonfinite)policy;
}

tr_status example_optimizer_create(const example_options *options,
                                   tr_model *net,
                                   int64_t steps,
                                   tr_optimizer **out)
{
  const char *name = options->optimizer;
  tr_schedule schedule = make_schedule(options, steps);
  const tr_update_opts update = {.clip_norm = options->clip_norm,
                                 .on_nonfinite = policy_of(options),
                                 .shard_state = options->zero1};
  if (strcmp(name, "sgd") == 0 || strcmp(name, "momentum") == 0) {
    const tr_sgd_opts sgd = {
        .lr = options->lr < 0 ? 0.01 : options->lr,
        .momentum = strcmp(name, "momentum") == 0 ? 0.9 : 0,
        .weight_decay = options->weight_decay < 0 ? 0 : options->weight_decay,
        .schedule = schedule,
        .update = update};
    return tr_sgd_create(net, &sgd, out);
  }
  if (strcmp(name, "muon") == 0) {
    return create_muon(options, net, schedule, update, out);
  }
  int is_adamw = strcmp(name, "adamw") == 0;
  tr_adam_opts adam = is_adamw ? tr_adamw_defaults() : tr_adam_defaults();
  adam.lr = options->lr < 0 ? adam.lr : options->lr;
  if (options->weight_decay >= 0) {
    adam.weight_decay = options->weight_decay;
  }
  adam.schedule = schedule;
  adam.update = update;
  return is_adamw ? tr_adamw_create(net, &adam, out)
                  : tr_adam_create(net, &adam, out);
}
