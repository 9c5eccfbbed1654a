/* `gpt`, a small one, one with a tied head and the workload, and a net of the
 * layers that it has not, against PyTorch's fp64: gradients of the first step,
 * 20 losses.
 *
 * The workload's batch of 16 is that of fp32; fp64 is plain C, which would take
 * minutes for it, and has 2 samples, in the last batch 1. */
#include "golden.h"
#include "model/model_impl.h"
#include "models.h"

/* Of a tensor's largest value, and of a loss. */
#define TOLERANCE_F64 1e-9
#define TOLERANCE_F32 1e-5

enum { MAX_PARAMS = 64, NUM_SIZES = 5, MAX_BATCHES = 5 };

/* Sizes as the recordings have them. */
enum { GPT_LAYERS, GPT_HEADS, GPT_WIDTH, GPT_CONTEXT, GPT_CLASSES };
enum { CONTEXT, INPUTS, WIDTH, HEADS, CLASSES };

typedef struct subject subject;
struct subject {
  const recording *rec;
  tr_context *ctx;
  tr_dtype dtype;
  tr_model *model;
  void (*build)(subject *g);
  int64_t sizes[NUM_SIZES], context, classes, inputs; /* inputs 0: ids */
  int64_t batches[MAX_BATCHES], num_batches;          /* sizes, in turn */
  int num_params;
  struct {
    char name[TR__NAME_BYTES];
    int64_t count, fan_in;
  } params[MAX_PARAMS];
};

static tr_status note_param(void *user, const tr_param_info *info)
{
  subject *g = user;
  ASSERT(g->num_params < MAX_PARAMS);
  int i = g->num_params++;
  snprintf(g->params[i].name, sizeof g->params[i].name, "%s", info->name);
  g->params[i].count = tr_shape_count(&info->shape);
  g->params[i].fan_in = g->params[i].count / info->shape.dims[0];
  return TR_OK;
}

/* A bias has the bound of the weight beside it, which comes after it. */
static double bound_of(const subject *g, int i)
{
  const char *name = g->params[i].name;
  bool is_bias = strcmp(strrchr(name, '.'), ".bias") == 0;
  return 1 / sqrt((double)g->params[is_bias ? i + 1 : i].fan_in);
}

static void set_params(subject *g)
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

static tr_node build_gpt_of(subject *g)
{
  const example_gpt_opts opts = {.layers = (int)g->sizes[GPT_LAYERS],
                                 .heads = g->sizes[GPT_HEADS],
                                 .width = g->sizes[GPT_WIDTH]};
  g->context = g->sizes[GPT_CONTEXT];
  g->classes = g->sizes[GPT_CLASSES];
  return example_gpt_sized(g->model, (tr_shape){1, {g->context}}, g->classes,
                           &opts);
}

static void build_gpt(subject *g)
{
  build_gpt_of(g);
}

/* As GPT-2's. */
static void build_tied_gpt(subject *g)
{
  tr_node head = build_gpt_of(g), tok = {0};
  while (strcmp(g->model->nodes[tok.index].name, "tok") != 0) {
    tok.index++;
  }
  tr_model_tie(g->model, head, tok);
}

static tr_node dense(const subject *g, tr_node x, int64_t out, const char *name)
{
  return tr_linear(g->model, x, &(tr_linear_opts){.out = out, .name = name});
}

/* The class Shapes of record_sequence.py. */
static void build_shapes(subject *g)
{
  tr_model *net = g->model;
  int64_t width = g->sizes[WIDTH], T = g->sizes[CONTEXT];
  g->context = T;
  g->classes = g->sizes[CLASSES];
  g->inputs = g->sizes[INPUTS];
  tr_node x = tr_input(net, (tr_shape){2, {T, g->inputs}});
  tr_node a = tr_attention(net, dense(g, x, 3 * width, "front"),
                           &(tr_attention_opts){.heads = g->sizes[HEADS]});
  tr_node gated = tr_mul(net, a, dense(g, x, width, "gate"));
  tr_node mixed = tr_transpose(net, gated, &(tr_transpose_opts){{1, 0}});
  mixed = dense(g, mixed, T, "mix");
  mixed = tr_reshape(net, mixed, (tr_shape){2, {T, -1}});
  tr_node all = tr_concat(net, (tr_node[]){mixed, a, gated}, 3, 1);
  tr_cross_entropy(net, dense(g, all, g->classes, "back"));
}

static int64_t
read_integers(const recording *rec, const char *key, int64_t most, int64_t *out)
{
  int64_t count;
  double *numbers = recording_numbers(rec, &count, "%s", key);
  ASSERT(count <= most);
  for (int64_t i = 0; i < count; i++) {
    out[i] = (int64_t)numbers[i];
  }
  free(numbers);
  return count;
}

static void open_subject(subject *g, const recording *rec, const char *device)
{
  ASSERT_EQ(read_integers(rec, "sizes", NUM_SIZES, g->sizes), NUM_SIZES);
  g->num_batches = read_integers(rec, "batch", MAX_BATCHES, g->batches);
  g->rec = rec;
  g->ctx = golden_context(g->dtype, device);
  ASSERT_OK(tr_model_create(g->ctx, &g->model));
  g->build(g);
  ASSERT_OK(tr_model_build(g->model,
                           &(tr_build_opts){.max_local_batch = g->batches[0]}));
  ASSERT_OK(tr_model_visit(g->model, note_param, g));
  set_params(g);
}

/* "x<step>" */
static const char *name_of(char name[16], char kind, int step)
{
  snprintf(name, 16, "%c%d", kind, step);
  return name;
}

