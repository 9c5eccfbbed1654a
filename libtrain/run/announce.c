/* The announcement of a run before its first step. It lets a user notice a job
 * with the wrong data, ranks or CPUs. */
#include "data/loader_impl.h"
#include "run/announce_impl.h"

#include "base/thread_pool_impl.h"
#include "comm/mpi/comm_mpi_impl.h"
#include "core/dataset_impl.h"
#include "optim/optimizer_impl.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PART_BYTES = 96, PLACE_BYTES = 256 };

static const char *ending(int64_t count)
{
  return count == 1 ? "" : "s";
}

/* "2 ranks x 1 thread on 2 CPUs" */
static void write_ranks(const tr_context *ctx, char out[2 * PART_BYTES])
{
  const tr__comm *comm = ctx->comm;
  char ranks[PART_BYTES] = "", cpus[PART_BYTES];
  int threads = tr__threads_count(ctx->pool), mine = tr__num_cpus();
  long all = sysconf(_SC_NPROCESSORS_ONLN);
  if (comm->local_size < comm->size) {
    snprintf(ranks, sizeof ranks, " (%d on rank 0's node)", comm->local_size);
  }
  if (mine < all) {
    snprintf(cpus, sizeof cpus, ", rank 0 bound to %d of %ld CPUs", mine, all);
  } else {
    snprintf(cpus, sizeof cpus, " on %d CPU%s", mine, ending(mine));
  }
  snprintf(out, 2 * PART_BYTES, "%d rank%s%s x %d thread%s%s", comm->size,
           ending(comm->size), ranks, threads, ending(threads), cpus);
}

static void write_place(const char *directory, char out[PLACE_BYTES])
{
  if (directory == NULL) {
    snprintf(out, PLACE_BYTES, "no checkpoints");
    return;
  }
  size_t length = strlen(directory);
  bool has_slash = length > 0 && directory[length - 1] == '/';
  snprintf(out, PLACE_BYTES, "checkpoints in %.220s%s", directory,
           has_slash ? "" : "/");
}

static void show(const tr_context *ctx,
                 const tr_trainer_opts *opts,
                 const tr__joblog_begin *begin,
                 tr__progress *progress)
{
  char ranks[2 * PART_BYTES], place[PLACE_BYTES], tests[PART_BYTES] = "";
  write_ranks(ctx, ranks);
  write_place(opts->checkpoint_dir, place);
  if (opts->test_loader != NULL) {
    snprintf(tests, sizeof tests, ", %lld to test",
             (long long)begin->test_samples);
  }
  tr__progress_line(
      progress,
      "%.60s%s%lld parameter%s; %.100s: %lld sample%s%s; %s%s%.60s; %s",
      begin->title != NULL ? begin->title : "",
      begin->title != NULL ? ", " : "", (long long)begin->parameters,
      ending(begin->parameters), begin->data, (long long)begin->samples,
      ending(begin->samples), tests, ranks, begin->mpi != NULL ? ", " : "",
      begin->mpi != NULL ? begin->mpi : "", place);
}

/* The lines of an optimizer's text joined by ";", as "optimizer adamw;lr
 * 0.001;...". NULL if there is no memory. */
static char *optimizer_of(const tr_optimizer *opt)
{
  char *text = tr__optimizer_text(opt);
  size_t length = text != NULL ? strlen(text) : 0;
  while (length > 0 && text[length - 1] == '\n') {
    text[--length] = '\0';
  }
  for (size_t i = 0; i < length; i++) {
    text[i] = text[i] == '\n' ? ';' : text[i];
  }
  return text;
}

void tr__announce(tr_context *ctx,
                  const tr_trainer_opts *opts,
                  tr__joblog *log,
                  tr__progress *progress)
{
  if (ctx->comm->rank != 0) {
    return;
  }
  char mpi[PART_BYTES];
  char *optimizer = optimizer_of(opts->optimizer);
  const tr__joblog_begin begin = {
      .title = opts->title,
      .command = opts->command,
      .optimizer = optimizer,
      .data = tr__loader_dataset(opts->loader)->name,
      .mpi = tr__mpi_is_active() ? tr__mpi_name(mpi, sizeof mpi) : NULL,
      .step = tr_optimizer_num_steps(opts->optimizer),
      .parameters = tr_model_num_params(opts->model),
      .samples = tr_loader_num_samples(opts->loader),
      .test_samples = opts->test_loader != NULL
                          ? tr_loader_num_samples(opts->test_loader)
                          : 0,
      .batch = tr__loader_get_state(opts->loader).batch,
      .ranks = ctx->comm->size,
      .threads = tr__threads_count(ctx->pool)};
  show(ctx, opts, &begin, progress);
  tr__joblog_start(log, &begin);
  free(optimizer);
}
