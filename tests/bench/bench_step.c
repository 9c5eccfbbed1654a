/* The time of one training step:  bench_step --workload mlp --threads 1
 *
 * Prints one JSON line. Runs on one rank or under mpirun; the batch is global.
 * The data are random and stay the same: what is measured is forward,
 * backward, all-reduce and update. */
#include "models.h"

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

typedef struct settings {
  const workload *workload;
  int64_t batch, shards;
  int threads;
  double seconds;
  const char *device, *dtype, *algorithm;
  bool overlaps; /* as tr_trainer_step() does, else the explicit loop */
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

static int read_settings(int argc, char **argv, settings *s)
{
  s->workload = find_workload(option(argc, argv, "--workload", "mlp"));
  s->threads = atoi(option(argc, argv, "--threads", "0"));
  s->seconds = atof(option(argc, argv, "--seconds", "3"));
  s->device = option(argc, argv, "--device", "cpu");
  s->dtype = option(argc, argv, "--dtype", "f32");
  s->algorithm = option(argc, argv, "--algorithm", "auto");
  const char *overlap = option(argc, argv, "--overlap", "on");
  s->overlaps = strcmp(overlap, "on") == 0;
  const char *conv = option(argc, argv, "--conv", "auto");
  s->batch = atoll(option(argc, argv, "--batch", "0"));
  s->shards = atoll(option(argc, argv, "--virtual-shards", "0"));
  int is_known = find_dtype(s->dtype) >= 0;
  int is_conv = strcmp(conv, "auto") == 0 || strcmp(conv, "exact") == 0;
  bool is_overlap = s->overlaps || strcmp(overlap, "off") == 0;
  if (s->workload == NULL || !is_known || !is_conv || !is_overlap ||
      argc % 2 == 0) {
    fprintf(
        stderr,
        "usage: bench_step [--workload mlp|convnet28|convnet224|resnet18|"
        "resnet50|gpt] "
        "[--batch N] [--threads N] [--seconds S] [--dtype f32|f64|bf16|f16] "
        "[--conv auto|exact] [--device NAME] [--overlap on|off] "
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
  tr_batch_part(ctx, s->batch, &begin, &count);
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

static double one_step(const settings *s,
                       tr_model *net,
                       tr_optimizer *opt,
                       const tr_batch *batch)
{
  double begin = now(), loss;
  TR_MUST(tr_model_forward(net, batch));
  if (s->overlaps) {
    TR_MUST(tr__model_backward_summed(net));
  } else {
    TR_MUST(tr_model_backward(net));
    TR_MUST(tr_model_allreduce_grads(net));
  }
  TR_MUST(tr_optimizer_step(opt));
  TR_MUST(tr_model_loss(net, &loss));
  return now() - begin;
}

static int by_value(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

enum { MAX_STEPS = 100000 };

/* Every rank makes the same number of steps: what the slowest thinks fits. */
static int64_t measure(const settings *s,
                       tr_model *net,
                       tr_optimizer *opt,
                       const tr_batch *batch,
                       double *times)
{
  for (int i = 0; i < 3; i++) {
    one_step(s, net, opt, batch);
  }
  double first = one_step(s, net, opt, batch);
  tr__comm *comm = tr__model_context(net)->comm;
  int64_t steps = (int64_t)(s->seconds / first);
  steps = steps < 5 ? 5 : steps > MAX_STEPS ? MAX_STEPS : steps;
  TR_MUST(comm->type->reduce_i64(comm, &steps, 1, TR__MIN));
  for (int64_t i = 0; i < steps; i++) {
    times[i] = one_step(s, net, opt, batch);
  }
  qsort(times, (size_t)steps, sizeof *times, by_value);
  return steps;
}

int main(int argc, char **argv)
{
  settings s;
  if (!read_settings(argc, argv, &s)) {
    return 2;
  }
  tr_context *ctx;
  const tr_context_opts opts = {.threads = s.threads,
                                .device = s.device,
                                .dtype = dtypes[find_dtype(s.dtype)].dtype,
                                .virtual_shards = s.shards};
  TR_MUST(tr_context_create_auto(&opts, &ctx));
  TR_MUST(tr__comm_set_algorithm(ctx->comm, s.algorithm));
  tr_batch batch;
  fill_batch(&s, ctx, &batch);
  tr_model *net;
  TR_MUST(tr_model_create(ctx, &net));
  s.workload->build(net, s.workload->shape, s.workload->classes);
  int size = tr_context_size(ctx);
  TR_MUST(tr_model_build(
      net, &(tr_build_opts){.batch = (s.batch + size - 1) / size}));
  tr_optimizer *opt;
  tr_adam_opts adam = s.workload->create == tr_adam_create
                          ? tr_adam_defaults()
                          : tr_adamw_defaults();
  TR_MUST(s.workload->create(net, &adam, &opt));
  double *times = malloc(MAX_STEPS * sizeof *times);
  int64_t steps = measure(&s, net, opt, &batch, times);
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  double median = times[steps / 2];
  tr_log_root(ctx,
              "{\"workload\":\"%s\",\"ranks\":%d,\"threads\":%d,"
              "\"step_ms_median\":%.4f,\"step_ms_min\":%.4f,"
              "\"samples_per_s\":%.1f,\"peak_rss_mib\":%.1f,"
              "\"longest_poll_gap_ms\":%.4f}",
              s.workload->name, size, tr__pool_num_threads(ctx->pool),
              1e3 * median, 1e3 * times[0], (double)s.batch / median,
              (double)usage.ru_maxrss / 1024,
              1e3 * tr__queue_longest_gap(ctx->queue));
  free(times);
  free((void *)(uintptr_t)batch.inputs[0]);
  free((void *)(uintptr_t)batch.targets[0]);
  tr_optimizer_destroy(&opt);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
  return 0;
}
