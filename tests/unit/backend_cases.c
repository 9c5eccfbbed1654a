#include "backend/backend_table_impl.h"
#include "backend_cases_conv.h"
#include "backend_cases_sequence.h"
#include "backend_cases_shape.h"
#include "base/half_impl.h"

int64_t draw(draws *d, int64_t limit)
{
  return (int64_t)(tr__random_u32(&d->random, d->next++) % (uint64_t)limit);
}

/* Extents: often 1, often a prime, seldom round. */
static int64_t extent(draws *d, bool is_large)
{
  static const int64_t small[] = {1, 1, 2, 3, 4, 5, 7, 8, 11, 13, 16, 17};
  static const int64_t large[] = {1, 61, 64, 67, 97, 128, 131, 150};
  return is_large ? large[draw(d, 8)] : small[draw(d, 12)];
}

static int64_t rows(draws *d, bool is_large)
{
  return draw(d, 8) == 0 ? 0 : extent(d, is_large);
}

static tr__tensor of(tr_dtype dtype, int ndim, const int64_t *dims)
{
  return tr__tensor_of(NULL, dtype, ndim, dims);
}

#define REAL(...)                                                              \
  of(TR_F32, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),        \
     (int64_t[]){__VA_ARGS__})

static const tr__tensor absent = {.ndim = -1};

static tr__tensor block(void)
{
  int64_t count = sizeof(tr__step_block) / sizeof(double);
  return of(TR_F64, 1, &count);
}

tr__shards random_shards(draws *d, int64_t batch, int64_t *local)
{
  tr__shards shards = tr__one_shard(batch);
  if (draw(d, 2) == 0) {
    shards.rows = batch;
    shards.total = 1 + draw(d, 9);
    shards.first = draw(d, shards.total);
    shards.count = 1 + draw(d, shards.total - shards.first);
  }
  *local = tr__shard_begin(&shards, shards.count);
  return shards;
}

/* The same with several rows of the op per sample. */
static tr__shards random_tokens(draws *d, int64_t batch, int64_t *local)
{
  tr__shards shards = random_shards(d, batch, local);
  shards.times = draw(d, 3);
  *local *= tr__max(shards.times, 1);
  return shards;
}

static void make_linear_forward(op_case *c, draws *d, bool large)
{
  int64_t N, D = extent(d, large), K = extent(d, large);
  tr__shards shards = random_tokens(d, rows(d, large), &N);
  c->args.linear_forward = (tr__linear_forward_args){
      .y = REAL(N, K),
      .x = REAL(N, D),
      .w = REAL(K, D),
      .b = draw(d, 2) ? REAL(K) : absent,
      .workspace = absent,
      .shards = shards,
      .activation = draw(d, 2) ? TR__ACTIVATION_RELU : TR__ACTIVATION_NONE};
}

static void make_linear_backward_input(op_case *c, draws *d, bool large)
{
  int64_t N, D = extent(d, large), K = extent(d, large);
  tr__shards shards = random_tokens(d, rows(d, large), &N);
  c->args.linear_backward_input =
      (tr__linear_backward_input_args){.dx = REAL(N, D),
                                       .dy = REAL(N, K),
                                       .w = REAL(K, D),
                                       .shards = shards,
                                       .accumulate = (int)draw(d, 2)};
}

static void make_linear_backward_weight(op_case *c, draws *d, bool large)
{
  int64_t N, D = extent(d, large), K = extent(d, large);
  tr__shards shards = random_tokens(d, rows(d, large), &N);
  c->args.linear_backward_weight =
      (tr__linear_backward_weight_args){.dw = REAL(K, D),
                                        .db = draw(d, 2) ? REAL(K) : absent,
                                        .x = REAL(N, D),
                                        .dy = REAL(N, K),
                                        .workspace = absent,
                                        .shards = shards,
                                        .accumulate = (int)draw(d, 2)};
  bool has_bias = c->args.linear_backward_weight.db.ndim > 0;
  c->is_absent[0] = has_bias && draw(d, 4) == 0;
}

void set_integers(op_case *c, draws *d, int operand, int64_t limit)
{
  int64_t count = tr__tensor_count(&c->args.tensors[operand]);
  c->args.tensors[operand].dtype = TR_I32;
  c->values[operand] = malloc((size_t)(count + 1) * sizeof(double));
  for (int64_t i = 0; i < count; i++) {
    c->values[operand][i] = (double)draw(d, limit);
  }
}

