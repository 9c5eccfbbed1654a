/* Freezing: what is frozen stays, all else is as it would have been. */
#include "layer_helper.h"
#include "optim/optimizer_impl.h"

enum { ROWS = 6, CLASSES = 4, NUM_NAMES = 8, MAX_BYTES = 8192 };

static const char *const names[NUM_NAMES] = {
    "conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias",
    "fc1.weight",   "fc1.bias",   "fc2.weight",   "fc2.bias"};

static const tr_shape shape = {3, {2, 6, 5}};

/* A model in training, with what it trains on. */
typedef struct run {
  tr_context *ctx;
  tr_model *net;
  tr_optimizer *opt;
  void *images;
  int32_t targets[ROWS];
} run;

static tr_model *make_net(tr_context *ctx)
{
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, shape);
  tr_conv2d_opts conv = {.out = 3, .kernel = 3, .padding = 1, .name = "conv1"};
  x = tr_relu(net, tr_conv2d(net, x, &conv));
  conv.name = "conv2";
  x = tr_flatten(net, tr_relu(net, tr_conv2d(net, x, &conv)));
  x = tr_linear(net, x, &(tr_linear_opts){.out = 9, .name = "fc1"});
  x = tr_linear(net, tr_relu(net, x),
                &(tr_linear_opts){.out = CLASSES, .name = "fc2"});
  tr_cross_entropy(net, x);
  return net;
}

static void make_optimizer(run *r)
{
  tr_adamw_opts adamw = tr_adamw_defaults();
  adamw.lr = 0.01f;
  ASSERT_OK(tr_adamw_create(r->net, &adamw, &r->opt));
}

/* `pattern` NULL: all is trained. */
static run begin(const char *device, tr_dtype dtype, const char *pattern)
{
  run r = {.ctx = make_context(device, dtype)};
  r.net = make_net(r.ctx);
  if (pattern != NULL) {
    ASSERT_OK(tr_model_freeze(r.net, pattern, 1));
  }
  ASSERT_OK(tr_model_build(r.net, &(tr_build_opts){.max_local_batch = ROWS}));
  make_optimizer(&r);
  const layer_case c = {.number = 3};
  tensor t = random_tensor(&c, "x", 7, ROWS * tr_shape_count(&shape));
  r.images = narrowed(r.ctx, &t);
  free_tensor(&t);
  for (int i = 0; i < ROWS; i++) {
    r.targets[i] = i % CLASSES;
  }
  return r;
}

static void end(run *r)
{
  free(r->images);
  tr_optimizer_destroy(&r->opt);
  tr_model_destroy(&r->net);
  tr_context_destroy(&r->ctx);
}

static tr_batch batch_of(const run *r)
{
  return (tr_batch){.count = ROWS,
                    .global_count = ROWS,
                    .inputs = {r->images},
                    .targets = {r->targets}};
}

static void compute_gradients(run *r)
{
  const tr_batch batch = batch_of(r);
  ASSERT_OK(tr_model_forward(r->net, &batch));
  ASSERT_OK(tr_model_backward(r->net));
}

static void train(run *r, int steps)
{
  for (int i = 0; i < steps; i++) {
    compute_gradients(r);
    ASSERT_OK(tr_model_allreduce_grads(r->net));
    ASSERT_OK(tr_optimizer_step(r->opt));
  }
}

static size_t bytes_of(const run *r, const char *name)
{
  const tr__param *param = tr__store_param(&r->net->store, name);
  ASSERT(param != NULL);
  return (size_t)param->count * tr_dtype_size(r->ctx->dtype);
}

/* Both hold the same bits under a name. */
static bool same_value(run *a, run *b, const char *name)
{
  char x[MAX_BYTES], y[MAX_BYTES];
  ASSERT(bytes_of(a, name) <= MAX_BYTES);
  ASSERT_OK(tr_model_get_param(a->net, name, x));
  ASSERT_OK(tr_model_get_param(b->net, name, y));
  return memcmp(x, y, bytes_of(a, name)) == 0;
}

static bool same_gradient(run *a, run *b, const char *name)
{
  char x[MAX_BYTES], y[MAX_BYTES];
  ASSERT_OK(tr_model_get_grad(a->net, name, x));
  ASSERT_OK(tr_model_get_grad(b->net, name, y));
  return memcmp(x, y, bytes_of(a, name)) == 0;
}

static bool is_frozen(const run *r, const char *name)
{
  return tr__store_param(&r->net->store, name)->is_frozen;
}

