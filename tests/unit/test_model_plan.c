/* The plan: memory is shared and nothing that is still needed is lost. */
#include "layer_helper.h"

#include "layers/conv_impl.h"

enum { MAX_ITEMS = 40, NUM_NETS = 120, MAX_NODES = 60 };

static bool live_at_once(const tr__arena_item *a, const tr__arena_item *b)
{
  return a->begin <= b->end && b->begin <= a->end;
}

static void check_items(const tr__arena_item *items, int count, size_t total)
{
  size_t sum = 0, last = 0;
  for (int i = 0; i < count; i++) {
    size_t end = items[i].offset + items[i].bytes;
    ASSERT_EQ(items[i].offset % TR__ARENA_ALIGN, 0);
    sum += tr__align(items[i].bytes, TR__ARENA_ALIGN);
    last = end > last ? end : last;
    for (int k = 0; k < i; k++) {
      bool apart = end <= items[k].offset ||
                   items[k].offset + items[k].bytes <= items[i].offset;
      ASSERT(apart || !live_at_once(&items[i], &items[k]));
    }
  }
  ASSERT_EQ(total, tr__align(last, TR__ARENA_ALIGN));
  ASSERT(total <= sum);
}

static void test_arena_items_that_live_at_once_never_overlap(void)
{
  for (int number = 0; number < 300; number++) {
    const tr__random random = case_random(number, 0);
    tr__arena_item items[MAX_ITEMS];
    int count = (int)(tr__random_u32(&random, 0) % (MAX_ITEMS + 1));
    for (int i = 0; i < count; i++) {
      int begin = (int)(tr__random_u32(&random, 1 + 3 * i) % 30);
      int length = (int)(tr__random_u32(&random, 2 + 3 * i) % 12);
      items[i] = (tr__arena_item){
          .bytes = 1 + tr__random_u32(&random, 3 + 3 * i) % 5000,
          .begin = begin,
          .end = begin + length};
    }
    size_t total = 1;
    ASSERT(tr__arena_place(items, count, &total));
    check_items(items, count, total);
  }
}

static void test_arena_items_that_follow_each_other_share_memory(void)
{
  tr__arena_item items[] = {
      {.bytes = 1000, .begin = 0, .end = 1},
      {.bytes = 900, .begin = 2, .end = 3},
      {.bytes = 800, .begin = 4, .end = 4},
  };
  size_t total;
  ASSERT(tr__arena_place(items, 3, &total));
  ASSERT_EQ(total, 1024);
}

/* Random classifiers of images. */

typedef struct random_net {
  layer_case c;
  tr_node nodes[MAX_NODES];
  int num_nodes;
  int64_t channels; /* of the newest image */
} random_net;

static tr_node add(random_net *net, tr_node node)
{
  net->nodes[net->num_nodes++] = node;
  return node;
}

/* x plus a branch of x, as either operand, behind a ReLU or not. */
static tr_node add_residual(random_net *net, tr_node x, uint32_t draw)
{
  tr_model *m = net->c.net;
  tr_conv2d_opts conv = {.out = net->channels, .kernel = 3, .padding = 1};
  tr_node branch = draw % 2 == 0 ? add(net, tr_relu(m, x)) : x;
  branch = add(net, tr_conv2d(m, branch, &conv));
  if (draw / 2 % 2 == 0) {
    branch = add(net, tr_relu(m, branch));
  }
  tr_node sum =
      add(net, draw / 4 % 2 == 0 ? tr_add(m, x, branch) : tr_add(m, branch, x));
  return draw / 8 % 2 == 0 ? add(net, tr_relu(m, sum)) : sum;
}

/* Two ways from x, one of them in place, that meet in a sum or a product. */
static tr_node add_diamond(random_net *net, tr_node x, uint32_t draw)
{
  tr_model *m = net->c.net;
  tr_pool2d_opts pool = {.kernel = 3, .stride = 1, .padding = 1};
  tr_node a = add(net, tr_relu(m, x)), b = add(net, tr_maxpool2d(m, x, &pool));
  if (draw % 2 == 0) {
    b = add(net, tr_relu(m, add(net, tr_mul(m, b, x))));
  }
  return add(net, draw / 2 % 2 == 0 ? tr_add(m, a, b) : tr_mul(m, b, a));
}