static void make_softmax_xent_forward(op_case *c, draws *d, bool large)
{
  int64_t N = rows(d, large), K = extent(d, large);
  c->args.softmax_xent_forward =
      (tr__softmax_xent_forward_args){.loss = REAL(N),
                                      .prob = REAL(N, K),
                                      .correct = REAL(N),
                                      .x = REAL(N, K),
                                      .target = REAL(N)};
  c->alias[3] = draw(d, 2) ? 1 : -1;
  set_integers(c, d, 4, K);
}

void set_block(op_case *c, draws *d, int operand)
{
  const tr__step_block numbers = {.seed_scale = 0.25,
                                  .planned = 32,
                                  .rng_step = (double)draw(d, 99),
                                  .rng_first = (double)draw(d, 9),
                                  .rng_round = (double)draw(d, 3),
                                  .lr = 1e-2 * (double)(1 + draw(d, 9)),
                                  .correction1 = 0.19,
                                  .correction2 = 0.002,
                                  .first = (double)draw(d, 2),
                                  .step = 17,
                                  .grad_scale = draw(d, 2) ? 1 : 0.37,
                                  .skip = draw(d, 6) == 0,
                                  .num_skipped = (double)draw(d, 2) * 3,
                                  .loss_scale = draw(d, 2) ? 1 : 8,
                                  .good_steps = 4};
  c->args.tensors[operand] = block();
  c->values[operand] = malloc(sizeof numbers);
  memcpy(c->values[operand], &numbers, sizeof numbers);
}

static void make_softmax_xent_backward(op_case *c, draws *d, bool large)
{
  int64_t samples = rows(d, large), K = extent(d, large);
  int64_t N = samples * (1 + draw(d, 2));
  c->alias[1] = draw(d, 2) ? 0 : -1;
  c->args.softmax_xent_backward = (tr__softmax_xent_backward_args){
      .dx = REAL(N, K),
      .prob = REAL(N, K),
      .target = REAL(N),
      .weight = draw(d, 2) ? REAL(samples) : absent,
      .accumulate = c->alias[1] < 0 && draw(d, 2)};
  set_integers(c, d, 2, K);
  set_block(c, d, 4);
}

static void make_loss_sum(op_case *c, draws *d, bool large)
{
  int64_t N;
  tr__shards shards = random_shards(d, rows(d, large), &N);
  c->args.loss_sum =
      (tr__loss_sum_args){.tail = REAL(TR__TAIL_COUNT),
                          .loss = REAL(N),
                          .correct = draw(d, 3) ? REAL(N) : absent,
                          .weight = draw(d, 2) ? REAL(N) : absent,
                          .share = draw(d, 2) ? REAL(N) : absent,
                          .shards = shards,
                          .scale = 0.5 * (double)(1 + draw(d, 3)),
                          .number = (int)draw(d, TR_MAX_INPUTS),
                          .accumulate = (int)draw(d, 2)};
}

/* A number of an op whose case is made from its table. */
static void set_number(op_case *c, draws *d, const tr__number *number)
{
  char *at = (char *)&c->args + number->offset;
  if (strcmp(number->type, "double") == 0) {
    *(double *)(void *)at = 0.1 * (double)draw(d, 9);
  } else {
    ASSERT_STR_EQ(number->type, "int");
    *(int *)(void *)at = (int)draw(d, 2);
  }
}

/* An op whose operands all follow its elements needs no case of its own. */
static void make_from_table(op_case *c, draws *d, bool large)
{
  const tr__op_info *info = tr__op_info_of(c->op);
  const int64_t dims[] = {rows(d, large), extent(d, large), extent(d, large)};
  bool is_alias = false;
  for (int i = 0; i < info->num_operands; i++) {
    const tr__operand *operand = &info->operands[i];
    ASSERT_EQ(operand->follows, TR__ELEMENTS);
    c->args.tensors[i] = of(TR_F32, 3, dims);
    if ((operand->flags & TR__ALIAS) && draw(d, 2)) {
      c->alias[i] = 0;
      is_alias = true;
    }
  }
  for (const tr__number *n = tr__op_numbers(c->op); n->name != NULL; n++) {
    if (strcmp(n->name, "accumulate") != 0 || !is_alias) {
      set_number(c, d, n);
    }
  }
}

typedef void make_fn(op_case *c, draws *d, bool large);

