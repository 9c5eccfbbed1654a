/* Steps: accumulation, sample weights, parameters by name and their hash. */
#include "layer_helper.h"

#include <xxhash.h>

enum { ROWS = 9, INPUTS = 6, CLASSES = 4 };

typedef struct samples {
  double x[ROWS * INPUTS], weights[ROWS];
  int32_t y[ROWS];
} samples;

static samples make_samples(void)
{
  samples s;
  const tr__random random = case_random(0, 7);
  tr__random_fill(&random, -1, 1, ROWS * INPUTS, s.x);
  for (int i = 0; i < ROWS; i++) {
    s.y[i] = (int32_t)(tr__random_u32(&random, 100 + i) % CLASSES);
    s.weights[i] = 0.5 + tr__random_uniform(&random, 200 + i);
  }
  return s;
}

/* A net with one hidden layer and momentum, from the context's seed. */
typedef struct learner {
  tr_model *net;
  tr_optimizer *opt;
} learner;

static learner make_learner(tr_context *ctx)
{
  learner l;
  ASSERT_OK(tr_model_create(ctx, &l.net));
  tr_node x = tr_input(l.net, (tr_shape){1, {INPUTS}});
  x = tr_linear(l.net, x, &(tr_linear_opts){.out = 7, .name = "zeta"});
  x = tr_linear(l.net, tr_relu(l.net, x),
                &(tr_linear_opts){.out = CLASSES, .name = "alpha"});
  tr_cross_entropy(l.net, x);
  ASSERT_OK(tr_model_build(l.net, &(tr_build_opts){.max_local_batch = ROWS}));
  tr_sgd_opts opts = {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01};
  ASSERT_OK(tr_sgd_create(l.net, &opts, &l.opt));
  return l;
}

static void free_learner(learner *l)
{
  tr_optimizer_destroy(&l->opt);
  tr_model_destroy(&l->net);
}

static void learn_from(learner *l, const samples *s, int begin, int end)
{
  const tr_batch batch = {.count = end - begin,
                          .global_count = tr__max(end - begin, 1),
                          .inputs = {s->x + INPUTS * begin},
                          .targets = {s->y + begin},
                          .weights = s->weights + begin};
  ASSERT_OK(tr_model_forward(l->net, &batch));
  ASSERT_OK(tr_model_backward(l->net));
}

/* Two steps, each of the parts between the cuts. */
static void train(learner *l, const samples *s, const int *cuts, int num_cuts)
{
  for (int step = 0; step < 2; step++) {
    for (int i = 0; i + 1 < num_cuts; i++) {
      learn_from(l, s, cuts[i], cuts[i + 1]);
    }
    ASSERT_OK(tr_model_allreduce_grads(l->net));
    ASSERT_OK(tr_optimizer_step(l->opt));
  }
}

static void get_arena(learner *l, double *values)
{
  tr__store *store = &l->net->store;
  tr__backend *backend = store->ctx->backend;
  ASSERT_OK(backend->type->download(&backend->stream, values, store->values,
                                    (size_t)store->count * sizeof *values));
}

static void test_accumulated_parts_of_a_batch_equal_the_whole(void)
{
  static const int cuts[][5] = {
      {0, 9}, {0, 5, 9}, {0, 1, 9}, {0, 8, 9}, {0, 0, 3, 3, 9}, {0, 2, 4, 7, 9},
  };
  static const int num_cuts[] = {2, 3, 3, 3, 5, 5};
  tr_context *ctx = make_context("reference", TR_F64);
  const samples s = make_samples();
  double whole[512], parts[512];
  for (int i = 0; i < 6; i++) {
    learner l = make_learner(ctx);
    int64_t count = l.net->store.count;
    ASSERT(count <= 512);
    train(&l, &s, cuts[i], num_cuts[i]);
    get_arena(&l, i == 0 ? whole : parts);
    if (i > 0) {
      ASSERT_TENSOR_NEAR("parameters", TR_F64, parts, whole, count, 1e-12);
    }
    free_learner(&l);
  }
  tr_context_destroy(&ctx);
}

/* A batch with the plan's weight of `planned` samples is no other than one
 * that knew its own. */
