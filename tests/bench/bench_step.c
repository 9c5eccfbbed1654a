/* The time of one training step:  bench_step --workload mlp --threads 1
 *
 * Prints one JSON line. Runs on one rank or under mpirun; the batch is global.
 * The data are random and stay the same: what is measured is forward,
 * backward, all-reduce and update. With --overlap compare each round has a step
 * with overlap, one in turn and one without messages: the line then says what
 * messages add to a step, and comm_ms what the rank itself gives to them. */
#include "comm/mpi/algorithm_table_impl.h"
#include "comm/queue_impl.h"
#include "models.h"
#include "sync/sync_impl.h"

#include "base/random_impl.h"
#include "model/model_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <train/train.h>

typedef struct workload {
  const char *name;
  void (*build)(tr_model *net, tr_shape shape, int64_t classes);
  tr_shape shape;
  int64_t classes, batch;
  tr_status (*create)(tr_model *, const tr_adam_opts *, tr_optimizer **);
  int64_t targets; /* per sample; 0: 1, and the inputs are numbers, not ids */
} workload;

/* The rate and momentum that ResNets are trained with. */
static tr_status
create_sgd(tr_model *net, const tr_adam_opts *unused, tr_optimizer **out)
{
  (void)unused;
  const tr_sgd_opts sgd = {.lr = 0.1, .momentum = 0.9, .weight_decay = 5e-4};
  return tr_sgd_create(net, &sgd, out);
}

static const workload workloads[] = {
    {.name = "mlp",
     .build = example_mlp,
     .shape = {1, {1000}},
     .classes = 10,
     .batch = 32,
     .create = tr_adam_create},
    {.name = "convnet28",
     .build = example_convnet,
     .shape = {3, {1, 28, 28}},
     .classes = 10,
     .batch = 64,
     .create = tr_adamw_create},
    {.name = "convnet224",
     .build = example_convnet,
     .shape = {3, {3, 224, 224}},
     .classes = 1000,
     .batch = 8,
     .create = tr_adamw_create},
    {.name = "gpt",
     .build = example_gpt,
     .shape = {1, {128}},
     .classes = 65,
     .batch = 16,
     .create = tr_adamw_create,
     .targets = 128},
    {.name = "resnet18",
     .build = example_resnet18,
     .shape = {3, {3, 32, 32}},
     .classes = 10,
     .batch = 32,
     .create = create_sgd},
    {.name = "resnet50",
     .build = example_resnet50,
     .shape = {3, {3, 224, 224}},
     .classes = 1000,
     .batch = 32,
     .create = create_sgd},
};

/* How the ranks of a step meet: by tr_trainer_step(), by the explicit loop, not
 * at all. */
typedef enum manner { OVERLAP, IN_TURN, APART, NUM_MANNERS } manner;

typedef struct settings {
  const workload *workload;
  int64_t batch, shards;
  int threads;
  double seconds;
  const char *device, *dtype, *algorithm;
  manner how; /* NUM_MANNERS: all in turn */
} settings;

static const char *
option(int argc, char **argv, const char *name, const char *fallback)
{
  for (int i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], name) == 0) {
      return argv[i + 1];
    }
  }
  return fallback;
}

static const workload *find_workload(const char *name)
{
  for (size_t i = 0; i < sizeof workloads / sizeof workloads[0]; i++) {
    if (strcmp(workloads[i].name, name) == 0) {
      return &workloads[i];
    }
  }
  return NULL;
}

static const struct {
  const char *name;
  tr_dtype dtype;
} dtypes[] = {
    {"f32", TR_F32}, {"f64", TR_F64}, {"bf16", TR_BF16}, {"f16", TR_F16}};

static int find_dtype(const char *name)
{
  for (int i = 0; i < 4; i++) {
    if (strcmp(name, dtypes[i].name) == 0) {
      return i;
    }
  }
  return -1;
}

static int find_manner(const char *overlap, manner *out)
{
  *out = strcmp(overlap, "on") == 0    ? OVERLAP
         : strcmp(overlap, "off") == 0 ? IN_TURN
                                       : NUM_MANNERS;
  return *out != NUM_MANNERS || strcmp(overlap, "compare") == 0;
}

static int read_settings(int argc, char **argv, settings *s)
{
  s->workload = find_workload(option(argc, argv, "--workload", "mlp"));
  s->threads = atoi(option(argc, argv, "--threads", "0"));
  s->seconds = atof(option(argc, argv, "--seconds", "3"));
  s->device = option(argc, argv, "--device", "cpu");
  s->dtype = option(argc, argv, "--dtype", "f32");
  s->algorithm = option(argc, argv, "--algorithm", "auto");
  int is_overlap = find_manner(option(argc, argv, "--overlap", "on"), &s->how);
  s->batch = atoll(option(argc, argv, "--batch", "0"));
  s->shards = atoll(option(argc, argv, "--virtual-shards", "0"));
  int is_known = find_dtype(s->dtype) >= 0;
  if (s->workload == NULL || !is_known || !is_overlap || argc % 2 == 0) {
    fprintf(
        stderr,
        "usage: bench_step [--workload mlp|convnet28|convnet224|resnet18|"
        "resnet50|gpt] "
        "[--batch N] [--threads N] [--seconds S] [--dtype f32|f64|bf16|f16] "
        "[--device NAME] [--overlap on|off|compare] "
        "[--algorithm NAME] [--virtual-shards V]\n");
    return 0;
  }
  if (s->batch <= 0) {
    s->batch = s->workload->batch;
  }
  return 1;
}

