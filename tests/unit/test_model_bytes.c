/* Whoever asks how much a call writes is told just that. */
#include "layer_helper.h"

enum { ROWS = 3, GUARD = 0x5a, ROOM = 4096 };

/* Everything before `bytes` was written or could have been, nothing behind. */
typedef struct guarded {
  unsigned char bytes[ROOM];
} guarded;

static void guard(guarded *g, int value)
{
  memset(g->bytes, value, sizeof g->bytes);
}

/* How much of two arrays, filled differently before, is equal afterwards. */
static size_t written(const guarded *a, const guarded *b)
{
  size_t end = ROOM;
  while (end > 0 && a->bytes[end - 1] != b->bytes[end - 1]) {
    end--;
  }
  return end;
}

typedef struct built {
  tr_model *net;
  tr_node ids, x, y, inner;
} built;

static built build(tr_context *ctx)
{
  built m;
  ASSERT_OK(tr_model_create(ctx, &m.net));
  m.x = tr_input(m.net, (tr_shape){1, {5}});
  m.ids = tr_input_ids(m.net, (tr_shape){1, {2}});
  tr_node e = tr_embedding(
      m.net, m.ids, &(tr_embedding_opts){.num = 4, .out = 3, .name = "e"});
  m.inner = tr_linear(m.net, m.x, &(tr_linear_opts){.out = 6, .name = "fc"});
  m.y = tr_add(m.net, m.inner, tr_flatten(m.net, e));
  tr_model_keep(m.net, m.ids);
  ASSERT(tr_model_param_bytes(m.net, "fc.weight") == 0);
  tr_mse(m.net, m.y, NULL);
  ASSERT_OK(tr_model_build(m.net, &(tr_build_opts){.max_local_batch = ROWS}));
  ASSERT(tr_model_output_bytes(m.net, m.y) == 0);
  return m;
}

static tr_batch make_batch(int64_t count)
{
  static const double zeros[ROWS * 6];
  static const int32_t ids[ROWS * 2] = {1, 2, 3};
  return (tr_batch){.count = count,
                    .global_count = ROWS,
                    .inputs = {zeros, ids},
                    .targets = {zeros}};
}

static void check_output(tr_model *net, tr_node node, size_t expected)
{
  guarded g[2];
  for (int i = 0; i < 2; i++) {
    guard(&g[i], GUARD + i);
    ASSERT_OK(tr_model_get_output(net, node, g[i].bytes));
  }
  ASSERT_EQ(tr_model_output_bytes(net, node), expected);
  ASSERT_EQ(written(&g[0], &g[1]), expected);
}

static void check_param(tr_model *net, const char *name, size_t expected)
{
  guarded g[2];
  for (int grad = 0; grad < 2; grad++) {
    for (int i = 0; i < 2; i++) {
      guard(&g[i], GUARD + i);
      ASSERT_OK(grad ? tr_model_get_grad(net, name, g[i].bytes)
                     : tr_model_get_param(net, name, g[i].bytes));
    }
    ASSERT_EQ(written(&g[0], &g[1]), expected);
  }
  ASSERT_EQ(tr_model_param_bytes(net, name), expected);
}

static void check_inference(built *m, size_t size)
{
  guarded g[2];
  tr_inference *plan;
  const tr_batch batch = make_batch(2);
  ASSERT_OK(tr_inference_create(
      m->net, &(tr_inference_opts){.outputs = &m->y, .num_outputs = 1}, &plan));
  ASSERT(tr_inference_output_bytes(plan, m->y) == 0);
  ASSERT_OK(tr_inference_forward(plan, &batch));
  for (int i = 0; i < 2; i++) {
    guard(&g[i], GUARD + i);
    ASSERT_OK(tr_inference_get_output(plan, m->y, g[i].bytes));
  }
  ASSERT_EQ(tr_inference_output_bytes(plan, m->y), 2 * 6 * size);
  ASSERT_EQ(written(&g[0], &g[1]), 2 * 6 * size);
  ASSERT(tr_inference_output_bytes(plan, m->x) == 0);
  tr_inference_destroy(&plan);
}

static void check_model(const char *device, tr_dtype dtype)
{
  tr_context *ctx = make_context(device, dtype);
  size_t size = dtype == TR_F64 ? 8 : 4;
  built m = build(ctx);
  for (int64_t rows = ROWS; rows >= 0; rows--) {
    const tr_batch batch = make_batch(rows);
    ASSERT_OK(tr_model_forward(m.net, &batch));
    check_output(m.net, m.y, (size_t)rows * 6 * size);
    check_output(m.net, m.ids, (size_t)rows * 2 * 4);
  }
  ASSERT_OK(tr_model_backward(m.net));
  check_param(m.net, "fc.weight", 6 * 5 * size);
  check_param(m.net, "e.weight", 4 * 3 * size);
  ASSERT(tr_model_param_bytes(m.net, "none") == 0);
  ASSERT(tr_model_output_bytes(m.net, (tr_node){-1}) == 0);
  check_inference(&m, size);
  tr_model_destroy(&m.net);
  tr_context_destroy(&ctx);
}

static void test_a_model_says_what_its_getters_write(void)
{
  static const char *const devices[] = {"reference", "cpu", "strict"};
  static const tr_dtype dtypes[] = {TR_F32, TR_F64, TR_BF16};
  for (int i = 0; i < 9; i++) {
    check_model(devices[i / 3], dtypes[i % 3]);
  }
}

static void test_a_data_set_says_what_a_sample_takes(void)
{
  tr_context *ctx = make_context("cpu", TR_F32);
  tr_dataset *data;
  guarded x[2], y[2];
  size_t x_bytes, y_bytes;
  const int64_t id = 7;
  ASSERT_OK(tr_digits_open(ctx, "test", &data));
  for (int i = 0; i < 2; i++) {
    guard(&x[i], GUARD + i);
    guard(&y[i], GUARD + i);
    ASSERT_OK(tr_dataset_read(data, &id, 1, x[i].bytes, y[i].bytes));
  }
  tr_dataset_sample_bytes(data, &x_bytes, &y_bytes);
  ASSERT_EQ(written(&x[0], &x[1]), x_bytes);
  ASSERT_EQ(written(&y[0], &y[1]), y_bytes);
  tr_dataset_destroy(&data);
  tr_context_destroy(&ctx);
}

static const tr_test tests[] = {
    TEST(test_a_model_says_what_its_getters_write),
    TEST(test_a_data_set_says_what_a_sample_takes),
};
TEST_MAIN(tests)
