/* What holds for every layer because it is in the table. */
#include "layer_helper.h"

enum { NUM_CASES = 50, MAX_PROBES = 24 };

/* Small against the distance of two inputs, large against rounding. */
static const double step = 0x1p-13;

/* Other kernels add in another order and precision than the reference. */
static const double f32_tolerance = 1e-5;

typedef void (*case_fn)(const tr__layer_type *type, int number);

static void for_every_case(case_fn fn)
{
  const tr__layer_type *const *table = tr__layer_table();
  for (int i = 0; table[i] != NULL; i++) {
    for (int k = 0; table[i]->random_build != NULL && k < NUM_CASES; k++) {
      fn(table[i], k);
    }
  }
}

/* The contexts of the running test. */
static tr_context *tested, *oracle;

static void open_contexts(const char *a, const char *b, tr_dtype dtype)
{
  tested = make_context(a, dtype);
  oracle = b != NULL ? make_context(b, dtype) : NULL;
}

static void close_contexts(void)
{
  tr_context_destroy(&tested);
  tr_context_destroy(&oracle);
}

static void label(char *out, size_t bytes, const layer_case *c, const char *of)
{
  snprintf(out, bytes, "%s, case %d, gradient of %s", c->type->name, c->number,
           of);
}

static void test_every_layer_can_be_tested(void)
{
  const tr__layer_type *const *table = tr__layer_table();
  for (int i = 0; table[i] != NULL; i++) {
    bool is_input = strncmp(table[i]->name, "input", 5) == 0;
    if (!is_input &&
        (table[i]->random_build == NULL || table[i]->tolerance <= 0)) {
      test_fail(__FILE__, __LINE__, "%s has no random_build or no tolerance",
                table[i]->name);
    }
  }
}

/* sum of dy y, or the loss that backward differentiates */
static double objective(layer_case *c)
{
  outcome out = {.count = 0};
  double sum = 0;
  case_forward(c);
  case_output(c, &out);
  for (int64_t i = 0; i < c->dy.count && !c->is_loss; i++) {
    sum += c->dy.values[i] * out.tensors[0].values[i];
  }
  if (c->is_loss) {
    sum = out.tensors[1].values[TR__TAIL_LOSS] / (double)c->global_rows;
  }
  outcome_free(&out);
  return sum;
}

/* The slope of the objective where t moves along `direction`. */
static double slope(layer_case *c, tensor *t, const double *direction)
{
  double sides[2];
  double *kept = malloc((size_t)t->count * sizeof *kept);
  memcpy(kept, t->values, (size_t)t->count * sizeof *kept);
  for (int side = 0; side < 2; side++) {
    for (int64_t i = 0; i < t->count; i++) {
      t->values[i] = kept[i] + (side == 0 ? step : -step) * direction[i];
    }
    case_set_params(c);
    sides[side] = objective(c);
  }
  memcpy(t->values, kept, (size_t)t->count * sizeof *kept);
  case_set_params(c);
  free(kept);
  return (sides[0] - sides[1]) / (2 * step);
}

static void check_slope(layer_case *c,
                        tensor *t,
                        const tensor *gradient,
                        const double *direction)
{
  double wanted = slope(c, t, direction), got = 0, largest = 0, along = 0;
  for (int64_t i = 0; i < t->count; i++) {
    got += gradient->values[i] * direction[i];
    largest = fmax(largest, fabs(gradient->values[i]));
    along += fabs(direction[i]);
  }
  /* Rounding of the objective itself, where the gradient nearly vanishes. */
  double allowed = along * (c->type->tolerance * largest + 1e-12);
  if (!(fabs(got - wanted) <= allowed)) {
    char what[256];
    label(what, sizeof what, c, t->name);
    test_fail(__FILE__, __LINE__,
              "%s: %.12g, central difference %.12g; difference %.3g, allowed "
              "%.3g",
              what, got, wanted, got - wanted, allowed);
  }
}

