/* Trainings with ZeRO stage 1 ("spread": optimizer state partitioned over
 * ranks), and the same without. */
#ifndef TR_SPREAD_HELPER_H
#define TR_SPREAD_HELPER_H

#include "checkpoint/checkpoint_impl.h"
#include "comm/mpi/algorithm_table_impl.h"
#include "comm/mpi/comm_mpi_impl.h"
#include "model/model_impl.h"
#include "mpi_test.h"
#include "optim/optimizer_impl.h"

#include <math.h>
#include <mpi.h>
#include <time.h>
#include <train/mpi.h>
#include <train/train.h>

enum { SAMPLES = 90, FEATURES = 70, CLASSES = 6, BATCH = 20, STEPS = 6 };

/* Options of a training. A wide network has several buckets. */
typedef struct run_opts {
  MPI_Comm comm; /* MPI_COMM_NULL: all ranks */
  const char *device;
  tr_dtype dtype, wire;
  const tr__optimizer_type *type; /* NULL: AdamW */
  int number;                     /* selects the random options of the type */
  int width;                      /* of the hidden layers; 0: 96 */
  tr_update_opts update;
  const char *freeze; /* a pattern; NULL: none */
  double lr;          /* of AdamW; 0: 0.003 */
  tr_rate_fn rate;
  const char *algorithm; /* of all-reduces; NULL: auto */
  int64_t shards;        /* virtual shards */
} run_opts;

typedef struct run {
  tr_context *ctx;
  tr_dataset *data;
  tr_loader *loader;
  tr_model *net;
  tr_optimizer *opt;
  tr_checkpoint checkpoint;
} run;

static float samples[SAMPLES * FEATURES];
static int32_t labels[SAMPLES];

static void fill_samples(void)
{
  const tr__random random = {.seed = 11,
                             .stream = tr__random_stream(TR__PURPOSE_TEST, 6)};
  for (int i = 0; i < SAMPLES * FEATURES; i++) {
    samples[i] = (float)(2 * tr__random_uniform(&random, i) - 1);
  }
  for (int i = 0; i < SAMPLES; i++) {
    labels[i] = (int32_t)(3 * samples[i * FEATURES] + 3) % CLASSES;
  }
}

/* Two layers have a tied weight. */
static void add_layers(tr_model *net, tr_shape shape, int width)
{
  tr_node x = tr_input(net, shape);
  x = tr_linear(net, x, &(tr_linear_opts){.out = width, .name = "fc1"});
  tr_node first = tr_linear(net, tr_relu(net, x),
                            &(tr_linear_opts){.out = width, .name = "fc2"});
  tr_node second = tr_linear(net, tr_relu(net, first),
                             &(tr_linear_opts){.out = width, .name = "fc3"});
  tr_model_tie(net, second, first);
  x = tr_batchnorm(net, second, &(tr_batchnorm_opts){.name = "norm"});
  x = tr_linear(net, tr_relu(net, x),
                &(tr_linear_opts){.out = CLASSES, .name = "head"});
  tr_cross_entropy(net, x);
}

static tr_status create_optimizer(run *r, const run_opts *opts)
{
  const tr__random random = {.seed = test_seed(),
                             .sample = opts->number,
                             .stream = tr__random_stream(TR__PURPOSE_TEST, 2)};
  if (opts->type != NULL) {
    return opts->type->random_create(r->net, &random, &opts->update, &r->opt);
  }
  tr_adamw_opts adamw = tr_adamw_defaults();
  adamw.lr = opts->lr > 0 ? opts->lr : 0.003;
  adamw.update = opts->update;
  if (opts->rate != NULL) {
    adamw.schedule =
        (tr_schedule){.kind = TR_SCHEDULE_CALLBACK, .rate = opts->rate};
  }
  return tr_adamw_create(r->net, &adamw, &r->opt);
}

