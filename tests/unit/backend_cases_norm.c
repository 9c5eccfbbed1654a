#include "backend_cases.h"

static int64_t extent(draws *d, bool is_large)
{
  static const int64_t small[] = {1, 1, 2, 3, 5, 7, 8, 13};
  static const int64_t large[] = {1, 31, 40, 67, 97, 64, 61, 48};
  return (is_large ? large : small)[draw(d, 8)];
}

static int64_t rows(draws *d, bool is_large)
{
  return draw(d, 8) == 0 ? 0 : extent(d, is_large);
}

static const tr__tensor absent = {.ndim = -1};

static tr__tensor of(tr_dtype dtype, int ndim, const int64_t *dims)
{
  return tr__tensor_of(NULL, dtype, ndim, dims);
}

#define REAL(...)                                                              \
  of(TR_F32, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),        \
     (int64_t[]){__VA_ARGS__})

static tr__activation any_kind(draws *d)
{
  return (tr__activation)(TR__ACTIVATION_LEAKY_RELU + (int)draw(d, 6));
}

void make_activation_forward(op_case *c, draws *d, bool large)
{
  tr__tensor y = REAL(rows(d, large), extent(d, large), extent(d, large));
  c->args.activation_forward = (tr__activation_forward_args){
      .y = y, .x = y, .kind = any_kind(d), .slope = 0.125};
  c->alias[1] = draw(d, 2) ? 0 : -1;
}

void make_activation_backward(op_case *c, draws *d, bool large)
{
  tr__tensor y = REAL(rows(d, large), extent(d, large), extent(d, large));
  c->alias[1] = draw(d, 2) ? 0 : -1;
  c->args.activation_backward = (tr__activation_backward_args){
      .dx = y,
      .dy = y,
      .value = y,
      .kind = any_kind(d),
      .slope = 0.125,
      .accumulate = c->alias[1] < 0 && draw(d, 2)};
}

void make_softmax_forward(op_case *c, draws *d, bool large)
{
  tr__tensor y = REAL(rows(d, large), extent(d, large), extent(d, large));
  c->args.softmax_forward = (tr__softmax_forward_args){.y = y, .x = y};
  c->alias[1] = draw(d, 2) ? 0 : -1;
}

void make_softmax_backward(op_case *c, draws *d, bool large)
{
  tr__tensor y = REAL(rows(d, large), extent(d, large), extent(d, large));
  c->alias[1] = draw(d, 2) ? 0 : -1;
  c->args.softmax_backward = (tr__softmax_backward_args){
      .dx = y, .dy = y, .y = y, .accumulate = c->alias[1] < 0 && draw(d, 2)};
}

void make_dropout(op_case *c, draws *d, bool large)
{
  static const double ps[] = {0, 0.125, 0.5, 1};
  tr__tensor y = REAL(rows(d, large), extent(d, large), extent(d, large));
  c->alias[1] = draw(d, 2) ? 0 : -1;
  c->args.dropout =
      (tr__dropout_args){.y = y,
                         .x = y,
                         .seed = (uint64_t)draw(d, 99),
                         .first_row = draw(d, 3),
                         .p = ps[draw(d, 4)],
                         .stream = (uint16_t)draw(d, 99),
                         .accumulate = c->alias[1] < 0 && draw(d, 2)};
  set_block(c, d, 2);
}

/* Rows of shards that tile a global batch; this rank holds some of them. */
static tr__shards random_cut(draws *d, int64_t batch, int64_t *local)
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

/* Like a LayerNorm, or like a GroupNorm, whose groups have their own weights;
 * the number of weights. */
static int64_t random_norm(draws *d, bool large, tr__norm *norm)
{
  *norm = (tr__norm){.groups = 1 + draw(d, 5),
                     .channels = extent(d, large),
                     .inner = 1,
                     .shared = (int)draw(d, 2),
                     .centred = (int)draw(d, 2),
                     .eps = 0.125};
  if (!norm->shared) {
    norm->inner = extent(d, large);
    return norm->groups * norm->channels;
  }
  return norm->channels;
}

void make_norm_forward(op_case *c, draws *d, bool large)
{
  tr__norm norm;
  int64_t N = rows(d, large), K = random_norm(d, large, &norm);
  tr__tensor x = REAL(N, norm.groups, norm.channels * norm.inner);
  bool has_weight = draw(d, 4) != 0;
  c->args.norm_forward =
      (tr__norm_forward_args){.y = x,
                              .x = x,
                              .w = has_weight ? REAL(K) : absent,
                              .b = has_weight && draw(d, 2) ? REAL(K) : absent,
                              .stats = REAL(N, norm.groups, 2),
                              .norm = norm};
  c->alias[1] = draw(d, 2) ? 0 : -1;
}

void make_norm_backward_input(op_case *c, draws *d, bool large)
{
  tr__norm norm;
  int64_t N = rows(d, large), K = random_norm(d, large, &norm);
  tr__tensor x = REAL(N, norm.groups, norm.channels * norm.inner);
  c->alias[1] = draw(d, 2) ? 0 : -1;
  c->args.norm_backward_input = (tr__norm_backward_input_args){
      .dx = x,
      .dy = x,
      .x = x,
      .w = draw(d, 4) != 0 ? REAL(K) : absent,
      .stats = REAL(N, norm.groups, 2),
      .norm = norm,
      .accumulate = c->alias[1] < 0 && draw(d, 2)};
}

