/* Random cases of one layer: a model of inputs and the layer, its random
 * values, one step on them, and everything that the step computes as doubles.
 * A case is a function of (seed, number) alone, so that the same one can be
 * run on any device and in any precision. */
#ifndef TR_LAYER_HELPER_H
#define TR_LAYER_HELPER_H

#include "test.h"

#include "base/half_impl.h"
#include "layers/layer_table_impl.h"
#include "model/node_impl.h"
#include "sync/sync_impl.h"

#include <train/train.h>

#define MAX_TENSORS 24

typedef struct tensor {
  char name[TR__NAME_BYTES];
  int64_t count;
  double *values;
  bool is_ids; /* int32 in the batch, without a gradient */
} tensor;

typedef struct layer_case {
  tr_context *ctx;
  const tr__layer_type *type;
  int number;
  tr_dtype rounding; /* of inputs, parameters and dy */
  tr_model *net;
  tr_node node;
  bool is_loss, has_weights;
  int64_t rows, global_rows;
  int num_inputs, num_params;
  int input_nodes[TR_MAX_INPUTS];
  tensor inputs[TR_MAX_INPUTS], params[TR__MAX_NODE_PARAMS];
  tensor dy, weights;
  void *targets; /* int32, or of the context's type */
} layer_case;

/* What a step leaves behind. */
typedef struct outcome {
  int count;
  tensor tensors[MAX_TENSORS];
} outcome;

static inline tr_context *make_context(const char *device, tr_dtype dtype)
{
  tr_context *ctx;
  ASSERT_OK(tr_context_create_auto(&(tr_context_opts){.device = device,
                                                      .dtype = dtype,
                                                      .threads = 2,
                                                      .seed = 11,
                                                      .log = test_no_log},
                                   &ctx));
  return ctx;
}

static inline tr__random case_random(int number, int stream)
{
  return (tr__random){.seed = test_seed(),
                      .sample = number,
                      .stream = tr__random_stream(TR__PURPOSE_TEST, stream)};
}

static inline void free_tensor(tensor *t)
{
  free(t->values);
  t->values = NULL;
}

static inline tensor
random_tensor(const layer_case *c, const char *name, int stream, int64_t count)
{
  tensor t = {.count = count};
  tr__copy_name(t.name, sizeof t.name, name);
  t.values = malloc((size_t)(count + 1) * sizeof *t.values);
  const tr__random random = case_random(c->number, stream);
  tr__random_fill(&random, -1, 1, count, t.values);
  return t;
}

/* Values of a lattice in random order: no two are equal and none is near 0, so
 * that a small step changes neither a maximum nor a sign. */
static inline void spread_values(const layer_case *c, int stream, tensor *t)
{
  if (t->count == 0) {
    return;
  }
  const tr__permutation order =
      tr__permutation_of(test_seed() + (uint64_t)stream, c->number, t->count);
  for (int64_t i = 0; i < t->count; i++) {
    double place = (double)tr__permute(&order, i) + 0.5;
    double value = 2 * place / (double)t->count - 1;
    t->values[i] = value == 0 ? 1.5 : value;
  }
}

static inline void *narrowed(const tr_context *ctx, const tensor *t)
{
  void *out = malloc((size_t)(t->count + 1) * sizeof(double));
  for (int64_t i = 0; i < t->count; i++) {
    if (t->is_ids) {
      ((int32_t *)out)[i] = (int32_t)t->values[i];
    } else if (ctx->dtype == TR_F64) {
      ((double *)out)[i] = t->values[i];
    } else {
      ((float *)out)[i] = (float)t->values[i];
    }
  }
  return out;
}

static inline void widen(const tr_context *ctx, tensor *t)
{
  for (int64_t i = t->count - 1; i >= 0 && ctx->dtype == TR_F32; i--) {
    float value;
    memcpy(&value, (char *)t->values + (size_t)i * sizeof value, sizeof value);
    t->values[i] = value;
  }
}

/* The same values in every precision: exact in this type, if it is one of 16
 * bits. */
static inline void round_values(tr_dtype dtype, tensor *t)
{
  for (int64_t i = 0; tr__is_half(dtype) && i < t->count; i++) {
    float value = (float)t->values[i];
    t->values[i] = (double)tr__half_get(dtype, tr__half_set(dtype, value));
  }
}

static inline void case_set_params(layer_case *c)
{
  for (int i = 0; i < c->num_params; i++) {
    void *values = narrowed(c->ctx, &c->params[i]);
    ASSERT_OK(tr_model_set_param(c->net, c->params[i].name, values));
    free(values);
  }
}

/* Rows of the table that the first layer behind an input of ids looks up. */
static inline void draw_ids(const layer_case *c, int input, tensor *t)
{
  const tr_model *net = c->net;
  int k = input + 1;
  while (net->nodes[k].num_inputs == 0 || net->nodes[k].inputs[0] != input) {
    k++;
  }
  int64_t limit = net->store.params[net->nodes[k].params[0]].shape.dims[0];
  const tr__random random = case_random(c->number, 40 + input);
  t->is_ids = true;
  for (int64_t i = 0; i < t->count; i++) {
    t->values[i] = (double)(tr__random_u32(&random, i) % (uint64_t)limit);
  }
}

