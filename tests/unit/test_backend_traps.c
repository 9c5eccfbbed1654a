/* No op raises a floating-point exception on finite numbers, on any backend and
 * in any precision: hosts that trap them are the very users. */
#include "backend/backend_table_impl.h"
#include "backend_cases.h"
#include "trap_helper.h"

/* Large ones only where vectors and threads share the work. */
enum { CASES = 8, LARGE_CASES = 2 };

/* Some ops are given numbers that are not finite, and may say so. */
static void make_finite(op_case *c)
{
  const tr__op_info *info = tr__op_info_of(c->op);
  for (int t = 0; t < info->num_operands; t++) {
    const tr__tensor *tensor = &c->args.tensors[t];
    bool is_real = tensor->ndim >= 0 && tensor->dtype != TR_I32;
    int64_t count = is_real ? tr__tensor_count(tensor) : 0;
    for (int64_t i = 0; c->values[t] != NULL && i < count; i++) {
      c->values[t][i] = isfinite(c->values[t][i]) ? c->values[t][i] : 1;
    }
  }
}

static void run_cases(tr__op op, open_backend *b, tr_dtype dtype)
{
  bool is_cpu = strcmp(b->backend->type->name, "cpu") == 0;
  for (int i = 0; i < CASES + (is_cpu ? LARGE_CASES : 0); i++) {
    op_case c = case_make(op, i, i >= CASES);
    traps_off();
    make_finite(&c);
    traps_on();
    trap_name(b->backend->type->name, dtype, tr__op_info_of(op)->name);
    op_result result = case_run(&c, b->backend, dtype);
    result_free(&result);
    case_free(&c);
  }
}

static void test_no_op_traps_on_finite_numbers(void)
{
  static const tr_dtype dtypes[] = {TR_F64, TR_F32, TR_BF16, TR_F16};
  traps_on();
  for (int k = 0; tr__backend_table()[k] != NULL; k++) {
    open_backend b = backend_open(tr__backend_table()[k]->name, 2);
    for (int op = 0; op < TR__NUM_OPS; op++) {
      bool has_halves = tr__op_may_have_16bit((tr__op)op);
      for (int t = 0; t < (has_halves ? 4 : 2); t++) {
        run_cases((tr__op)op, &b, dtypes[t]);
      }
    }
    backend_close(&b);
  }
  traps_off();
}

static const tr_test tests[] = {
    TEST(test_no_op_traps_on_finite_numbers),
};
TEST_MAIN(tests)
