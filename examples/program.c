#include "program.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* timeout(1), and a terminal together with a launcher, send one wish twice. */
static const double one_wish_s = 0.25;

/* What a signal handler has to reach, and how many threads are in it. */
static _Atomic(tr_context *) signalled;
static atomic_int num_handlers;
static atomic_llong first_ns; /* when a wish to end came; 0: none yet */

static long long now_ns(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (long long)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int is_second_wish(void)
{
  long long now = now_ns(), first = 0;
  return !atomic_compare_exchange_strong(&first_ns, &first, now) &&
         (double)(now - first) * 1e-9 > one_wish_s;
}

/* Schedulers send SIGUSR1 first and SIGTERM when time is up: that is one wish.
 */
static void on_signal(int number)
{
  atomic_fetch_add(&num_handlers, 1);
  tr_context *ctx = atomic_load(&signalled);
  int is_saving = ctx != NULL && tr_context_is_saving(ctx);
  if (number != SIGUSR1 && is_second_wish() && !is_saving) {
    _exit(128 + number);
  }
  if (ctx != NULL) {
    tr_context_request_stop(ctx);
  }
  atomic_fetch_sub(&num_handlers, 1);
}

void example_stop_on_signals(tr_context *ctx)
{
  atomic_store(&signalled, ctx);
  struct sigaction before,
      action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGUSR1, &action, NULL);
  sigaction(SIGINT, NULL, &before);
  if (before.sa_handler != SIG_IGN) { /* as shells leave it in the background */
    sigaction(SIGINT, &action, NULL);
  }
}

void example_close_context(tr_context **ctx)
{
  atomic_store(&signalled, NULL);
  while (atomic_load(&num_handlers) > 0) {
    sched_yield();
  }
  tr_context_destroy(ctx);
}

/* The option's names are those of the table. */
static tr_dtype dtype_of(const char *name)
{
  static const struct {
    const char *name;
    tr_dtype dtype;
  } known[] = {{"f64", TR_F64}, {"bf16", TR_BF16}, {"f16", TR_F16}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (strcmp(name, known[i].name) == 0) {
      return known[i].dtype;
    }
  }
  return TR_F32;
}

/* Where a standard stream is closed, the next file that anything opens would
 * take its number, and with it what is printed. */
static void fill_standard_streams(void)
{
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0) {
      return;
    }
  }
}

/* The words of the command line, as many as there is room for. */
static void join(int argc, char **argv, char *out, size_t bytes)
{
  size_t length = 0;
  for (int i = 0; i < argc && length < bytes; i++) {
    length += (size_t)snprintf(out + length, bytes - length, "%s%s",
                               i > 0 ? " " : "", argv[i]);
  }
}

/* All ranks take part in refusing options: one rank's complaint would leave
 * the others waiting. */
int example_open_context(int argc,
                         char **argv,
                         example_options *options,
                         tr_context **ctx)
{
  char problem[256] = "";
  fill_standard_streams();
  const example_options program_defaults = *options;
  tr_status status = example_options_parse(argc, argv, options, problem);
  join(argc, argv, options->command, sizeof options->command);
  const tr_context_opts defaults = {0};
  const tr_context_opts opts = {
      .threads = (int)options->threads,
      .seed = (uint64_t)options->seed,
      .device = options->device,
      .wire = strcmp(options->wire, "bf16") == 0 ? TR_BF16 : TR_F32,
      .dtype = dtype_of(options->dtype),
      .virtual_shards = options->virtual_shards,
      .trace_path = options->trace,
      .stall_timeout = options->stall_timeout};
  TR_MUST(tr_context_create_auto(status == TR_OK ? &opts : &defaults, ctx));
  if (status != TR_OK) {
    tr_error_set(status, problem);
  }
  TR_MUST(tr_context_agree(*ctx, status));
  if (!options->help && !options->version) {
    return 1;
  }
  if (tr_context_rank(*ctx) == 0 && options->help) {
    example_options_help(&program_defaults, stdout);
  } else if (tr_context_rank(*ctx) == 0) {
    tr_version_print(stdout);
  }
  tr_context_destroy(ctx);
  return 0;
}

void example_build(const example_options *options,
                   tr_model *net,
                   tr_status (*first_values)(tr_model *net))
{
  TR_MUST(tr_model_build(net, NULL)); /* names the first bad layer, if any */
  if (first_values != NULL) {
    TR_MUST(first_values(net));
  }
  if (options->init != NULL) {
    TR_MUST(tr_model_load(net, options->init));
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
  /* Numbers are left to tr_log_root(), which knows of no decimal comma. */
  if (isnan(result->test_accuracy)) {
    tr_log_root(ctx, "done: %lld steps  test loss %.5g  %.0f samples/s",
                (long long)result->steps, result->test_loss,
                result->samples_per_s);
  } else {
    tr_log_root(ctx,
                "done: %lld steps  test accuracy %.4f  test loss %.5g  %.0f "
                "samples/s",
                (long long)result->steps, result->test_accuracy,
                result->test_loss, result->samples_per_s);
  }
  tr_log_root(ctx, "hash of the parameters: %016" PRIx64, result->params_hash);
  if (result->skipped > 0 || result->rollbacks > 0) {
    tr_log_root(ctx, "not finite: %lld steps skipped, %lld roll-backs",
                (long long)result->skipped, (long long)result->rollbacks);
  }
}

/* What makes the same command do as much again. */
static void tell_how_to_go_on(tr_context *ctx, const example_options *options)
{
  char epochs[64] = "", steps[64] = "";
  if (options->no_checkpoint) {
    return;
  }
  if (options->epochs > 0) {
    snprintf(epochs, sizeof epochs, " --epochs %lld",
             2 * (long long)options->epochs);
  }
  if (options->steps > 0) {
    snprintf(steps, sizeof steps, " --steps %lld",
             2 * (long long)options->steps);
  }
  tr_log_root(ctx, "go on: --resume%s%s", epochs, steps);
}

void example_train(tr_context *ctx,
                   const example_options *options,
                   const example_run *run)
{
  tr_optimizer *opt;
  int64_t steps = run_length(options, run->loaders[0]);
  TR_MUST(example_optimizer_create(options, run->net, steps, &opt));
  if (options->print_plan && tr_context_rank(ctx) == 0) {
    TR_MUST(tr_model_print_plan(run->net, stdout));
    fflush(stdout);
  }
  tr_trainer *trainer;
  const tr_trainer_opts opts = {
      .model = run->net,
      .optimizer = opt,
      .loader = run->loaders[0],
      .test_loader = run->loaders[1],
      .epochs = options->epochs,
      .steps = options->steps,
      .checkpoint_dir = options->no_checkpoint ? NULL : options->checkpoint,
      .save_every = options->save_every,
      .on_save_error = strcmp(options->on_save_error, "stop") == 0
                           ? TR_SAVE_ERROR_STOP
                           : TR_SAVE_ERROR_WARN,
      .allow_changes = options->allow_changes,
      .take_over = options->take_over,
      .log_path = options->log,
      .progress = stdout,
      .title = options->title,
      .command = options->command};
  TR_MUST(tr_trainer_create(ctx, &opts, &trainer));
  if (options->resume) {
    TR_MUST(tr_trainer_resume(trainer));
  }
  tr_report result;
  TR_MUST(tr_trainer_fit(trainer, &result));
  report(ctx, &result);
  tell_how_to_go_on(ctx, options);
  tr_trainer_destroy(&trainer);
  tr_optimizer_destroy(&opt);
}