/* The ops whose operands have extents of their own, or numbers with a meaning.
 */
#define WITH_A_CASE(X)                                                         \
  TR__OPS_CONV(X)                                                              \
  TR__OPS_SEQUENCE(X)                                                          \
  TR__OPS_LOSS(X)                                                              \
  TR__OPS_NORM(X)                                                              \
  X(copy)                                                                      \
  X(cast)                                                                      \
  X(permute)                                                                   \
  X(upsample2d_forward)                                                        \
  X(upsample2d_backward)                                                       \
  X(linear_forward)                                                            \
  X(linear_backward_input)                                                     \
  X(linear_backward_weight)                                                    \
  X(softmax_xent_forward)                                                      \
  X(softmax_xent_backward)                                                     \
  X(loss_sum)                                                                  \
  X(sgd_update)                                                                \
  X(adam_update)                                                               \
  X(rmsprop_update)                                                            \
  X(adagrad_update)                                                            \
  X(muon_update)                                                               \
  X(sum_squares)                                                               \
  X(clip_factor)

#define CASE(op) [TR__OP_##op] = make_##op,
static make_fn *const makers[TR__NUM_OPS] = {WITH_A_CASE(CASE)};
#undef CASE

static void make(op_case *c, draws *d, bool large)
{
  make_fn *maker = makers[c->op];
  if (maker != NULL) {
    maker(c, d, large);
  } else {
    make_from_table(c, d, large);
  }
}

/* Numbers in -4..4 that are exact in float, but whose sums are not; for ops
 * that compare, multiples of 1/16, so that maxima are often equal and zeros
 * occur. Where NaN and Inf are welcome, a few. */
static double real(tr__op op, draws *d)
{
  bool has_nonfinite =
      op == TR__OP_relu_forward || op == TR__OP_maxpool_forward;
  bool compares = op == TR__OP_maxpool_forward ||
                  op == TR__OP_softmax_xent_forward ||
                  op == TR__OP_relu_backward;
  if (has_nonfinite && draw(d, 50) == 0) {
    return draw(d, 2) ? NAN : -INFINITY;
  }
  if (compares) {
    return (double)(draw(d, 129) - 64) / 16;
  }
  return (float)(8 * tr__random_uniform(&d->random, d->next++) - 4);
}

static void set_reals(op_case *c, draws *d, int operand)
{
  int64_t count = tr__tensor_count(&c->args.tensors[operand]);
  c->values[operand] = malloc((size_t)(count + 1) * sizeof(double));
  for (int64_t i = 0; i < count; i++) {
    c->values[operand][i] = real(c->op, d);
  }
}

op_case case_make(tr__op op, int64_t i, bool is_large)
{
  op_case c = {.op = op};
  draws d = {.random = {.seed = test_seed(),
                        .sample = i,
                        .step = is_large,
                        .stream = tr__random_stream(TR__PURPOSE_TEST, op)}};
  const tr__op_info *info = tr__op_info_of(op);
  for (int t = 0; t < MAX_OPERANDS; t++) {
    c.alias[t] = -1;
    c.is_output[t] =
        t < info->num_operands && tr__operand_is_written(&info->operands[t]);
  }
  make(&c, &d, is_large);
  for (int t = 0; t < info->num_operands; t++) {
    const tr__tensor *tensor = &c.args.tensors[t];
    bool is_real = tensor->ndim >= 0 && tensor->dtype != TR_I32;
    if (is_real && c.values[t] == NULL && t != tr__op_workspace(op)) {
      set_reals(&c, &d, t);
    }
  }
  return c;
}

void case_free(op_case *c)
{
  for (int t = 0; t < MAX_OPERANDS; t++) {
    free(c->values[t]);
  }
}

void call_op(tr__backend *backend, tr__op op, const void *args)
{
  switch (op) {
#define CASE(op)                                                               \
  case TR__OP_##op:                                                            \
    backend->ops.op(&backend->stream, args);                                   \
    break;
    TR__OPS(CASE)
#undef CASE
  case TR__NUM_OPS:
    break;
  }
}

static size_t bytes_of(const tr__tensor *t)
{
  return (size_t)tr__tensor_count(t) * tr_dtype_size(t->dtype);
}