/* All elements at once along random signs, then single ones. */
static void check_gradient(layer_case *c, tensor *t, const tensor *gradient)
{
  double *direction = malloc((size_t)t->count * sizeof *direction);
  const tr__random random = case_random(c->number, 30);
  for (int64_t i = 0; i < t->count; i++) {
    direction[i] = tr__random_u32(&random, i) % 2 == 0 ? 1 : -1;
  }
  check_slope(c, t, gradient, direction);
  int64_t probes = tr__min(t->count, MAX_PROBES);
  for (int64_t i = 0; i < probes; i++) {
    memset(direction, 0, (size_t)t->count * sizeof *direction);
    direction[tr__even_split(t->count, i, probes)] = 1;
    check_slope(c, t, gradient, direction);
  }
  free(direction);
}

static void check_differences(const tr__layer_type *type, int number)
{
  layer_case c;
  outcome out = {.count = 0};
  case_build(&c, tested, type, number, number % 3);
  case_forward(&c);
  case_backward(&c);
  case_gradients(&c, &out);
  for (int i = 0; i < c.num_inputs; i++) {
    if (c.inputs[i].is_ids) {
      continue;
    }
    check_gradient(&c, &c.inputs[i], &out.tensors[i]);
  }
  for (int i = 0; i < c.num_params; i++) {
    check_gradient(&c, &c.params[i], &out.tensors[c.num_inputs + i]);
  }
  outcome_free(&out);
  case_free(&c);
}

static void test_gradients_match_central_differences(void)
{
  open_contexts("reference", NULL, TR_F64);
  for_every_case(check_differences);
  close_contexts();
}

static void compare(const tr__layer_type *type,
                    int number,
                    const outcome *a,
                    const outcome *b,
                    double tolerance)
{
  ASSERT_EQ(a->count, b->count);
  for (int i = 0; i < a->count; i++) {
    char what[256];
    snprintf(what, sizeof what, "%s, case %d, %s", type->name, number,
             a->tensors[i].name);
    ASSERT_EQ(a->tensors[i].count, b->tensors[i].count);
    ASSERT_TENSOR_NEAR(what, TR_F64, a->tensors[i].values, b->tensors[i].values,
                       a->tensors[i].count, tolerance);
  }
}

static void
check_against(const tr__layer_type *type, int number, double tolerance)
{
  outcome a, b;
  case_run(tested, type, number, number % 3, &a);
  case_run(oracle, type, number, number % 3, &b);
  compare(type, number, &a, &b, tolerance);
  outcome_free(&a);
  outcome_free(&b);
}

static void check_same_bits(const tr__layer_type *type, int number)
{
  check_against(type, number, 0);
}

static void check_near(const tr__layer_type *type, int number)
{
  check_against(type, number, f32_tolerance);
}

static void test_strict_gives_the_bits_of_the_reference(void)
{
  open_contexts("strict", "reference", TR_F64);
  for_every_case(check_same_bits);
  close_contexts();
}

static void test_cpu_in_double_gives_the_bits_of_the_reference(void)
{
  open_contexts("cpu", "reference", TR_F64);
  for_every_case(check_same_bits);
  close_contexts();
}

static void test_cpu_in_single_is_near_the_reference(void)
{
  open_contexts("cpu", "reference", TR_F32);
  for_every_case(check_near);
  close_contexts();
}

static void test_strict_in_16_bits_gives_the_bits_of_the_reference(void)
{
  open_contexts("strict", "reference", TR_BF16);
  for_every_case(check_same_bits);
  close_contexts();
}

/* Each value and gradient is rounded once where it is stored; what is summed
 * over them and the reading of a rounded output in backward add a little. */
static void check_rounding(const tr__layer_type *type, int number)
{
  tr_dtype dtype = tested->compute;
  double unit = dtype == TR_BF16 ? 0x1p-8 : 0x1p-11;
  outcome a, b;
  case_run_rounded(tested, type, number, number % 3, dtype, &a);
  case_run_rounded(oracle, type, number, number % 3, dtype, &b);
  compare(type, number, &a, &b, 2 * unit);
  outcome_free(&a);
  outcome_free(&b);
}

