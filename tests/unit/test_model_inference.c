/* Inference: the bits of evaluation, in less memory, from many threads. */
#include "layer_helper.h"

#include <pthread.h>

enum { NUM_THREADS = 8, NUM_CALLS = 6, MAX_ROWS = 5, CLASSES = 7 };

/* A net with a branch, a second head that leads nowhere, and every kind of
 * memory: views, values in place, saved tensors, workspace. */
typedef struct net {
  tr_context *ctx;
  tr_model *model;
  tr_node pooled, logits, other, loss;
  tr_shape shape;
} net;

static net make_net(const char *device, tr_dtype dtype, int number)
{
  net n = {.ctx = make_context(device, dtype)};
  n.shape = (tr_shape){3, {1 + number % 3, 9, 8}};
  ASSERT_OK(tr_model_create(n.ctx, &n.model));
  tr_model *m = n.model;
  tr_node x = tr_input(m, n.shape);
  const tr_conv2d_opts conv = {.out = 6, .kernel = 3, .padding = 1};
  x = tr_relu(m, tr_conv2d(m, x, &conv));
  n.pooled = tr_maxpool2d(m, x, &(tr_pool2d_opts){.kernel = 2});
  x = tr_relu(m, tr_conv2d(m, n.pooled, &conv));
  n.other =
      tr_linear(m, tr_global_avgpool2d(m, x), &(tr_linear_opts){.out = 3});
  x = tr_relu(m, tr_linear(m, tr_flatten(m, x), &(tr_linear_opts){.out = 33}));
  n.logits = tr_linear(m, x, &(tr_linear_opts){.out = CLASSES});
  n.loss = tr_cross_entropy(m, n.logits);
  tr_model_keep(m, n.pooled);
  tr_model_keep(m, n.other);
  ASSERT_OK(tr_model_build(m, &(tr_build_opts){.max_local_batch = MAX_ROWS}));
  return n;
}

static void free_net(net *n)
{
  tr_model_destroy(&n->model);
  tr_context_destroy(&n->ctx);
}

static void *draw_images(const net *n, int number, int64_t rows)
{
  const layer_case c = {.number = number};
  tensor t = random_tensor(&c, "x", 7, rows * tr_shape_count(&n->shape));
  void *out = narrowed(n->ctx, &t);
  free_tensor(&t);
  return out;
}

/* What the model itself says in evaluation; allocated with calloc. */
static char *evaluate(net *n, tr_node node, const void *images, int64_t rows)
{
  const int32_t targets[MAX_ROWS] = {0};
  char *out = calloc(1, 1 << 16);
  tr_model_set_training(n->model, 0);
  ASSERT_OK(tr_model_forward(n->model, &(tr_batch){.count = rows,
                                                   .global_count = rows,
                                                   .inputs = {images},
                                                   .targets = {targets}}));
  ASSERT_OK(tr_model_get_output(n->model, node, out));
  tr_model_set_training(n->model, 1);
  return out;
}

static size_t output_bytes(const net *n, tr_node node, int64_t rows)
{
  tr_shape shape = tr_model_shape(n->model, node);
  return (size_t)(rows * tr_shape_count(&shape)) * tr_dtype_size(n->ctx->dtype);
}

static void expect_output(
    net *n, tr_inference *plan, tr_node node, const void *images, int64_t rows)
{
  char *expected = evaluate(n, node, images, rows);
  char *got = calloc(1, 1 << 16);
  ASSERT_OK(tr_inference_forward(
      plan, &(tr_batch){.count = rows, .inputs = {images}}));
  ASSERT_OK(tr_inference_get_output(plan, node, got));
  ASSERT(memcmp(got, expected, output_bytes(n, node, rows)) == 0);
  free(expected);
  free(got);
}

