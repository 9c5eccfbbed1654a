/* A small run with options, for what a checkpoint says and how it is resumed.
 */
#ifndef TR_RESUME_HELPER_H
#define TR_RESUME_HELPER_H

#include "checkpoint/checkpoint_impl.h"
#include "model/model_impl.h"
#include "test.h"

#include <train/train.h>

enum { SAMPLES = 40, CHANNELS = 4, PLACES = 6, CLASSES = 3 };

/* Zero is what first runs have. */
typedef struct run_opts {
  uint64_t seed;
  int64_t shards, batch; /* 0: 8 */
  int no_shuffle;
  /* of layers */
  int64_t heads, groups, pool, dilation;
  int causal, sync;
  double eps, momentum, slope, p, delta;
  /* of the optimizer */
  double lr, clip, decay;
  int64_t total; /* of a cosine */
} run_opts;

typedef struct run {
  tr_context *ctx;
  tr_dataset *data;
  tr_loader *loader;
  tr_model *net;
  tr_optimizer *opt;
  tr_checkpoint checkpoint;
} run;

/* All that the log has got, a line each; warnings begin with '!'. */
static char told[8192];

static void keep_line(void *user, tr_log_level level, const char *line)
{
  (void)user;
  size_t used = strlen(told);
  snprintf(told + used, sizeof told - used, "%s%s\n",
           level == TR_LOG_WARNING ? "!" : "", line);
}

static inline bool was_told(const char *text)
{
  return strstr(told, text) != NULL;
}

static inline int64_t or_else(int64_t value, int64_t standard)
{
  return value != 0 ? value : standard;
}

/* A layer of each kind whose options no shape shows. */
static inline void add_layers(tr_model *net, tr_shape shape, run_opts o)
{
  int64_t dilation = or_else(o.dilation, 1), pool = or_else(o.pool, 3);
  tr_node x = tr_input(net, shape);
  x = tr_linear(net, x, &(tr_linear_opts){.out = 3 * PLACES, .name = "qkv"});
  x = tr_attention(
      net, x,
      &(tr_attention_opts){.heads = or_else(o.heads, 1), .causal = o.causal});
  x = tr_layernorm(net, x, &(tr_layernorm_opts){.eps = o.eps});
  x = tr_reshape(net, x, (tr_shape){3, {1, CHANNELS, PLACES}});
  x = tr_conv2d(net, x,
                &(tr_conv2d_opts){.out = 6,
                                  .kernel = 3,
                                  .padding = dilation,
                                  .dilation = dilation,
                                  .name = "conv"});
  x = tr_groupnorm(net, x,
                   &(tr_groupnorm_opts){.groups = or_else(o.groups, 2)});
  x = tr_batchnorm(
      net, x, &(tr_batchnorm_opts){.momentum = o.momentum, .sync = o.sync});
  x = tr_leaky_relu(net, x, &(tr_leaky_relu_opts){.negative_slope = o.slope});
  x = tr_maxpool2d(
      net, x,
      &(tr_pool2d_opts){.kernel = pool, .stride = 1, .padding = pool / 2});
  x = tr_dropout(net, tr_flatten(net, x),
                 &(tr_dropout_opts){.p = o.p > 0 ? o.p : 0.25});
  x = tr_linear(net, x, &(tr_linear_opts){.out = CLASSES, .name = "fc"});
  tr_cross_entropy(net, x);
}

static inline void open_data(run *r, run_opts o)
{
  static float x[SAMPLES * CHANNELS * PLACES];
  static int32_t y[SAMPLES];
  for (int i = 0; i < SAMPLES * CHANNELS * PLACES; i++) {
    x[i] = sinf((float)(i * i % 1009));
  }
  for (int i = 0; i < SAMPLES; i++) {
    y[i] = i % CLASSES;
  }
  const tr_array_opts arrays = {.x = x,
                                .y = y,
                                .num_samples = SAMPLES,
                                .num_classes = CLASSES,
                                .shape = {2, {CHANNELS, PLACES}}};
  const tr_loader_opts opts = {.batch = or_else(o.batch, 8),
                               .shuffle = !o.no_shuffle};
  ASSERT_OK(tr_array_open(r->ctx, &arrays, &r->data));
  ASSERT_OK(tr_loader_create(r->ctx, r->data, &opts, &r->loader));
}

