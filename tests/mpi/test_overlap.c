/* Overlap of backward and all-reduce: when buckets are released, the same bits
 * as the explicit loop, and failures that all ranks see. */
#include "comm/mpi/algorithm_table_impl.h"
#include "comm/queue_impl.h"
#include "mpi_test.h"
#include "own_data.h"
#include "sync/sync_impl.h"

#include "base/random_impl.h"
#include "core/dataset_impl.h"
#include "model/model_impl.h"

#include <time.h>
#include <train/mpi.h>
#include <train/train.h>

enum { WIDTH = 600, LAYERS = 5, BATCH = 6, NUM_STEPS = 3, CLASSES = 10 };

/* The ways to do a step. */
typedef struct way {
  const char *device, *algorithm;
  bool by_thread;  /* transfers move by a thread, else by polls */
  bool is_loop;    /* use the explicit loop */
  bool is_twofold; /* two micro-batches per step */
} way;

typedef struct run {
  tr_context *ctx;
  tr_model *net;
  tr_optimizer *opt;
} run;

typedef void (*build_fn)(tr_model *net);

/* The gradient of each layer is a bucket of its own, of 1.4 MB. */
static void build_wide(tr_model *net)
{
  tr_node x = tr_input(net, (tr_shape){1, {WIDTH}});
  for (int i = 0; i < LAYERS; i++) {
    x = tr_relu(net, tr_linear(net, x, &(tr_linear_opts){.out = WIDTH}));
  }
  tr_cross_entropy(net, tr_linear(net, x, &(tr_linear_opts){.out = CLASSES}));
}

/* Layers that do all-reduces themselves in forward and in backward. */
static void build_norm(tr_model *net)
{
  tr_node x = tr_input(net, (tr_shape){1, {WIDTH}});
  for (int i = 0; i < 3; i++) {
    x = tr_linear(net, x, &(tr_linear_opts){.out = WIDTH});
    x = tr_batchnorm(net, x, &(tr_batchnorm_opts){.sync = 1});
  }
  tr_cross_entropy(net, tr_linear(net, x, &(tr_linear_opts){.out = CLASSES}));
}

/* The first and the last of four layers have a tied weight. */
static void build_tied(tr_model *net)
{
  tr_node x = tr_input(net, (tr_shape){1, {WIDTH}}), nodes[4];
  for (int i = 0; i < 4; i++) {
    x = nodes[i] = tr_linear(net, x, &(tr_linear_opts){.out = WIDTH});
  }
  tr_model_tie(net, nodes[3], nodes[0]);
  tr_cross_entropy(net, tr_linear(net, x, &(tr_linear_opts){.out = CLASSES}));
}

static run begin(const way *w, build_fn build)
{
  run r;
  const tr_context_opts opts = {.device = w->device, .threads = 1, .seed = 3};
  ASSERT_OK(tr_context_create(MPI_COMM_WORLD, &opts, &r.ctx));
  ASSERT_OK(tr__comm_set_algorithm(r.ctx->comm, w->algorithm));
  ASSERT_OK(tr__queue_set_thread(r.ctx->queue, w->by_thread));
  ASSERT_OK(tr_model_create(r.ctx, &r.net));
  build(r.net);
  ASSERT_OK(tr_model_build(r.net, &(tr_build_opts){.max_local_batch = BATCH}));
  const tr_sgd_opts sgd = {.lr = 0.05, .momentum = 0.9};
  ASSERT_OK(tr_sgd_create(r.net, &sgd, &r.opt));
  return r;
}

static void end(run *r)
{
  tr_optimizer_destroy(&r->opt);
  tr_model_destroy(&r->net);
  tr_context_destroy(&r->ctx);
}

