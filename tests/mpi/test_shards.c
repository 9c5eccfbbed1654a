/* Reproducible mode: the bits on this number of ranks are those on one. Every
 * rank trains once more alone, with the same virtual shards, and compares. */
#include "comm/mpi/algorithm_table_impl.h"
#include "mpi_test.h"
#include "sync/sync_impl.h"

#include "core/context_impl.h"
#include "model/model_impl.h"
#include "optim/optimizer_impl.h"

#include <inttypes.h>
#include <train/mpi.h>
#include <train/train.h>

enum { BATCH = 22, CLASSES = 5, LENGTH = 9, LETTERS = 11, TOKEN_ROWS = 22 * 9 };

/* A network. It takes its rows from arrays of the whole global batch. */
typedef struct net_type {
  const char *name;
  tr_shape shape; /* of a sample */
  bool has_ids;
  int64_t target_values;
  void (*build)(tr_model *net);
} net_type;

static void build_mlp(tr_model *net)
{
  tr_node x = tr_input(net, (tr_shape){1, {37}});
  x = tr_linear(net, x, &(tr_linear_opts){.out = 29});
  x = tr_relu(net, x);
  x = tr_dropout(net, x, &(tr_dropout_opts){.p = 0.2});
  x = tr_linear(net, x, &(tr_linear_opts){.out = 70});
  x = tr_gelu(net, x, NULL);
  tr_cross_entropy(net, tr_linear(net, x, &(tr_linear_opts){.out = CLASSES}));
}

static void build_convnet(tr_model *net)
{
  tr_node x = tr_input(net, (tr_shape){3, {2, 9, 7}});
  x = tr_conv2d(net, x, &(tr_conv2d_opts){.out = 6, .kernel = 3, .padding = 1});
  x = tr_relu(net, tr_batchnorm(net, x, NULL));
  tr_node skip = x;
  x = tr_conv2d(
      net, x,
      &(tr_conv2d_opts){.out = 6, .kernel = 3, .padding = 1, .groups = 6});
  x = tr_groupnorm(net, x, &(tr_groupnorm_opts){.groups = 3});
  x = tr_maxpool2d(net, tr_add(net, x, skip), &(tr_pool2d_opts){.kernel = 2});
  x = tr_batchnorm(net, x, NULL);
  x = tr_conv_transpose2d(
      net, x, &(tr_conv_transpose2d_opts){.out = 3, .kernel = 2, .stride = 2});
  x = tr_silu(net, x);
  x = tr_linear(net, tr_flatten(net, x), &(tr_linear_opts){.out = CLASSES});
  tr_cross_entropy(net, x);
}

static tr_node read_tokens(tr_model *net)
{
  tr_node x = tr_input_ids(net, (tr_shape){1, {LENGTH}});
  x = tr_embedding(
      net, x, &(tr_embedding_opts){.num = LETTERS, .out = 12, .name = "tok"});
  return tr_position(net, x, &(tr_position_opts){0});
}

static tr_node attend(tr_model *net, tr_node x)
{
  tr_node y = tr_layernorm(net, x, NULL);
  y = tr_linear(net, y, &(tr_linear_opts){.out = 36});
  y = tr_attention(net, y, &(tr_attention_opts){.heads = 3, .causal = 1});
  y = tr_linear(net, y, &(tr_linear_opts){.out = 12});
  return tr_add(net, x, tr_dropout(net, y, &(tr_dropout_opts){.p = 0.1}));
}

static void build_gpt(tr_model *net)
{
  tr_node x = tr_rmsnorm(net, attend(net, read_tokens(net)), NULL);
  tr_cross_entropy(net, tr_linear(net, x, &(tr_linear_opts){.out = LETTERS}));
}

/* Two more layers are tied to the weight of the embedding. */
static void build_tied(tr_model *net)
{
  tr_node ids = tr_input_ids(net, (tr_shape){1, {LENGTH}});
  tr_node tok = tr_embedding(
      net, ids, &(tr_embedding_opts){.num = LETTERS, .out = 12, .name = "tok"});
  tr_node again =
      tr_embedding(net, ids, &(tr_embedding_opts){.num = LETTERS, .out = 12});
  tr_model_tie(net, again, tok);
  tr_node x = attend(net, tr_mul(net, tok, again));
  tr_node head =
      tr_linear(net, x, &(tr_linear_opts){.out = LETTERS, .no_bias = 1});
  tr_model_tie(net, head, tok);
  tr_cross_entropy(net, head);
}

