/* The reference's convolutions and pools against loops that are written down
 * from their definitions, one number at a time. */
#include "backend_cases_conv.h"

enum { CASES = 1000 };

/* Double precision, sums of up to some thousand products in another order. */
static const double tolerance = 1e-13;

/* A volume's extents, to count its elements in order. */
typedef struct walk {
  int64_t at[5], dims[5];
} walk;

static bool next(walk *w)
{
  for (int i = 4; i >= 0; i--) {
    if (++w->at[i] < w->dims[i]) {
      return true;
    }
    w->at[i] = 0;
  }
  return false;
}

static int64_t place_of(const tr__tensor *t, const int64_t at[5])
{
  int64_t place = 0;
  for (int i = 0; i < 5; i++) {
    place = place * t->dims[i] + at[i];
  }
  return place;
}

/* The products of a convolution: each output element y[n,k,p] meets x[n,c,h]
 * at w[k,c - first channel of the group,i] where h = p stride + i dilation -
 * padding lies in the image. */
typedef struct product {
  int64_t x, y, w; /* places */
} product;

typedef void (*product_fn)(void *user, const product *at);

typedef struct geometry {
  const tr__tensor *x, *y, *w;
  const tr__window *window;
} geometry;

static bool
source_of(const geometry *g, const walk *y, const int64_t tap[3], int64_t at[5])
{
  for (int i = 0; i < 3; i++) {
    at[i + 2] = y->at[i + 2] * g->window->stride[i] +
                tap[i] * g->window->dilation[i] - g->window->padding[i];
    if (at[i + 2] < 0 || at[i + 2] >= g->x->dims[i + 2]) {
      return false;
    }
  }
  return true;
}

static void each_product(const geometry *g, product_fn fn, void *user)
{
  walk y = {{0}, {0}};
  memcpy(y.dims, g->y->dims, sizeof y.dims);
  int64_t K = g->y->dims[1] / g->window->groups, C = g->w->dims[1];
  bool more = tr__tensor_count(g->y) > 0;
  for (; more; more = next(&y)) {
    /* Of the filter: channel and taps. */
    walk w = {{0, 0}, {1, C, g->w->dims[2], g->w->dims[3], g->w->dims[4]}};
    do {
      int64_t at[5] = {y.at[0], y.at[1] / K * C + w.at[1]};
      int64_t filter[5] = {y.at[1], w.at[1], w.at[2], w.at[3], w.at[4]};
      if (source_of(g, &y, w.at + 2, at)) {
        product found = {place_of(g->x, at), place_of(g->y, y.at),
                         place_of(g->w, filter)};
        fn(user, &found);
      }
    } while (next(&w));
  }
}

/* out[to] += a[..] b[..] */
typedef struct sums {
  double *out;
  const double *a, *b;
} sums;

static void add_to_y(void *user, const product *at)
{
  sums *s = user;
  s->out[at->y] += s->a[at->x] * s->b[at->w];
}

static void add_to_x(void *user, const product *at)
{
  sums *s = user;
  s->out[at->x] += s->a[at->y] * s->b[at->w];
}

static void add_to_w(void *user, const product *at)
{
  sums *s = user;
  s->out[at->w] += s->a[at->x] * s->b[at->y];
}

/* What a sum begins with: the output's numbers, or 0, and a bias. */
static double *
first_values(const op_case *c, const tr__tensor *bias, int operand, int adds)
{
  const tr__tensor *out = &c->args.tensors[0];
  int64_t count = tr__tensor_count(out);
  double *values = calloc((size_t)count + 1, sizeof *values);
  for (int64_t i = 0; i < count; i++) {
    int64_t row = tr__tensor_row(out), channels = out->dims[1];
    values[i] = adds ? c->values[0][i] : 0;
    if (bias != NULL && bias->ndim >= 0) {
      values[i] += c->values[operand][i % row / (row / channels)];
    }
  }
  return values;
}

static void compare(const op_case *c, int operand, double *expected)
{
  open_backend reference = backend_open("reference", 1);
  op_result got = case_run(c, reference.backend, TR_F64);
  ASSERT_TENSOR_NEAR(tr__op_info_of(c->op)->name, TR_F64, got.data[operand],
                     expected, got.count[operand], tolerance);
  result_free(&got);
  free(expected);
  backend_close(&reference);
}