/* One layer on images, and sometimes one beside it that leads nowhere. */
static tr_node
add_image_layer(random_net *net, tr_node x, const tr__random *random, int i)
{
  tr_model *m = net->c.net;
  uint32_t draw = tr__random_u32(random, 2 * i);
  tr_conv2d_opts conv = {.out = 2 + draw / 8 % 4, .kernel = 3, .padding = 1};
  if (tr__random_u32(random, 2 * i + 1) % 4 == 0) {
    add(net, draw / 64 % 2 == 0 ? tr_relu(m, x) : tr_flatten(m, x));
  }
  switch (draw % 7) {
  case 0:
    net->channels = conv.out;
    return add(net, tr_conv2d(m, x, &conv));
  case 4:
    return add_residual(net, x, draw / 64);
  case 5:
    return add(net, tr_add(m, x, x));
  case 6:
    return add_diamond(net, x, draw / 64);
  case 1:
    net->channels = conv.out;
    return add(net, tr_relu(m, add(net, tr_conv2d(m, x, &conv))));
  case 2:
    return add(net, tr_maxpool2d(m, x,
                                 &(tr_pool2d_opts){
                                     .kernel = 3, .stride = 1, .padding = 1}));
  default:
    return add(net, tr_relu(m, x));
  }
}

/* The same value twice, some of it squared, side by side. */
static tr_node add_shared(random_net *net, tr_node x)
{
  tr_model *m = net->c.net;
  tr_node square = add(net, tr_mul(m, x, x));
  tr_node all = add(net, tr_concat(m, (tr_node[]){x, square, x}, 3, 0));
  return add(net, tr_relu(m, all));
}

static tr_node
add_vector_layer(random_net *net, tr_node x, const tr__random *random, int i)
{
  tr_model *m = net->c.net;
  uint32_t draw = tr__random_u32(random, 100 + 2 * i);
  tr_linear_opts linear = {.out = 3 + draw / 8 % 9};
  if (tr__random_u32(random, 101 + 2 * i) % 4 == 0) {
    add(net, tr_linear(m, x, &linear));
  }
  if (draw % 5 == 4) {
    return add_shared(net, x);
  }
  return draw % 3 == 0
             ? add(net, tr_relu(m, x))
             : add(net, tr_relu(m, add(net, tr_linear(m, x, &linear))));
}

static void build_random_net(random_net *net, tr_context *ctx, int number)
{
  const tr__random random = case_random(number, 5);
  const tr_shape shape = {3, {1 + number % 3, 6, 5}};
  *net = (random_net){.c = {.ctx = ctx, .number = number},
                      .channels = shape.dims[0]};
  layer_case *c = &net->c;
  ASSERT_OK(tr_model_create(ctx, &c->net));
  c->net->wants_input_gradients = number % 2 == 0;
  tr_node x = add(net, tr_input(c->net, shape));
  int num_images = (int)(tr__random_u32(&random, 200) % 4);
  for (int i = 0; i < num_images; i++) {
    x = add_image_layer(net, x, &random, i);
  }
  x = add(net, number % 3 == 0 ? tr_global_avgpool2d(c->net, x)
                               : tr_flatten(c->net, x));
  int num_vectors = (int)(tr__random_u32(&random, 201) % 3);
  for (int i = 0; i < num_vectors; i++) {
    x = add_vector_layer(net, x, &random, i);
  }
  x = add(net, tr_linear(c->net, x, &(tr_linear_opts){.out = 5}));
  c->node = add(net, tr_cross_entropy(c->net, x));
  c->rows = 3;
  c->global_rows = 4;
}

