#include "backend_cases_conv.h"

#define REAL(...)                                                              \
  tr__tensor_of(NULL, TR_F32,                                                  \
                (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),     \
                (int64_t[]){__VA_ARGS__})

static const tr__tensor absent = {.ndim = -1};

/* A convolution's extents; of a pool, C alone. */
typedef struct volumes {
  int64_t N, C, K, in[3], out[3];
  tr__window window;
} volumes;

static tr__tensor volume(int64_t rows, int64_t channels, const int64_t dims[3])
{
  return REAL(rows, channels, dims[0], dims[1], dims[2]);
}

static tr__tensor filters(const volumes *v)
{
  return volume(v->K, v->C / v->window.groups, v->window.kernel);
}

/* One extent: 1 for those in front that a layer does not have. */
static void random_extent(draws *d, volumes *v, int i, int64_t most)
{
  tr__window *w = &v->window;
  w->kernel[i] = most == 1 ? 1 : 1 + draw(d, 4);
  w->padding[i] = most == 1 ? 0 : draw(d, w->kernel[i]);
  w->stride[i] = most == 1 ? 1 : 1 + draw(d, 4);
  w->dilation[i] = 1 + draw(d, 3);
  v->in[i] = 1 + draw(d, most);
  int64_t span = (w->kernel[i] - 1) * w->dilation[i] + 1;
  if (v->in[i] + 2 * w->padding[i] < span) {
    w->kernel[i] = span = 1;
    w->padding[i] = 0;
  }
  v->out[i] = (v->in[i] + 2 * w->padding[i] - span) / w->stride[i] + 1;
}

static volumes random_volumes(draws *d, bool large)
{
  volumes v = {.N = draw(d, 8) == 0 ? 0 : 1 + draw(d, 5)};
  int64_t ndim = 1 + draw(d, 3), most = large ? ndim == 3 ? 12 : 30 : 9;
  for (int i = 0; i < 3; i++) {
    random_extent(d, &v, i, i < 3 - ndim ? 1 : most);
  }
  return v;
}

/* The image of a transposed convolution may have more places than its windows
 * span: output_padding. Kernels of one element are frequent, since backends
 * have a path of their own for them. */
static void add_output_padding(draws *d, volumes *v)
{
  for (int i = 0; i < 3; i++) {
    tr__window *w = &v->window;
    v->in[i] += draw(d, 2) * draw(d, tr__max(w->stride[i], w->dilation[i]));
  }
}

static void make_pointwise(volumes *v)
{
  for (int i = 0; i < 3; i++) {
    v->window.kernel[i] = v->window.stride[i] = 1;
    v->window.padding[i] = 0;
    v->out[i] = v->in[i];
  }
}

/* Groups: none, some or one per channel. */
static volumes random_conv(draws *d, bool large)
{
  volumes v = random_volumes(d, large);
  if (draw(d, 4) == 0) {
    make_pointwise(&v);
  }
  add_output_padding(d, &v);
  int64_t kind = draw(d, 4), groups = 1;
  v.C = large ? 1 + draw(d, 40) : 1 + draw(d, 7);
  v.K = large ? 1 + draw(d, 90) : 1 + draw(d, 9);
  if (kind == 0) {
    groups = 1 + draw(d, 3);
    v.C *= groups;
    v.K *= groups;
  } else if (kind == 1) {
    groups = v.C;
    v.K = v.C * (1 + draw(d, 2));
  }
  v.window.groups = groups;
  return v;
}

static volumes random_pool(draws *d, bool large)
{
  volumes v = random_volumes(d, large);
  v.C = large ? 1 + draw(d, 40) : 1 + draw(d, 7);
  v.window.groups = 1;
  for (int i = 0; i < 3; i++) {
    /* Pools have no dilation; what fits with one fits without. */
    v.window.dilation[i] = 1;
    v.out[i] = (v.in[i] + 2 * v.window.padding[i] - v.window.kernel[i]) /
                   v.window.stride[i] +
               1;
  }
  if (draw(d, 4) == 0) {
    /* The pool that has a path of its own, also on odd extents. */
    v.window =
        (tr__window){{1, 2, 2}, {1, 2, 2}, {0, 0, 0}, {1, 1, 1}, .groups = 1};
    v.out[0] = v.in[0];
    v.out[1] = ++v.in[1] / 2;
    v.out[2] = ++v.in[2] / 2;
  }
  return v;
}

