/* Memory: what the plan says is what the process takes. */
#include "layer_helper.h"

enum { BATCH = 64, STEPS = 10, CLASSES = 10 };

/* What was asked of the backend, in bytes. */
static struct {
  const tr__backend_type *type;
  size_t bytes;
} asked;

static tr_status counting_alloc(tr__backend *backend, size_t bytes, void **out)
{
  asked.bytes += bytes;
  return asked.type->alloc(backend, bytes, out);
}

/* A line of /proc/self/status in bytes. */
static size_t status_bytes(const char *name)
{
  char line[256];
  size_t kib = 0;
  FILE *file = fopen("/proc/self/status", "r");
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    if (strncmp(line, name, strlen(name)) == 0) {
      sscanf(line + strlen(name), ": %zu kB", &kib);
    }
  }
  if (file != NULL) {
    fclose(file);
  }
  return kib * 1024;
}

static tr_node block(tr_model *net, tr_node x, int64_t out)
{
  const tr_conv2d_opts opts = {.out = out, .kernel = 3, .padding = 1};
  return tr_relu(net, tr_conv2d(net, x, &opts));
}

/* The network convnet28 of bench_step. */
static tr_model *build_convnet(tr_context *ctx)
{
  tr_model *net;
  const tr_pool2d_opts pool = {.kernel = 2};
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, tr_shape_of(3, (int64_t[]){1, 28, 28}));
  x = tr_maxpool2d(net, block(net, x, 64), &pool);
  x = tr_maxpool2d(net, block(net, x, 128), &pool);
  x = tr_global_avgpool2d(net, block(net, x, 256));
  tr_cross_entropy(net, tr_linear(net, x, &(tr_linear_opts){.out = CLASSES}));
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = BATCH}));
  return net;
}

static size_t printed_total(const tr_model *net)
{
  char *text = NULL;
  size_t length, total = 0;
  FILE *out = open_memstream(&text, &length);
  ASSERT_OK(tr_model_print_plan(net, out));
  fclose(out);
  const char *at = strstr(text, ", total ");
  ASSERT(at != NULL && sscanf(at, ", total %zu B", &total) == 1);
  free(text);
  return total;
}

static void train(tr_model *net, tr_optimizer *opt)
{
  float *images = calloc(BATCH * 28 * 28, sizeof *images);
  int32_t targets[BATCH];
  for (int i = 0; i < BATCH; i++) {
    targets[i] = i % CLASSES;
    images[28 * 28 * i + i] = 1;
  }
  for (int step = 0; step < STEPS; step++) {
    ASSERT_OK(tr_model_forward(net, &(tr_batch){.count = BATCH,
                                                .global_count = BATCH,
                                                .inputs = {images},
                                                .targets = {targets}}));
    ASSERT_OK(tr_model_backward(net));
    ASSERT_OK(tr_optimizer_step(opt));
  }
  free(images);
}

static void check_memory(tr_dtype dtype)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  test_skip("a sanitizer's own memory is counted with the rest");
#endif
  tr_context *ctx = make_context("cpu", dtype);
  asked.bytes = 0;
  asked.type = ctx->backend->type;
  tr__backend_type counting = *asked.type;
  counting.alloc = counting_alloc;
  ctx->backend->type = &counting;
  size_t before = status_bytes("VmRSS");
  if (before == 0) {
    test_skip("no /proc/self/status here");
  }
  tr_model *net = build_convnet(ctx);
  ASSERT_EQ(printed_total(net), asked.bytes);
  tr_optimizer *opt;
  const tr_adamw_opts adamw = tr_adamw_defaults();
  ASSERT_OK(tr_adamw_create(net, &adamw, &opt));
  train(net, opt);
  size_t peak = status_bytes("VmHWM");
  size_t allowed = before + asked.bytes + asked.bytes / 20 + (8 << 20);
  if (peak > allowed) {
    test_fail(__FILE__, __LINE__,
              "%zu bytes are resident, expected at most %zu: %zu before, %zu "
              "planned",
              peak, allowed, before, asked.bytes);
  }
  printf("# %zu bytes before, %zu planned, %zu at most resident\n", before,
         asked.bytes, peak);
  tr_optimizer_destroy(&opt);
  tr_model_destroy(&net);
  ctx->backend->type = asked.type;
  tr_context_destroy(&ctx);
}

static void test_training_takes_the_memory_that_the_plan_says(void)
{
  check_memory(TR_F32);
}

/* The first of the two: what was resident at most never falls. */
static void test_mixed_precision_takes_the_memory_that_its_plan_says(void)
{
  check_memory(TR_BF16);
}

static const tr_test tests[] = {
    TEST(test_mixed_precision_takes_the_memory_that_its_plan_says),
    TEST(test_training_takes_the_memory_that_the_plan_says),
};

TEST_MAIN(tests)