static void test_conv_forward_is_its_definition(void)
{
  for (int i = 0; i < CASES; i++) {
    op_case c = case_make(TR__OP_conv_forward, i, false);
    const tr__conv_forward_args *a = &c.args.conv_forward;
    const geometry g = {&a->x, &a->y, &a->w, &a->window};
    double *y = first_values(&c, &a->b, 3, a->accumulate);
    each_product(&g, add_to_y, &(sums){y, c.values[1], c.values[2]});
    for (int64_t k = 0; k < tr__tensor_count(&a->y); k++) {
      y[k] = a->activation == TR__ACTIVATION_RELU && y[k] < 0 ? 0 : y[k];
    }
    compare(&c, 0, y);
    case_free(&c);
  }
}

static void test_conv_backward_input_is_its_definition(void)
{
  for (int i = 0; i < CASES; i++) {
    op_case c = case_make(TR__OP_conv_backward_input, i, false);
    const tr__conv_backward_input_args *a = &c.args.conv_backward_input;
    const geometry g = {&a->dx, &a->dy, &a->w, &a->window};
    double *dx = first_values(&c, &a->b, 3, a->accumulate);
    each_product(&g, add_to_x, &(sums){dx, c.values[1], c.values[2]});
    compare(&c, 0, dx);
    case_free(&c);
  }
}

static double *bias_sums(const op_case *c)
{
  const tr__conv_backward_weight_args *a = &c->args.conv_backward_weight;
  const tr__tensor *t = a->db_of_x ? &a->x : &a->dy;
  const double *values = c->values[a->db_of_x ? 2 : 3];
  double *db = calloc((size_t)t->dims[1] + 1, sizeof *db);
  for (int64_t k = 0; k < t->dims[1] && a->accumulate; k++) {
    db[k] = c->values[1][k];
  }
  int64_t row = tr__tensor_row(t);
  for (int64_t k = 0; k < tr__tensor_count(t); k++) {
    db[k % row / (row / t->dims[1])] += values[k];
  }
  return db;
}

static void test_conv_backward_weight_is_its_definition(void)
{
  for (int i = 0; i < CASES; i++) {
    op_case c = case_make(TR__OP_conv_backward_weight, i, false);
    const tr__conv_backward_weight_args *a = &c.args.conv_backward_weight;
    const geometry g = {&a->x, &a->dy, &a->dw, &a->window};
    double *dw = first_values(&c, NULL, 0, a->accumulate);
    each_product(&g, add_to_w, &(sums){dw, c.values[2], c.values[3]});
    compare(&c, 0, dw);
    if (a->db.ndim >= 0) {
      compare(&c, 1, bias_sums(&c));
    }
    case_free(&c);
  }
}

/* The windows of a pool as filters of ones, each channel for itself. */
static tr__window each_alone(const tr__window *w, int64_t channels)
{
  tr__window window = *w;
  window.groups = channels;
  return window;
}

typedef struct maxima {
  double *y;
  const double *x;
  int64_t *index;
} maxima;

static void note_maximum(void *user, const product *at)
{
  maxima *m = user;
  double value = m->x[at->x], best = m->y[at->y];
  bool wins =
      m->index[at->y] < 0 || value > best || (isnan(value) && !isnan(best));
  if (wins) {
    m->y[at->y] = value;
    m->index[at->y] = at->x;
  }
}

static void test_maxpool_forward_is_its_definition(void)
{
  open_backend reference = backend_open("reference", 1);
  for (int i = 0; i < CASES; i++) {
    op_case c = case_make(TR__OP_maxpool_forward, i, false);
    const tr__maxpool_forward_args *a = &c.args.maxpool_forward;
    tr__window window = each_alone(&a->window, a->x.dims[1]);
    tr__tensor w =
        tr__tensor_of(NULL, TR_F64, 5,
                      (int64_t[]){a->x.dims[1], 1, window.kernel[0],
                                  window.kernel[1], window.kernel[2]});
    int64_t count = tr__tensor_count(&a->y);
    maxima m = {.y = malloc((size_t)(count + 1) * sizeof(double)),
                .x = c.values[1],
                .index = malloc((size_t)(count + 1) * sizeof(int64_t))};
    for (int64_t k = 0; k < count; k++) {
      m.y[k] = -INFINITY;
      m.index[k] = -1;
    }
    each_product(&(geometry){&a->x, &a->y, &w, &window}, note_maximum, &m);
    op_result got = case_run(&c, reference.backend, TR_F64);
    int64_t plane = a->x.dims[2] * a->x.dims[3] * a->x.dims[4];
    for (int64_t k = 0; k < count; k++) {
      double y = ((const double *)got.data[0])[k];
      int64_t index = ((const int32_t *)got.data[2])[k];
      ASSERT(y == m.y[k] || (isnan(y) && isnan(m.y[k])));
      ASSERT_EQ(index, m.index[k] < 0 ? -1 : m.index[k] % plane);
    }
    result_free(&got);
    free(m.y);
    free(m.index);
    case_free(&c);
  }
  backend_close(&reference);
}

