/* A layer between an input and values that are known exactly, on every backend
 * and in every precision. */
#ifndef TR_CHAIN_HELPER_H
#define TR_CHAIN_HELPER_H

#include "backend/backend_table_impl.h"
#include "core/ops/operands_impl.h"
#include "model/model_impl.h"
#include "test.h"

#include <train/train.h>

enum { MOST = 64 };

/* One layer of one input of `rows` samples, without its first values. */
typedef struct chain {
  tr_context *ctx;
  tr_dtype compute;
  tr_model *net;
  tr_node out;
  int64_t rows;
  const void *targets; /* one per sample; NULL: none */
  char what[64];
} chain;

typedef tr_node (*layer_fn)(tr_model *net, tr_node x);

static inline void
open_chain(chain *c, layer_fn add, tr_shape shape, int64_t rows)
{
  ASSERT_OK(tr_model_create(c->ctx, &c->net));
  c->out = add(c->net, tr_input(c->net, shape));
  c->net->wants_input_gradients = true;
  c->rows = rows;
  ASSERT_OK(tr_model_build(c->net, &(tr_build_opts){.max_local_batch = rows}));
  /* Single values would overflow with the scale that training begins with. */
  const double one = 1;
  tr__backend *backend = c->ctx->backend;
  backend->type->upload(&backend->stream,
                        (char *)c->net->store.block +
                            offsetof(tr__step_block, loss_scale),
                        &one, sizeof one);
}

/* Numbers of the host in the context's type, and back. */
static inline const void *
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
static inline void expect(const chain *c,
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

static inline void forward(chain *c, const double *x)
{
  double room[MOST];
  int64_t count = c->rows * tr_shape_count(&c->net->nodes[0].shape);
  tr_batch batch = {.count = c->rows,
                    .global_count = c->rows,
                    .inputs = {to_host(c, room, x, count)},
                    .targets = {c->targets},
                    .target_values = {c->targets != NULL ? 1 : 0}};
  ASSERT_OK(tr_model_forward(c->net, &batch));
}

static inline void expect_output(chain *c, const double *y)
{
  double room[MOST];
  int64_t count = c->rows * tr_shape_count(&c->net->nodes[c->out.index].shape);
  ASSERT(count <= MOST);
  ASSERT_OK(tr_model_get_output(c->net, c->out, room));
  expect(c, "output", room, y, count);
}

static inline void backward(chain *c, const double *dy)
{
  double room[MOST];
  int64_t count = c->rows * tr_shape_count(&c->net->nodes[c->out.index].shape);
  ASSERT_OK(tr__model_backward_from(c->net, to_host(c, room, dy, count)));
}

static inline void expect_input_gradient(chain *c, const double *dx)
{
  double room[MOST];
  ASSERT_OK(tr__model_get_node_gradient(c->net, 0, room));
  expect(c, "gradient of the input", room, dx,
         c->rows * tr_shape_count(&c->net->nodes[0].shape));
}

/* Of a loss: each sample's slope, over the number of samples. */
static inline void expect_mean_gradient(chain *c, const double *slopes)
{
  double dx[MOST];
  int64_t count = c->rows * tr_shape_count(&c->net->nodes[0].shape);
  for (int64_t i = 0; i < count; i++) {
    dx[i] = slopes[i] / (double)c->rows;
  }
  expect_input_gradient(c, dx);
}

static inline void expect_gradient(chain *c, const char *name, double value)
{
  double room[MOST];
  ASSERT_OK(tr_model_get_grad(c->net, name, room));
  expect(c, name, room, &value, 1);
}

static inline void set_param(chain *c, const char *name, double value)
{
  double room[1];
  ASSERT_OK(tr_model_set_param(c->net, name, to_host(c, room, &value, 1)));
}

/* For each backend and precision. */
static inline void everywhere(void (*check)(chain *c))
{
  static const tr_dtype dtypes[] = {TR_F64, TR_F32, TR_BF16, TR_F16};
  for (int b = 0; tr__backend_table()[b] != NULL; b++) {
    for (int t = 0; t < 4; t++) {
      const char *device = tr__backend_table()[b]->name;
      const tr_context_opts opts = {
          .device = device, .dtype = dtypes[t], .threads = 2};
      chain c = {.rows = 1, .compute = dtypes[t]};
      snprintf(c.what, sizeof c.what, "%s, %s", device,
               tr__dtype_name(dtypes[t]));
      ASSERT_OK(tr_context_create_auto(&opts, &c.ctx));
      check(&c);
      tr_model_destroy(&c.net);
      tr_context_destroy(&c.ctx);
    }
  }
}

#endif