static int64_t rows_of(const subject *g, int step)
{
  return g->batches[step % g->num_batches];
}

static int32_t *draw_ids(const subject *g, char kind, int step)
{
  int64_t count = rows_of(g, step) * g->context;
  int32_t *ids = malloc((size_t)count * sizeof *ids);
  char name[16];
  name_of(name, kind, step);
  for (int64_t i = 0; i < count; i++) {
    ids[i] = (int32_t)(golden_bits(name, i) % (uint64_t)g->classes);
  }
  return ids;
}

static void *draw_inputs(const subject *g, int step)
{
  if (g->inputs == 0) {
    return draw_ids(g, 'x', step);
  }
  char name[16];
  golden_numbers numbers = {.name = name_of(name, 'x', step),
                            .count = rows_of(g, step) * g->context * g->inputs,
                            .bound = 1};
  void *x = malloc((size_t)numbers.count * sizeof(double));
  golden_fill(&numbers, g->dtype, x);
  return x;
}

static void check_gradients(const subject *g, double tolerance)
{
  for (int i = 0; i < g->num_params; i++) {
    char key[TR__NAME_BYTES + 32];
    snprintf(key, sizeof key, "first/grad64/%s", g->params[i].name);
    golden_sampled sampled = {.rec = g->rec,
                              .key = key,
                              .param = g->params[i].name,
                              .tolerance = tolerance};
    int64_t count = g->params[i].count;
    void *grad = malloc((size_t)count * sizeof(double));
    ASSERT_OK(tr_model_get_grad(g->model, g->params[i].name, grad));
    /* Divided by samples, PyTorch's by tokens. */
    double context = (double)g->context;
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

static double
one_step(subject *g, tr_optimizer *opt, int step, double tolerance)
{
  void *x = draw_inputs(g, step);
  int32_t *y = draw_ids(g, 'y', step);
  const tr_batch batch = {.count = rows_of(g, step),
                          .global_count = rows_of(g, step),
                          .inputs = {x},
                          .targets = {y},
                          .target_values = {g->context}};
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

/* Each net is named after its recording. */
static const struct {
  const char *name;
  void (*build)(subject *g);
} nets[] = {
    {"gpt", build_gpt},          {"gpt_full", build_gpt},
    {"gpt_workload", build_gpt}, {"gpt_tied", build_tied_gpt},
    {"shapes", build_shapes},
};

static void check_run(const char *name, const char *device, tr_dtype dtype)
{
  recording *rec = recording_open(name);
  subject g = {.dtype = dtype};
  for (size_t i = 0; i < sizeof nets / sizeof nets[0]; i++) {
    g.build = strcmp(nets[i].name, name) == 0 ? nets[i].build : g.build;
  }
  open_subject(&g, rec, device);
  tr_adam_opts adam = tr_adamw_defaults();
  adam.lr = recording_number(rec, "rate");
  tr_optimizer *opt;
  ASSERT_OK(tr_adamw_create(g.model, &adam, &opt));
  double tolerance = dtype == TR_F64 ? TOLERANCE_F64 : TOLERANCE_F32;
  double losses[GOLDEN_STEPS];
  for (int step = 0; step < GOLDEN_STEPS; step++) {
    losses[step] = one_step(&g, opt, step, tolerance);
  }
  double *expected = recording_numbers(rec, NULL, "loss64");
  char what[64];
  snprintf(what, sizeof what, "%s on %s, %s", name, device,
           tr__dtype_name(dtype));
  golden_check_losses(what, losses, expected, GOLDEN_STEPS, tolerance);
  free(expected);
  tr_optimizer_destroy(&opt);
  tr_model_destroy(&g.model);
  tr_context_destroy(&g.ctx);
  recording_close(&rec);
}

static void check_double(const char *name)
{
  check_run(name, "reference", TR_F64);
  check_run(name, "strict", TR_F64);
}

static void check_single(const char *name)
{
  check_run(name, "reference", TR_F32);
  check_run(name, "cpu", TR_F32);
}

static void test_gpt_in_double_matches_pytorch(void)
{
  check_double("gpt");
}

static void test_gpt_in_single_matches_pytorch(void)
{
  check_single("gpt");
}

static void test_a_tied_gpt_in_double_matches_pytorch(void)
{
  check_double("gpt_tied");
}

static void test_a_tied_gpt_in_single_matches_pytorch(void)
{
  check_single("gpt_tied");
}

static void test_gpt_of_full_size_in_double_matches_pytorch(void)
{
  check_run("gpt_full", "reference", TR_F64);
}

static void test_gpt_of_full_size_in_single_matches_pytorch(void)
{
  check_run("gpt_workload", "cpu", TR_F32);
}

static void test_other_shapes_in_double_match_pytorch(void)
{
  check_double("shapes");
}

static void test_other_shapes_in_single_match_pytorch(void)
{
  check_single("shapes");
}

static const tr_test tests[] = {
    TEST(test_gpt_in_double_matches_pytorch),
    TEST(test_gpt_in_single_matches_pytorch),
    TEST(test_a_tied_gpt_in_double_matches_pytorch),
    TEST(test_a_tied_gpt_in_single_matches_pytorch),
    TEST(test_gpt_of_full_size_in_double_matches_pytorch),
    TEST(test_gpt_of_full_size_in_single_matches_pytorch),
    TEST(test_other_shapes_in_double_match_pytorch),
    TEST(test_other_shapes_in_single_match_pytorch),
};

TEST_MAIN(tests)