static void run_random_net(random_net *net, bool keeps_all, outcome *out)
{
  layer_case *c = &net->c;
  *out = (outcome){.count = 0};
  for (int i = 0; keeps_all && i < net->num_nodes; i++) {
    tr_model_keep(c->net, net->nodes[i]);
  }
  ASSERT_OK(tr_model_build(c->net, &(tr_build_opts){.max_local_batch = 4}));
  ASSERT(c->net->store.num_params <= TR__MAX_NODE_PARAMS * MAX_NODES);
  case_draw_inputs(c);
  c->dy = (tensor){.count = c->rows};
  c->is_loss = true;
  case_draw_targets(c);
  case_forward(c);
  case_output(c, out);
  case_backward(c);
  tensor *grads = outcome_add(out, "gradients", c->net->store.count);
  tr__backend *backend = c->ctx->backend;
  ASSERT_OK(backend->type->download(
      &backend->stream, grads->values, c->net->store.grads,
      (size_t)grads->count * tr_dtype_size(c->ctx->dtype)));
  widen(c->ctx, grads);
  if (c->net->wants_input_gradients) {
    tensor *g = outcome_add(out, "input gradient", c->inputs[0].count);
    ASSERT_OK(tr__model_get_node_gradient(c->net, 0, g->values));
    widen(c->ctx, g);
  }
}

static void expect_same(const outcome *a, const outcome *b, int number)
{
  ASSERT_EQ(a->count, b->count);
  for (int i = 0; i < a->count; i++) {
    char what[128];
    snprintf(what, sizeof what, "net %d, %s", number, a->tensors[i].name);
    ASSERT_EQ(a->tensors[i].count, b->tensors[i].count);
    ASSERT_TENSOR_NEAR(what, TR_F64, a->tensors[i].values, b->tensors[i].values,
                       a->tensors[i].count, 0);
  }
}

/* Every node of the kept net can be read; the loss must be that of its logits,
 * which would not hold if targets or logits had been overwritten. */
static void check_loss_of_logits(random_net *net, const outcome *out)
{
  layer_case *c = &net->c;
  tensor logits = {.count = c->rows * 5};
  logits.values = calloc((size_t)logits.count, sizeof *logits.values);
  tr_node last = net->nodes[net->num_nodes - 2];
  ASSERT_OK(tr_model_get_output(c->net, last, logits.values));
  widen(c->ctx, &logits);
  for (int64_t n = 0; n < c->rows; n++) {
    const double *x = logits.values + 5 * n;
    double sum = 0;
    for (int k = 0; k < 5; k++) {
      sum += exp(x[k]);
    }
    double loss = log(sum) - x[((const int32_t *)c->targets)[n]];
    ASSERT_NEAR(out->tensors[0].values[n], loss, 1e-6);
  }
  free(logits.values);
}

static void check_random_nets(const char *device, tr_dtype dtype)
{
  tr_context *ctx = make_context(device, dtype);
  for (int number = 0; number < NUM_NETS; number++) {
    random_net lean, kept;
    outcome a, b;
    build_random_net(&lean, ctx, number);
    run_random_net(&lean, false, &a);
    check_loss_of_logits(&lean, &a);
    build_random_net(&kept, ctx, number);
    run_random_net(&kept, true, &b);
    check_loss_of_logits(&kept, &b);
    expect_same(&a, &b, number);
    ASSERT(lean.c.net->activation_bytes <= kept.c.net->activation_bytes);
    outcome_free(&a);
    outcome_free(&b);
    case_free(&lean.c);
    case_free(&kept.c);
  }
  tr_context_destroy(&ctx);
}

static void test_shared_memory_gives_the_bits_of_kept_memory(void)
{
  check_random_nets("reference", TR_F64);
  check_random_nets("cpu", TR_F32);
  check_random_nets("strict", TR_F64);
}

/* Against central differences, so that a gradient that is counted twice or not
 * at all shows where both plans agree. */