static void check_bits(const char *device, tr_dtype dtype, int threads)
{
  for (int number = 0; number < 3; number++) {
    net n = make_net(device, dtype, number);
    const tr_node outputs[] = {n.other, n.pooled, n.logits};
    tr_inference *all, *last;
    ASSERT_OK(tr_inference_create(n.model,
                                  &(tr_inference_opts){.outputs = outputs,
                                                       .num_outputs = 3,
                                                       .threads = threads},
                                  &all));
    ASSERT_OK(tr_inference_create(n.model, NULL, &last));
    for (int64_t rows = MAX_ROWS; rows >= 1; rows--) {
      void *images = draw_images(&n, number, rows);
      expect_output(&n, last, n.logits, images, rows);
      for (int i = 0; i < 3; i++) {
        expect_output(&n, all, outputs[i], images, rows);
      }
      free(images);
    }
    tr_inference_destroy(&all);
    tr_inference_destroy(&last);
    free_net(&n);
  }
}

static void test_inference_gives_the_bits_of_evaluation(void)
{
  check_bits("reference", TR_F64, 1);
  check_bits("cpu", TR_F32, 1);
  check_bits("cpu", TR_F32, 3);
  check_bits("strict", TR_F64, 1);
}

/* One layer alone, on the inputs of a case. */
static void check_layer(layer_case *c)
{
  void *inputs[TR_MAX_INPUTS] = {NULL};
  tr_batch batch = {.count = c->rows};
  tensor expected = {.count = c->dy.count}, got = expected;
  expected.values = calloc((size_t)got.count + 1, sizeof(double));
  got.values = calloc((size_t)got.count + 1, sizeof(double));
  tr_model_set_training(c->net, 0);
  case_forward(c);
  ASSERT_OK(tr_model_get_output(c->net, c->node, expected.values));
  for (int i = 0; i < c->num_inputs; i++) {
    batch.inputs[i] = inputs[i] = narrowed(c->ctx, &c->inputs[i]);
  }
  tr_inference *plan;
  ASSERT_OK(tr_inference_create(c->net, NULL, &plan));
  ASSERT_OK(tr_inference_forward(plan, &batch));
  ASSERT_OK(tr_inference_get_output(plan, c->node, got.values));
  if (memcmp(got.values, expected.values,
             (size_t)got.count * tr_dtype_size(c->ctx->dtype)) != 0) {
    test_fail(__FILE__, __LINE__, "%s, case %d: other bits than in evaluation",
              c->type->name, c->number);
  }
  tr_inference_destroy(&plan);
  for (int i = 0; i < c->num_inputs; i++) {
    free(inputs[i]);
  }
  free_tensor(&expected);
  free_tensor(&got);
}

static void check_layers(const char *device, tr_dtype dtype)
{
  tr_context *ctx = make_context(device, dtype);
  for (const tr__layer_type *const *type = tr__layer_table(); *type != NULL;
       type++) {
    for (int number = 0; (*type)->random_build != NULL && number < 6;
         number++) {
      layer_case c;
      case_build(&c, ctx, *type, number, 1);
      if (!c.is_loss) {
        check_layer(&c);
      }
      case_free(&c);
    }
  }
  tr_context_destroy(&ctx);
}

static void test_every_layer_infers_the_bits_of_its_evaluation(void)
{
  check_layers("cpu", TR_F32);
  check_layers("reference", TR_F64);
  check_layers("strict", TR_F64);
}

static void test_a_plan_for_inference_is_smaller(void)
{
  net n = make_net("cpu", TR_F32, 0);
  const tr_node outputs[] = {n.other, n.pooled, n.logits};
  tr_inference *all, *last, *one;
  ASSERT_OK(tr_inference_create(
      n.model, &(tr_inference_opts){.outputs = outputs, .num_outputs = 3},
      &all));
  ASSERT_OK(tr_inference_create(n.model, NULL, &last));
  ASSERT_OK(
      tr_inference_create(n.model, &(tr_inference_opts){.batch = 1}, &one));
  ASSERT(tr_inference_bytes(last) < n.model->activation_bytes / 2);
  ASSERT(tr_inference_bytes(last) <= tr_inference_bytes(all));
  ASSERT(tr_inference_bytes(one) < tr_inference_bytes(last) / 2);
  tr_inference_destroy(&all);
  tr_inference_destroy(&last);
  tr_inference_destroy(&one);
  free_net(&n);
}