/* One step beside a run that trains everything. */
static void check_step(const char *device, tr_dtype dtype, const char *pattern)
{
  run frozen = begin(device, dtype, pattern);
  run whole = begin(device, dtype, NULL);
  run first = begin(device, dtype, NULL);
  char grad[MAX_BYTES];
  compute_gradients(&frozen);
  compute_gradients(&whole);
  for (int i = 0; i < NUM_NAMES; i++) {
    ASSERT(same_value(&frozen, &whole, names[i]));
    if (is_frozen(&frozen, names[i])) {
      ASSERT_FAILS(tr_model_get_grad(frozen.net, names[i], grad), TR_EINVAL,
                   "is not trained");
    } else {
      ASSERT(same_gradient(&frozen, &whole, names[i]));
    }
  }
  ASSERT_OK(tr_optimizer_step(frozen.opt));
  ASSERT_OK(tr_optimizer_step(whole.opt));
  for (int i = 0; i < NUM_NAMES; i++) {
    run *same = is_frozen(&frozen, names[i]) ? &first : &whole;
    ASSERT(same_value(&frozen, same, names[i]));
    ASSERT(!same_value(&first, &whole, names[i]));
  }
  end(&frozen);
  end(&whole);
  end(&first);
}

static void test_the_rest_gets_the_gradients_of_a_run_without_freezing(void)
{
  static const char *const patterns[] = {"conv*",  "conv1.weight", "*.weight",
                                         "*.bias", "fc?.weight",   "conv2.bias",
                                         "fc2.*",  "[cf]*1*"};
  for (int i = 0; i < 8; i++) {
    check_step("cpu", TR_F32, patterns[i]);
    check_step("reference", TR_F64, patterns[i]);
    check_step("strict", TR_F32, patterns[i]);
  }
}

/* A layer alone: the other parameters and the inputs have the gradients that
 * they have where nothing is frozen. */
static void check_layer(tr_context *ctx,
                        const tr__layer_type *type,
                        int number,
                        const char *name)
{
  layer_case whole, part;
  char what[128];
  case_build(&whole, ctx, type, number, 1);
  case_build(&part, ctx, type, number, 1);
  ASSERT_OK(tr_model_freeze(part.net, name, 1));
  ASSERT_OK(tr_model_build(part.net, NULL));
  layer_case *both[2] = {&whole, &part};
  for (int i = 0; i < 2; i++) {
    case_forward(both[i]);
    case_backward(both[i]);
  }
  for (int i = 0; i < whole.num_params; i++) {
    const char *other = whole.params[i].name;
    const tr__param *param = tr__store_param(&part.net->store, other);
    if (!tr__param_is_trained(param)) {
      continue;
    }
    double *a = calloc((size_t)param->count, sizeof *a);
    double *b = calloc((size_t)param->count, sizeof *b);
    ASSERT_OK(tr_model_get_grad(whole.net, other, a));
    ASSERT_OK(tr_model_get_grad(part.net, other, b));
    snprintf(what, sizeof what, "%s, case %d, %.40s without %.40s", type->name,
             number, other, name);
    ASSERT_TENSOR_NEAR(what, ctx->dtype, b, a, param->count, 0);
    free(a);
    free(b);
  }
  case_free(&whole);
  case_free(&part);
}

static void check_layers(const char *device, tr_dtype dtype)
{
  tr_context *ctx = make_context(device, dtype);
  for (const tr__layer_type *const *type = tr__layer_table(); *type != NULL;
       type++) {
    for (int number = 0; (*type)->random_build != NULL && number < 4;
         number++) {
      layer_case c;
      case_build(&c, ctx, *type, number, 1);
      for (int i = 0; i < c.num_params; i++) {
        if (tr__param_is_trained(&c.net->store.params[i])) {
          check_layer(ctx, *type, number, c.net->store.params[i].name);
        }
      }
      case_free(&c);
    }
  }
  tr_context_destroy(&ctx);
}

static void test_every_layer_trains_a_part_of_its_parameters(void)
{
  check_layers("cpu", TR_F32);
  check_layers("reference", TR_F64);
  check_layers("strict", TR_F64);
}

static void test_frozen_values_keep_their_bits_over_many_steps(void)
{
  run r = begin("cpu", TR_F32, "conv*");
  run first = begin("cpu", TR_F32, NULL);
  train(&r, 10);
  for (int i = 0; i < NUM_NAMES; i++) {
    ASSERT_EQ(same_value(&r, &first, names[i]), i < 4);
  }
  end(&r);
  end(&first);
}