static void test_the_planned_count_does_not_matter(void)
{
  tr_context *ctx = make_context("reference", TR_F64);
  const samples s = make_samples();
  double results[2][512];
  for (int i = 0; i < 2; i++) {
    learner l = make_learner(ctx);
    const tr_batch batch = {.count = ROWS,
                            .global_count = i == 0 ? ROWS : 1000,
                            .inputs = {s.x},
                            .targets = {s.y}};
    ASSERT_OK(tr_model_forward(l.net, &batch));
    ASSERT_OK(tr_model_backward(l.net));
    ASSERT_OK(tr_optimizer_step(l.opt));
    get_arena(&l, results[i]);
    int64_t count = l.net->store.count;
    if (i == 1) {
      ASSERT_TENSOR_NEAR("parameters", TR_F64, results[1], results[0], count,
                         1e-12);
    }
    free_learner(&l);
  }
  tr_context_destroy(&ctx);
}

/* A sample of weight 2 counts like two samples, one of weight 0 like none. */
static void test_weights_count_samples(void)
{
  tr_context *ctx = make_context("reference", TR_F64);
  samples s = make_samples(), copies = s;
  double weighted[512], counted[512], loss[2], accuracy[2];
  for (int i = 0; i < ROWS; i++) {
    s.weights[i] = i < 3 ? 2 : i < 6 ? 1 : 0;
    int from = i < 6 ? i / 2 : i - 3;
    copies.y[i] = s.y[from];
    copies.weights[i] = 1;
    memcpy(copies.x + INPUTS * i, s.x + INPUTS * from, INPUTS * sizeof *s.x);
  }
  for (int i = 0; i < 2; i++) {
    learner l = make_learner(ctx);
    learn_from(&l, i == 0 ? &s : &copies, 0, ROWS);
    ASSERT_OK(tr_model_loss(l.net, &loss[i]));
    ASSERT_OK(tr_model_accuracy(l.net, &accuracy[i]));
    ASSERT_OK(tr_optimizer_step(l.opt));
    get_arena(&l, i == 0 ? weighted : counted);
    int64_t count = l.net->store.count;
    if (i == 1) {
      ASSERT_TENSOR_NEAR("parameters", TR_F64, weighted, counted, count, 1e-12);
    }
    free_learner(&l);
  }
  ASSERT_NEAR(loss[0], loss[1], 1e-14);
  ASSERT_NEAR(accuracy[0], accuracy[1], 1e-14);
  tr_context_destroy(&ctx);
}

static void test_samples_without_weight_change_nothing(void)
{
  tr_context *ctx = make_context("reference", TR_F64);
  samples s = make_samples();
  memset(s.weights, 0, sizeof s.weights);
  learner l = make_learner(ctx);
  double before[512], after[512], loss;
  get_arena(&l, before);
  learn_from(&l, &s, 0, ROWS);
  ASSERT_OK(tr_model_loss(l.net, &loss));
  ASSERT(loss == 0);
  ASSERT_OK(tr_optimizer_step(l.opt));
  get_arena(&l, after);
  ASSERT_TENSOR_NEAR("parameters", TR_F64, after, before, l.net->store.count,
                     0);
  free_learner(&l);
  tr_context_destroy(&ctx);
}

static void test_forward_between_two_batches_changes_no_gradient(void)
{
  tr_context *ctx = make_context("reference", TR_F64);
  const samples s = make_samples();
  double results[2][512];
  for (int i = 0; i < 2; i++) {
    learner l = make_learner(ctx);
    learn_from(&l, &s, 0, 5);
    const tr_batch batch = {
        .count = 2, .global_count = 2, .inputs = {s.x}, .targets = {s.y}};
    if (i == 1) {
      ASSERT_OK(tr_model_forward(l.net, &batch));
    }
    learn_from(&l, &s, 5, ROWS);
    ASSERT_OK(tr_optimizer_step(l.opt));
    get_arena(&l, results[i]);
    ASSERT_TENSOR_NEAR("parameters", TR_F64, results[i], results[0],
                       l.net->store.count, 0);
    free_learner(&l);
  }
  tr_context_destroy(&ctx);
}

/* Parameters by name. */

typedef struct seen {
  int count;
  char names[8][TR__NAME_BYTES];
  tr_shape shapes[8];
  tr_dtype dtype;
} seen;

static tr_status see(void *user, const tr_param_info *info)
{
  seen *s = user;
  tr__copy_name(s->names[s->count], TR__NAME_BYTES, info->name);
  s->shapes[s->count] = info->shape;
  s->dtype = info->dtype;
  s->count++;
  return s->count == 8 ? TR_FAIL(TR_EDATA, "enough") : TR_OK;
}