/* Two losses: the targets of the second are the samples themselves. */
static void build_two(tr_model *net)
{
  tr_node x = tr_input(net, (tr_shape){1, {37}});
  tr_node y = tr_relu(net, tr_linear(net, x, &(tr_linear_opts){.out = 29}));
  tr_cross_entropy(net, tr_linear(net, y, &(tr_linear_opts){.out = CLASSES}));
  tr_mse(net, tr_linear(net, y, &(tr_linear_opts){.out = 37}),
         &(tr_loss_opts){.weight = 0.3});
}

static const net_type mlp = {"mlp", {1, {37}}, false, 1, build_mlp};
static const net_type convnet = {
    "convnet", {3, {2, 9, 7}}, false, 1, build_convnet};
static const net_type two = {"two", {1, {37}}, false, 1, build_two};
static const net_type gpt = {"gpt", {1, {LENGTH}}, true, LENGTH, build_gpt};
static const net_type tied = {"tied", {1, {LENGTH}}, true, LENGTH, build_tied};

/* An optimizer of the table, with a clipped norm. number selects its random
 * options. */
static tr_optimizer *
make_optimizer(tr_model *net, const tr__optimizer_type *type, int number)
{
  const tr_update_opts update = {.clip_norm = 0.5};
  const tr__random random = {.seed = test_seed(),
                             .sample = number,
                             .stream = tr__random_stream(TR__PURPOSE_TEST, 2)};
  tr_optimizer *opt;
  ASSERT_OK(type->random_create(net, &random, &update, &opt));
  return opt;
}

static const tr__optimizer_type *find_optimizer(const char *name)
{
  const tr__optimizer_type *const *table = tr__optimizer_table();
  int i = 0;
  while (strcmp(table[i]->name, name) != 0) {
    i++;
  }
  return table[i];
}

/* The options of one training. */
typedef struct job_opts {
  const net_type *type;
  const tr__optimizer_type *optimizer;
  int number;
  int64_t shards;
  int parts;     /* micro-batches of a step */
  bool overlaps; /* all-reduce during backward of the last micro-batch */
  const char *device;
  tr_dtype dtype;
  const char *algorithm; /* NULL: chosen by size */
} job_opts;

/* The numbers of a global batch, the same on all ranks. */
typedef struct samples {
  float x[BATCH * 126];
  int32_t ids[TOKEN_ROWS], y[TOKEN_ROWS];
  float weights[BATCH];
} samples;

static void draw_samples(samples *s, int number)
{
  const tr__random random = {.seed = 7,
                             .sample = number,
                             .stream = tr__random_stream(TR__PURPOSE_TEST, 11)};
  for (int64_t i = 0; i < BATCH * 126; i++) {
    s->x[i] = (float)tr__random_normal(&random, i);
  }
  for (int64_t i = 0; i < TOKEN_ROWS; i++) {
    uint32_t draw = tr__random_u32(&random, 1000000 + i);
    s->ids[i] = (int32_t)(draw % LETTERS);
    s->y[i] = (int32_t)(draw / LETTERS % CLASSES);
  }
  for (int64_t i = 0; i < BATCH; i++) {
    s->weights[i] = (float)tr__random_uniform(&random, 2000000 + i);
  }
}

static tr_batch part_of(const tr_context *ctx,
                        const net_type *type,
                        const samples *s,
                        int64_t rows)
{
  tr_batch batch = {.global_count = rows,
                    .target_values = {type->target_values}};
  tr_batch_range(ctx, rows, &batch.first, &batch.count);
  int64_t values = tr_shape_count(&type->shape);
  batch.inputs[0] = type->has_ids
                        ? (const void *)(s->ids + batch.first * values)
                        : s->x + batch.first * values;
  batch.targets[0] = s->y + batch.first * type->target_values;
  batch.targets[1] = type == &two ? batch.inputs[0] : NULL;
  batch.weights = s->weights + batch.first;
  return batch;
}

