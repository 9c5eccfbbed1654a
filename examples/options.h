/* The command line of the training programs. */
#ifndef EXAMPLE_OPTIONS_H
#define EXAMPLE_OPTIONS_H

#include <train/train.h>

/* Which programs have an option. */
typedef enum example_program {
  TRAIN_CLASSIFIER = 1,
  TRAIN_GPT = 2,
  TRAIN_SURROGATE = 4
} example_program;

typedef struct example_options {
  example_program program;
  const char *model, *data, *optimizer, *schedule, *dtype, *device, *init,
      *wire;
  const char *checkpoint, *log, *trace, *conv, *on_save_error, *on_nonfinite;
  int64_t batch, epochs, steps, warmup, save_every, virtual_shards;
  int64_t threads, seed;
  double lr, weight_decay; /* negative: the optimizer's default */
  double stall_timeout;    /* seconds; negative: none */
  double clip_norm;        /* 0: gradients are taken as they are */
  int no_shuffle, resume, take_over, allow_changes, no_checkpoint, print_plan,
      zero1, help, version;
  /* of train_gpt, which writes a text */
  const char *prompt; /* "": a line's end */
  int64_t length;
  double temperature;
  int generate;
  /* The program's, not the command line's: what Muon leaves to AdamW. */
  const tr_param_group *by_adamw;
  int num_by_adamw;
  const char *title; /* what is trained, for people */
  char command[512]; /* how the program was started, for the log */
} example_options;

/* example_options_of - a program's options before its command line is read; it
 * may set other defaults. */
example_options example_options_of(example_program program);

/* example_options_parse - read the command line over the defaults.
 *
 * On failure *problem says what is wrong with which option, and the status is
 * TR_EUSAGE, or TR_EUNSUPPORTED for what this version cannot do. */
tr_status example_options_parse(int argc,
                                char **argv,
                                example_options *options,
                                char problem[256]);

/* example_options_help - what the program's options are, and their defaults. */
void example_options_help(const example_options *defaults, FILE *out);

/* example_optimizer_create - the optimizer that the options name; `steps` is
 * the length of the run, for the schedule. */
tr_status example_optimizer_create(const example_options *options,
                                   tr_model *net,
                                   int64_t steps,
                                   tr_optimizer **out);

#endif