static inline void case_draw_inputs(layer_case *c)
{
  for (int i = 0; i < c->net->num_nodes; i++) {
    const tr__node *node = &c->net->nodes[i];
    if (!(node->flags & TR__IS_INPUT)) {
      continue;
    }
    int k = c->num_inputs++;
    c->input_nodes[k] = i;
    c->inputs[k] = random_tensor(c, node->name, 10 + k,
                                 c->rows * tr_shape_count(&node->shape));
    spread_values(c, 10 + k, &c->inputs[k]);
    round_values(c->rounding, &c->inputs[k]);
    if (node->flags & TR__IS_IDS) {
      draw_ids(c, i, &c->inputs[k]);
    }
  }
}

static inline void case_draw_classes(layer_case *c, const tr__node *loss)
{
  const tr_shape *logits = &c->net->nodes[loss->inputs[0]].shape;
  int64_t classes = logits->dims[logits->ndim - 1];
  int64_t count = c->rows * tr_shape_count(&loss->shape);
  const tr__random random = case_random(c->number, 1);
  int32_t *targets = malloc((size_t)(count + 1) * sizeof *targets);
  for (int64_t i = 0; i < count; i++) {
    targets[i] = (int32_t)(tr__random_u32(&random, 1 + i) % classes);
  }
  c->targets = targets;
}

/* Targets of numbers: in 0..1, as some losses want it, and elsewhere at a
 * distance from the inputs that is not near 0 or 1, where slopes jump. */
static inline void case_draw_numbers(layer_case *c, const tr__node *loss)
{
  int64_t count = c->inputs[0].count;
  bool is_share = strncmp(loss->type->name, "bce", 3) == 0;
  tensor t = random_tensor(c, "targets", 4, count);
  for (int64_t i = 0; i < count; i++) {
    double draw = t.values[i], size = fabs(draw);
    double away = size < 0.5 ? 0.2 + size : 0.8 + size;
    t.values[i] =
        is_share ? size : c->inputs[0].values[i] + copysign(away, draw);
  }
  c->targets = narrowed(c->ctx, &t);
  free_tensor(&t);
}

static inline void case_draw_targets(layer_case *c)
{
  const tr__node *loss = &c->net->nodes[c->node.index];
  const tr__random random = case_random(c->number, 1);
  c->weights = random_tensor(c, "weights", 2, c->rows);
  c->has_weights = tr__random_u32(&random, 0) % 2 == 0;
  for (int64_t i = 0; i < c->rows; i++) {
    c->weights.values[i] += 1;
  }
  if (loss->saved[0].dtype == TR_I32) {
    case_draw_classes(c, loss);
  } else {
    case_draw_numbers(c, loss);
  }
}

static inline void case_draw(layer_case *c)
{
  case_draw_inputs(c);
  const tr__store *store = &c->net->store;
  c->num_params = store->num_trained;
  for (int i = 0; i < c->num_params; i++) {
    c->params[i] =
        random_tensor(c, store->params[i].name, 20 + i, store->params[i].count);
    round_values(c->rounding, &c->params[i]);
  }
  case_set_params(c);
  const tr__node *node = &c->net->nodes[c->node.index];
  c->dy = random_tensor(c, "dy", 3, c->rows * tr_shape_count(&node->shape));
  round_values(c->rounding, &c->dy);
  c->is_loss = (node->flags & TR__IS_LOSS) != 0;
  if (c->is_loss) {
    case_draw_targets(c);
  }
}

/* rows 1..5 in a plan of `spare` rows more; rows 0 on request. */
static inline void case_build_rounded(layer_case *c,
                                      tr_context *ctx,
                                      const tr__layer_type *type,
                                      int number,
                                      int64_t spare,
                                      tr_dtype rounding)
{
  *c = (layer_case){
      .ctx = ctx, .type = type, .number = number, .rounding = rounding};
  const tr__random shape = case_random(number, 0);
  const tr__random random = case_random(number, 1);
  ASSERT_OK(tr_model_create(ctx, &c->net));
  c->node = type->random_build(c->net, &shape);
  c->net->wants_input_gradients = true;
  c->rows = 1 + tr__random_u32(&random, 100) % 5;
  c->global_rows = c->rows + tr__random_u32(&random, 101) % 3;
  if (tr_model_build(c->net, &(tr_build_opts){.max_local_batch =
                                                  c->rows + spare}) != TR_OK) {
    test_fail(__FILE__, __LINE__, "%s, case %d: %s", type->name, number,
              tr_error_message());
  }
  /* Single values would overflow with the scale that training begins with. */
  const double one = 1;
  tr__backend *backend = ctx->backend;
  backend->type->upload(&backend->stream,
                        (char *)c->net->store.block +
                            offsetof(tr__step_block, loss_scale),
                        &one, sizeof one);
  case_draw(c);
}