/* What one thread does: its images, and what came of them. */
typedef struct caller {
  const net *n;
  tr_inference *plan;
  const void *images;
  const char *expected;
  int64_t rows;
  size_t bytes;
  int num_wrong;
} caller;

static void *call(void *arg)
{
  caller *c = arg;
  char got[MAX_ROWS * CLASSES * sizeof(double)];
  for (int i = 0; i < NUM_CALLS; i++) {
    memset(got, 0, sizeof got);
    const tr_batch batch = {.count = c->rows, .inputs = {c->images}};
    bool is_right =
        tr_inference_forward(c->plan, &batch) == TR_OK &&
        tr_inference_get_output(c->plan, c->n->logits, got) == TR_OK &&
        memcmp(got, c->expected, c->bytes) == 0;
    c->num_wrong += !is_right;
  }
  return NULL;
}

static void check_threads(const char *device, tr_dtype dtype)
{
  net n = make_net(device, dtype, 1);
  caller callers[NUM_THREADS];
  pthread_t threads[NUM_THREADS];
  for (int i = 0; i < NUM_THREADS; i++) {
    int64_t rows = 1 + i % MAX_ROWS;
    caller *c = &callers[i];
    *c = (caller){.n = &n, .rows = rows};
    c->images = draw_images(&n, 40 + i, rows);
    c->expected = evaluate(&n, n.logits, c->images, rows);
    c->bytes = output_bytes(&n, n.logits, rows);
    ASSERT_OK(tr_inference_create(n.model, NULL, &c->plan));
  }
  for (int i = 0; i < NUM_THREADS; i++) {
    ASSERT_EQ(pthread_create(&threads[i], NULL, call, &callers[i]), 0);
  }
  for (int i = 0; i < NUM_THREADS; i++) {
    pthread_join(threads[i], NULL);
    ASSERT_EQ(callers[i].num_wrong, 0);
    tr_inference_destroy(&callers[i].plan);
    free((void *)callers[i].images);
    free((void *)callers[i].expected);
  }
  free_net(&n);
}

static void test_eight_threads_get_the_bits_of_one(void)
{
  check_threads("cpu", TR_F32);
  check_threads("reference", TR_F64);
  check_threads("strict", TR_F64);
}

static void test_workspaces_see_what_training_changes(void)
{
  net n = make_net("cpu", TR_F32, 2);
  void *images = draw_images(&n, 3, 4);
  const int32_t targets[4] = {1, 2, 3, 0};
  tr_inference *plan;
  tr_optimizer *opt;
  ASSERT_OK(tr_inference_create(n.model, NULL, &plan));
  ASSERT_OK(tr_sgd_create(n.model, &(tr_sgd_opts){.lr = 0.5f}, &opt));
  char *before = evaluate(&n, n.logits, images, 4);
  ASSERT_OK(tr_model_forward(n.model, &(tr_batch){.count = 4,
                                                  .global_count = 4,
                                                  .inputs = {images},
                                                  .targets = {targets}}));
  ASSERT_OK(tr_model_backward(n.model));
  ASSERT_OK(tr_model_allreduce_grads(n.model));
  ASSERT_OK(tr_optimizer_step(opt));
  char *after = evaluate(&n, n.logits, images, 4);
  ASSERT(memcmp(before, after, output_bytes(&n, n.logits, 4)) != 0);
  expect_output(&n, plan, n.logits, images, 4);
  free(before);
  free(after);
  free(images);
  tr_optimizer_destroy(&opt);
  tr_inference_destroy(&plan);
  free_net(&n);
}

