/* A small `gpt` against PyTorch: gradients of the first step, 20 losses. */
#include "golden.h"
#include "models.h"

/* Of a tensor's largest value, and of a loss. */
#define TOLERANCE_F64 1e-9
#define TOLERANCE_F32 1e-5

enum { MAX_PARAMS = 64, LAYERS = 0, HEADS, WIDTH, CONTEXT, CLASSES, BATCH = 4 };

typedef struct gpt {
  const recording *rec;
  tr_context *ctx;
  tr_dtype dtype;
  tr_model *model;
  int64_t sizes[5];
  int num_params;
  struct {
    char name[TR__NAME_BYTES];
    int64_t count, fan_in;
  } params[MAX_PARAMS];
} gpt;

static tr_status note_param(void *user, const tr_param_info *info)
{
  gpt *g = user;
  ASSERT(g->num_params < MAX_PARAMS);
  int i = g->num_params++;
  snprintf(g->params[i].name, sizeof g->params[i].name, "%s", info->name);
  g->params[i].count = tr_shape_count(&info->shape);
  g->params[i].fan_in = g->params[i].count / info->shape.dims[0];
  return TR_OK;
}

/* A bias has the bound of the weight beside it, which comes after it. */
static double bound_of(const gpt *g, int i)
{
  const char *name = g->params[i].name;
  bool is_bias = strcmp(strrchr(name, '.'), ".bias") == 0;
  return 1 / sqrt((double)g->params[is_bias ? i + 1 : i].fan_in);
}

static void set_params(gpt *g)
{
  for (int i = 0; i < g->num_params; i++) {
    golden_numbers numbers = {.name = g->params[i].name,
                              .count = g->params[i].count,
                              .bound = bound_of(g, i)};
    void *values = malloc((size_t)numbers.count * sizeof(double));
    golden_fill(&numbers, g->dtype, values);
    ASSERT_OK(tr_model_set_param(g->model, numbers.name, values));
    free(values);
  }
}

static void open_gpt(gpt *g, const recording *rec, const char *device)
{
  double *sizes = recording_numbers(rec, NULL, "sizes");
  for (int i = 0; i < 5; i++) {
    g->sizes[i] = (int64_t)sizes[i];
  }
  free(sizes);
  g->rec = rec;
  g->ctx = golden_context(g->dtype, device);
  ASSERT_OK(tr_model_create(g->ctx, &g->model));
  const example_gpt_opts opts = {.layers = (int)g->sizes[LAYERS],
                                 .heads = g->sizes[HEADS],
                                 .width = g->sizes[WIDTH]};
  example_gpt_sized(g->model, (tr_shape){1, {g->sizes[CONTEXT]}},
                    g->sizes[CLASSES], &opts);
  ASSERT_EQ(recording_number(rec, "batch"), BATCH);
  ASSERT_OK(tr_model_build(g->model, &(tr_build_opts){.batch = BATCH}));
  ASSERT_OK(tr_model_visit(g->model, note_param, g));
  set_params(g);
}

static int32_t *draw_ids(const gpt *g, char kind, int step)
{
  int64_t count = BATCH * g->sizes[CONTEXT];
  int32_t *ids = malloc((size_t)count * sizeof *ids);
  char name[16];
  snprintf(name, sizeof name, "%c%d", kind, step);
  for (int64_t i = 0; i < count; i++) {
    ids[i] = (int32_t)(golden_bits(name, i) % (uint64_t)g->sizes[CLASSES]);
  }
  return ids;
}

static void check_gradients(const gpt *g, double tolerance)
{
  for (int i = 0; i < g->num_params; i++) {
    char key[TR__NAME_BYTES + 32];
    snprintf(key, sizeof key, "first/grad%d/%s", g->dtype == TR_F64 ? 64 : 32,
             g->params[i].name);
    golden_sampled sampled = {.rec = g->rec,
                              .key = key,
                              .param = g->params[i].name,
                              .tolerance = tolerance};
    int64_t count = g->params[i].count;
    void *grad = malloc((size_t)count * sizeof(double));
    ASSERT_OK(tr_model_get_grad(g->model, g->params[i].name, grad));
    /* Divided by samples, PyTorch's by tokens. */
    double context = (double)g->sizes[CONTEXT];
    for (int64_t k = 0; k < count; k++) {
      if (g->dtype == TR_F64) {
        ((double *)grad)[k] /= context;
      } else {
        ((float *)grad)[k] /= (float)context;
      }
    }
    golden_check_sampled(&sampled, g->dtype, grad, count);
    free(grad);
  }
}

static double one_step(gpt *g, tr_optimizer *opt, int step, double tolerance)
{
  int32_t *x = draw_ids(g, 'x', step), *y = draw_ids(g, 'y', step);
  const tr_batch batch = {.count = BATCH,
                          .global_count = BATCH,
                          .inputs = {x},
                          .targets = {y},
                          .target_values = {g->sizes[CONTEXT]}};
  double loss;
  ASSERT_OK(tr_model_forward(g->model, &batch));
  ASSERT_OK(tr_model_backward(g->model));
  ASSERT_OK(tr_model_allreduce_grads(g->model));
  ASSERT_OK(tr_model_loss(g->model, &loss));
  if (step == 0) {
    check_gradients(g, tolerance);
  }
  ASSERT_OK(tr_optimizer_step(opt));
  free(x);
  free(y);
  return loss;
}

static void check_run(const char *device, tr_dtype dtype)
{
  recording *rec = recording_open("gpt");
  gpt g = {.dtype = dtype};
  open_gpt(&g, rec, device);
  tr_adam_opts adam = tr_adamw_defaults();
  adam.lr = recording_number(rec, "rate");
  tr_optimizer *opt;
  ASSERT_OK(tr_adamw_create(g.model, &adam, &opt));
  double tolerance = dtype == TR_F64 ? TOLERANCE_F64 : TOLERANCE_F32;
  double *losses =
      recording_numbers(rec, NULL, dtype == TR_F64 ? "loss64" : "loss32");
  for (int step = 0; step < GOLDEN_STEPS; step++) {
    double loss = one_step(&g, opt, step, tolerance);
    ASSERT_NEAR(loss, losses[step], tolerance * losses[step]);
  }
  free(losses);
  tr_optimizer_destroy(&opt);
  tr_model_destroy(&g.model);
  tr_context_destroy(&g.ctx);
  recording_close(&rec);
}

static void test_gpt_in_double_matches_pytorch(void)
{
  check_run("reference", TR_F64);
  check_run("strict", TR_F64);
}

static void test_gpt_in_single_matches_pytorch(void)
{
  check_run("reference", TR_F32);
  check_run("cpu", TR_F32);
}

static const tr_test tests[] = {
    TEST(test_gpt_in_double_matches_pytorch),
    TEST(test_gpt_in_single_matches_pytorch),
};

TEST_MAIN(tests)