static void test_what_is_frozen_has_no_gradient_slot_or_backward(void)
{
  run r = begin("cpu", TR_F32, "conv*");
  run whole = begin("cpu", TR_F32, NULL);
  ASSERT_EQ(tr_model_num_params(r.net), 90 * 9 + 9 + 9 * 4 + 4);
  ASSERT(r.net->store.count < whole.net->store.count);
  ASSERT_EQ(r.opt->slot_count, r.net->store.count);
  ASSERT(r.net->activation_bytes < whole.net->activation_bytes);
  ASSERT(!r.net->nodes[1].wants_gradient && whole.net->nodes[1].wants_gradient);
  end(&r);
  end(&whole);
}

static void test_everything_can_be_frozen(void)
{
  run r = begin("strict", TR_F32, "*");
  double loss;
  train(&r, 2);
  ASSERT_OK(tr_model_loss(r.net, &loss));
  ASSERT(loss > 0);
  ASSERT_EQ(tr_model_num_params(r.net), 0);
  end(&r);
}

/* Freeze after 3 steps: the values stay, the optimizer starts anew. */
static void check_rebuild(const char *device)
{
  run r = begin(device, TR_F32, NULL);
  run same = begin(device, TR_F32, NULL);
  train(&r, 3);
  train(&same, 3);
  ASSERT_OK(tr_model_freeze(r.net, "*", 1));
  ASSERT_OK(tr_model_freeze(r.net, "fc2.*", 0));
  const tr_batch batch = batch_of(&r);
  ASSERT_FAILS(tr_model_forward(r.net, &batch), TR_ESTATE,
               "call tr_model_build() again");
  ASSERT_OK(tr_model_build(r.net, NULL));
  for (int i = 0; i < NUM_NAMES; i++) {
    ASSERT(same_value(&r, &same, names[i]));
  }
  compute_gradients(&r);
  ASSERT_FAILS(tr_optimizer_step(r.opt), TR_ESTATE, "make a new one");
  tr_optimizer_destroy(&r.opt);
  make_optimizer(&r);
  ASSERT_OK(tr_optimizer_step(r.opt));
  train(&r, 2);
  for (int i = 0; i < NUM_NAMES; i++) {
    ASSERT_EQ(same_value(&r, &same, names[i]), i < 6);
  }
  ASSERT_FAILS(tr_model_build(r.net, NULL), TR_ESTATE, "called twice");
  end(&r);
  end(&same);
}

static void test_a_built_model_is_frozen_by_building_it_again(void)
{
  check_rebuild("cpu");
  check_rebuild("strict");
}

/* Freezing and thawing again leaves no trace. */
static void test_thawing_gives_the_run_without_freezing(void)
{
  run r = begin("cpu", TR_F32, "conv1*");
  run same = begin("cpu", TR_F32, NULL);
  ASSERT_OK(tr_model_freeze(r.net, "conv1*", 0));
  ASSERT_OK(tr_model_build(r.net, NULL));
  tr_optimizer_destroy(&r.opt);
  make_optimizer(&r);
  train(&r, 3);
  train(&same, 3);
  for (int i = 0; i < NUM_NAMES; i++) {
    ASSERT(same_value(&r, &same, names[i]));
  }
  end(&r);
  end(&same);
}

static void test_freezing_refuses_what_it_cannot_do(void)
{
  run r = begin("cpu", TR_F32, NULL);
  ASSERT_FAILS(tr_model_freeze(r.net, "conf*", 1), TR_EINVAL,
               "no parameter matches \"conf*\"; there are conv1.bias");
  ASSERT_FAILS(tr_model_freeze(r.net, NULL, 1), TR_EINVAL, "pattern");
  tr_inference *plan;
  ASSERT_OK(tr_inference_create(r.net, NULL, &plan));
  ASSERT_OK(tr_model_freeze(r.net, "conv*", 1));
  ASSERT_FAILS(tr_model_build(r.net, NULL), TR_ESTATE,
               "1 workspaces use the parameters");
  tr_inference_destroy(&plan);
  /* A build that fails leaves the model as it was. */
  ASSERT_FAILS(
      tr_model_build(r.net, &(tr_build_opts){.max_local_batch = INT64_MAX / 8}),
      TR_ESHAPE, "too large");
  char values[MAX_BYTES];
  ASSERT_OK(tr_model_get_param(r.net, "fc1.bias", values));
  ASSERT_OK(tr_model_build(r.net, NULL));
  tr_model *net = make_net(r.ctx);
  ASSERT_OK(tr_model_freeze(net, "conf*", 1));
  ASSERT_FAILS(tr_model_build(net, &(tr_build_opts){.max_local_batch = 1}),
               TR_EINVAL,
               "no parameter matches \"conf*\"; there are conv1.weight");
  tr_model_destroy(&net);
  end(&r);
}

