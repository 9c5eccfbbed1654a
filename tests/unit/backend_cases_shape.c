#include "backend_cases_shape.h"

#define REAL(...)                                                              \
  tr__tensor_of(NULL, TR_F32,                                                  \
                (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),     \
                (int64_t[]){__VA_ARGS__})

static int64_t extent(draws *d, bool large)
{
  return 1 + draw(d, large ? 90 : 9);
}

static int64_t rows(draws *d, bool large)
{
  return draw(d, 8) == 0 ? 0 : extent(d, large);
}

void make_copy(op_case *c, draws *d, bool large)
{
  int64_t R = rows(d, large), count = draw(d, large ? 999 : 9);
  int64_t y_first = draw(d, 5), x_first = draw(d, 5);
  c->args.copy = (tr__copy_args){.y = REAL(R, y_first + count + draw(d, 4)),
                                 .x = REAL(R, x_first + count + draw(d, 4)),
                                 .y_first = y_first,
                                 .x_first = x_first,
                                 .count = count,
                                 .accumulate = (int)draw(d, 2)};
}

void make_cast(op_case *c, draws *d, bool large)
{
  tr__tensor y = REAL(rows(d, large), extent(d, large), extent(d, large));
  c->args.cast = (tr__cast_args){.y = y, .x = y};
}

void make_permute(op_case *c, draws *d, bool large)
{
  int ndim = 1 + (int)draw(d, 5);
  tr__permute_args args = {.accumulate = (int)draw(d, 2)};
  int64_t dims[TR_MAX_DIMS] = {rows(d, large)}, y_dims[TR_MAX_DIMS] = {dims[0]};
  for (int i = 1; i < ndim; i++) {
    dims[i] = 1 + draw(d, large ? 12 : 4);
    args.order.of[i] = i;
  }
  for (int i = ndim - 1; i > 1; i--) {
    int other = 1 + (int)draw(d, i), kept = args.order.of[i];
    args.order.of[i] = args.order.of[other];
    args.order.of[other] = kept;
  }
  for (int i = 1; i < ndim; i++) {
    y_dims[i] = dims[args.order.of[i]];
  }
  args.y = tr__tensor_of(NULL, TR_F32, ndim, y_dims);
  args.x = tr__tensor_of(NULL, TR_F32, ndim, dims);
  c->args.permute = args;
}

void make_upsample2d_forward(op_case *c, draws *d, bool large)
{
  int64_t N = rows(d, large) % 5, C = 1 + draw(d, 4), s = 1 + draw(d, 3);
  int64_t H = 1 + draw(d, large ? 20 : 5), W = 1 + draw(d, large ? 20 : 5);
  c->args.upsample2d_forward = (tr__upsample2d_forward_args){
      .y = REAL(N, C, s * H, s * W), .x = REAL(N, C, H, W), .scale = s};
}

void make_upsample2d_backward(op_case *c, draws *d, bool large)
{
  int64_t N = rows(d, large) % 5, C = 1 + draw(d, 4), s = 1 + draw(d, 3);
  int64_t H = 1 + draw(d, large ? 20 : 5), W = 1 + draw(d, large ? 20 : 5);
  c->args.upsample2d_backward =
      (tr__upsample2d_backward_args){.dx = REAL(N, C, H, W),
                                     .dy = REAL(N, C, s * H, s * W),
                                     .scale = s,
                                     .accumulate = (int)draw(d, 2)};
}
