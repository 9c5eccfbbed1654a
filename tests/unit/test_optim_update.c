/* What holds for every optimizer because it is in the table. */
#include "layer_helper.h"

#include "optim/optimizer_impl.h"

enum { NUM_CASES = 30, NUM_STEPS = 10, MAX_COUNT = 640 };

/* In single precision each of ten steps rounds a handful of times. */
static const double f32_tolerance = 1e-5;

/* One optimizer on a small net whose gradients the test sets. */
typedef struct subject {
  tr_context *ctx;
  tr_model *net;
  tr_optimizer *opt;
  int64_t count;
} subject;

static subject
make_subject(tr_context *ctx, const tr__optimizer_type *type, int number)
{
  subject s = {.ctx = ctx};
  const tr__random random = case_random(number, 0);
  ASSERT_OK(tr_model_create(ctx, &s.net));
  tr_node x = tr_input(s.net, (tr_shape){1, {1 + number % 7}});
  x = tr_linear(s.net, x, &(tr_linear_opts){.out = 1 + number % 11});
  tr_cross_entropy(s.net, x);
  ASSERT_OK(tr_model_build(s.net, &(tr_build_opts){.max_local_batch = 3}));
  ASSERT_OK(type->random_create(s.net, &random, &(tr_update_opts){0}, &s.opt));
  s.count = s.net->store.count;
  ASSERT(s.count <= MAX_COUNT);
  return s;
}

static void free_subject(subject *s)
{
  tr_optimizer_destroy(&s->opt);
  tr_model_destroy(&s->net);
}

static void get(subject *s, const void *arena, double *out)
{
  tr__backend *backend = s->ctx->backend;
  tensor t = {.count = s->count, .values = out};
  ASSERT_OK(
      backend->type->download(&backend->stream, out, arena,
                              (size_t)s->count * tr_dtype_size(s->ctx->dtype)));
  widen(s->ctx, &t);
}

static bool is_padding(const subject *s, int64_t i)
{
  const tr__store *store = &s->net->store;
  for (int k = 0; k < store->num_params; k++) {
    const tr__param *param = &store->params[k];
    if (i >= param->offset && i < param->offset + param->count) {
      return false;
    }
  }
  return true;
}

/* A forward and backward of `rows` samples that weigh `weight` each, and in
 * the gradient's place random numbers of every size. */
static void set_gradient(subject *s, int number, int step, double weight)
{
  static const int64_t rows = 3;
  const tr__random random = {.seed = test_seed(),
                             .sample = number,
                             .step = step + 1,
                             .stream = tr__random_stream(TR__PURPOSE_TEST, 1)};
  tensor x = {.count = rows * (1 + number % 7)};
  tensor w = {.count = rows}, grads = {.count = s->count};
  double values[MAX_COUNT] = {0}, weights[3] = {weight, weight, weight};
  double inputs[3 * 7] = {0};
  int32_t targets[3] = {0};
  x.values = inputs;
  w.values = weights;
  grads.values = values;
  for (int64_t i = 0; i < s->count; i++) {
    double draw = 2 * tr__random_uniform(&random, i) - 1;
    values[i] = is_padding(s, i) ? 0 : draw * draw * draw;
  }
  void *arrays[] = {narrowed(s->ctx, &x), narrowed(s->ctx, &w),
                    narrowed(s->ctx, &grads)};
  ASSERT_OK(tr_model_forward(s->net, &(tr_batch){.count = rows,
                                                 .global_count = 2 * rows,
                                                 .inputs = {arrays[0]},
                                                 .targets = {targets},
                                                 .weights = arrays[1]}));
  ASSERT_OK(tr_model_backward(s->net));
  tr__backend *backend = s->ctx->backend;
  backend->type->upload(&backend->stream, s->net->store.grads, arrays[2],
                        (size_t)s->count * tr_dtype_size(s->ctx->dtype));
  for (int i = 0; i < 3; i++) {
    free(arrays[i]);
  }
}

static double weight_of(int step)
{
  return 0.25 * (1 + step % 5);
}

/* The formulas of train/optim.h, one number at a time. */
typedef struct plain {
  double p, m, v, mean;
} plain;

static void plain_sgd(plain *s, const tr__hyper *h, double g, double lr, int t)
{
  g += h->weight_decay * s->p;
  if (h->momentum != 0) {
    s->m = t == 1 ? g : h->momentum * s->m + (1 - h->dampening) * g;
    g = h->nesterov ? g + h->momentum * s->m : s->m;
  }
  s->p -= lr * g;
}