static void save(run *r, const char *dir)
{
  const tr_checkpoint what = {.model = r->net, .optimizer = r->opt};
  ASSERT_OK(tr_checkpoint_save(r->ctx, dir, &what));
}

static void test_a_frozen_run_resumes_to_the_bits_of_one_that_went_on(void)
{
  char dir[512];
  snprintf(dir, sizeof dir, "%s/frozen", test_scratch());
  run straight = begin("cpu", TR_F32, "conv*");
  train(&straight, 3);
  save(&straight, dir);
  train(&straight, 3);
  run resumed = begin("cpu", TR_F32, "conv*");
  tr_checkpoint what = {.model = resumed.net, .optimizer = resumed.opt};
  end(&straight);
  ASSERT_OK(tr_checkpoint_resume(resumed.ctx, dir, &what));
  ASSERT_EQ(tr_optimizer_num_steps(resumed.opt), 3);
  train(&resumed, 3);
  run again = begin("cpu", TR_F32, "conv*");
  train(&again, 6);
  for (int i = 0; i < NUM_NAMES; i++) {
    ASSERT(same_value(&resumed, &again, names[i]));
  }
  end(&resumed);
  end(&again);
}

/* Values go both ways; the state of an optimizer only to fewer parameters. */
static void test_checkpoints_go_from_whole_to_frozen_runs_and_back(void)
{
  char dir[512], frozen_dir[512];
  snprintf(dir, sizeof dir, "%s/whole", test_scratch());
  snprintf(frozen_dir, sizeof frozen_dir, "%s/part", test_scratch());
  run whole = begin("cpu", TR_F32, NULL);
  train(&whole, 2);
  save(&whole, dir);
  run same = begin("cpu", TR_F32, NULL);
  train(&same, 2);
  end(&whole);
  run frozen = begin("cpu", TR_F32, "conv*");
  tr_checkpoint what = {.model = frozen.net, .optimizer = frozen.opt};
  ASSERT_OK(tr_checkpoint_resume(frozen.ctx, dir, &what));
  for (int i = 0; i < NUM_NAMES; i++) {
    ASSERT(same_value(&frozen, &same, names[i]));
  }
  train(&frozen, 1);
  train(&same, 1);
  for (int i = 0; i < NUM_NAMES; i++) {
    ASSERT_EQ(same_value(&frozen, &same, names[i]), i >= 4);
  }
  save(&frozen, frozen_dir);
  run back = begin("cpu", TR_F32, NULL);
  what = (tr_checkpoint){.model = back.net, .optimizer = back.opt};
  run last = frozen;
  tr_optimizer_destroy(&last.opt);
  tr_model_destroy(&last.net);
  ASSERT_FAILS(tr_checkpoint_resume(back.ctx, frozen_dir, &what), TR_EMISMATCH,
               "was the parameter frozen there?");
  what.optimizer = NULL;
  ASSERT_OK(tr_checkpoint_resume(back.ctx, frozen_dir, &what));
  frozen.opt = NULL;
  frozen.net = NULL;
  end(&frozen);
  end(&same);
  end(&back);
}

/* What a model with a head of no loss says, and what becomes of it. */
typedef struct told {
  int count;
  char line[512];
} told;

static void hear(void *user, tr_log_level level, const char *line)
{
  told *t = user;
  if (level == TR_LOG_WARNING) {
    t->count++;
    snprintf(t->line, sizeof t->line, "%s", line);
  }
}

typedef struct two_heads {
  tr_context *ctx;
  tr_model *net;
  tr_optimizer *opt;
} two_heads;

/* Both heads share a trunk; only the first has a loss, or the second one of
 * weight 0. */