void make_conv_forward(op_case *c, draws *d, bool large)
{
  volumes v = random_conv(d, large);
  int accumulate = draw(d, 3) == 0;
  c->args.conv_forward = (tr__conv_forward_args){
      .y = volume(v.N, v.K, v.out),
      .x = volume(v.N, v.C, v.in),
      .w = filters(&v),
      .b = draw(d, 2) && !accumulate ? REAL(v.K) : absent,
      .workspace = absent,
      .window = v.window,
      .accumulate = accumulate,
      .activation = draw(d, 2) && !accumulate ? TR__ACTIVATION_RELU
                                              : TR__ACTIVATION_NONE};
}

void make_conv_backward_input(op_case *c, draws *d, bool large)
{
  volumes v = random_conv(d, large);
  int accumulate = (int)draw(d, 2);
  c->args.conv_backward_input = (tr__conv_backward_input_args){
      .dx = volume(v.N, v.C, v.in),
      .dy = volume(v.N, v.K, v.out),
      .w = filters(&v),
      .b = draw(d, 2) && !accumulate ? REAL(v.C) : absent,
      .workspace = absent,
      .window = v.window,
      .accumulate = accumulate};
}

void make_conv_backward_weight(op_case *c, draws *d, bool large)
{
  volumes v = random_conv(d, large);
  int64_t N;
  tr__shards shards = random_shards(d, v.N, &N);
  int db_of_x = (int)draw(d, 2);
  c->args.conv_backward_weight = (tr__conv_backward_weight_args){
      .dw = filters(&v),
      .db = draw(d, 2) ? REAL(db_of_x ? v.C : v.K) : absent,
      .x = volume(N, v.C, v.in),
      .dy = volume(N, v.K, v.out),
      .workspace = absent,
      .window = v.window,
      .shards = shards,
      .accumulate = (int)draw(d, 2),
      .db_of_x = db_of_x};
  bool has_bias = c->args.conv_backward_weight.db.ndim > 0;
  c->is_absent[0] = has_bias && draw(d, 4) == 0;
}

void make_maxpool_forward(op_case *c, draws *d, bool large)
{
  volumes v = random_pool(d, large);
  tr__tensor y = volume(v.N, v.C, v.out), index = y;
  index.dtype = TR_I32;
  c->args.maxpool_forward = (tr__maxpool_forward_args){
      .y = y, .x = volume(v.N, v.C, v.in), .index = index, .window = v.window};
}

void make_maxpool_backward(op_case *c, draws *d, bool large)
{
  volumes v = random_pool(d, large);
  tr__tensor y = volume(v.N, v.C, v.out);
  c->args.maxpool_backward =
      (tr__maxpool_backward_args){.dx = volume(v.N, v.C, v.in),
                                  .dy = y,
                                  .index = y,
                                  .accumulate = (int)draw(d, 2)};
  set_integers(c, d, 2, v.in[0] * v.in[1] * v.in[2]);
}

/* The output of an adaptive pool has any extents. */
static tr__average random_average(draws *d, volumes *v)
{
  tr__average average = (tr__average)draw(d, 3);
  for (int i = 0; i < 3 && average == TR__AVERAGE_ADAPTIVE; i++) {
    v->out[i] = 1 + draw(d, 9);
  }
  return average;
}

void make_avgpool_forward(op_case *c, draws *d, bool large)
{
  volumes v = random_pool(d, large);
  tr__average average = random_average(d, &v);
  c->args.avgpool_forward =
      (tr__avgpool_forward_args){.y = volume(v.N, v.C, v.out),
                                 .x = volume(v.N, v.C, v.in),
                                 .window = v.window,
                                 .average = average};
}

void make_avgpool_backward(op_case *c, draws *d, bool large)
{
  volumes v = random_pool(d, large);
  tr__average average = random_average(d, &v);
  c->args.avgpool_backward =
      (tr__avgpool_backward_args){.dx = volume(v.N, v.C, v.in),
                                  .dy = volume(v.N, v.C, v.out),
                                  .window = v.window,
                                  .average = average,
                                  .accumulate = (int)draw(d, 2)};
}

void make_global_avgpool2d_forward(op_case *c, draws *d, bool large)
{
  volumes v = random_pool(d, large);
  c->args.global_avgpool2d_forward = (tr__global_avgpool2d_forward_args){
      .y = REAL(v.N, v.C), .x = REAL(v.N, v.C, v.in[1], v.in[2])};
}

void make_global_avgpool2d_backward(op_case *c, draws *d, bool large)
{
  volumes v = random_pool(d, large);
  c->args.global_avgpool2d_backward = (tr__global_avgpool2d_backward_args){
      .dx = REAL(v.N, v.C, v.in[1], v.in[2]),
      .dy = REAL(v.N, v.C),
      .accumulate = (int)draw(d, 2)};
}
