/* Random calls of the ops of core/ops/ops_loss_impl.h. */
#include "backend_cases.h"

static const tr__tensor absent = {.ndim = -1};

static tr__tensor vector(int64_t count)
{
  return tr__tensor_of(NULL, TR_F32, 1, &count);
}

static tr__tensor matrix(int64_t rows, int64_t columns)
{
  return tr__tensor_of(NULL, TR_F32, 2, (int64_t[]){rows, columns});
}

/* 0 rows too; large ones are several tasks. */
static int64_t num_rows(draws *d, bool is_large)
{
  return draw(d, is_large ? 300 : 9);
}

static void set_targets(op_case *c, draws *d, int operand, int64_t classes)
{
  int64_t count = tr__tensor_count(&c->args.tensors[operand]);
  c->args.tensors[operand].dtype = TR_I32;
  c->values[operand] = malloc((size_t)(count + 1) * sizeof(double));
  for (int64_t i = 0; i < count; i++) {
    c->values[operand][i] = draw(d, 4) == 0 ? -100 : (double)draw(d, classes);
  }
}

static void set_positive(op_case *c, draws *d, int operand)
{
  if (c->args.tensors[operand].ndim < 0) {
    return;
  }
  int64_t count = tr__tensor_count(&c->args.tensors[operand]);
  c->values[operand] = malloc((size_t)(count + 1) * sizeof(double));
  for (int64_t i = 0; i < count; i++) {
    c->values[operand][i] = (double)(1 + draw(d, 1024)) / 1024;
  }
}

static tr__xent_rule random_rule(draws *d)
{
  return (tr__xent_rule){
      .smoothing = draw(d, 2) ? 0.1 : 0, .ignored = -100, .ignores = 1};
}

void make_xent_rule_forward(op_case *c, draws *d, bool large)
{
  int64_t N = num_rows(d, large), K = 1 + draw(d, large ? 90 : 12);
  c->args.xent_rule_forward = (tr__xent_rule_forward_args){
      .loss = vector(N),
      .prob = matrix(N, K),
      .correct = vector(N),
      .share = vector(N),
      .x = matrix(N, K),
      .target = vector(N),
      .class_weight = draw(d, 2) ? vector(K) : absent,
      .rule = random_rule(d)};
  set_targets(c, d, 5, K);
  set_positive(c, d, 6);
}

void make_xent_rule_backward(op_case *c, draws *d, bool large)
{
  int64_t samples = num_rows(d, large), K = 1 + draw(d, large ? 90 : 12);
  int64_t N = samples * (1 + draw(d, 3));
  c->args.xent_rule_backward = (tr__xent_rule_backward_args){
      .dx = matrix(N, K),
      .prob = matrix(N, K),
      .target = vector(N),
      .weight = draw(d, 2) ? vector(samples) : absent,
      .class_weight = draw(d, 2) ? vector(K) : absent,
      .rule = random_rule(d),
      .scale = 0.5 * (double)(1 + draw(d, 3)),
      .accumulate = (int)draw(d, 2)};
  set_positive(c, d, 1);
  set_targets(c, d, 2, K);
  set_positive(c, d, 4);
  set_block(c, d, 5);
}

void make_regression_forward(op_case *c, draws *d, bool large)
{
  int64_t N = num_rows(d, large), places = 1 + draw(d, 9);
  int64_t D = places * (1 + draw(d, large ? 12 : 3));
  c->args.regression_forward = (tr__regression_forward_args){
      .loss = vector(N),
      .x = matrix(N, D),
      .target = matrix(N, D),
      .pos_weight = draw(d, 2) ? vector(places) : absent,
      .delta = 1.5,
      .kind = (tr__regression)draw(d, 4)};
  set_positive(c, d, 2);
  set_positive(c, d, 3);
}

void make_regression_backward(op_case *c, draws *d, bool large)
{
  int64_t N = num_rows(d, large), places = 1 + draw(d, 9);
  int64_t D = places * (1 + draw(d, large ? 12 : 3));
  c->args.regression_backward = (tr__regression_backward_args){
      .dx = matrix(N, D),
      .x = matrix(N, D),
      .target = matrix(N, D),
      .pos_weight = draw(d, 2) ? vector(places) : absent,
      .weight = draw(d, 2) ? vector(N) : absent,
      .delta = 1.5,
      .scale = 0.5 * (double)(1 + draw(d, 3)),
      .kind = (tr__regression)draw(d, 4),
      .accumulate = (int)draw(d, 2)};
  set_positive(c, d, 2);
  set_positive(c, d, 3);
  set_block(c, d, 5);
}