static void test_visit_shows_names_in_ascending_order(void)
{
  static const char *const names[] = {"alpha.bias", "alpha.weight", "zeta.bias",
                                      "zeta.weight"};
  tr_context *ctx = make_context("reference", TR_F64);
  learner l = make_learner(ctx);
  seen s = {0};
  ASSERT_OK(tr_model_visit(l.net, see, &s));
  ASSERT_EQ(s.count, 4);
  int64_t params = 0;
  for (int i = 0; i < 4; i++) {
    ASSERT_STR_EQ(s.names[i], names[i]);
    params += tr_shape_count(&s.shapes[i]);
  }
  ASSERT_EQ(s.shapes[3].dims[0], 7);
  ASSERT_EQ(s.shapes[3].dims[1], INPUTS);
  ASSERT_EQ(s.dtype, TR_F64);
  ASSERT_EQ(tr_model_num_params(l.net), params);
  s.count = 6;
  ASSERT_FAILS(tr_model_visit(l.net, see, &s), TR_EDATA, "enough");
  ASSERT_EQ(s.count, 8);
  free_learner(&l);
  tr_context_destroy(&ctx);
}

static void test_what_is_set_is_what_is_got(void)
{
  static const char *const devices[] = {"reference", "cpu", "strict"};
  for (int i = 0; i < 3; i++) {
    tr_context *ctx = make_context(devices[i], TR_F32);
    learner l = make_learner(ctx);
    float in[7 * INPUTS], out[7 * INPUTS], other[CLASSES], after[CLASSES];
    for (int k = 0; k < 7 * INPUTS; k++) {
      in[k] = (float)k - 20.25F;
    }
    ASSERT_OK(tr_model_get_param(l.net, "alpha.bias", other));
    ASSERT_OK(tr_model_set_param(l.net, "zeta.weight", in));
    ASSERT_OK(tr_model_get_param(l.net, "zeta.weight", out));
    ASSERT_OK(tr_model_get_param(l.net, "alpha.bias", after));
    ASSERT_TENSOR_NEAR("zeta.weight", TR_F32, out, in, 7 * INPUTS, 0);
    ASSERT_TENSOR_NEAR("alpha.bias", TR_F32, after, other, CLASSES, 0);
    free_learner(&l);
    tr_context_destroy(&ctx);
  }
}

static void test_first_values_are_uniform_within_the_bound(void)
{
  tr_context *ctx = make_context("reference", TR_F64);
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, (tr_shape){1, {100}});
  tr_linear(net, x, &(tr_linear_opts){.out = 100, .name = "fc"});
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 1}));
  static double w[100 * 100];
  double sum = 0, squares = 0, largest = 0;
  ASSERT_OK(tr_model_get_param(net, "fc.weight", w));
  for (int i = 0; i < 100 * 100; i++) {
    sum += w[i];
    squares += w[i] * w[i];
    largest = fmax(largest, fabs(w[i]));
  }
  /* +-1/sqrt(100): variance 0.01/3; four standard errors. */
  ASSERT(largest <= 0.1 && largest > 0.099);
  ASSERT(fabs(sum / 1e4) < 4 * 0.1 / sqrt(3) / 100);
  ASSERT(fabs(squares / 1e4 - 0.01 / 3) < 4 * 0.003 / 100);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

/* The hash as train/model.h defines it, from what the public calls give. */
static uint64_t independent_hash(tr_model *net, tr_dtype dtype)
{
  seen s = {0};
  ASSERT_OK(tr_model_visit(net, see, &s));
  unsigned char text[8192];
  size_t used = 0;
  for (int i = 0; i < s.count; i++) {
    double values[512];
    size_t bytes =
        (size_t)tr_shape_count(&s.shapes[i]) * (dtype == TR_F64 ? 8 : 4);
    ASSERT(bytes <= sizeof values);
    ASSERT_OK(tr_model_get_param(net, s.names[i], values));
    memcpy(text + used, s.names[i], strlen(s.names[i]));
    used += strlen(s.names[i]);
    for (int k = 0; k < s.shapes[i].ndim; k++) {
      for (int b = 0; b < 8; b++) {
        text[used++] = (unsigned char)(s.shapes[i].dims[k] >> (8 * b) & 255);
      }
    }
    memcpy(text + used, values, bytes);
    used += bytes;
  }
  return XXH3_64bits(text, used);
}

