/* What the training programs share: options on all ranks, signals, building a
 * model, the trainer. */
#ifndef EXAMPLE_PROGRAM_H
#define EXAMPLE_PROGRAM_H

#include "options.h"

/* example_open_context - read the command line over the program's defaults and
 * open what it asks for.
 *
 * Returns 0 where help was asked for and shown: the program's work is done, and
 * *ctx is NULL. All ranks end together where an option is refused. */
int example_open_context(int argc,
                         char **argv,
                         example_options *options,
                         tr_context **ctx);

/* example_stop_on_signals - SIGINT, SIGTERM and SIGUSR1 end the run at a step,
 * with a checkpoint. A second SIGINT or SIGTERM ends the process at once, with
 * 128 and the signal's number, unless a checkpoint is being committed.
 * example_close_context - the last call; signals do not reach *ctx any more. */
void example_stop_on_signals(tr_context *ctx);
void example_close_context(tr_context **ctx);

/* example_build - build the model, and do what --init says;
 * first_values: instead of the library's own, NULL: those. */
void example_build(const example_options *options,
                   tr_model *net,
                   tr_status (*first_values)(tr_model *net));

/* What a run works on; loaders[1] is for tests. */
typedef struct example_run {
  tr_model *net;
  tr_loader *loaders[2];
} example_run;

/* example_train - optimizer, trainer, resume, fit and report as the options
 * say. */
void example_train(tr_context *ctx,
                   const example_options *options,
                   const example_run *run);

#endif