void make_norm_backward_weight(op_case *c, draws *d, bool large)
{
  tr__norm norm;
  int64_t N, K = random_norm(d, large, &norm);
  tr__shards shards = random_cut(d, rows(d, large), &N);
  tr__tensor x = REAL(N, norm.groups, norm.channels * norm.inner);
  c->args.norm_backward_weight =
      (tr__norm_backward_weight_args){.dw = REAL(K),
                                      .db = draw(d, 2) ? REAL(K) : absent,
                                      .x = x,
                                      .dy = x,
                                      .stats = REAL(N, norm.groups, 2),
                                      .workspace = absent,
                                      .norm = norm,
                                      .shards = shards,
                                      .accumulate = (int)draw(d, 2)};
}

static tr__tensor doubles(int64_t count)
{
  return of(TR_F64, 1, &count);
}

/* Values of a variance, of counts, of sums of squares. */
static void set_positive(op_case *c, draws *d, int operand)
{
  int64_t count = tr__tensor_count(&c->args.tensors[operand]);
  c->values[operand] = malloc((size_t)(count + 1) * sizeof(double));
  for (int64_t i = 0; i < count; i++) {
    c->values[operand][i] = (double)(1 + draw(d, 1024)) / 256;
  }
}

void make_batchnorm_sums(op_case *c, draws *d, bool large)
{
  int64_t N, C = extent(d, large);
  tr__shards shards = random_cut(d, rows(d, large), &N);
  c->args.batchnorm_sums =
      (tr__batchnorm_sums_args){.x = REAL(N, C, extent(d, large)),
                                .sums = doubles(2 * C + 1),
                                .workspace = absent,
                                .shards = shards};
}

void make_batchnorm_stats(op_case *c, draws *d, bool large)
{
  int64_t C = extent(d, large);
  bool is_training = draw(d, 2), has_parts = is_training && draw(d, 2);
  int64_t ranks = 1 + draw(d, 5), length = 2 * C + 1 + draw(d, 8);
  c->args.batchnorm_stats = (tr__batchnorm_stats_args){
      .running_mean = REAL(C),
      .running_var = REAL(C),
      .batches = REAL(1),
      .stats = doubles(2 * C),
      .sums = is_training ? doubles(2 * C + 1) : absent,
      .parts = has_parts ? of(TR_F64, 2, (int64_t[]){ranks, length}) : absent,
      .num_shards = ranks + draw(d, 9),
      .momentum = 0.1,
      .eps = 0.125};
  set_positive(c, d, 1);
  if (is_training) {
    set_positive(c, d, 4);
    c->values[4][2 * C] = (double)draw(d, 4);
  }
  if (has_parts) {
    set_positive(c, d, 5);
    for (int64_t r = 0; r < ranks; r++) {
      c->values[5][r * length + 2 * C] = (double)draw(d, 4);
    }
  }
}

void make_batchnorm_forward(op_case *c, draws *d, bool large)
{
  int64_t C = extent(d, large);
  tr__tensor x = REAL(rows(d, large), C, extent(d, large));
  c->alias[1] = draw(d, 2) ? 0 : -1;
  c->args.batchnorm_forward = (tr__batchnorm_forward_args){
      .y = x,
      .x = x,
      .w = draw(d, 4) != 0 ? REAL(C) : absent,
      .b = draw(d, 4) != 0 ? REAL(C) : absent,
      .stats = doubles(2 * C),
      .activation = draw(d, 2) ? TR__ACTIVATION_RELU : TR__ACTIVATION_NONE};
}

void make_batchnorm_backward_sums(op_case *c, draws *d, bool large)
{
  int64_t N, C = extent(d, large);
  tr__shards shards = random_cut(d, rows(d, large), &N);
  tr__tensor x = REAL(N, C, extent(d, large));
  c->args.batchnorm_backward_sums =
      (tr__batchnorm_backward_sums_args){.dy = x,
                                         .x = x,
                                         .stats = doubles(2 * C),
                                         .sums = doubles(2 * C),
                                         .dw = draw(d, 4) ? REAL(C) : absent,
                                         .db = draw(d, 4) ? REAL(C) : absent,
                                         .workspace = absent,
                                         .shards = shards,
                                         .accumulate = (int)draw(d, 2)};
}

void make_batchnorm_backward_input(op_case *c, draws *d, bool large)
{
  int64_t C = extent(d, large);
  tr__tensor x = REAL(rows(d, large), C, extent(d, large));
  bool is_training = draw(d, 3) != 0;
  c->alias[1] = draw(d, 2) ? 0 : -1;
  c->args.batchnorm_backward_input = (tr__batchnorm_backward_input_args){
      .dx = x,
      .dy = x,
      .x = x,
      .w = draw(d, 4) != 0 ? REAL(C) : absent,
      .stats = doubles(2 * C),
      .sums = is_training ? doubles(2 * C + 1) : absent,
      .grad_sums = is_training ? doubles(2 * C) : absent,
      .accumulate = c->alias[1] < 0 && draw(d, 2)};
  if (is_training) {
    set_positive(c, d, 5);
    c->values[5][2 * C] = (double)(5 + draw(d, 99));
  }
}