static two_heads make_heads(const char *device, told *t, bool has_idle_loss)
{
  two_heads h;
  ASSERT_OK(tr_context_create_auto(
      &(tr_context_opts){
          .device = device, .log = hear, .log_user = t, .threads = 1},
      &h.ctx));
  ASSERT_OK(tr_model_create(h.ctx, &h.net));
  tr_node x = tr_input(h.net, (tr_shape){1, {3}});
  x = tr_linear(h.net, x, &(tr_linear_opts){.out = 4, .name = "trunk"});
  tr_node idle =
      tr_linear(h.net, x, &(tr_linear_opts){.out = 2, .name = "idle"});
  tr_mse(h.net, tr_linear(h.net, x, &(tr_linear_opts){.out = 2, .name = "fc"}),
         NULL);
  if (has_idle_loss) {
    tr_mse(h.net, idle, &(tr_loss_opts){.weight = TR_ZERO});
  } else {
    tr_batchnorm(h.net, idle, &(tr_batchnorm_opts){.name = "norm"});
  }
  ASSERT_OK(tr_model_build(h.net, &(tr_build_opts){.max_local_batch = 2}));
  tr_adamw_opts opts = tr_adamw_defaults();
  opts.weight_decay = 0.5;
  opts.lr = 0.1;
  ASSERT_OK(tr_adamw_create(h.net, &opts, &h.opt));
  return h;
}

static void step_heads(two_heads *h)
{
  const float x[6] = {1, 2, 3, 4, 5, 6}, t[4] = {0, 1, 1, 0};
  const tr_batch batch = {
      .count = 2, .global_count = 2, .inputs = {x}, .targets = {t, t}};
  ASSERT_OK(tr_model_forward(h->net, &batch));
  ASSERT_OK(tr_model_backward(h->net));
  ASSERT_OK(tr_optimizer_step(h->opt));
}

static void check_heads(const char *device, bool has_idle_loss)
{
  told t = {0};
  float before[8], after[8], trunk[2][12];
  two_heads h = make_heads(device, &t, has_idle_loss);
  ASSERT_EQ(t.count, 1);
  ASSERT_STR_EQ(t.line, has_idle_loss
                            ? "tr_model_build: no loss depends on idle.bias, "
                              "idle.weight: not trained"
                            : "tr_model_build: no loss depends on idle.bias, "
                              "idle.weight, norm.bias, norm.weight: not "
                              "trained");
  ASSERT_EQ(tr_model_num_params(h.net), 3 * 4 + 4 + 4 * 2 + 2);
  ASSERT_OK(tr_model_get_param(h.net, "idle.weight", before));
  ASSERT_OK(tr_model_get_param(h.net, "trunk.weight", trunk[0]));
  step_heads(&h);
  step_heads(&h);
  ASSERT_OK(tr_model_get_param(h.net, "idle.weight", after));
  ASSERT_OK(tr_model_get_param(h.net, "trunk.weight", trunk[1]));
  ASSERT(memcmp(before, after, sizeof before) == 0);
  ASSERT(memcmp(trunk[0], trunk[1], sizeof trunk[0]) != 0);
  tr_optimizer_destroy(&h.opt);
  /* A pattern does not train it either. */
  ASSERT_OK(tr_model_freeze(h.net, "idle.*", 0));
  ASSERT_OK(tr_model_build(h.net, NULL));
  ASSERT_EQ(tr_model_num_params(h.net), 3 * 4 + 4 + 4 * 2 + 2);
  tr_model_destroy(&h.net);
  tr_context_destroy(&h.ctx);
}

static void test_what_no_loss_depends_on_is_named_and_stays(void)
{
  static const char *const devices[] = {"reference", "cpu", "strict"};
  for (int i = 0; i < 6; i++) {
    check_heads(devices[i / 2], i % 2);
  }
}

static const tr_test tests[] = {
    TEST(test_what_no_loss_depends_on_is_named_and_stays),
    TEST(test_the_rest_gets_the_gradients_of_a_run_without_freezing),
    TEST(test_every_layer_trains_a_part_of_its_parameters),
    TEST(test_frozen_values_keep_their_bits_over_many_steps),
    TEST(test_what_is_frozen_has_no_gradient_slot_or_backward),
    TEST(test_everything_can_be_frozen),
    TEST(test_a_built_model_is_frozen_by_building_it_again),
    TEST(test_thawing_gives_the_run_without_freezing),
    TEST(test_freezing_refuses_what_it_cannot_do),
    TEST(test_a_frozen_run_resumes_to_the_bits_of_one_that_went_on),
    TEST(test_checkpoints_go_from_whole_to_frozen_runs_and_back),
};

TEST_MAIN(tests)