static void
put_operand(tr__backend *backend, tr__tensor *t, const double *values)
{
  size_t bytes = bytes_of(t);
  ASSERT_OK(backend->type->alloc(backend, bytes, &t->data));
  char *host = malloc(bytes + 1);
  for (int64_t i = 0; values != NULL && i < tr__tensor_count(t); i++) {
    if (t->dtype == TR_F64) {
      ((double *)host)[i] = values[i];
    } else if (t->dtype == TR_F32) {
      ((float *)host)[i] = (float)values[i];
    } else if (tr__is_half(t->dtype)) {
      ((uint16_t *)host)[i] = tr__half_set(t->dtype, (float)values[i]);
    } else {
      ((int32_t *)host)[i] = (int32_t)values[i];
    }
  }
  if (values != NULL) {
    backend->type->upload(&backend->stream, t->data, host, bytes);
  }
  free(host);
}

static void
put_workspace(tr__backend *backend, const op_case *c, any_args *args)
{
  int64_t bytes = (int64_t)backend->type->workspace(backend, c->op, args);
  if (tr__op_workspace(c->op) < 0) {
    ASSERT_EQ(bytes, 0);
    return;
  }
  tr__tensor *t = &args->tensors[tr__op_workspace(c->op)];
  *t = tr__tensor_of(NULL, TR_U8, 1, &bytes);
  if (bytes > 0) {
    ASSERT_OK(backend->type->alloc(backend, (size_t)bytes, &t->data));
  }
}

/* Numbers of another type have a place of their own. */
static bool lies_elsewhere(const op_case *c, const any_args *args, int t)
{
  int alias = c->alias[t];
  return alias >= 0 && args->tensors[alias].dtype == args->tensors[t].dtype;
}

static void put_operands(const op_case *c,
                         tr__backend *backend,
                         tr_dtype dtype,
                         any_args *args)
{
  const tr__op_info *info = tr__op_info_of(c->op);
  for (int t = 0; t < info->num_operands; t++) {
    tr__tensor *tensor = &args->tensors[t];
    if (tensor->ndim < 0) {
      *tensor = (tr__tensor){.data = NULL};
      continue;
    }
    bool is_half = tr__is_half(dtype) && (info->operands[t].flags & TR__HALF);
    tr_dtype real = tr__is_half(dtype) && !is_half ? TR_F32 : dtype;
    tensor->dtype = tensor->dtype == TR_F32 ? real : tensor->dtype;
  }
  put_workspace(backend, c, args);
  for (int t = 0; t < info->num_operands; t++) {
    if (t == tr__op_workspace(c->op) || c->is_absent[t] ||
        c->args.tensors[t].ndim < 0) {
      continue;
    }
    if (lies_elsewhere(c, args, t)) {
      args->tensors[t].data = args->tensors[c->alias[t]].data;
    } else {
      int from = c->alias[t] >= 0 ? c->alias[t] : t;
      put_operand(backend, &args->tensors[t], c->values[from]);
    }
  }
}

op_result case_run(const op_case *c, tr__backend *backend, tr_dtype dtype)
{
  const tr__op_info *info = tr__op_info_of(c->op);
  any_args args = c->args;
  put_operands(c, backend, dtype, &args);
  call_op(backend, c->op, &args);
  op_result result = {{NULL}, {0}, {0}};
  for (int t = 0; t < info->num_operands; t++) {
    const tr__tensor *tensor = &args.tensors[t];
    if (!c->is_output[t] || tensor->data == NULL) {
      continue;
    }
    result.dtype[t] = tensor->dtype;
    result.count[t] = tr__tensor_count(tensor);
    result.data[t] = malloc(bytes_of(tensor) + 1);
    ASSERT_OK(backend->type->download(&backend->stream, result.data[t],
                                      tensor->data, bytes_of(tensor)));
  }
  for (int t = 0; t < info->num_operands; t++) {
    if (args.tensors[t].data != NULL && !lies_elsewhere(c, &args, t)) {
      backend->type->free(backend, args.tensors[t].data,
                          bytes_of(&args.tensors[t]));
    }
  }
  return result;
}

void result_free(op_result *result)
{
  for (int t = 0; t < MAX_OPERANDS; t++) {
    free(result->data[t]);
  }
}

open_backend backend_open(const char *name, int threads)
{
  open_backend b;
  ASSERT_OK(tr__threads_create(threads, &b.pool));
  ASSERT_OK(tr__backend_find(name)->create(b.pool, &b.backend));
  return b;
}

void backend_close(open_backend *b)
{
  b->backend->type->destroy(b->backend);
  tr__threads_destroy(&b->pool);
}