/* This rank's rows of a global batch; x has room for the whole batch. */
static tr_batch batch_of(const run *r, int number, float *x, int32_t *y)
{
  const tr__random random = {.seed = 5,
                             .sample = number,
                             .stream = tr__random_stream(TR__PURPOSE_TEST, 9)};
  for (int i = 0; i < BATCH * WIDTH; i++) {
    x[i] = (float)tr__random_uniform(&random, i) - 0.5F;
  }
  for (int i = 0; i < BATCH; i++) {
    y[i] = (number + i) % CLASSES;
  }
  int size = tr_context_size(r->ctx);
  int first = BATCH * world_rank() / size,
      last = BATCH * (world_rank() + 1) / size;
  return (tr_batch){.count = last - first,
                    .first = first,
                    .global_count = BATCH,
                    .inputs = {x + (ptrdiff_t)first * WIDTH},
                    .targets = {y + first},
                    .target_values = {1}};
}

/* Does what tr_trainer_step() does, or the explicit loop. */
static void train_step(run *r, const way *w, int number)
{
  static float x[2][BATCH * WIDTH];
  static int32_t y[2][BATCH];
  if (w->is_twofold) {
    tr_batch first = batch_of(r, 100 + number, x[0], y[0]);
    ASSERT_OK(tr_model_forward(r->net, &first));
    ASSERT_OK(tr_model_backward(r->net));
  }
  tr_batch batch = batch_of(r, number, x[1], y[1]);
  ASSERT_OK(tr_model_forward(r->net, &batch));
  if (w->is_loop) {
    ASSERT_OK(tr_model_backward(r->net));
    ASSERT_OK(tr_model_allreduce_grads(r->net));
  } else {
    ASSERT_OK(tr__sync_backward(r->net));
  }
  ASSERT_OK(tr_optimizer_step(r->opt));
}

