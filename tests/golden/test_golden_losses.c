/* Losses against PyTorch's fp64: the first gradients, ten losses, the last
 * parameters, on any number of ranks; the options are those of
 * record_losses.py. Five samples on four ranks, some with nothing that counts:
 * the mean is that of the whole batch. */
#include "golden.h"
#include "model/access_impl.h"

#include "mpi_test.h"
#include "store/store_impl.h"

#include <train/mpi.h>

enum { STEPS = 10, BATCH = 5, WIDTH = 12 };

static const double rate = 0.1;

/* Of a tensor's largest value. */
static const double tolerance64 = 1e-9, tolerance32 = 1e-5;

static double class_weights[WIDTH], pos_weight[WIDTH];

static void set_weights(void)
{
  for (int i = 0; i < WIDTH; i++) {
    class_weights[i] = 1.5 + golden_value("class_weights", i);
    pos_weight[i] = 1.5 + golden_value("pos_weight", i);
  }
}

static tr_node as_tokens(tr_model *net, tr_node x)
{
  return tr_reshape(net, x, (tr_shape){2, {3, 4}});
}

static void build_mse(tr_model *net, tr_node x)
{
  tr_mse(net, x, NULL);
}

static void build_mae(tr_model *net, tr_node x)
{
  tr_mae(net, x, NULL);
}

static void build_huber(tr_model *net, tr_node x)
{
  tr_huber(net, x, NULL);
}

static void build_huber_delta(tr_model *net, tr_node x)
{
  tr_huber(net, x, &(tr_huber_opts){.delta = 0.3});
}

static void build_bce(tr_model *net, tr_node x)
{
  tr_bce_with_logits(net, x, NULL);
}

static void build_bce_pos(tr_model *net, tr_node x)
{
  tr_bce_with_logits(
      net, x,
      &(tr_bce_opts){.pos_weight = pos_weight, .num_pos_weight = WIDTH});
}

static void build_smooth(tr_model *net, tr_node x)
{
  tr_cross_entropy_with(net, x,
                        &(tr_cross_entropy_opts){.label_smoothing = 0.2});
}

static void build_ignore(tr_model *net, tr_node x)
{
  tr_cross_entropy_with(
      net, x, &(tr_cross_entropy_opts){.ignores = 1, .ignore_index = -100});
}

static void build_class_weights(tr_model *net, tr_node x)
{
  tr_cross_entropy_with(net, x,
                        &(tr_cross_entropy_opts){.class_weights = class_weights,
                                                 .num_class_weights = WIDTH});
}

static void build_all_of(tr_model *net, tr_node x, int64_t num_classes)
{
  tr_cross_entropy_with(
      net, x,
      &(tr_cross_entropy_opts){.label_smoothing = 0.1,
                               .ignores = 1,
                               .ignore_index = -100,
                               .class_weights = class_weights,
                               .num_class_weights = num_classes});
}

static void build_xent_all(tr_model *net, tr_node x)
{
  build_all_of(net, x, WIDTH);
}

static void build_tokens_all(tr_model *net, tr_node x)
{
  build_all_of(net, as_tokens(net, x), 4);
}

static void build_two(tr_model *net, tr_node x)
{
  tr_cross_entropy_with(net, as_tokens(net, x),
                        &(tr_cross_entropy_opts){.weight = 0.7});
  tr_mse(net, x, &(tr_loss_opts){.weight = 0.2});
  tr_mae(net, x, NULL);
}

typedef struct loss_case {
  const char *name;
  void (*build)(tr_model *net, tr_node x);
  int64_t classes; /* of the first loss; 0: it wants numbers */
  bool is_share;   /* numbers in 0..1 */
  bool ignores;    /* every third target is -100 */
} loss_case;

static const loss_case cases[] = {
    {"mse", build_mse, 0, false, false},
    {"mae", build_mae, 0, false, false},
    {"huber", build_huber, 0, false, false},
    {"huber_delta", build_huber_delta, 0, false, false},
    {"bce", build_bce, 0, true, false},
    {"bce_pos", build_bce_pos, 0, true, false},
    {"smooth", build_smooth, 12, false, false},
    {"ignore", build_ignore, 12, false, true},
    {"class_weights", build_class_weights, 12, false, false},
    {"xent_all", build_xent_all, 12, false, true},
    {"tokens_all", build_tokens_all, 4, false, true},
    {"two", build_two, 4, false, false},
};

enum { NUM_CASES = sizeof cases / sizeof cases[0] };

static const loss_case *building;

static void build(tr_model *net, tr_shape shape, int64_t classes)
{
  tr_node x = tr_input(net, shape);
  x = tr_linear(net, x, &(tr_linear_opts){.out = 7, .name = "fc1"});
  x = tr_linear(net, tr_relu(net, x),
                &(tr_linear_opts){.out = classes, .name = "fc2"});
  building->build(net, x);
}

/* Room for the targets of one batch. */
typedef struct targets {
  int32_t classes[BATCH * WIDTH];
  double wide[BATCH * WIDTH];
  float narrow[BATCH * WIDTH];
} targets;

static void fill_targets(
    const loss_case *c, tr_dtype dtype, int step, targets *t, tr_batch *batch)
{
  char y[16], numbers[16];
  snprintf(y, sizeof y, "y%d", step);
  snprintf(numbers, sizeof numbers, "t%d", step);
  int64_t rows = c->classes > 0 ? WIDTH / c->classes : 0;
  for (int64_t i = 0; i < BATCH * rows; i++) {
    uint64_t drawn = golden_bits(y, i) % (uint64_t)c->classes;
    t->classes[i] = c->ignores && i % 3 == 0 ? -100 : (int32_t)drawn;
  }
  for (int64_t i = 0; i < BATCH * WIDTH; i++) {
    float value = (float)(2 * golden_value(numbers, i));
    t->narrow[i] = c->is_share ? fabsf(value) / 2 : value;
    t->wide[i] = t->narrow[i];
  }
  /* This rank's part of the batch. */
  int64_t first = batch->first;
  const void *of_numbers = dtype == TR_F64
                               ? (const void *)(t->wide + first * WIDTH)
                               : t->narrow + first * WIDTH;
  batch->targets[0] =
      c->classes > 0 ? (const void *)(t->classes + first * rows) : of_numbers;
  batch->target_values[0] = rows;
  batch->targets[1] = batch->targets[2] = of_numbers;
}

