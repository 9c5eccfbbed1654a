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
