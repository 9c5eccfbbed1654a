/* A training job that goes wrong as its arguments say, for test_stall.py.
 * usage: faulty SECONDS [FAULT RANK [STEP]]
 *
 * SECONDS is the limit of stalls. It trains for ever, evaluates and saves now
 * and then, and says "ready" before its first step. SIGUSR2 makes a rank loop
 * for ever wherever it is. The faults of one rank:
 *
 *   seed, lr, batch   another option
 *   width             a wider layer
 *   leave             it is done before step STEP
 *   evaluate          it evaluates instead of taking step STEP
 *   shape             its batch of step STEP has samples of another size
 *   work              it is away for SECONDS / 2 before step STEP
 *   own               it is away for 2 SECONDS before step STEP, and says so
 *   last              it works on alone for 2 SECONDS at the end, after STEP
 *   plain             none; no rank evaluates or saves */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <train/train.h>

enum { BATCH = 24, EVALUATE_EVERY = 7, SAVE_EVERY = 5 };

typedef struct job {
  double limit_s;
  const char *fault; /* "" on the other ranks */
  int64_t step;      /* of the fault */
  int is_plain;
  tr_context *ctx;
  tr_dataset *data[2];
  tr_loader *loaders[2];
  tr_model *net;
  tr_optimizer *opt;
  tr_trainer *trainer;
} job;

static void loop_for_ever(int number)
{
  volatile int forever = number;
  while (forever) {
  }
}

static int has(const job *j, const char *fault)
{
  return strcmp(j->fault, fault) == 0;
}

/* Only the thread that trains shall take the signal. */
static void take_signal(int how)
{
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  sigprocmask(how, &set, NULL);
}

static void set_up(job *j)
{
  static const char *const splits[2] = {"train", "test"};
  for (int i = 0; i < 2; i++) {
    const tr_loader_opts opts = {.batch = has(j, "batch") ? BATCH + 1 : BATCH,
                                 .shuffle = 1};
    TR_MUST(tr_digits_open(j->ctx, splits[i], &j->data[i]));
    TR_MUST(tr_loader_create(j->ctx, j->data[i], &opts, &j->loaders[i]));
  }
  TR_MUST(tr_model_create(j->ctx, &j->net));
  tr_node x =
      tr_flatten(j->net, tr_input(j->net, tr_dataset_shape(j->data[0])));
  int64_t width = has(j, "width") ? 65 : 64;
  x = tr_relu(j->net, tr_linear(j->net, x, &(tr_linear_opts){.out = width}));
  x = tr_linear(j->net, x, &(tr_linear_opts){.out = 10});
  tr_cross_entropy(j->net, x);
  TR_MUST(tr_model_build(j->net, NULL));
  tr_adam_opts adam = tr_adam_defaults();
  adam.lr = has(j, "lr") ? 2e-3 : 1e-3;
  TR_MUST(tr_adam_create(j->net, &adam, &j->opt));
  const tr_trainer_opts opts = {.model = j->net,
                                .optimizer = j->opt,
                                .loader = j->loaders[0],
                                .epochs = 1000000000};
  TR_MUST(tr_trainer_create(j->ctx, &opts, &j->trainer));
}

static void evaluate(const job *j)
{
  double loss, accuracy;
  TR_MUST(tr_trainer_evaluate(j->trainer, j->loaders[1], &loss, &accuracy));
}

static void pause_for(double seconds)
{
  struct timespec time = {.tv_sec = (time_t)seconds};
  time.tv_nsec = (long)((seconds - (double)time.tv_sec) * 1e9);
  nanosleep(&time, NULL);
}

static void go_wrong(const job *j, tr_batch *batch)
{
  if (has(j, "evaluate")) {
    evaluate(j);
  }
  if (has(j, "shape")) {
    batch->input_bytes[0]++;
  }
  if (has(j, "work")) {
    pause_for(j->limit_s / 2);
  }
  if (has(j, "own")) {
    tr_context_work_begin(j->ctx);
    pause_for(2 * j->limit_s);
    tr_context_work_end(j->ctx);
  }
}

static void take_step(const job *j, tr_batch *batch)
{
  int64_t step = tr_optimizer_num_steps(j->opt) + 1;
  const tr_checkpoint run = {
      .model = j->net, .optimizer = j->opt, .loader = j->loaders[0]};
  if (step == j->step) {
    go_wrong(j, batch);
  }
  TR_MUST(tr_model_forward(j->net, batch));
  TR_MUST(tr_model_backward(j->net));
  TR_MUST(tr_model_allreduce_grads(j->net));
  TR_MUST(tr_optimizer_step(j->opt));
  if (step % EVALUATE_EVERY == 0 && !j->is_plain) {
    evaluate(j);
  }
  if (step % SAVE_EVERY == 0 && !j->is_plain) {
    TR_MUST(tr_checkpoint_save(j->ctx, "run", &run));
  }
}

static void train(const job *j)
{
  tr_batch batch;
  for (;;) {
    while (tr_loader_next(j->loaders[0], &batch)) {
      int64_t step = tr_optimizer_num_steps(j->opt) + 1;
      if (step == j->step && has(j, "leave")) {
        return;
      }
      take_step(j, &batch);
      if (step == j->step + 20 && j->step > 0) {
        return; /* the fault was none */
      }
    }
    TR_MUST(tr_loader_status(j->loaders[0]));
  }
}

int main(int argc, char **argv)
{
  const char *open_mpi = getenv("OMPI_COMM_WORLD_RANK");
  const char *text = open_mpi != NULL ? open_mpi : getenv("PMI_RANK");
  int rank = text != NULL ? atoi(text) : 0;
  job j = {.fault = ""};
  j.limit_s = argc > 1 ? strtod(argv[1], NULL) : 0;
  j.step = argc > 4 ? atoll(argv[4]) : 0;
  if (argc > 3 && atoi(argv[3]) == rank) {
    j.fault = argv[2];
  }
  j.is_plain = argc > 2 && strcmp(argv[2], "plain") == 0;
  signal(SIGUSR2, loop_for_ever);
  take_signal(SIG_BLOCK);
  const tr_context_opts opts = {
      .threads = 1, .seed = has(&j, "seed"), .stall_timeout = j.limit_s};
  TR_MUST(tr_context_create_auto(&opts, &j.ctx));
  set_up(&j);
  take_signal(SIG_UNBLOCK);
  tr_log_root(j.ctx, "ready");
  train(&j);
  if (has(&j, "last")) {
    pause_for(2 * j.limit_s);
  }
  tr_trainer_destroy(&j.trainer);
  tr_optimizer_destroy(&j.opt);
  tr_model_destroy(&j.net);
  for (int i = 1; i >= 0; i--) {
    tr_loader_destroy(&j.loaders[i]);
    tr_dataset_destroy(&j.data[i]);
  }
  tr_context_destroy(&j.ctx);
  return EXIT_SUCCESS;
}