/* Two trainings are equal where these are. */
typedef struct outcome {
  uint64_t hash;
  double loss[12];
} outcome;

/* Rows of a step: enough for all shards, for some, and for one. */
static const int64_t rows_of_step[] = {BATCH, 19, 3, BATCH, 1, 8};
enum { STEPS = 6 };

static void train(tr_context *ctx, const job_opts *opts, outcome *out)
{
  tr_model *net;
  tr_optimizer *opt;
  ASSERT_OK(tr_model_create(ctx, &net));
  opts->type->build(net);
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = BATCH}));
  opt = make_optimizer(net, opts->optimizer, opts->number);
  samples *s = malloc(sizeof *s);
  for (int step = 0; step < STEPS; step++) {
    for (int part = 0; part < opts->parts; part++) {
      draw_samples(s, step * opts->parts + part);
      tr_batch batch =
          part_of(ctx, opts->type, s, rows_of_step[(step + part) % STEPS]);
      ASSERT_OK(tr_model_forward(net, &batch));
      if (part < opts->parts - 1) {
        ASSERT_OK(tr_model_backward(net));
      }
    }
    ASSERT_OK(tr_model_loss(net, &out->loss[2 * step])); /* before backward */
    if (opts->overlaps) {
      ASSERT_OK(tr__sync_backward(net));
    } else {
      ASSERT_OK(tr_model_backward(net));
      ASSERT_OK(tr_model_allreduce_grads(net));
    }
    ASSERT_OK(tr_model_loss(net, &out->loss[2 * step + 1]));
    ASSERT_OK(tr_optimizer_step(opt));
  }
  free(s);
  ASSERT_OK(tr_model_params_hash(net, &out->hash));
  tr_optimizer_destroy(&opt);
  tr_model_destroy(&net);
}

static void run(MPI_Comm comm, const job_opts *opts, outcome *out)
{
  tr_context *ctx;
  ASSERT_OK(
      tr_context_create(comm,
                        &(tr_context_opts){.threads = 1,
                                           .seed = 3,
                                           .device = opts->device,
                                           .dtype = opts->dtype,
                                           .virtual_shards = opts->shards},
                        &ctx));
  if (opts->algorithm != NULL && ctx->comm->size > 1) {
    ASSERT_OK(tr__comm_set_algorithm(ctx->comm, opts->algorithm));
  }
  train(ctx, opts, out);
  tr_context_destroy(&ctx);
}

static void
compare(const job_opts *opts, const outcome *alone, const outcome *together)
{
  for (int i = 0; i < 2 * STEPS; i++) {
    if (!(alone->loss[i] == together->loss[i])) {
      test_fail(__FILE__, __LINE__,
                "%s%s, %d shards: loss %d of step %d is %.17g, alone %.17g",
                opts->type->name, opts->overlaps ? " with overlap" : "",
                (int)opts->shards, i % 2, i / 2, together->loss[i],
                alone->loss[i]);
    }
  }
  if (alone->hash != together->hash) {
    test_fail(__FILE__, __LINE__,
              "%s%s, %d shards: params_hash is %016" PRIx64
              ", alone it is %016" PRIx64,
              opts->type->name, opts->overlaps ? " with overlap" : "",
              (int)opts->shards, together->hash, alone->hash);
  }
}

static void expect_the_same_bits(const job_opts *opts)
{
  outcome alone, together;
  run(MPI_COMM_SELF, opts, &alone);
  run(MPI_COMM_WORLD, opts, &together);
  compare(opts, &alone, &together);
  job_opts overlapped = *opts;
  overlapped.overlaps = true;
  run(MPI_COMM_WORLD, &overlapped, &together);
  compare(&overlapped, &alone, &together);
}

static void test_every_network_has_the_same_bits(void)
{
  const net_type *types[] = {&mlp, &two, &convnet, &gpt, &tied};
  const int64_t shards[] = {8, 12, 24, 4 + world_size()};
  for (int t = 0; t < 5; t++) {
    for (int v = 0; v < 4; v++) {
      expect_the_same_bits(&(job_opts){.type = types[t],
                                       .optimizer = find_optimizer("adamw"),
                                       .shards = shards[v],
                                       .parts = 1,
                                       .device = "cpu"});
    }
  }
}

