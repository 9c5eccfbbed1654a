/* Random calls of what optimizers compute with. */
#include "backend_cases.h"

static tr__tensor vector(tr_dtype dtype, int64_t count)
{
  return tr__tensor_of(NULL, dtype, 1, &count);
}

static const tr__tensor absent = {.ndim = -1};

static tr__tensor arena(draws *d, bool is_large)
{
  return vector(TR_F32, 1 + draw(d, is_large ? 150000 : 300));
}

/* All numbers positive, as means of squares are. */
static void set_positive(op_case *c, draws *d, int operand)
{
  int64_t count = tr__tensor_count(&c->args.tensors[operand]);
  c->values[operand] = malloc((size_t)(count + 1) * sizeof(double));
  for (int64_t i = 0; i < count; i++) {
    c->values[operand][i] = (double)(1 + draw(d, 1024)) / 1024;
  }
}

/* Sometimes no sample had a weight. */
static void set_tail(op_case *c, draws *d, int operand)
{
  c->args.tensors[operand] = vector(TR_F32, TR__TAIL_COUNT);
  set_positive(c, d, operand);
  c->values[operand][TR__TAIL_WEIGHT] = draw(d, 6) == 0 ? 0 : 29;
}

void make_sgd_update(op_case *c, draws *d, bool large)
{
  tr__tensor p = arena(d, large);
  bool has_momentum = draw(d, 3) != 0;
  c->args.sgd_update =
      (tr__sgd_update_args){.p = p,
                            .grad = p,
                            .m = has_momentum ? p : absent,
                            .lr_scale = 0.5 * (double)(1 + draw(d, 3)),
                            .momentum = 0.9,
                            .dampening = draw(d, 3) == 0 ? 0.1 : 0,
                            .weight_decay = draw(d, 2) ? 0.01 : 0,
                            .nesterov = has_momentum && draw(d, 2)};
  set_tail(c, d, 3);
  set_block(c, d, 4);
}

void make_adam_update(op_case *c, draws *d, bool large)
{
  tr__tensor p = arena(d, large);
  c->args.adam_update =
      (tr__adam_update_args){.p = p,
                             .grad = p,
                             .m = p,
                             .v = p,
                             .lr_scale = 0.5 * (double)(1 + draw(d, 3)),
                             .beta1 = 0.9,
                             .beta2 = 0.999,
                             .eps = 1e-8,
                             .weight_decay = 0.01,
                             .decoupled = (int)draw(d, 2)};
  set_positive(c, d, 3);
  set_tail(c, d, 4);
  set_block(c, d, 5);
}

/* v 17 above the squares of the means, which are at most 16: the spread is
 * no small difference, of which single precision would keep few digits. */
void make_rmsprop_update(op_case *c, draws *d, bool large)
{
  tr__tensor p = arena(d, large);
  c->args.rmsprop_update =
      (tr__rmsprop_update_args){.p = p,
                                .grad = p,
                                .v = p,
                                .m = draw(d, 2) ? p : absent,
                                .mean = draw(d, 2) ? p : absent,
                                .lr_scale = 0.5 * (double)(1 + draw(d, 3)),
                                .alpha = 0.99,
                                .eps = 1e-8,
                                .momentum = 0.9,
                                .weight_decay = 0.01};
  set_positive(c, d, 2);
  for (int64_t i = 0; i < tr__tensor_count(&p); i++) {
    c->values[2][i] += 17;
  }
  set_tail(c, d, 5);
  set_block(c, d, 6);
}

void make_adagrad_update(op_case *c, draws *d, bool large)
{
  tr__tensor p = arena(d, large);
  c->args.adagrad_update =
      (tr__adagrad_update_args){.p = p,
                                .grad = p,
                                .v = p,
                                .lr_scale = 0.5 * (double)(1 + draw(d, 3)),
                                .eps = 1e-10,
                                .weight_decay = 0.01};
  set_positive(c, d, 2);
  set_tail(c, d, 3);
  set_block(c, d, 4);
}

/* Square, wide and tall; large ones have several tiles in each axis. */
void make_muon_update(op_case *c, draws *d, bool large)
{
  int64_t dims[2] = {1 + draw(d, large ? 200 : 20),
                     1 + draw(d, large ? 400 : 20)};
  if (large && draw(d, 2)) {
    dims[1] = 1 + draw(d, 100);
  }
  tr__tensor p = tr__tensor_of(NULL, TR_F32, 2, dims);
  c->args.muon_update =
      (tr__muon_update_args){.p = p,
                             .grad = p,
                             .m = p,
                             .workspace = absent,
                             .lr_scale = 0.5 * (double)(1 + draw(d, 3)),
                             .momentum = 0.95,
                             .weight_decay = draw(d, 2) ? 0.1 : 0,
                             .scale = 0.2 * (double)(1 + draw(d, 9)),
                             .nesterov = (int)draw(d, 2)};
  set_tail(c, d, 3);
  set_block(c, d, 4);
}

void make_sum_squares(op_case *c, draws *d, bool large)
{
  tr__tensor x = arena(d, large);
  int64_t sums =
      (tr__tensor_count(&x) + TR__SQUARES_BLOCK - 1) / TR__SQUARES_BLOCK;
  c->args.sum_squares =
      (tr__sum_squares_args){.x = x, .sums = vector(TR_F64, sums)};
}

void make_clip_factor(op_case *c, draws *d, bool large)
{
  (void)large;
  c->args.clip_factor =
      (tr__clip_factor_args){.sums = vector(TR_F64, 1 + draw(d, 9)),
                             .limit = (double)draw(d, 3),
                             .beta1 = 0.9,
                             .beta2 = 0.999,
                             .growth_interval = draw(d, 2) * (4 + draw(d, 2)),
                             .skips = (int)draw(d, 2)};
  set_tail(c, d, 0);
  set_positive(c, d, 1);
  c->values[1][0] = draw(d, 3) == 0 ? NAN : c->values[1][0];
  double *loss = &c->values[0][TR__TAIL_LOSS + draw(d, TR_MAX_INPUTS)];
  *loss = draw(d, 3) == 0 ? INFINITY : *loss;
  set_block(c, d, 2);
}