static double now(void)
{
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* A sample's inputs: numbers in +-1, or ids of classes. */
static void fill_sample(const settings *s, void *x, int64_t sample, int64_t i)
{
  int64_t row = tr_shape_count(&s->workload->shape);
  tr__random random = {.seed = 1, .sample = sample};
  int is_double = strcmp(s->dtype, "f64") == 0;
  for (int64_t k = 0; k < row; k++) {
    double value = 2 * tr__random_uniform(&random, k) - 1;
    uint32_t id = tr__random_u32(&random, k) % (uint32_t)s->workload->classes;
    if (s->workload->targets > 0) {
      ((int32_t *)x)[i * row + k] = (int32_t)id;
    } else if (is_double) {
      ((double *)x)[i * row + k] = value;
    } else {
      ((float *)x)[i * row + k] = (float)value;
    }
  }
}

/* This rank's part of one random global batch. */
static void fill_batch(const settings *s, tr_context *ctx, tr_batch *batch)
{
  int64_t begin, count;
  tr_batch_range(ctx, s->batch, &begin, &count);
  int64_t end = begin + count;
  int64_t row = tr_shape_count(&s->workload->shape);
  int64_t targets = s->workload->targets > 0 ? s->workload->targets : 1;
  *batch = (tr_batch){.count = end - begin,
                      .first = begin,
                      .global_count = s->batch,
                      .target_values = {targets}};
  void *x = malloc((size_t)((end - begin) * row + 1) * sizeof(double));
  int32_t *y = malloc((size_t)((end - begin) * targets + 1) * sizeof *y);
  if (x == NULL || y == NULL) {
    exit(69);
  }
  for (int64_t i = 0; i < end - begin; i++) {
    tr__random random = {.seed = 1, .sample = begin + i};
    for (int64_t t = 0; t < targets; t++) {
      y[i * targets + t] = (int32_t)(tr__random_u32(&random, row + t) %
                                     (uint32_t)s->workload->classes);
    }
    fill_sample(s, x, begin + i, i);
  }
  batch->inputs[0] = x;
  batch->targets[0] = y;
}

static double
one_step(manner how, tr_model *net, tr_optimizer *opt, const tr_batch *batch)
{
  double begin = now(), loss;
  TR_MUST(tr_model_forward(net, batch));
  if (how == OVERLAP) {
    TR_MUST(tr__sync_backward(net));
  } else {
    TR_MUST(tr_model_backward(net));
  }
  if (how == IN_TURN) {
    TR_MUST(tr_model_allreduce_grads(net));
  } else if (how == APART) {
    net->step.gradients = TR__GRADIENTS_REDUCED; /* the optimizer insists */
  }
  TR_MUST(tr_optimizer_step(opt));
  if (how != APART) {
    TR_MUST(tr_model_loss(net, &loss));
  }
  return now() - begin;
}

static int by_value(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

enum { MAX_STEPS = 100000 };

static double median(double *values, int64_t count)
{
  qsort(values, (size_t)count, sizeof *values, by_value);
  return values[count / 2];
}

/* Every rank makes the same number of steps: what the slowest thinks fits. */
static int64_t
num_rounds(const settings *s, tr__comm *comm, double seconds_per_round)
{
  int64_t rounds = (int64_t)(s->seconds / seconds_per_round);
  rounds = rounds < 5 ? 5 : rounds > MAX_STEPS ? MAX_STEPS : rounds;
  TR_MUST(comm->type->reduce_i64(comm, &rounds, 1, TR__MIN));
  return rounds;
}

/* One model in training, and the seconds of its rounds. */
typedef struct bench {
  const settings *s;
  tr_context *ctx;
  tr_model *net;
  tr_optimizer *opt;
  tr_batch batch;
  double *times[NUM_MANNERS], *comm;
  int64_t rounds;
} bench;

static void measure(bench *b)
{
  manner how = b->s->how;
  double first = 0;
  for (int i = 0; i < 4; i++) {
    first = one_step(how, b->net, b->opt, &b->batch);
  }
  b->rounds = num_rounds(b->s, b->ctx->comm, first);
  for (int64_t i = 0; i < b->rounds; i++) {
    b->times[how][i] = one_step(how, b->net, b->opt, &b->batch);
  }
}

static void meet(const bench *b)
{
  int64_t ready = 1;
  TR_MUST(b->ctx->comm->type->reduce_i64(b->ctx->comm, &ready, 1, TR__MIN));
}

/* In turn. Each step begins and ends with all ranks: the slowest counts,
 * whether there are messages or not. */
static void compare(bench *b)
{
  double first = 0;
  for (int i = 0; i < NUM_MANNERS; i++) {
    first += one_step((manner)i, b->net, b->opt, &b->batch);
  }
  b->rounds = num_rounds(b->s, b->ctx->comm, first);
  for (int64_t i = 0; i < b->rounds; i++) {
    for (int how = 0; how < NUM_MANNERS; how++) {
      meet(b);
      double begin = now(), spent = tr__queue_spent(b->ctx->queue);
      one_step((manner)how, b->net, b->opt, &b->batch);
      if (how == OVERLAP) {
        b->comm[i] = tr__queue_spent(b->ctx->queue) - spent;
      }
      meet(b);
      b->times[how][i] = now() - begin;
    }
  }
}

/* The median of what messages add to a step, round by round. */
static double added(const bench *b, manner how)
{
  double *more = malloc((size_t)b->rounds * sizeof *more);
  if (more == NULL) {
    exit(69);
  }
  for (int64_t i = 0; i < b->rounds; i++) {
    more[i] = b->times[how][i] - b->times[APART][i];
  }
  double middle = median(more, b->rounds);
  free(more);
  return middle;
}

static void report_comparison(const bench *b)
{
  /* First: medians sort the times, round by round no more. */
  double overlap = 1e3 * added(b, OVERLAP), in_turn = 1e3 * added(b, IN_TURN);
  tr_log_root(b->ctx,
              "{\"workload\":\"%s\",\"ranks\":%d,\"rounds\":%lld,"
              "\"apart_ms\":%.4f,\"overlap_ms\":%.4f,\"in_turn_ms\":%.4f,"
              "\"overlap_adds_ms\":%.4f,\"in_turn_adds_ms\":%.4f,"
              "\"comm_ms\":%.4f}",
              b->s->workload->name, tr_context_size(b->ctx),
              (long long)b->rounds, 1e3 * median(b->times[APART], b->rounds),
              1e3 * median(b->times[OVERLAP], b->rounds),
              1e3 * median(b->times[IN_TURN], b->rounds), overlap, in_turn,
              1e3 * median(b->comm, b->rounds));
}

static void report(const bench *b)
{
  double *times = b->times[b->s->how];
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  double middle = median(times, b->rounds);
  tr_log_root(b->ctx,
              "{\"workload\":\"%s\",\"ranks\":%d,\"threads\":%d,"
              "\"step_ms_median\":%.4f,\"step_ms_min\":%.4f,"
              "\"samples_per_s\":%.1f,\"peak_rss_mib\":%.1f,"
              "\"longest_poll_gap_ms\":%.4f}",
              b->s->workload->name, tr_context_size(b->ctx),
              tr__threads_count(b->ctx->pool), 1e3 * middle, 1e3 * times[0],
              (double)b->s->batch / middle, (double)usage.ru_maxrss / 1024,
              1e3 * tr__queue_longest_gap(b->ctx->queue));
}

static void build(bench *b)
{
  const settings *s = b->s;
  TR_MUST(tr__comm_set_algorithm(b->ctx->comm, s->algorithm));
  fill_batch(s, b->ctx, &b->batch);
  TR_MUST(tr_model_create(b->ctx, &b->net));
  s->workload->build(b->net, s->workload->shape, s->workload->classes);
  int size = tr_context_size(b->ctx);
  TR_MUST(tr_model_build(
      b->net,
      &(tr_build_opts){.max_local_batch = (s->batch + size - 1) / size}));
  tr_adam_opts adam = s->workload->create == tr_adam_create
                          ? tr_adam_defaults()
                          : tr_adamw_defaults();
  TR_MUST(s->workload->create(b->net, &adam, &b->opt));
  b->comm = calloc(MAX_STEPS, sizeof *b->comm);
  for (int how = 0; how < NUM_MANNERS; how++) {
    b->times[how] = malloc(MAX_STEPS * sizeof *b->times[how]);
    if (b->comm == NULL || b->times[how] == NULL) {
      exit(69);
    }
  }
}

static void destroy(bench *b)
{
  for (int how = 0; how < NUM_MANNERS; how++) {
    free(b->times[how]);
  }
  free(b->comm);
  free((void *)(uintptr_t)b->batch.inputs[0]);
  free((void *)(uintptr_t)b->batch.targets[0]);
  tr_optimizer_destroy(&b->opt);
  tr_model_destroy(&b->net);
  tr_context_destroy(&b->ctx);
}

int main(int argc, char **argv)
{
  settings s;
  if (!read_settings(argc, argv, &s)) {
    return 2;
  }
  bench b = {.s = &s};
  const tr_context_opts opts = {.threads = s.threads,
                                .device = s.device,
                                .dtype = dtypes[find_dtype(s.dtype)].dtype,
                                .virtual_shards = s.shards};
  TR_MUST(tr_context_create_auto(&opts, &b.ctx));
  build(&b);
  if (s.how == NUM_MANNERS) {
    compare(&b);
    report_comparison(&b);
  } else {
    measure(&b);
    report(&b);
  }
  destroy(&b);
  return 0;
}