static void test_16_bits_are_near_single_precision(void)
{
  static const tr_dtype dtypes[] = {TR_BF16, TR_F16};
  for (int i = 0; i < 2; i++) {
    tested = make_context("cpu", dtypes[i]);
    oracle = make_context("reference", TR_F32);
    for_every_case(check_rounding);
    close_contexts();
  }
}

static void check_larger_plan(const tr__layer_type *type, int number)
{
  outcome a, b;
  case_run(tested, type, number, 0, &a);
  case_run(tested, type, number, 7, &b);
  compare(type, number, &a, &b, 0);
  outcome_free(&a);
  outcome_free(&b);
}

static void test_a_larger_plan_gives_the_same_bits(void)
{
  open_contexts("cpu", NULL, TR_F32);
  for_every_case(check_larger_plan);
  close_contexts();
  open_contexts("cpu", NULL, TR_BF16);
  for_every_case(check_larger_plan);
  close_contexts();
  open_contexts("reference", NULL, TR_F64);
  for_every_case(check_larger_plan);
  close_contexts();
}

static void check_no_rows(const tr__layer_type *type, int number)
{
  layer_case c;
  outcome out = {.count = 0};
  case_build(&c, tested, type, number, 2);
  /* Not the zeros of fresh memory: gradients of an earlier step lie there. */
  case_forward(&c);
  case_backward(&c);
  c.net->step.gradients = TR__GRADIENTS_CLEAR;
  c.rows = c.dy.count = 0;
  for (int i = 0; i < c.num_inputs; i++) {
    c.inputs[i].count = 0;
  }
  case_forward(&c);
  case_backward(&c);
  case_gradients(&c, &out);
  for (int i = 0; i < out.count; i++) {
    for (int64_t k = 0; k < out.tensors[i].count; k++) {
      ASSERT_EQ(out.tensors[i].values[k] != 0, 0);
    }
  }
  double sums[TR__TAIL_FAILED];
  ASSERT_OK(tr__loss_local_sums(c.net, sums));
  ASSERT(sums[TR__TAIL_LOSS] == 0 && sums[TR__TAIL_WEIGHT] == 0);
  outcome_free(&out);
  case_free(&c);
}

static void test_no_rows_give_zero_gradients(void)
{
  static const char *const devices[] = {"reference", "cpu", "strict"};
  for (int i = 0; i < 3; i++) {
    open_contexts(devices[i], NULL, TR_F32);
    for_every_case(check_no_rows);
    close_contexts();
  }
}

static void check_sum_of_two(const tr__layer_type *type, int number)
{
  layer_case c;
  outcome once = {.count = 0}, twice = {.count = 0};
  case_build(&c, tested, type, number, 0);
  case_forward(&c);
  case_backward(&c);
  case_gradients(&c, &once);
  case_forward(&c);
  case_backward(&c);
  case_gradients(&c, &twice);
  /* Those of inputs are of the last batch, those of parameters are sums. */
  for (int i = c.num_inputs; i < once.count; i++) {
    for (int64_t k = 0; k < once.tensors[i].count; k++) {
      once.tensors[i].values[k] *= 2;
    }
  }
  compare(type, number, &twice, &once, 1e-14);
  outcome_free(&once);
  outcome_free(&twice);
  case_free(&c);
}

static void test_a_second_backward_adds_to_the_parameters_gradients(void)
{
  open_contexts("reference", NULL, TR_F64);
  for_every_case(check_sum_of_two);
  close_contexts();
}

static const tr_test tests[] = {
    TEST(test_every_layer_can_be_tested),
    TEST(test_gradients_match_central_differences),
    TEST(test_strict_gives_the_bits_of_the_reference),
    TEST(test_cpu_in_double_gives_the_bits_of_the_reference),
    TEST(test_cpu_in_single_is_near_the_reference),
    TEST(test_strict_in_16_bits_gives_the_bits_of_the_reference),
    TEST(test_16_bits_are_near_single_precision),
    TEST(test_a_larger_plan_gives_the_same_bits),
    TEST(test_no_rows_give_zero_gradients),
    TEST(test_a_second_backward_adds_to_the_parameters_gradients),
};

TEST_MAIN(tests)