static void test_params_hash_is_the_hash_of_its_definition(void)
{
  static const char *const devices[] = {"reference", "cpu", "strict"};
  uint64_t hashes[2][3], changed;
  for (int i = 0; i < 6; i++) {
    tr_dtype dtype = i % 2 == 0 ? TR_F32 : TR_F64;
    tr_context *ctx = make_context(devices[i / 2], dtype);
    learner l = make_learner(ctx);
    uint64_t *hash = &hashes[i % 2][i / 2];
    ASSERT_OK(tr_model_params_hash(l.net, hash));
    ASSERT(*hash == independent_hash(l.net, dtype));
    ASSERT(*hash == hashes[i % 2][0]);
    double bias[CLASSES] = {0};
    ASSERT_OK(tr_model_set_param(l.net, "alpha.bias", bias));
    ASSERT_OK(tr_model_params_hash(l.net, &changed));
    ASSERT(changed != *hash);
    free_learner(&l);
    tr_context_destroy(&ctx);
  }
}

/* Many ranks that all have this rank's numbers: sums in single precision,
 * one after the other, as a ring makes them. */

enum { MANY_RANKS = 259 };

static tr_status
sum_of_many(tr__comm *comm, const tr__transfer *transfer, tr__request **out)
{
  ASSERT_EQ(transfer->dtype, TR_F32);
  float *values = transfer->buf;
  for (int64_t i = 0; i < transfer->count; i++) {
    float mine = values[i];
    for (int r = 1; r < comm->size; r++) {
      values[i] += mine;
    }
  }
  *out = NULL;
  return TR_OK;
}

static tr_status is_done(tr__comm *comm, tr__request **request, bool *done)
{
  (void)comm;
  (void)request;
  *done = true;
  return TR_OK;
}

static void test_many_ranks_at_one_step_are_not_lost(void)
{
  tr_context *ctx = make_context("cpu", TR_F32);
  learner l = make_learner(ctx);
  tr__comm *kept = ctx->comm;
  tr__comm_type type = *kept->type;
  type.start = sum_of_many;
  type.test = is_done;
  tr__comm comm = *kept;
  comm.type = &type;
  comm.size = MANY_RANKS;
  ctx->comm = &comm;
  float x[INPUTS] = {0};
  const int32_t y = 0;
  for (int step = 0; step < 300; step++) {
    l.net->step.num_steps = step;
    ASSERT_OK(tr_model_forward(l.net, &(tr_batch){.count = 1,
                                                  .global_count = MANY_RANKS,
                                                  .inputs = {x},
                                                  .targets = {&y}}));
    ASSERT_OK(tr_model_backward(l.net));
    ASSERT_OK(tr_model_allreduce_grads(l.net));
    ASSERT_OK(tr_optimizer_step(l.opt));
  }
  ctx->comm = kept;
  free_learner(&l);
  tr_context_destroy(&ctx);
}

static void test_bad_targets_of_a_regression_are_refused(void)
{
  tr_context *ctx = make_context("reference", TR_F64);
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_mse(net, tr_input(net, (tr_shape){2, {1, 3}}), NULL);
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 1}));
  const double numbers[3] = {1, 2, 3};
  tr_batch batch = {.count = 1,
                    .global_count = 1,
                    .inputs = {numbers},
                    .targets = {numbers},
                    .target_bytes = {sizeof numbers}};
  ASSERT_OK(tr_model_forward(net, &batch));
  batch.target_bytes[0] = sizeof(double);
  ASSERT_FAILS(tr_model_forward(net, &batch), TR_ESHAPE,
               "targets[0] has 8 bytes per sample, mse \"mse_1\" wants 24");
  batch.target_bytes[0] = sizeof numbers;
  batch.target_values[0] = 1;
  ASSERT_FAILS(tr_model_forward(net, &batch), TR_EINVAL,
               "targets[0] are classes, mse \"mse_1\" wants numbers");
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static const tr_test tests[] = {
    TEST(test_accumulated_parts_of_a_batch_equal_the_whole),
    TEST(test_the_planned_count_does_not_matter),
    TEST(test_weights_count_samples),
    TEST(test_samples_without_weight_change_nothing),
    TEST(test_forward_between_two_batches_changes_no_gradient),
    TEST(test_visit_shows_names_in_ascending_order),
    TEST(test_what_is_set_is_what_is_got),
    TEST(test_first_values_are_uniform_within_the_bound),
    TEST(test_bad_targets_of_a_regression_are_refused),
    TEST(test_params_hash_is_the_hash_of_its_definition),
    TEST(test_many_ranks_at_one_step_are_not_lost),
};

TEST_MAIN(tests)