static void check_numbers(const golden_net *net,
                          const recording *rec,
                          const char *key,
                          const char *what,
                          const void *got)
{
  int64_t count;
  double *wanted = recording_numbers(rec, &count, "%s", key);
  double *wide = calloc((size_t)count, sizeof *wide);
  for (int64_t i = 0; i < count; i++) {
    wide[i] = golden_double(net->dtype, got, i);
  }
  ASSERT_TENSOR_NEAR(what, TR_F64, wide, wanted, count,
                     net->dtype == TR_F64 ? tolerance64 : tolerance32);
  free(wide);
  free(wanted);
}

static const char *const params[] = {"fc1.weight", "fc1.bias", "fc2.weight",
                                     "fc2.bias"};

/* Not the constants of a loss. */
static void set_params(golden_net *net)
{
  for (int i = 0; i < 4; i++) {
    double values[WIDTH * 7];
    tr__param *param = tr__store_param(tr__model_store(net->model), params[i]);
    golden_fill(&(golden_numbers){.name = params[i],
                                  .count = param->count,
                                  .bound = golden_bound(net, params[i])},
                net->dtype, values);
    ASSERT_OK(tr_model_set_param(net->model, params[i], values));
  }
}

static void check_params(golden_net *net,
                         const recording *rec,
                         const char *name,
                         bool is_grad,
                         double correction)
{
  for (int i = 0; i < 4; i++) {
    char key[128];
    snprintf(key, sizeof key, "%s/%s/%s", name, is_grad ? "grad" : "final",
             params[i]);
    void *values = NULL;
    if (is_grad) {
      values = golden_net_grad(net, params[i], correction);
    } else {
      values = calloc(BATCH * WIDTH * 8, sizeof(double));
      ASSERT_OK(tr_model_get_param(net->model, params[i], values));
    }
    check_numbers(net, rec, key, key, values);
    free(values);
  }
}

/* Gradients are divided by the planned weight until the step. */
static double correction_of(golden_net *net)
{
  const tr__store *store = tr__model_store(net->model);
  double tail[TR__TAIL_COUNT];
  tr__backend *backend = net->ctx->backend;
  ASSERT_OK(backend->type->download(
      &backend->stream, tail, tr__store_tail(store).data,
      TR__TAIL_COUNT * tr_dtype_size(net->dtype)));
  return tr__model_step(net->model)->planned /
         golden_double(net->dtype, tail, TR__TAIL_WEIGHT);
}

static void run_case(tr_dtype dtype, const char *device, const loss_case *c)
{
  recording *rec = recording_open("losses");
  tr_context *ctx;
  ASSERT_OK(tr_context_create(
      MPI_COMM_WORLD,
      &(tr_context_opts){.device = device, .dtype = dtype, .threads = 1},
      &ctx));
  golden_net net;
  building = c;
  golden_net_create(ctx,
                    &(golden_net_opts){.text = recording_text(rec, "net"),
                                       .rows = BATCH,
                                       .build = build,
                                       .own_init = 1},
                    &net);
  set_params(&net);
  tr_optimizer *opt;
  ASSERT_OK(tr_sgd_create(net.model, &(tr_sgd_opts){.lr = rate}, &opt));
  double losses[STEPS];
  float narrow[STEPS];
  for (int step = 0; step < STEPS; step++) {
    targets t;
    tr_batch batch = golden_batch(
        &net,
        &(golden_batch_opts){.step = step, .count = step % 3 == 2 ? 2 : BATCH});
    fill_targets(c, dtype, step, &t, &batch);
    ASSERT_OK(tr_model_forward(net.model, &batch));
    ASSERT_OK(tr_model_backward(net.model));
    ASSERT_OK(tr_model_allreduce_grads(net.model));
    if (step == 0) {
      check_params(&net, rec, c->name, true, correction_of(&net));
    }
    ASSERT_OK(tr_optimizer_step(opt));
    ASSERT_OK(tr_model_loss(net.model, &losses[step]));
    narrow[step] = (float)losses[step];
  }
  char key[64];
  snprintf(key, sizeof key, "%s/loss", c->name);
  check_numbers(&net, rec, key, key,
                dtype == TR_F64 ? (const void *)losses : narrow);
  check_params(&net, rec, c->name, false, 1);
  tr_optimizer_destroy(&opt);
  golden_net_destroy(&net);
  tr_context_destroy(&ctx);
  recording_close(&rec);
}

static void test_every_loss_in_double_is_pytorchs(void)
{
  set_weights();
  for (int i = 0; i < NUM_CASES; i++) {
    run_case(TR_F64, "reference", &cases[i]);
  }
}

static void test_every_loss_in_single_is_pytorchs(void)
{
  set_weights();
  for (int i = 0; i < NUM_CASES; i++) {
    run_case(TR_F32, "cpu", &cases[i]);
    run_case(TR_F32, "reference", &cases[i]);
  }
}

static const tr_test tests[] = {
    TEST(test_every_loss_in_double_is_pytorchs),
    TEST(test_every_loss_in_single_is_pytorchs),
};

TEST_MPI_MAIN(tests)