static run begin(run_opts opts)
{
  run r = {0};
  const tr_context_opts ctx_opts = {.device = opts.device,
                                    .dtype = opts.dtype,
                                    .wire = opts.wire,
                                    .virtual_shards = opts.shards,
                                    .threads = 1,
                                    .log = test_no_log};
  MPI_Comm comm = opts.comm != MPI_COMM_NULL ? opts.comm : MPI_COMM_WORLD;
  ASSERT_OK(tr_context_create(comm, &ctx_opts, &r.ctx));
  if (opts.algorithm != NULL && r.ctx->comm->size > 1) {
    ASSERT_OK(tr__comm_set_algorithm(r.ctx->comm, opts.algorithm));
  }
  static double wide[SAMPLES * FEATURES];
  for (int i = 0; i < SAMPLES * FEATURES; i++) {
    wide[i] = (double)samples[i];
  }
  const tr_array_opts arrays = {.x = opts.dtype == TR_F64 ? (void *)wide
                                                          : samples,
                                .y = labels,
                                .num_samples = SAMPLES,
                                .num_classes = CLASSES,
                                .shape = {1, {FEATURES}}};
  ASSERT_OK(tr_array_open(r.ctx, &arrays, &r.data));
  const tr_loader_opts loader = {.batch = BATCH, .shuffle = 1};
  ASSERT_OK(tr_loader_create(r.ctx, r.data, &loader, &r.loader));
  ASSERT_OK(tr_model_create(r.ctx, &r.net));
  add_layers(r.net, tr_dataset_shape(r.data), opts.width > 0 ? opts.width : 96);
  if (opts.freeze != NULL) {
    ASSERT_OK(tr_model_freeze(r.net, opts.freeze, 1));
  }
  ASSERT_OK(tr_model_build(r.net, NULL));
  ASSERT_OK(create_optimizer(&r, &opts));
  r.checkpoint =
      (tr_checkpoint){.model = r.net, .optimizer = r.opt, .loader = r.loader};
  return r;
}

static void end(run *r)
{
  tr_optimizer_destroy(&r->opt);
  tr_model_destroy(&r->net);
  tr_loader_destroy(&r->loader);
  tr_dataset_destroy(&r->data);
  tr_context_destroy(&r->ctx);
}

static run begin_spread(run_opts opts)
{
  opts.update.shard_state = 1;
  return begin(opts);
}

static void next_batch(run *r, tr_batch *batch)
{
  while (!tr_loader_next(r->loader, batch)) {
    ASSERT_OK(tr_loader_status(r->loader));
  }
}

static void train(run *r, int steps)
{
  for (int i = 0; i < steps; i++) {
    tr_batch batch;
    next_batch(r, &batch);
    ASSERT_OK(tr_model_forward(r->net, &batch));
    ASSERT_OK(tr_model_backward(r->net));
    ASSERT_OK(tr_model_allreduce_grads(r->net));
    ASSERT_OK(tr_optimizer_step(r->opt));
  }
}

/* Uses the trainer, whose step overlaps transfers. */
static tr_report fit(run *r, tr_trainer_opts opts)
{
  tr_trainer *trainer;
  tr_report report;
  opts.model = r->net;
  opts.optimizer = r->opt;
  opts.loader = r->loader;
  opts.steps = opts.steps > 0 ? opts.steps : STEPS;
  ASSERT_OK(tr_trainer_create(r->ctx, &opts, &trainer));
  ASSERT_OK(tr_trainer_fit(trainer, &report));
  tr_trainer_destroy(&trainer);
  return report;
}

/* The parameters' hash; it must be equal on all ranks. */
static uint64_t hash_of(run *r)
{
  uint64_t hash, first;
  ASSERT_OK(tr_model_params_hash(r->net, &hash));
  first = hash;
  ASSERT_OK(
      r->ctx->comm->type->broadcast(r->ctx->comm, &first, sizeof first, 0));
  ASSERT(first == hash);
  return hash;
}

static uint64_t hash_after_training(run_opts opts)
{
  run r = begin(opts);
  train(&r, STEPS);
  uint64_t hash = hash_of(&r);
  end(&r);
  return hash;
}

static MPI_Comm first_ranks(int count)
{
  MPI_Comm comm;
  MPI_Comm_split(MPI_COMM_WORLD, world_rank() < count ? 0 : MPI_UNDEFINED, 0,
                 &comm);
  return comm;
}

static void accumulate(run *r)
{
  for (int i = 0; i < STEPS; i++) {
    for (int k = 0; k < 3; k++) {
      tr_batch batch;
      next_batch(r, &batch);
      ASSERT_OK(tr_model_forward(r->net, &batch));
      ASSERT_OK(tr_model_backward(r->net));
    }
    ASSERT_OK(tr_model_allreduce_grads(r->net));
    ASSERT_OK(tr_optimizer_step(r->opt));
  }
}

#endif