static inline run begin(run_opts o)
{
  run r = {0};
  const tr_context_opts opts = {.seed = o.seed,
                                .virtual_shards = o.shards,
                                .threads = 1,
                                .log = keep_line};
  ASSERT_OK(tr_context_create_auto(&opts, &r.ctx));
  open_data(&r, o);
  ASSERT_OK(tr_model_create(r.ctx, &r.net));
  add_layers(r.net, tr_dataset_shape(r.data), o);
  ASSERT_OK(tr_model_build(r.net, NULL));
  const tr_sgd_opts sgd = {
      .lr = o.lr > 0 ? o.lr : 0.125,
      .momentum = 0.5,
      .weight_decay = o.decay,
      .schedule = {.kind = TR_SCHEDULE_COSINE, .total = or_else(o.total, 100)},
      .update = {.clip_norm = o.clip}};
  ASSERT_OK(tr_sgd_create(r.net, &sgd, &r.opt));
  r.checkpoint =
      (tr_checkpoint){.model = r.net, .optimizer = r.opt, .loader = r.loader};
  told[0] = '\0';
  return r;
}

static inline void end(run *r)
{
  tr_optimizer_destroy(&r->opt);
  tr_model_destroy(&r->net);
  tr_loader_destroy(&r->loader);
  tr_dataset_destroy(&r->data);
  tr_context_destroy(&r->ctx);
}

static inline void train(run *r, int steps)
{
  for (int i = 0; i < steps;) {
    tr_batch batch;
    if (!tr_loader_next(r->loader, &batch)) {
      ASSERT_OK(tr_loader_status(r->loader));
      continue;
    }
    ASSERT_OK(tr_model_forward(r->net, &batch));
    ASSERT_OK(tr_model_backward(r->net));
    ASSERT_OK(tr_model_allreduce_grads(r->net));
    ASSERT_OK(tr_optimizer_step(r->opt));
    i++;
  }
}

static inline uint64_t hash_of(run *r)
{
  uint64_t hash;
  ASSERT_OK(tr_model_params_hash(r->net, &hash));
  return hash;
}

/* A directory of its own at each call, which ends the name before. */
static inline const char *new_dir(void)
{
  static char path[300];
  static int number;
  snprintf(path, sizeof path, "%s/run%d", test_scratch(), number++);
  return path;
}

/* A run of these options saved after some steps; its directory. */
static inline const char *saved_run(run_opts o, int steps)
{
  const char *dir = new_dir();
  run r = begin(o);
  train(&r, steps);
  ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &r.checkpoint));
  end(&r);
  return dir;
}

/* What version 0.1 did not write. */
static inline bool is_later(const char *name)
{
  static const char *const later[] = {
      "/state/layers", "/state/context", "/state/numbering",
      "/state/virtual_shards", "/state/started"};
  bool is = false;
  for (size_t i = 0; i < sizeof later / sizeof later[0]; i++) {
    is = is || strcmp(name, later[i]) == 0;
  }
  return is;
}

/* Saves the run again, without what version 0.1 did not write. */
static inline void save_as_0_1(run *r, const char *dir)
{
  ASSERT_OK(tr_checkpoint_save(r->ctx, dir, &r->checkpoint));
  tr__checkpoint_cache *cache = r->net->attachment.data;
  tr__image *all = cache->image, *image;
  tr__view *views = calloc((size_t)all->num_entries, sizeof *views);
  int count = 0;
  for (int i = 0; i < all->num_entries; i++) {
    if (!is_later(all->entries[i].view.name)) {
      views[count++] = all->entries[i].view;
    }
  }
  ASSERT_OK(tr__image_create(views, count, &image));
  for (int i = 0, k = 0; i < all->num_entries; i++) {
    if (!is_later(all->entries[i].view.name)) {
      memcpy(tr__image_at(image, k++), tr__image_at(all, i),
             all->entries[i].bytes);
    }
  }
  tr__seal seal = {.step = tr_optimizer_num_steps(r->opt)};
  memcpy(seal.run_id, cache->identity.run_id, sizeof seal.run_id);
  ASSERT_OK(tr__run_dir_commit(&cache->dir, image, &seal, 1, 2));
  tr__image_destroy(&image);
  free(views);
}

#endif
