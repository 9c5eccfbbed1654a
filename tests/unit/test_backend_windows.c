/* Convolutions and pools have the most options to combine: a thousand random
 * calls of each on cpu against the reference in double precision. */
#include "backend_cases.h"
#include "base/half_impl.h"

enum { CASES = 1000 };

/* Relative to the largest value, or to 4, the largest of an input: a sum may
 * cancel. Up to 5 * 1800 products of up to 16, and one rounding to 16 bits. */
static const double single = 2e-5;

static double value_at(const op_result *r, int t, int64_t i)
{
  switch (r->dtype[t]) {
  case TR_F64:
    return ((const double *)r->data[t])[i];
  case TR_F32:
    return (double)((const float *)r->data[t])[i];
  case TR_I32:
    return ((const int32_t *)r->data[t])[i];
  default:
    return (double)tr__half_get(r->dtype[t], ((const uint16_t *)r->data[t])[i]);
  }
}

static double scale_of(const op_result *r, int t)
{
  double largest = 4;
  for (int64_t i = 0; i < r->count[t]; i++) {
    double value = fabs(value_at(r, t, i));
    largest = isfinite(value) ? fmax(largest, value) : largest;
  }
  return largest;
}

static void assert_near(const char *what,
                        const op_result *got,
                        const op_result *exact,
                        double tolerance)
{
  for (int t = 0; t < MAX_OPERANDS; t++) {
    double allowed =
        got->dtype[t] == TR_I32 ? 0 : tolerance * scale_of(exact, t);
    for (int64_t i = 0; got->data[t] != NULL && i < got->count[t]; i++) {
      double a = value_at(got, t, i), b = value_at(exact, t, i);
      if (a != b && !(isnan(a) && isnan(b)) && !(fabs(a - b) <= allowed)) {
        test_fail(__FILE__, __LINE__,
                  "%s: element %lld of %lld is %.9g, expected %.9g", what,
                  (long long)i, (long long)got->count[t], a, b);
      }
    }
  }
}

/* Inputs that are exact in 16 bits. */
static void round_inputs(op_case *c, tr_dtype dtype)
{
  const tr__op_info *info = tr__op_info_of(c->op);
  for (int t = 0; t < info->num_operands; t++) {
    double *values = c->values[c->alias[t] >= 0 ? c->alias[t] : t];
    bool rounds = (info->operands[t].flags & TR__HALF) && values != NULL;
    int64_t count = rounds ? tr__tensor_count(&c->args.tensors[t]) : 0;
    for (int64_t i = 0; i < count; i++) {
      values[i] = tr__half_get(dtype, tr__half_set(dtype, (float)values[i]));
    }
  }
}

static void compare(const op_case *c,
                    int number,
                    tr__backend *const backends[2],
                    tr_dtype d)
{
  double rounding = d == TR_BF16 ? 0x1p-8 : d == TR_F16 ? 0x1p-11 : 0;
  op_result exact = case_run(c, backends[0], TR_F64);
  op_result got = case_run(c, backends[1], d);
  char what[128];
  snprintf(what, sizeof what, "%s on cpu, type %d, case %d",
           tr__op_info_of(c->op)->name, (int)d, number);
  assert_near(what, &got, &exact, d == TR_F64 ? 0 : single + rounding);
  result_free(&exact);
  result_free(&got);
}

static void check_op(tr__op op)
{
  static const tr_dtype halves[] = {TR_BF16, TR_F16};
  open_backend reference = backend_open("reference", 1);
  open_backend cpu = backend_open("cpu", 2);
  tr__backend *const backends[2] = {reference.backend, cpu.backend};
  for (int i = 0; i < CASES; i++) {
    op_case c = case_make(op, i, false);
    compare(&c, i, backends, TR_F64);
    compare(&c, i, backends, TR_F32);
    if (tr__op_may_have_16bit(op)) {
      round_inputs(&c, halves[i % 2]);
      compare(&c, i, backends, halves[i % 2]);
    }
    case_free(&c);
  }
  backend_close(&cpu);
  backend_close(&reference);
}

#define TEST_OP(op)                                                            \
  static void test_##op##_agrees_in_a_thousand_cases(void)                     \
  {                                                                            \
    check_op(TR__OP_##op);                                                     \
  }
TR__OPS_CONV(TEST_OP)
#undef TEST_OP

#define LIST(op) TEST(test_##op##_agrees_in_a_thousand_cases),
static const tr_test tests[] = {TR__OPS_CONV(LIST)};
TEST_MAIN(tests)