static void plain_adam(plain *s, const tr__hyper *h, double g, double lr, int t)
{
  s->m = h->beta1 * s->m + (1 - h->beta1) * g;
  s->v = h->beta2 * s->v + (1 - h->beta2) * g * g;
  double m = s->m / (1 - pow(h->beta1, t)), v = s->v / (1 - pow(h->beta2, t));
  s->p -= lr * m / (sqrt(v) + h->eps);
}

static void plain_rmsprop(plain *s, const tr__hyper *h, double g, double lr)
{
  g += h->weight_decay * s->p;
  s->v = h->alpha * s->v + (1 - h->alpha) * g * g;
  s->mean = h->alpha * s->mean + (1 - h->alpha) * g;
  double spread = s->v - (h->centered ? s->mean * s->mean : 0);
  s->m = h->momentum * s->m + g / (sqrt(fmax(spread, 0)) + h->eps);
  s->p -= lr * s->m;
}

static void plain_adagrad(plain *s, const tr__hyper *h, double g, double lr)
{
  g += h->weight_decay * s->p;
  s->v += g * g;
  s->p -= lr * g / (sqrt(s->v) + h->eps);
}

/* x (n, N), n <= N: five times 3.4445 x - 4.7750 s x + 2.0315 s^2 x, with s =
 * x x^T as numbers of its own. */
static void plain_newton_schulz(double *x, int64_t n, int64_t N)
{
  double s[MAX_COUNT], y[MAX_COUNT], z[MAX_COUNT];
  for (int step = 0; step < 5; step++) {
    for (int64_t i = 0; i < n * n; i++) {
      s[i] = 0;
      for (int64_t k = 0; k < N; k++) {
        s[i] += x[i / n * N + k] * x[i % n * N + k];
      }
    }
    for (int power = 0; power < 2; power++) {
      double *to = power == 0 ? y : z;
      const double *from = power == 0 ? x : y;
      for (int64_t i = 0; i < n * N; i++) {
        to[i] = 0;
        for (int64_t k = 0; k < n; k++) {
          to[i] += s[i / N * n + k] * from[k * N + i % N];
        }
      }
    }
    for (int64_t i = 0; i < n * N; i++) {
      x[i] = 3.4445 * x[i] - 4.7750 * y[i] + 2.0315 * z[i];
    }
  }
}

/* The matrix of a slice, lying where its rows are no longer than columns. */
static void plain_muon(const tr_optimizer *opt,
                       const tr__slice *slice,
                       plain *states,
                       const double *grads,
                       double lr)
{
  const tr__hyper *h = &opt->hyper;
  int64_t R = slice->rows, C = slice->columns;
  double x[MAX_COUNT], norm = 0, scale = sqrt(fmax(1, (double)R / (double)C));
  int64_t place[MAX_COUNT];
  for (int64_t i = 0; i < R * C; i++) {
    double g = grads[i], *m = &states[i].m;
    *m = h->momentum * *m + (1 - h->momentum) * g;
    place[i] = R > C ? i % C * R + i / C : i;
    x[place[i]] = h->nesterov ? (1 - h->momentum) * g + h->momentum * *m : *m;
    norm += x[place[i]] * x[place[i]];
  }
  for (int64_t i = 0; i < R * C; i++) {
    x[i] /= sqrt(norm);
  }
  plain_newton_schulz(x, tr__min(R, C), tr__max(R, C));
  if (h->scale == TR_MUON_SCALE_MATCH_RMS_ADAMW) {
    scale = 0.2 * sqrt((double)tr__max(R, C));
  }
  for (int64_t i = 0; i < R * C; i++) {
    double *p = &states[i].p;
    *p = *p * (1 - lr * slice->weight_decay) - lr * scale * x[place[i]];
  }
}

/* AdamW for the slices that are no matrices. */
static void plain_muon_step(const tr_optimizer *opt,
                            plain *states,
                            const double *grads,
                            double lr,
                            int t)
{
  const tr__hyper *h = &opt->hyper;
  for (int k = 0; k < opt->num_slices; k++) {
    const tr__slice *slice = &opt->slices[k];
    int64_t first = slice->offset;
    if (slice->rows > 0) {
      plain_muon(opt, slice, states + first, grads + first, lr);
      continue;
    }
    double rate = lr * h->adamw_lr / h->lr;
    for (int64_t i = first; i < first + slice->count; i++) {
      states[i].p *= 1 - rate * h->adamw_weight_decay;
      plain_adam(&states[i], h, grads[i], rate, t);
    }
  }
}