static inline void case_build(layer_case *c,
                              tr_context *ctx,
                              const tr__layer_type *type,
                              int number,
                              int64_t spare)
{
  case_build_rounded(c, ctx, type, number, spare, TR_F64);
}

static inline void case_free(layer_case *c)
{
  for (int i = 0; i < c->num_inputs; i++) {
    free_tensor(&c->inputs[i]);
  }
  for (int i = 0; i < c->num_params; i++) {
    free_tensor(&c->params[i]);
  }
  free_tensor(&c->dy);
  free_tensor(&c->weights);
  free(c->targets);
  tr_model_destroy(&c->net);
}

static inline void case_forward(layer_case *c)
{
  void *inputs[TR_MAX_INPUTS] = {NULL};
  tr_batch batch = {.count = c->rows, .global_count = c->global_rows};
  for (int i = 0; i < c->num_inputs; i++) {
    batch.inputs[i] = inputs[i] = narrowed(c->ctx, &c->inputs[i]);
  }
  batch.targets[0] = c->targets;
  batch.target_values[0] =
      c->is_loss ? tr_shape_count(&c->net->nodes[c->node.index].shape) : 0;
  void *weights = c->has_weights ? narrowed(c->ctx, &c->weights) : NULL;
  batch.weights = weights;
  /* Random layers draw the same numbers in every forward of a case. */
  c->net->step.num_forwards = 0;
  ASSERT_OK(tr_model_forward(c->net, &batch));
  for (int i = 0; i < c->num_inputs; i++) {
    free(inputs[i]);
  }
  free(weights);
}

static inline void case_backward(layer_case *c)
{
  if (c->is_loss) {
    ASSERT_OK(tr_model_backward(c->net));
    return;
  }
  void *dy = narrowed(c->ctx, &c->dy);
  ASSERT_OK(tr__model_backward_from(c->net, dy));
  free(dy);
}

static inline tensor *outcome_add(outcome *out, const char *name, int64_t count)
{
  ASSERT(out->count < MAX_TENSORS);
  tensor *t = &out->tensors[out->count++];
  *t = (tensor){.count = count};
  tr__copy_name(t->name, sizeof t->name, name);
  t->values = calloc((size_t)count + 1, sizeof *t->values);
  return t;
}

static inline void case_output(layer_case *c, outcome *out)
{
  tensor *y = outcome_add(out, "output", c->dy.count);
  ASSERT_OK(tr_model_get_output(c->net, c->node, y->values));
  widen(c->ctx, y);
  if (c->is_loss) {
    tensor *sums = outcome_add(out, "sums", TR__TAIL_FAILED);
    ASSERT_OK(tr__loss_local_sums(c->net, sums->values));
  }
}

/* Gradients of all inputs, then of all parameters. */
static inline void case_gradients(layer_case *c, outcome *out)
{
  for (int i = 0; i < c->num_inputs; i++) {
    bool is_ids = c->inputs[i].is_ids;
    tensor *g =
        outcome_add(out, c->inputs[i].name, is_ids ? 0 : c->inputs[i].count);
    if (is_ids) {
      continue;
    }
    ASSERT_OK(
        tr__model_get_node_gradient(c->net, c->input_nodes[i], g->values));
    widen(c->ctx, g);
  }
  for (int i = 0; i < c->num_params; i++) {
    tensor *g = outcome_add(out, c->params[i].name, c->params[i].count);
    ASSERT_OK(tr_model_get_grad(c->net, c->params[i].name, g->values));
    widen(c->ctx, g);
  }
}

/* Values that the layer updates itself. */
static inline void case_buffers(layer_case *c, outcome *out)
{
  const tr__store *store = &c->net->store;
  for (int i = store->num_trained; i < store->num_params; i++) {
    tensor *t = outcome_add(out, store->params[i].name, store->params[i].count);
    ASSERT_OK(tr_model_get_param(c->net, t->name, t->values));
    widen(c->ctx, t);
  }
}

static inline void outcome_free(outcome *out)
{
  for (int i = 0; i < out->count; i++) {
    free_tensor(&out->tensors[i]);
  }
  out->count = 0;
}

/* One step on a fresh model. */
static inline void case_run_rounded(tr_context *ctx,
                                    const tr__layer_type *type,
                                    int number,
                                    int64_t spare,
                                    tr_dtype rounding,
                                    outcome *out)
{
  layer_case c;
  *out = (outcome){.count = 0};
  case_build_rounded(&c, ctx, type, number, spare, rounding);
  case_forward(&c);
  case_output(&c, out);
  case_backward(&c);
  case_gradients(&c, out);
  case_buffers(&c, out);
  case_free(&c);
}

static inline void case_run(tr_context *ctx,
                            const tr__layer_type *type,
                            int number,
                            int64_t spare,
                            outcome *out)
{
  case_run_rounded(ctx, type, number, spare, TR_F64, out);
}

#endif
