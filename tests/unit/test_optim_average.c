/* Moving averages that do not look back hold what came last, to the bit. */
#include "layer_helper.h"

#include "optim/optimizer_impl.h"

enum { COUNT = 37 };

static tr_context *ctx;
static tr_model *net;
static tr_optimizer *opt;

static void open_model(const char *device, tr_dtype dtype)
{
  ctx = make_context(device, dtype);
  ASSERT_OK(tr_model_create(ctx, &net));
  tr_node x = tr_input(net, (tr_shape){1, {COUNT}});
  tr_mse(net,
         tr_linear(net, x,
                   &(tr_linear_opts){.out = 1, .no_bias = 1, .name = "fc"}),
         NULL);
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 1}));
}

static void close_model(void)
{
  tr_optimizer_destroy(&opt);
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static size_t bytes(void)
{
  return COUNT * tr_dtype_size(ctx->dtype);
}

/* Some gradient, of numbers about `size`. */
static void step(double size, void *grads)
{
  double x[COUNT] = {0}, t = 0, values[COUNT];
  const tr__random random = case_random((int)size % 97, 3);
  const tr_batch batch = {
      .count = 1, .global_count = 1, .inputs = {x}, .targets = {&t}};
  tr__random_fill(&random, -size, size, COUNT, values);
  tensor wanted = {.count = COUNT, .values = values};
  void *narrow = narrowed(ctx, &wanted);
  memcpy(grads, narrow, bytes());
  free(narrow);
  ASSERT_OK(tr_model_forward(net, &batch));
  ASSERT_OK(tr_model_backward(net));
  tr__backend *backend = ctx->backend;
  backend->type->upload(&backend->stream, net->store.grads, grads, bytes());
  ASSERT_OK(tr_optimizer_step(opt));
}

static void get_slot(int i, void *out)
{
  tr__backend *backend = ctx->backend;
  ASSERT_OK(
      backend->type->download(&backend->stream, out, opt->slots[i], bytes()));
}

/* A large gradient, then a small one, of which slot i holds every bit. */
static void check_mean(int i)
{
  double grads[COUNT], mean[COUNT];
  step(3e7, grads);
  step(1, grads);
  get_slot(i, mean);
  ASSERT(memcmp(mean, grads, bytes()) == 0);
}

typedef void (*claim)(void);

static void on_all_devices(claim check)
{
  static const char *const devices[] = {"reference", "cpu", "strict"};
  for (int i = 0; i < 6; i++) {
    open_model(devices[i / 2], i % 2 == 0 ? TR_F32 : TR_F64);
    check();
    close_model();
  }
}

static void adam(void)
{
  tr_adam_opts opts = tr_adam_defaults();
  opts.beta1 = 0;
  ASSERT_OK(tr_adam_create(net, &opts, &opt));
  check_mean(0);
}

static void adamw(void)
{
  tr_adamw_opts opts = tr_adamw_defaults();
  opts.beta1 = 0;
  ASSERT_OK(tr_adamw_create(net, &opts, &opt));
  check_mean(0);
}

static void rmsprop(void)
{
  tr_rmsprop_opts opts = tr_rmsprop_defaults();
  opts.alpha = 0;
  opts.centered = 1;
  ASSERT_OK(tr_rmsprop_create(net, &opts, &opt));
  int i = 0;
  while (strcmp(opt->slot_names[i], "grad_avg") != 0) {
    i++;
  }
  check_mean(i);
}

static void muon(void)
{
  tr_muon_opts opts = tr_muon_defaults();
  opts.momentum = 0;
  ASSERT_OK(tr_muon_create(net, &opts, &opt));
  check_mean(0);
}

static void test_adam_without_beta1_keeps_the_gradient(void)
{
  on_all_devices(adam);
  on_all_devices(adamw);
}

static void test_rmsprop_without_alpha_keeps_the_gradient(void)
{
  on_all_devices(rmsprop);
}

static void test_muon_without_momentum_keeps_the_gradient(void)
{
  on_all_devices(muon);
}

/* Without beta2 the square is that of the last gradient. */
static void square(void)
{
  double grads[COUNT], squares[COUNT];
  tr_adam_opts opts = tr_adam_defaults();
  opts.beta2 = 0;
  ASSERT_OK(tr_adam_create(net, &opts, &opt));
  step(3e7, grads);
  step(1, grads);
  get_slot(1, squares);
  for (int i = 0; i < COUNT; i++) {
    if (ctx->dtype == TR_F64) {
      ASSERT(squares[i] == grads[i] * grads[i]);
    } else {
      float g = ((float *)grads)[i];
      ASSERT(((float *)squares)[i] == g * g);
    }
  }
}

static void test_adam_without_beta2_keeps_the_square(void)
{
  on_all_devices(square);
}

static void average(void)
{
  tr_ema *ema;
  double values[COUNT], averages[COUNT];
  ASSERT_OK(tr_model_get_param(net, "fc.weight", values));
  ASSERT_OK(tr_ema_create(net, 0, &ema));
  for (int i = 0; i < COUNT; i++) {
    if (ctx->dtype == TR_F64) {
      values[i] = values[i] * 1e-7 + 1e-9;
    } else {
      ((float *)values)[i] = ((float *)values)[i] * 1e-7F + 1e-9F;
    }
  }
  ASSERT_OK(tr_model_set_param(net, "fc.weight", values));
  ASSERT_OK(tr_ema_update(ema));
  tr_ema_swap(ema);
  ASSERT_OK(tr_model_get_param(net, "fc.weight", averages));
  ASSERT(memcmp(averages, values, bytes()) == 0);
  tr_ema_destroy(&ema);
}

static void test_an_average_without_decay_is_the_parameter(void)
{
  on_all_devices(average);
}

static const tr_test tests[] = {
    TEST(test_adam_without_beta1_keeps_the_gradient),
    TEST(test_rmsprop_without_alpha_keeps_the_gradient),
    TEST(test_muon_without_momentum_keeps_the_gradient),
    TEST(test_adam_without_beta2_keeps_the_square),
    TEST(test_an_average_without_decay_is_the_parameter),
};
TEST_MAIN(tests)