static void
plain_step(const tr_optimizer *opt, plain *s, double g, double lr, int t)
{
  const tr__hyper *h = &opt->hyper;
  if (strcmp(opt->type->name, "sgd") == 0) {
    plain_sgd(s, h, g, lr, t);
    return;
  }
  if (strcmp(opt->type->name, "adam") == 0) {
    plain_adam(s, h, g + h->weight_decay * s->p, lr, t);
    return;
  }
  if (strcmp(opt->type->name, "adamw") == 0) {
    s->p *= 1 - lr * h->weight_decay;
    plain_adam(s, h, g, lr, t);
    return;
  }
  if (strcmp(opt->type->name, "rmsprop") == 0) {
    plain_rmsprop(s, h, g, lr);
    return;
  }
  if (strcmp(opt->type->name, "adagrad") == 0) {
    plain_adagrad(s, h, g, lr);
    return;
  }
  test_fail(__FILE__, __LINE__, "no plain formula of %s", opt->type->name);
}

/* Backward divided by 6 samples; the three weigh 3 * weight in all. */
static void plain_update(
    const subject *s, plain *states, double *grads, double weight, int t)
{
  double lr = tr_optimizer_lr(s->opt);
  for (int64_t i = 0; i < s->count; i++) {
    grads[i] *= 6 / (3 * weight);
  }
  if (strcmp(s->opt->type->name, "muon") == 0) {
    plain_muon_step(s->opt, states, grads, lr, t);
    return;
  }
  for (int64_t i = 0; i < s->count; i++) {
    plain_step(s->opt, &states[i], grads[i], lr, t);
  }
}

static void plain_run(subject *s, int number, double *p)
{
  plain states[MAX_COUNT] = {{0}};
  double grads[MAX_COUNT];
  for (int64_t i = 0; i < s->count; i++) {
    states[i].p = p[i];
    states[i].v = is_padding(s, i) ? 0 : s->opt->hyper.first_sum;
  }
  for (int step = 0; step < NUM_STEPS; step++) {
    double weight = weight_of(step);
    ASSERT_EQ(tr_optimizer_num_steps(s->opt), step);
    set_gradient(s, number, step, weight);
    get(s, s->net->store.grads, grads);
    plain_update(s, states, grads, weight, step + 1);
    ASSERT_OK(tr_optimizer_step(s->opt));
  }
  for (int64_t i = 0; i < s->count; i++) {
    p[i] = states[i].p;
  }
}

static void check_padding(subject *s)
{
  double values[MAX_COUNT];
  const void *arenas[2 + TR__MAX_SLOTS] = {s->net->store.values,
                                           s->net->store.grads};
  for (int i = 0; i < s->opt->num_slots; i++) {
    arenas[2 + i] = s->opt->slots[i];
  }
  for (int i = 0; i < 2 + s->opt->num_slots; i++) {
    get(s, arenas[i], values);
    for (int64_t k = 0; k < s->count; k++) {
      ASSERT(!is_padding(s, k) || values[k] == 0);
    }
  }
}

typedef void (*case_fn)(const tr__optimizer_type *type, int number);

static void for_every_case(case_fn fn)
{
  const tr__optimizer_type *const *table = tr__optimizer_table();
  for (int i = 0; table[i] != NULL; i++) {
    for (int k = 0; k < NUM_CASES; k++) {
      fn(table[i], k);
    }
  }
}

static tr_context *tested, *oracle;

static void check_formula(const tr__optimizer_type *type, int number)
{
  subject s = make_subject(tested, type, number);
  double wanted[MAX_COUNT], got[MAX_COUNT];
  get(&s, s.net->store.values, wanted);
  plain_run(&s, number, wanted);
  get(&s, s.net->store.values, got);
  ASSERT_TENSOR_NEAR(type->name, TR_F64, got, wanted, s.count, 1e-12);
  check_padding(&s);
  free_subject(&s);
}

static void test_ten_steps_follow_the_formula(void)
{
  tested = make_context("reference", TR_F64);
  for_every_case(check_formula);
  tr_context_destroy(&tested);
}

/* Parameters, then slots, after ten steps. */
static int run_steps(subject *s, int number, double results[][MAX_COUNT])
{
  for (int step = 0; step < NUM_STEPS; step++) {
    set_gradient(s, number, step, weight_of(step));
    ASSERT_OK(tr_optimizer_step(s->opt));
  }
  get(s, s->net->store.values, results[0]);
  for (int i = 0; i < s->opt->num_slots; i++) {
    get(s, s->opt->slots[i], results[1 + i]);
  }
  check_padding(s);
  return 1 + s->opt->num_slots;
}