/* Calls of malloc by this program, where it can be replaced. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CAN_COUNT 0
#elif defined(__has_feature)
#define CAN_COUNT                                                              \
  (!__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer))
#else
#define CAN_COUNT 1
#endif

#if CAN_COUNT && defined(__GLIBC__)
static int64_t num_mallocs;
void *__libc_malloc(size_t bytes);

void *malloc(size_t bytes)
{
  __atomic_fetch_add(&num_mallocs, 1, __ATOMIC_RELAXED);
  return __libc_malloc(bytes);
}

static void test_a_call_allocates_nothing(void)
{
  net n = make_net("cpu", TR_F32, 0);
  tr_inference *plan;
  ASSERT_OK(tr_inference_create(n.model, NULL, &plan));
  void *images = draw_images(&n, 5, MAX_ROWS);
  float got[MAX_ROWS * CLASSES];
  int64_t before = num_mallocs;
  for (int i = 0; i < 3; i++) {
    const tr_batch batch = {.count = MAX_ROWS - i, .inputs = {images}};
    ASSERT_OK(tr_inference_forward(plan, &batch));
    ASSERT_OK(tr_inference_get_output(plan, n.logits, got));
  }
  ASSERT_EQ(num_mallocs, before);
  free(images);
  ASSERT(num_mallocs > 0);
  tr_inference_destroy(&plan);
  free_net(&n);
}
#else
static void test_a_call_allocates_nothing(void)
{
  test_skip("malloc cannot be counted here");
}
#endif

static void test_inference_refuses_what_it_cannot_compute(void)
{
  net n = make_net("reference", TR_F64, 0);
  tr_inference *plan;
  double out[MAX_ROWS * CLASSES] = {0};
  const tr_node loss = n.loss, none = {-1};
  ASSERT_FAILS(tr_inference_create(
                   n.model,
                   &(tr_inference_opts){.outputs = &loss, .num_outputs = 1},
                   &plan),
               TR_EINVAL, "is the loss \"cross_entropy_1\"");
  ASSERT(plan == NULL);
  ASSERT_FAILS(tr_inference_create(
                   n.model,
                   &(tr_inference_opts){.outputs = &none, .num_outputs = 1},
                   &plan),
               TR_EINVAL, "outputs[0] is no node");
  ASSERT_FAILS(tr_inference_create(
                   n.model, &(tr_inference_opts){.outputs = &loss}, &plan),
               TR_EINVAL, "num_outputs is 0");
  ASSERT_OK(tr_inference_create(n.model, NULL, &plan));
  ASSERT_FAILS(tr_inference_get_output(plan, n.logits, out), TR_ESTATE,
               "before tr_inference_forward()");
  ASSERT_FAILS(tr_inference_forward(plan, &(tr_batch){.count = 1}), TR_EINVAL,
               "inputs[0] is missing");
  ASSERT_FAILS(tr_inference_forward(plan, &(tr_batch){.count = MAX_ROWS + 1}),
               TR_EINVAL, "expected 0 to 5");
  ASSERT_OK(tr_inference_forward(plan, &(tr_batch){.count = 0}));
  ASSERT_FAILS(tr_inference_get_output(plan, n.pooled, out), TR_EINVAL,
               "none of the outputs");
  tr_inference_destroy(&plan);
  tr_model *unbuilt;
  ASSERT_OK(tr_model_create(n.ctx, &unbuilt));
  ASSERT_FAILS(tr_inference_create(unbuilt, NULL, &plan), TR_ESTATE,
               "before tr_model_build()");
  tr_model_destroy(&unbuilt);
  free_net(&n);
}

static const tr_test tests[] = {
    TEST(test_inference_gives_the_bits_of_evaluation),
    TEST(test_every_layer_infers_the_bits_of_its_evaluation),
    TEST(test_a_plan_for_inference_is_smaller),
    TEST(test_eight_threads_get_the_bits_of_one),
    TEST(test_workspaces_see_what_training_changes),
    TEST(test_a_call_allocates_nothing),
    TEST(test_inference_refuses_what_it_cannot_compute),
};

TEST_MAIN(tests)