static void test_every_optimizer_has_the_same_bits(void)
{
  const tr__optimizer_type *const *table = tr__optimizer_table();
  for (int i = 0; table[i] != NULL; i++) {
    for (int number = 0; number < 3; number++) {
      expect_the_same_bits(&(job_opts){.type = &mlp,
                                       .optimizer = table[i],
                                       .number = number,
                                       .shards = 8,
                                       .parts = 1,
                                       .device = "cpu"});
    }
  }
}

static void test_several_batches_of_a_step_have_the_same_bits(void)
{
  const net_type *types[] = {&mlp, &two, &convnet, &gpt, &tied};
  for (int t = 0; t < 5; t++) {
    for (int parts = 2; parts <= 3; parts++) {
      expect_the_same_bits(&(job_opts){.type = types[t],
                                       .optimizer = find_optimizer("sgd"),
                                       .shards = 8,
                                       .parts = parts,
                                       .device = "cpu"});
    }
  }
}

static void test_other_backends_and_precisions_have_the_same_bits(void)
{
  const net_type *types[] = {&convnet, &tied};
  for (int t = 0; t < 2; t++) {
    job_opts opts = {.type = types[t],
                     .optimizer = find_optimizer("adam"),
                     .shards = 8,
                     .parts = 2,
                     .device = "reference"};
    expect_the_same_bits(&opts);
    opts.device = "strict";
    expect_the_same_bits(&opts);
    opts.device = "cpu";
    opts.dtype = TR_BF16;
    expect_the_same_bits(&opts);
    opts.dtype = TR_F16;
    expect_the_same_bits(&opts);
  }
}

/* Does the algorithm keep the order of the tree over these ranks? */
static bool takes(const char *algorithm, int64_t shards)
{
  tr_context *ctx;
  ASSERT_OK(tr_context_create(
      MPI_COMM_WORLD, &(tr_context_opts){.virtual_shards = shards}, &ctx));
  bool does = ctx->comm->size > 1 &&
              tr__comm_set_algorithm(ctx->comm, algorithm) == TR_OK;
  tr_context_destroy(&ctx);
  return does;
}

static void test_every_algorithm_has_the_same_bits(void)
{
  static const char *const names[] = {"shm", "direct", "halving", "doubling"};
  ASSERT(world_size() == 1 || takes("direct", 8));
  ASSERT(world_size() == 1 || !takes("ring", 8));
  for (int i = 0; i < 4; i++) {
    for (int64_t shards = 8; shards <= 12; shards += 4) {
      job_opts opts = {.type = &mlp,
                       .optimizer = find_optimizer("adam"),
                       .shards = shards,
                       .parts = 1,
                       .device = "cpu",
                       .algorithm = names[i]};
      if (takes(names[i], shards)) {
        expect_the_same_bits(&opts);
      }
    }
  }
}

static void test_a_batch_that_is_cut_otherwise_is_refused(void)
{
  tr_context *ctx;
  tr_model *net;
  tr_optimizer *opt;
  ASSERT_OK(tr_context_create(MPI_COMM_WORLD,
                              &(tr_context_opts){.virtual_shards = 8}, &ctx));
  ASSERT_OK(tr_model_create(ctx, &net));
  mlp.build(net);
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = BATCH}));
  opt = make_optimizer(net, find_optimizer("sgd"), 0);
  samples *s = malloc(sizeof *s);
  draw_samples(s, 0);
  tr_batch batch = part_of(ctx, &mlp, s, 16);
  batch.count--;
  ASSERT_FAILS(tr_model_forward(net, &batch), TR_EINVAL,
               "of 16, with 8 virtual shards expected");
  free(s);
  tr_optimizer_destroy(&opt);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static const tr_test tests[] = {
    TEST(test_every_network_has_the_same_bits),
    TEST(test_every_optimizer_has_the_same_bits),
    TEST(test_several_batches_of_a_step_have_the_same_bits),
    TEST(test_other_backends_and_precisions_have_the_same_bits),
    TEST(test_every_algorithm_has_the_same_bits),
    TEST(test_a_batch_that_is_cut_otherwise_is_refused),
};

TEST_MPI_MAIN(tests)