static void
check_against(const tr__optimizer_type *type, int number, double tolerance)
{
  double got[1 + TR__MAX_SLOTS][MAX_COUNT],
      wanted[1 + TR__MAX_SLOTS][MAX_COUNT];
  subject a = make_subject(tested, type, number);
  subject b = make_subject(oracle, type, number);
  int num = run_steps(&a, number, got);
  ASSERT_EQ(run_steps(&b, number, wanted), num);
  for (int i = 0; i < num; i++) {
    char what[128];
    snprintf(what, sizeof what, "%s, case %d, %s", type->name, number,
             i == 0 ? "parameters" : a.opt->slot_names[i - 1]);
    ASSERT_TENSOR_NEAR(what, TR_F64, got[i], wanted[i], a.count, tolerance);
  }
  free_subject(&a);
  free_subject(&b);
}

static void check_same_bits(const tr__optimizer_type *type, int number)
{
  check_against(type, number, 0);
}

static void check_near(const tr__optimizer_type *type, int number)
{
  check_against(type, number, f32_tolerance);
}

static void compare_devices(const char *a,
                            const char *b,
                            tr_dtype dtype_a,
                            tr_dtype dtype_b,
                            case_fn fn)
{
  tested = make_context(a, dtype_a);
  oracle = make_context(b, dtype_b);
  for_every_case(fn);
  tr_context_destroy(&tested);
  tr_context_destroy(&oracle);
}

static void test_strict_gives_the_bits_of_the_reference(void)
{
  compare_devices("strict", "reference", TR_F64, TR_F64, check_same_bits);
  compare_devices("strict", "reference", TR_F32, TR_F32, check_same_bits);
}

static void test_cpu_in_single_is_near_the_reference(void)
{
  compare_devices("cpu", "reference", TR_F32, TR_F32, check_near);
}

static void test_single_precision_is_near_double(void)
{
  compare_devices("reference", "reference", TR_F32, TR_F64, check_near);
}

/* The smallest that the grain allows. */
static void update_in_slices(subject *s)
{
  tr_optimizer *opt = s->opt;
  if (opt->type->grain != TR__GRAIN_ELEMENT) {
    for (int i = opt->num_slices - 1; i >= 0; i--) {
      opt->type->update(opt, &opt->own_slices[i]);
    }
    return;
  }
  for (int64_t i = 0; i < s->count; i += 64) {
    tr__slice slice = {.offset = i,
                       .slot = i,
                       .count = 64,
                       .lr_scale = 1,
                       .weight_decay = opt->hyper.weight_decay};
    opt->type->update(opt, &slice);
  }
}

static void check_slices(const tr__optimizer_type *type, int number)
{
  double whole[MAX_COUNT], sliced[MAX_COUNT];
  subject a = make_subject(tested, type, number);
  subject b = make_subject(tested, type, number);
  set_gradient(&a, number, 0, 1);
  ASSERT_OK(tr_optimizer_step(a.opt));
  /* The same step by hand, slice by slice. */
  set_gradient(&b, number, 0, 1);
  const tr__step_block block = {.seed_scale = 1.0 / 6,
                                .planned = 6,
                                .lr = tr_optimizer_lr(b.opt),
                                .correction1 = 1 - b.opt->hyper.beta1,
                                .correction2 = 1 - b.opt->hyper.beta2,
                                .first = 1,
                                .grad_scale = 1,
                                .loss_scale = 1};
  tr__backend *backend = tested->backend;
  backend->type->upload(&backend->stream, b.net->store.block, &block,
                        sizeof block);
  update_in_slices(&b);
  get(&a, a.net->store.values, whole);
  get(&b, b.net->store.values, sliced);
  ASSERT_TENSOR_NEAR(type->name, TR_F64, sliced, whole, a.count, 0);
  free_subject(&a);
  free_subject(&b);
}

static void test_an_update_in_slices_gives_the_same_bits(void)
{
  tested = make_context("cpu", TR_F32);
  for_every_case(check_slices);
  tr_context_destroy(&tested);
}

static void test_the_table_names_every_slot(void)
{
  const tr__optimizer_type *const *table = tr__optimizer_table();
  for (int i = 0; table[i] != NULL; i++) {
    ASSERT(table[i]->random_create != NULL && table[i]->update != NULL);
    for (int k = 0; k < table[i]->num_slots; k++) {
      ASSERT(table[i]->slots[k] != NULL && table[i]->slots[k][0] != '\0');
    }
    for (int k = 0; k < i; k++) {
      ASSERT(strcmp(table[i]->name, table[k]->name) != 0);
    }
  }
}

static const tr_test tests[] = {
    TEST(test_the_table_names_every_slot),
    TEST(test_ten_steps_follow_the_formula),
    TEST(test_strict_gives_the_bits_of_the_reference),
    TEST(test_cpu_in_single_is_near_the_reference),
    TEST(test_single_precision_is_near_double),
    TEST(test_an_update_in_slices_gives_the_same_bits),
};

TEST_MAIN(tests)
