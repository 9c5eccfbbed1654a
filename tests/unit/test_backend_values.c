/* Results that are known exactly, on every backend and in every precision. */
#include "backend/op_tensors_impl.h"
#include "base/backend_impl.h"
#include "model/model_impl.h"
#include "test.h"

#include <train/train.h>

enum { MOST = 64 };

/* One layer of one input of `rows` samples, without its first values. */
typedef struct chain {
  tr_context *ctx;
  tr_model *net;
  tr_node out;
  int64_t rows;
  char what[64];
} chain;

typedef tr_node (*layer_fn)(tr_model *net, tr_node x);

static void open_chain(chain *c, layer_fn add, tr_shape shape, int64_t rows)
{
  ASSERT_OK(tr_model_create(c->ctx, &c->net));
  c->out = add(c->net, tr_input(c->net, shape));
  c->net->wants_input_gradients = true;
  c->rows = rows;
  ASSERT_OK(tr_model_build(c->net, &(tr_build_opts){.batch = rows}));
  /* Single values would overflow with the scale that training begins with. */
  const double one = 1;
  tr__backend *backend = c->ctx->backend;
  backend->type->upload(&backend->stream,
                        (char *)c->net->store.block +
                            offsetof(tr__step_block, loss_scale),
                        &one, sizeof one);
}

/* Numbers of the host in the context's type, and back. */
static const void *
to_host(const chain *c, void *out, const double *x, int64_t n)
{
  ASSERT(n <= MOST);
  for (int64_t i = 0; i < n; i++) {
    if (c->ctx->dtype == TR_F64) {
      ((double *)out)[i] = x[i];
    } else {
      ((float *)out)[i] = (float)x[i];
    }
  }
  return out;
}

/* Equal as numbers; a NaN is one. */
static void expect(const chain *c,
                   const char *name,
                   const void *got,
                   const double *x,
                   int64_t n)
{
  for (int64_t i = 0; i < n; i++) {
    double value = c->ctx->dtype == TR_F64 ? ((const double *)got)[i]
                                           : (double)((const float *)got)[i];
    if (value != x[i] && !(isnan(value) && isnan(x[i]))) {
      test_fail(__FILE__, __LINE__, "%s, %s: element %d is %g, expected %g",
                c->what, name, (int)i, value, x[i]);
    }
  }
}

static void forward(chain *c, const double *x)
{
  double room[MOST];
  int64_t count = c->rows * tr_shape_count(&c->net->nodes[0].shape);
  tr_batch batch = {.count = c->rows,
                    .global_count = c->rows,
                    .inputs = {to_host(c, room, x, count)}};
  ASSERT_OK(tr_model_forward(c->net, &batch));
}

static void expect_output(chain *c, const double *y)
{
  double room[MOST];
  int64_t count = c->rows * tr_shape_count(&c->net->nodes[c->out.index].shape);
  ASSERT(count <= MOST);
  ASSERT_OK(tr_model_get_output(c->net, c->out, room));
  expect(c, "output", room, y, count);
}

static void backward(chain *c, const double *dy)
{
  double room[MOST];
  int64_t count = c->rows * tr_shape_count(&c->net->nodes[c->out.index].shape);
  ASSERT_OK(tr__model_backward_from(c->net, to_host(c, room, dy, count)));
}

static void expect_input_gradient(chain *c, const double *dx)
{
  double room[MOST];
  ASSERT_OK(tr__model_get_node_gradient(c->net, 0, room));
  expect(c, "gradient of the input", room, dx,
         c->rows * tr_shape_count(&c->net->nodes[0].shape));
}

static void expect_gradient(chain *c, const char *name, double value)
{
  double room[MOST];
  ASSERT_OK(tr_model_get_grad(c->net, name, room));
  expect(c, name, room, &value, 1);
}

static void set_param(chain *c, const char *name, double value)
{
  double room[1];
  ASSERT_OK(tr_model_set_param(c->net, name, to_host(c, room, &value, 1)));
}

/* For each backend and precision. */
static void everywhere(void (*check)(chain *c))
{
  static const tr_dtype dtypes[] = {TR_F64, TR_F32, TR_BF16, TR_F16};
  for (int b = 0; tr__backend_table()[b] != NULL; b++) {
    for (int t = 0; t < 4; t++) {
      const char *device = tr__backend_table()[b]->name;
      const tr_context_opts opts = {
          .device = device, .dtype = dtypes[t], .threads = 2};
      chain c = {.rows = 1};
      snprintf(c.what, sizeof c.what, "%s, %s", device,
               tr__dtype_name(dtypes[t]));
      ASSERT_OK(tr_context_create_auto(&opts, &c.ctx));
      check(&c);
      tr_model_destroy(&c.net);
      tr_context_destroy(&c.ctx);
    }
  }
}

static tr_node spread_pixels(tr_model *net, tr_node x)
{
  const tr_conv_transpose2d_opts opts = {
      .out = 1, .kernel = 1, .dilation = 2, .output_padding = 1, .name = "up"};
  return tr_conv_transpose2d(net, x, &opts);
}

/* The last row and column see no input: they are the bias. */
static void check_output_padding(chain *c)
{
  open_chain(c, spread_pixels, (tr_shape){3, {1, 2, 2}}, 1);
  set_param(c, "up.weight", 1);
  set_param(c, "up.bias", 10);
  for (int i = 0; i < 2; i++) {
    forward(c, (double[]){1, 2, 3, 4});
    expect_output(c, (double[]){11, 12, 10, 13, 14, 10, 10, 10, 10});
    backward(c, (double[]){1, 2, 3, 4, 5, 6, 7, 8, 9});
    expect_input_gradient(c, (double[]){1, 2, 4, 5});
    expect_gradient(c, "up.weight", 37 * (i + 1));
    expect_gradient(c, "up.bias", 45 * (i + 1));
  }
}

static void
test_output_padding_of_a_transposed_1x1_convolution_is_the_bias(void)
{
  everywhere(check_output_padding);
}

static const tr_test tests[] = {
    TEST(test_output_padding_of_a_transposed_1x1_convolution_is_the_bias),
};
TEST_MAIN(tests)