static void test_gradients_of_shared_nodes_match_central_differences(void)
{
  static const double h = 0x1p-17;
  tr_context *ctx = make_context("reference", TR_F64);
  int good = 0, bad = 0;
  for (int number = 0; number < NUM_NETS; number += 2) {
    random_net net;
    outcome out, sides[2];
    build_random_net(&net, ctx, number);
    run_random_net(&net, false, &out);
    layer_case *c = &net.c;
    const tensor *gradient = &out.tensors[3];
    for (int64_t i = 0; i < c->inputs[0].count; i += 17) {
      double kept = c->inputs[0].values[i];
      for (int side = 0; side < 2; side++) {
        sides[side].count = 0;
        c->inputs[0].values[i] = kept + (side == 0 ? h : -h);
        case_forward(c);
        case_output(c, &sides[side]);
      }
      c->inputs[0].values[i] = kept;
      double slope =
          (sides[0].tensors[1].values[0] - sides[1].tensors[1].values[0]) /
          (2 * h * (double)c->global_rows);
      /* Curvature of the loss, and a maximum or sign that changes: seldom. */
      double scale = fmax(1, fabs(slope));
      double error = fabs(gradient->values[i] - slope);
      good += error < 1e-6 * scale;
      bad += error > 1e-4 * scale;
      outcome_free(&sides[0]);
      outcome_free(&sides[1]);
    }
    outcome_free(&out);
    case_free(c);
  }
  tr_context_destroy(&ctx);
  ASSERT(good > 200);
  ASSERT(bad * 50 < good);
}

/* The targets are there before forward runs: they must not lie in the
 * workspace of a convolution before the loss. */
static void test_targets_outlive_the_layers_before_the_loss(void)
{
  tr_context *ctx = make_context("reference", TR_F64);
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, tr_shape_of(3, (int64_t[]){1, 8, 8}));
  x = tr_conv2d(net, x, &(tr_conv2d_opts){.out = 1, .kernel = 3});
  tr_node logits = tr_flatten(net, x);
  tr_cross_entropy(net, logits);
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 1}));
  double image[64], values[36], sum = 0, loss;
  for (int i = 0; i < 64; i++) {
    image[i] = 0.01 * i;
  }
  const int32_t target = 5;
  ASSERT_OK(tr_model_forward(net, &(tr_batch){.count = 1,
                                              .global_count = 1,
                                              .inputs = {image},
                                              .targets = {&target}}));
  ASSERT_OK(tr_model_get_output(net, logits, values));
  for (int i = 0; i < 36; i++) {
    sum += exp(values[i]);
  }
  ASSERT_OK(tr_model_loss(net, &loss));
  ASSERT_NEAR(loss, log(sum) - values[target], 1e-14);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

/* Likewise an input that is first used behind other layers. */
static void test_a_late_input_outlives_the_layers_before_it(void)
{
  tr_context *ctx = make_context("reference", TR_F64);
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  const tr_shape shape = {3, {1, 8, 8}};
  tr_node x = tr_input(net, shape);
  for (int i = 0; i < 4; i++) {
    x = tr_maxpool2d(net, x,
                     &(tr_pool2d_opts){.kernel = 3, .stride = 1, .padding = 1});
  }
  tr_node late = tr_relu(net, tr_input(net, shape));
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 1}));
  double first[64], second[64], out[64];
  for (int i = 0; i < 64; i++) {
    first[i] = -1;
    second[i] = i;
  }
  ASSERT_OK(tr_model_forward(
      net,
      &(tr_batch){.count = 1, .global_count = 1, .inputs = {first, second}}));
  ASSERT_OK(tr_model_get_output(net, late, out));
  ASSERT_TENSOR_NEAR("late input", TR_F64, out, second, 64, 0);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static void test_only_kept_nodes_can_be_read(void)
{
  tr_context *ctx = make_context("reference", TR_F64);
  tr_model *net;
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, tr_shape_of(1, (int64_t[]){2}));
  tr_linear_opts opts = {.out = 2};
  tr_node lost = tr_linear(net, x, &opts);
  tr_node kept = tr_linear(net, lost, &opts);
  tr_node active = tr_relu(net, kept);
  tr_node logits = tr_linear(net, active, &opts);
  tr_node loss = tr_cross_entropy(net, logits);
  tr_model_keep(net, kept);
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 1}));
  double out[2] = {0, 0}, in[2] = {1, -1};
  ASSERT_FAILS(tr_model_get_output(net, kept, out), TR_ESTATE, "forward");
  const int32_t target = 0;
  ASSERT_OK(tr_model_forward(net, &(tr_batch){.count = 1,
                                              .global_count = 1,
                                              .inputs = {in},
                                              .targets = {&target}}));
  ASSERT_OK(tr_model_get_output(net, kept, out));
  ASSERT(out[0] != 0);
  ASSERT_OK(tr_model_get_output(net, logits, out));
  ASSERT_OK(tr_model_get_output(net, loss, out));
  const tr_node refused[] = {x, lost, active, {-1}, {99}};
  for (int i = 0; i < 5; i++) {
    ASSERT_FAILS(tr_model_get_output(net, refused[i], out), TR_EINVAL,
                 "tr_model_keep()");
  }
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