static uint64_t hash_after(const way *w, build_fn build)
{
  run r = begin(w, build);
  for (int i = 0; i < NUM_STEPS; i++) {
    train_step(&r, w, i);
  }
  uint64_t hash, first;
  ASSERT_OK(tr_model_params_hash(r.net, &hash));
  first = hash;
  MPI_Bcast(&first, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
  ASSERT(first == hash);
  end(&r);
  return hash;
}

/* Do the ranks share memory? Otherwise there is no "shm" to compare. */
static bool has_shm(void)
{
  tr_context *ctx;
  ASSERT_OK(tr_context_create(MPI_COMM_WORLD, NULL, &ctx));
  bool has = ctx->comm->has_shm;
  tr_context_destroy(&ctx);
  return has;
}

/* The node after whose backward a parameter's gradient is final. */
static int node_of(const tr_model *net, int param)
{
  int first = net->num_nodes;
  for (int i = net->num_nodes - 1; i >= 0; i--) {
    const tr__node *node = &net->nodes[i];
    for (int k = 0; k < node->num_params; k++) {
      first = node->params[k] == param ? i : first;
    }
  }
  return first;
}

static void check_buckets(const tr_model *net)
{
  const tr__store *store = &net->store;
  ASSERT(net->buckets.count >= 1);
  for (int i = 0; i < net->buckets.count; i++) {
    const tr__bucket *b = &net->buckets.all[i];
    ASSERT_EQ(b->begin, i == 0 ? 0 : net->buckets.all[i - 1].end);
    ASSERT_EQ(b->begin % TR__PARAM_ALIGN, 0);
    ASSERT(i == 0 || b->node <= net->buckets.all[i - 1].node);
    for (int p = 0; p < store->num_trained; p++) {
      const tr__param *param = &store->params[p];
      bool is_inside =
          param->offset < b->end && param->offset + param->count > b->begin;
      ASSERT(!is_inside || node_of(net, p) >= b->node);
    }
  }
  ASSERT_EQ(net->buckets.all[net->buckets.count - 1].end, store->count);
}

static void test_buckets_hold_what_is_final_in_order(void)
{
  static const build_fn builds[] = {build_wide, build_norm, build_tied};
  static const int buckets[] = {LAYERS, 3, 3};
  const way w = {"cpu", "auto", false, false, false};
  for (int i = 0; i < 3; i++) {
    run r = begin(&w, builds[i]);
    check_buckets(r.net);
    ASSERT_EQ(r.net->buckets.count, buckets[i]);
    int64_t first = r.net->buckets.all[0].end, all = first;
    MPI_Bcast(&all, 1, MPI_INT64_T, 0, MPI_COMM_WORLD);
    ASSERT_EQ(first, all);
    end(&r);
  }
}

/* A single parameter that is larger than a bucket may be. */
static void build_large(tr_model *net)
{
  tr_node x = tr_input(net, (tr_shape){1, {WIDTH}});
  tr_cross_entropy(net, tr_linear(net, x, &(tr_linear_opts){.out = 5000}));
}

static void test_a_large_parameter_is_cut_into_buckets(void)
{
  const way w = {"cpu", "auto", false, false, false};
  run r = begin(&w, build_large);
  check_buckets(r.net);
  ASSERT_EQ(r.net->buckets.count, 3); /* 12 MB of at most 4 MiB */
  end(&r);
}

static void check_early(const way *w)
{
  run r = begin(w, build_wide);
  int64_t started = 0;
  for (int i = 0; i < NUM_STEPS; i++) {
    train_step(&r, w, i);
    const tr__overlap *overlap = &r.net->overlap;
    bool is_alone = tr_context_size(r.ctx) == 1;
    ASSERT_EQ(overlap->num_early, is_alone ? 0 : r.net->buckets.count - 1);
    ASSERT_EQ(overlap->num_released, is_alone ? 0 : r.net->buckets.count);
    /* How many have started depends on the other ranks, but the first always
     * has. */
    ASSERT(is_alone || overlap->num_started > 0);
    started += is_alone ? 0 : r.net->buckets.count;
  }
  ASSERT_EQ(tr__queue_num_started(r.ctx->queue), started);
  end(&r);
}

static void test_all_buckets_but_the_last_begin_before_backward_ends(void)
{
  static const char *const algorithms[] = {"ring", "doubling", "mpi", "shm"};
  int count = has_shm() ? 4 : 3;
  for (int a = 0; a < count; a++) {
    for (int by_thread = 0; by_thread < 2; by_thread++) {
      check_early(&(way){"cpu", algorithms[a], by_thread, false, false});
    }
    check_early(&(way){"strict", algorithms[a], a % 2 > 0, false, false});
  }
}

static void check_bits(const char *device, bool is_twofold, build_fn build)
{
  const way loop = {device, "shm", false, true, is_twofold};
  uint64_t expected = hash_after(&loop, build);
  for (int by_thread = 0; by_thread < 2; by_thread++) {
    const way w = {device, "shm", by_thread, false, is_twofold};
    ASSERT(hash_after(&w, build) == expected);
  }
}

static void test_overlap_has_the_bits_of_the_explicit_loop(void)
{
  if (world_size() == 1) {
    test_not_here("needs two ranks");
  }
  if (!has_shm()) {
    test_skip("the ranks share no memory");
  }
  static const char *const devices[] = {"cpu", "strict"};
  for (int d = 0; d < 2; d++) {
    check_bits(devices[d], false, build_wide);
    check_bits(devices[d], true, build_wide);
    check_bits(devices[d], false, build_norm);
    check_bits(devices[d], false, build_tied);
  }
}

static void test_overlap_over_messages_repeats_its_bits(void)
{
  static const char *const algorithms[] = {"ring", "doubling"};
  for (int a = 0; a < 2; a++) {
    const way polls = {"cpu", algorithms[a], false, false, false};
    const way thread = {"cpu", algorithms[a], true, false, false};
    uint64_t expected = hash_after(&polls, build_norm);
    ASSERT(hash_after(&polls, build_norm) == expected);
    ASSERT(hash_after(&thread, build_norm) == expected);
  }
}

/* Waits until transfer number `count` has begun: the ones before are then done.
 */
static bool have_begun(tr__queue *queue, int64_t count, bool polls)
{
  double begin = tr__now();
  while (tr__queue_num_started(queue) < count && tr__now() - begin < 60) {
    nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    if (polls) {
      tr__queue_poll(queue);
    }
  }
  return tr__queue_num_started(queue) == count;
}

static void check_moves_alone(const char *algorithm, bool by_thread)
{
  enum { COUNT = 3, NUMBERS = 200000 };
  const way w = {"cpu", algorithm, by_thread, false, false};
  run r = begin(&w, build_wide);
  float *values = malloc(COUNT * NUMBERS * sizeof *values);
  ASSERT(values != NULL);
  for (int i = 0; i < COUNT * NUMBERS; i++) {
    values[i] = (float)(world_rank() + 1);
  }
  for (int i = 0; i < COUNT; i++) {
    const tr__transfer sum = {
        .buf = values + i * NUMBERS, .count = NUMBERS, .dtype = TR_F32};
    tr__queue_push(r.ctx->queue, &sum, i);
  }
  ASSERT(have_begun(r.ctx->queue, COUNT, !by_thread));
  ASSERT_OK(tr__queue_wait(r.ctx->queue));
  ASSERT(tr__queue_is_empty(r.ctx->queue));
  int size = tr_context_size(r.ctx);
  for (int i = 0; i < COUNT * NUMBERS; i++) {
    ASSERT_EQ(values[i], size * (size + 1) / 2);
  }
  free(values);
  end(&r);
}

static void test_transfers_move_by_polls_or_a_thread_alone(void)
{
  static const char *const algorithms[] = {"ring", "doubling", "auto"};
  for (int a = 0; a < 3; a++) {
    check_moves_alone(algorithms[a], false);
    check_moves_alone(algorithms[a], true);
  }
}

/* A data set of which one rank fails in its second read. */

typedef struct parts {
  atomic_int reads;
  bool fails;
} parts;

static tr_status read_part(const tr_dataset *data,
                           const int64_t *ids,
                           int64_t count,
                           void *x,
                           void *targets)
{
  parts *state = data->state;
  int number = 1 + atomic_fetch_add(&state->reads, 1);
  TR_CHECK(!state->fails || number != 2, TR_EIO, "parts: part %d is damaged",
           number);
  for (int64_t i = 0; i < count; i++) {
    ((int32_t *)targets)[i] = (int32_t)(ids[i] % CLASSES);
    for (int k = 0; k < WIDTH; k++) {
      ((float *)x)[i * WIDTH + k] = (float)((ids[i] + k) % 7) / 7;
    }
  }
  return TR_OK;
}

static const tr__dataset_type parts_type = {
    .name = "parts", .read = read_part, .close = own_data_close};

static tr_dataset *open_parts(tr_context *ctx, bool fails)
{
  const parts state = {.fails = fails};
  const tr_dataset as = {
      .shape = {1, {WIDTH}}, .num_samples = 60, .num_classes = CLASSES};
  return own_data_open(ctx, &parts_type, &as, &state, sizeof state);
}

static void check_failure(const char *device, const char *algorithm)
{
  const way w = {device, algorithm, false, false, false};
  run r = begin(&w, build_wide);
  int last = tr_context_size(r.ctx) - 1;
  tr_dataset *data = open_parts(r.ctx, world_rank() == last);
  tr_loader *loader;
  const tr_loader_opts opts = {.batch = BATCH};
  ASSERT_OK(tr_loader_create(r.ctx, data, &opts, &loader));
  tr_trainer *trainer;
  const tr_trainer_opts all = {
      .model = r.net, .optimizer = r.opt, .loader = loader, .steps = 5};
  ASSERT_OK(tr_trainer_create(r.ctx, &all, &trainer));
  tr_batch batch;
  ASSERT(tr_loader_next(loader, &batch));
  ASSERT_OK(tr_trainer_step(trainer, &batch));
  ASSERT(tr_loader_next(loader, &batch));
  ASSERT_FAILS(tr_trainer_step(trainer, &batch), TR_EIO,
               "parts: part 2 is damaged");
  ASSERT_EQ(tr__error_origin()->rank, last);
  ASSERT(tr__queue_is_empty(r.ctx->queue));
  ASSERT_EQ(tr_optimizer_num_steps(r.opt), 1);
  tr_trainer_destroy(&trainer);
  tr_loader_destroy(&loader);
  tr_dataset_destroy(&data);
  end(&r);
}

static void test_a_failing_rank_is_seen_by_all_in_the_same_step(void)
{
  check_failure("cpu", "auto");
  check_failure("cpu", "ring");
  check_failure("strict", "auto");
}

/* A path of rank 0, the same text on all ranks. */
static const char *trace_path(void)
{
  static char path[300];
  snprintf(path, sizeof path, "%s/trace.json", test_scratch());
  MPI_Bcast(path, sizeof path, MPI_CHAR, 0, MPI_COMM_WORLD);
  return path;
}

static void read_trace(const char *path, char *text, size_t bytes)
{
  FILE *file = fopen(path, "r");
  ASSERT(file != NULL);
  text[fread(text, 1, bytes - 1, file)] = '\0';
  fclose(file);
}

static void test_a_trace_has_the_names_of_layers_and_all_ranks(void)
{
  static char text[1 << 16];
  run r;
  const tr_context_opts opts = {.threads = 1, .trace_path = trace_path()};
  ASSERT_OK(tr_context_create(MPI_COMM_WORLD, &opts, &r.ctx));
  ASSERT_OK(tr_model_create(r.ctx, &r.net));
  tr_node x = tr_input(r.net, (tr_shape){1, {WIDTH}});
  const tr_linear_opts named = {.out = CLASSES, .name = "a \"b\" \\"};
  tr_cross_entropy(r.net, tr_linear(r.net, x, &named));
  ASSERT_OK(tr_model_build(r.net, &(tr_build_opts){.max_local_batch = BATCH}));
  ASSERT_OK(tr_sgd_create(r.net, &(tr_sgd_opts){.lr = 0.1}, &r.opt));
  train_step(&r, &(way){.is_loop = true}, 0);
  int size = tr_context_size(r.ctx);
  end(&r);
  if (world_rank() == 0) {
    char last[32];
    snprintf(last, sizeof last, "\"name\":\"rank %d\"", size - 1);
    read_trace(opts.trace_path, text, sizeof text);
    ASSERT(strstr(text, "\"name\":\"a \\\"b\\\" \\\\\"") != NULL);
    ASSERT(strstr(text, last) != NULL);
    ASSERT(size == 1 || strstr(text, "\"name\":\"all-reduce\"") != NULL);
  }
}

static void test_a_trace_that_cannot_be_is_refused_on_all(void)
{
  tr_context *ctx;
  tr_context_opts opts = {.trace_path = "/nowhere/trace.json"};
  ASSERT_FAILS(tr_context_create(MPI_COMM_WORLD, &opts, &ctx), TR_EIO,
               "cannot write the trace /nowhere/trace.json");
  int size;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  opts.trace_path = world_rank() == size - 1 ? NULL : "trace.json";
  if (size > 1) {
    ASSERT_FAILS(tr_context_create(MPI_COMM_WORLD, &opts, &ctx), TR_EMISMATCH,
                 "trace 1");
  }
}

static const tr_test tests[] = {
    TEST(test_buckets_hold_what_is_final_in_order),
    TEST(test_a_large_parameter_is_cut_into_buckets),
    TEST(test_all_buckets_but_the_last_begin_before_backward_ends),
    TEST(test_overlap_has_the_bits_of_the_explicit_loop),
    TEST(test_overlap_over_messages_repeats_its_bits),
    TEST(test_transfers_move_by_polls_or_a_thread_alone),
    TEST(test_a_failing_rank_is_seen_by_all_in_the_same_step),
    TEST(test_a_trace_has_the_names_of_layers_and_all_ranks),
    TEST(test_a_trace_that_cannot_be_is_refused_on_all),
};

TEST_MPI_MAIN(tests)