/* Windows as filters of ones, each channel for itself: what each output place
 * is divided by. */
typedef struct average {
  double *out;
  const double *from, *divisor;
} average;

static void count_inside(void *user, const product *at)
{
  ((double *)user)[at->y] += 1;
}

static void add_share_to_y(void *user, const product *at)
{
  average *a = user;
  a->out[at->y] += a->from[at->x] / a->divisor[at->y];
}

static void add_share_to_x(void *user, const product *at)
{
  average *a = user;
  a->out[at->x] += a->from[at->y] / a->divisor[at->y];
}

/* Of the padded image: a window that ends behind its padding counts less. */
static double padded_size(const geometry *g, int64_t place)
{
  int64_t size = 1;
  for (int i = 2; i >= 0; i--) {
    int64_t first = place % g->y->dims[i + 2] * g->window->stride[i];
    int64_t end = g->x->dims[i + 2] + 2 * g->window->padding[i];
    size *= tr__min(g->window->kernel[i], end - first);
    place /= g->y->dims[i + 2];
  }
  return (double)size;
}

static double *
divisors(const geometry *g, tr__average kind, const tr__tensor *y)
{
  int64_t count = tr__tensor_count(y);
  double *divisor = calloc((size_t)count + 1, sizeof *divisor);
  each_product(g, count_inside, divisor);
  int64_t places = y->dims[2] * y->dims[3] * y->dims[4];
  for (int64_t i = 0; i < count && kind == TR__AVERAGE_PADDED; i++) {
    divisor[i] = padded_size(g, i % places);
  }
  return divisor;
}

/* Adaptive pools have windows of several sizes and are not checked here. */
static void check_average(tr__op op, int number)
{
  op_case c = case_make(op, number, false);
  bool is_forward = op == TR__OP_avgpool_forward;
  const tr__avgpool_forward_args *f = &c.args.avgpool_forward;
  const tr__avgpool_backward_args *b = &c.args.avgpool_backward;
  const tr__tensor *x = is_forward ? &f->x : &b->dx;
  const tr__tensor *y = is_forward ? &f->y : &b->dy;
  tr__average kind = is_forward ? f->average : b->average;
  tr__window window =
      each_alone(is_forward ? &f->window : &b->window, x->dims[1]);
  tr__tensor w = tr__tensor_of(NULL, TR_F64, 5,
                               (int64_t[]){x->dims[1], 1, window.kernel[0],
                                           window.kernel[1], window.kernel[2]});
  const geometry g = {x, y, &w, &window};
  if (kind != TR__AVERAGE_ADAPTIVE) {
    double *divisor = divisors(&g, kind, y);
    double *out = first_values(&c, NULL, 0, !is_forward && b->accumulate);
    each_product(&g, is_forward ? add_share_to_y : add_share_to_x,
                 &(average){out, c.values[1], divisor});
    compare(&c, 0, out);
    free(divisor);
  }
  case_free(&c);
}

static void test_average_pools_are_their_definition(void)
{
  for (int i = 0; i < CASES; i++) {
    check_average(TR__OP_avgpool_forward, i);
    check_average(TR__OP_avgpool_backward, i);
  }
}

static void test_maxpool_backward_is_its_definition(void)
{
  for (int i = 0; i < CASES; i++) {
    op_case c = case_make(TR__OP_maxpool_backward, i, false);
    const tr__maxpool_backward_args *a = &c.args.maxpool_backward;
    double *dx = first_values(&c, NULL, 0, a->accumulate);
    int64_t from = a->dy.dims[2] * a->dy.dims[3] * a->dy.dims[4];
    int64_t to = a->dx.dims[2] * a->dx.dims[3] * a->dx.dims[4];
    for (int64_t k = 0; k < tr__tensor_count(&a->dy); k++) {
      dx[k / from * to + (int64_t)c.values[2][k]] += c.values[1][k];
    }
    compare(&c, 0, dx);
    case_free(&c);
  }
}

static const tr_test tests[] = {
    TEST(test_conv_forward_is_its_definition),
    TEST(test_conv_backward_input_is_its_definition),
    TEST(test_conv_backward_weight_is_its_definition),
    TEST(test_maxpool_forward_is_its_definition),
    TEST(test_maxpool_backward_is_its_definition),
    TEST(test_average_pools_are_their_definition),
};
TEST_MAIN(tests)