/* What the backend was asked for. */
static struct {
  const tr__backend_type *type;
  size_t bytes[16];
  int count;
} asked;

static tr_status counting_alloc(tr__backend *backend, size_t bytes, void **out)
{
  if (asked.count < 16) {
    asked.bytes[asked.count++] = bytes;
  }
  return asked.type->alloc(backend, bytes, out);
}

static void check_printed_bytes(tr_dtype dtype)
{
  tr_context *ctx = make_context("cpu", dtype);
  asked.type = ctx->backend->type;
  asked.count = 0;
  tr__backend_type counting = *asked.type;
  counting.alloc = counting_alloc;
  ctx->backend->type = &counting;
  random_net net;
  build_random_net(&net, ctx, 1);
  ASSERT_OK(tr_model_build(net.c.net, &(tr_build_opts){.max_local_batch = 4}));
  char *text = NULL;
  size_t length, values, grads, activations, numbers, total, sum = 0;
  size_t halves = 0;
  FILE *out = open_memstream(&text, &length);
  ASSERT_OK(tr_model_print_plan(net.c.net, out));
  fclose(out);
  const char *line = strstr(text, "parameters ");
  ASSERT(line != NULL);
  ASSERT_EQ(sscanf(line, "parameters %zu B", &values), 1);
  if (dtype != TR_F32) {
    line = strstr(line, "their copy");
    ASSERT(line != NULL);
    ASSERT_EQ(sscanf(line, "their copy of 16 bits %zu B", &halves), 1);
    ASSERT_EQ(halves, values / 2);
  }
  line = strstr(line, "gradients");
  ASSERT_EQ(sscanf(line,
                   "gradients %zu B in 1 bucket, activations %zu B\n"
                   "numbers of a step %zu B, total %zu B",
                   &grads, &activations, &numbers, &total),
            4);
  const size_t expected[] = {values,
                             halves,
                             sizeof(tr__step_block),
                             activations,
                             TR__TAIL_COUNT * sizeof(float),
                             grads};
  int at = 0;
  for (int i = 0; i < 6; i++) {
    if (expected[i] > 0) {
      ASSERT_EQ(asked.bytes[at++], expected[i]);
    }
    sum += expected[i];
  }
  ASSERT_EQ(asked.count, at);
  ASSERT_EQ(total, sum);
  free(text);
  case_free(&net.c);
  ctx->backend->type = asked.type;
  tr_context_destroy(&ctx);
}

static void test_print_plan_shows_the_bytes_that_were_asked_for(void)
{
  check_printed_bytes(TR_F32);
  check_printed_bytes(TR_BF16);
}

static const tr_test tests[] = {
    TEST(test_arena_items_that_live_at_once_never_overlap),
    TEST(test_arena_items_that_follow_each_other_share_memory),
    TEST(test_shared_memory_gives_the_bits_of_kept_memory),
    TEST(test_gradients_of_shared_nodes_match_central_differences),
    TEST(test_targets_outlive_the_layers_before_the_loss),
    TEST(test_a_late_input_outlives_the_layers_before_it),
    TEST(test_only_kept_nodes_can_be_read),
    TEST(test_print_plan_shows_the_bytes_that_were_asked_for),
};

TEST_MAIN(tests)
