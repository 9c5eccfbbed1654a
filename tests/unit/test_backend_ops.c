/* Every backend computes what the reference computes. */
#include "backend/backend_table_impl.h"
#include "backend_cases.h"
#include "base/half_impl.h"

enum { CASES = 50, LARGE_CASES = 6 };

/* Largest difference to the reference, relative to the largest value of the
 * tensor or of an input, whichever is larger: a sum can cancel. All inputs are
 * exact in both precisions. */
typedef struct op_tolerance {
  double backend; /* single precision against the reference's */
  double single;  /* the reference in single against double precision */
} op_tolerance;

#define EXACT                                                                  \
  {                                                                            \
    0, -1                                                                      \
  }

/* Of an op that is not here: 0 and 4e-6. */
static const op_tolerance tolerances[TR__NUM_OPS] = {
    /* The same arithmetic, element by element; 0.1 is not exact. */
    [TR__OP_fill] = {0, 1e-7},
    [TR__OP_add] = {0, 1e-7},
    [TR__OP_sum] = {0, 1e-7},
    [TR__OP_product] = {0, 1e-6},
    [TR__OP_copy] = {0, 1e-7},
    [TR__OP_cast] = EXACT,
    [TR__OP_permute] = {0, 1e-7},
    [TR__OP_upsample2d_forward] = EXACT,
    [TR__OP_upsample2d_backward] = {0, 1e-6},
    [TR__OP_embedding_forward] = EXACT,
    [TR__OP_embedding_backward] = {0, 1e-6},
    [TR__OP_position_forward] = {0, 1e-7},
    [TR__OP_position_backward] = {0, 1e-6},
    /* Products of up to 40 numbers, exponentials of up to 2^9 as one factor. */
    [TR__OP_attention_forward] = {5e-5, 1e-6},
    [TR__OP_attention_backward] = {1e-4, 5e-5},
    /* The same loops; exponentials to two units in the last place, and 1 - t
     * cancels. */
    [TR__OP_activation_forward] = {0, 2e-6},
    [TR__OP_activation_backward] = {0, 4e-6},
    [TR__OP_softmax_forward] = {0, 1e-6},
    [TR__OP_softmax_backward] = {0, 4e-6},
    [TR__OP_dropout] = {0, 1e-6},
    /* Statistics in double; the variance of few values can cancel. */
    [TR__OP_norm_forward] = {0, 4e-6},
    [TR__OP_norm_backward_input] = {0, 1e-5},
    [TR__OP_norm_backward_weight] = {0, 1e-5},
    [TR__OP_batchnorm_sums] = EXACT,
    [TR__OP_batchnorm_stats] = {0, 1e-6},
    [TR__OP_batchnorm_forward] = {0, 4e-6},
    [TR__OP_batchnorm_backward_sums] = {0, 1e-5},
    [TR__OP_batchnorm_backward_input] = {0, 1e-5},
    [TR__OP_relu_forward] = EXACT,
    [TR__OP_relu_backward] = EXACT,
    [TR__OP_maxpool_forward] = EXACT,
    [TR__OP_maxpool_backward] = {0, 1e-6},
    /* Sums of up to 150 products of up to 16, in the backend's own order. */
    [TR__OP_linear_forward] = {2e-6, 2e-6},
    [TR__OP_linear_backward_input] = {2e-6, 2e-6},
    [TR__OP_linear_backward_weight] = {2e-6, 2e-6},
    /* The same, up to 5 * 1800 products. */
    [TR__OP_conv_forward] = {5e-6, 5e-6},
    [TR__OP_conv_backward_input] = {5e-6, 5e-6},
    [TR__OP_conv_backward_weight] = {1e-5, 1e-5},
    /* A few roundings; the means cancel. */
    [TR__OP_avgpool_forward] = {1e-6, 1e-6},
    [TR__OP_avgpool_backward] = {1e-6, 1e-6},
    [TR__OP_global_avgpool2d_forward] = {1e-6, 1e-6},
    [TR__OP_global_avgpool2d_backward] = {1e-7, 1e-6},
    [TR__OP_softmax_xent_forward] = {2e-6, 2e-6},
    [TR__OP_softmax_xent_backward] = {1e-6, 1e-6},
    [TR__OP_loss_sum] = {1e-6, 1e-6},
    [TR__OP_sgd_update] = {1e-6, 1e-6},
    [TR__OP_adam_update] = {1e-6, 1e-6},
    [TR__OP_xent_rule_forward] = {2e-6, 2e-6},
    [TR__OP_xent_rule_backward] = {2e-6, 2e-6},
    [TR__OP_regression_forward] = {2e-6, 2e-6},
    [TR__OP_regression_backward] = {2e-6, 2e-6},
    [TR__OP_rmsprop_update] = {1e-6, 1e-6},
    [TR__OP_adagrad_update] = {1e-6, 1e-6},
    /* Five iterations multiply what is small, its roundings too, by up to
     * 3.4445^5 = 485. */
    [TR__OP_muon_update] = {1e-5, 1e-5},
    [TR__OP_ema_update] = {1e-6, 1e-6},
    /* Doubles in both. */
    [TR__OP_sum_squares] = {1e-12, 1e-12},
    [TR__OP_clip_factor] = {1e-12, 1e-12},
    [TR__OP_swap] = EXACT,
};

enum { LARGEST_INPUT = 4 };

/* One more value at the end keeps the scale from falling below the inputs'. */
static double *as_doubles(const op_result *result, int operand)
{
  int64_t count = result->count[operand];
  double *values = malloc((size_t)(count + 1) * sizeof *values);
  for (int64_t i = 0; i < count; i++) {
    const void *data = result->data[operand];
    values[i] = result->dtype[operand] == TR_F64 ? ((const double *)data)[i]
                : result->dtype[operand] == TR_F32
                    ? (double)((const float *)data)[i]
                : tr__is_half(result->dtype[operand])
                    ? (double)tr__half_get(result->dtype[operand],
                                           ((const uint16_t *)data)[i])
                    : ((const int32_t *)data)[i];
  }
  values[count] = LARGEST_INPUT;
  return values;
}

static void assert_near(const char *what,
                        const op_result *a,
                        const op_result *b,
                        double tolerance)
{
  for (int t = 0; t < MAX_OPERANDS; t++) {
    ASSERT_EQ(a->count[t], b->count[t]);
    if (a->data[t] == NULL) {
      continue;
    }
    double *x = as_doubles(a, t), *y = as_doubles(b, t);
    ASSERT_TENSOR_NEAR(what, TR_F64, x, y, a->count[t] + 1,
                       a->dtype[t] == TR_I32 ? 0 : tolerance);
    free(x);
    free(y);
  }
}

static double single_tolerance(tr__op op)
{
  double listed = tolerances[op].single;
  return listed == 0 ? 4e-6 : listed < 0 ? 0 : listed;
}

static void compare(tr__op op, const char *name, int cases, bool is_large)
{
  open_backend reference = backend_open("reference", 1);
  open_backend other = backend_open(name, 2);
  for (int i = 0; i < cases; i++) {
    op_case c = case_make(op, i, is_large);
    op_result expected = case_run(&c, reference.backend, TR_F32);
    op_result exact = case_run(&c, reference.backend, TR_F64);
    op_result got = case_run(&c, other.backend, TR_F32);
    op_result got_exact = case_run(&c, other.backend, TR_F64);
    char what[128];
    snprintf(what, sizeof what, "%s on %s, case %d", tr__op_info_of(op)->name,
             name, i);
    assert_near(what, &got, &expected, tolerances[op].backend);
    assert_near(what, &got_exact, &exact, 0);
    assert_near(what, &expected, &exact, single_tolerance(op));
    result_free(&expected);
    result_free(&exact);
    result_free(&got);
    result_free(&got_exact);
    case_free(&c);
  }
  backend_close(&other);
  backend_close(&reference);
}

/* Inputs that are exact in 16 bits. */
static void round_inputs(op_case *c, tr_dtype dtype)
{
  const tr__op_info *info = tr__op_info_of(c->op);
  for (int t = 0; t < info->num_operands; t++) {
    bool is_half = (info->operands[t].flags & TR__HALF) != 0;
    double *values = c->values[c->alias[t] >= 0 ? c->alias[t] : t];
    int64_t count = tr__tensor_count(&c->args.tensors[t]);
    for (int64_t i = 0; is_half && values != NULL && i < count; i++) {
      values[i] = tr__half_get(dtype, tr__half_set(dtype, (float)values[i]));
    }
  }
}

/* What the op left in float, rounded where it writes 16 bits. */
static void round_result(op_result *result, tr__op op, tr_dtype dtype)
{
  const tr__op_info *info = tr__op_info_of(op);
  for (int t = 0; t < info->num_operands; t++) {
    const tr__operand *operand = &info->operands[t];
    if (result->data[t] == NULL || !(operand->flags & TR__HALF)) {
      continue;
    }
    result->dtype[t] = dtype;
    for (int64_t i = 0; i < result->count[t]; i++) {
      ((uint16_t *)result->data[t])[i] =
          tr__half_set(dtype, ((const float *)result->data[t])[i]);
    }
  }
}

/* The reference rounds what it computes in float; others may differ by what
 * they differ there, and then by one unit of the last place. */
static void compare_half(tr__op op, const char *name, bool is_large, int cases)
{
  static const tr_dtype dtypes[] = {TR_BF16, TR_F16};
  open_backend reference = backend_open("reference", 1);
  open_backend other = backend_open(name, 2);
  for (int i = 0; i < cases; i++) {
    tr_dtype dtype = dtypes[i % 2];
    double unit = dtype == TR_BF16 ? 0x1p-7 : 0x1p-10;
    double tolerance = tolerances[op].backend;
    op_case c = case_make(op, i, is_large);
    round_inputs(&c, dtype);
    op_result expected = case_run(&c, reference.backend, TR_F32);
    op_result got = case_run(&c, other.backend, dtype);
    round_result(&expected, op, dtype);
    char what[128];
    snprintf(what, sizeof what, "%s in 16 bits on %s, case %d",
             tr__op_info_of(op)->name, name, i);
    bool is_exact = tolerance == 0 || strcmp(name, "cpu") != 0;
    assert_near(what, &got, &expected, is_exact ? 0 : tolerance + unit);
    result_free(&expected);
    result_free(&got);
    case_free(&c);
  }
  backend_close(&other);
  backend_close(&reference);
}

static void test_numbers_of_16_bits_are_rounded_results(void)
{
  for (int b = 0; tr__backend_table()[b] != NULL; b++) {
    const char *name = tr__backend_table()[b]->name;
    for (int op = 0; op < TR__NUM_OPS; op++) {
      if (tr__op_may_have_16bit((tr__op)op)) {
        compare_half((tr__op)op, name, false, CASES);
        compare_half((tr__op)op, name, true, LARGE_CASES);
      }
    }
  }
}

static void compare_on_all_backends(tr__op op)
{
  for (int b = 0; tr__backend_table()[b] != NULL; b++) {
    const char *name = tr__backend_table()[b]->name;
    compare(op, name, CASES, false);
    compare(op, name, LARGE_CASES, true);
  }
}

#define TEST_OP(op)                                                            \
  static void test_##op##_agrees_with_reference_on_all_backends(void)          \
  {                                                                            \
    compare_on_all_backends(TR__OP_##op);                                      \
  }
TR__OPS(TEST_OP)
#undef TEST_OP

/* Does the op add to some of its outputs in this call? */
static bool accumulates(const op_case *c)
{
  for (const tr__number *n = tr__op_numbers(c->op); n->name != NULL; n++) {
    if (strcmp(n->name, "accumulate") == 0) {
      return *(const int *)(const void *)((const char *)&c->args + n->offset);
    }
  }
  return false;
}

static bool has_alias(const op_case *c, int operand)
{
  bool has = c->alias[operand] >= 0;
  for (int t = 0; t < MAX_OPERANDS; t++) {
    has |= c->alias[t] == operand;
  }
  return has;
}

/* What an operand holds before the call. */
static bool is_still(const op_case *c, const op_result *result, int t)
{
  bool is_same = true;
  for (int64_t i = 0; i < result->count[t] && c->values[t] != NULL; i++) {
    double value = result->dtype[t] == TR_I32
                       ? (double)((const int32_t *)result->data[t])[i]
                       : ((const double *)result->data[t])[i];
    double before = c->values[t][i];
    is_same &= value == before || (isnan(value) && isnan(before));
  }
  return is_same;
}

/* IN: as it was. OUT: the same whatever it held. WHAT may be absent says so. */
static void check_operands(tr__op op, tr__backend *reference, int number)
{
  const tr__op_info *info = tr__op_info_of(op);
  op_case c = case_make(op, number, false);
  bool adds = accumulates(&c);
  for (int t = 0; t < info->num_operands; t++) {
    bool is_there = c.args.tensors[t].ndim >= 0 && !c.is_absent[t];
    bool may_be_absent = info->operands[t].direction == TR__SCRATCH ||
                         (info->operands[t].flags & TR__OPTIONAL);
    if (!is_there && !may_be_absent) {
      test_fail(__FILE__, __LINE__, "%s without %s", info->name,
                info->operands[t].name);
    }
    ASSERT(c.alias[t] < 0 || (info->operands[t].flags & TR__ALIAS));
    c.is_output[t] = info->operands[t].direction != TR__SCRATCH;
  }
  op_result first = case_run(&c, reference, TR_F64);
  for (int t = 0; t < info->num_operands; t++) {
    const tr__operand *operand = &info->operands[t];
    bool is_free = first.data[t] != NULL && !has_alias(&c, t);
    if (is_free && operand->direction == TR__IN && !is_still(&c, &first, t)) {
      test_fail(__FILE__, __LINE__, "%s writes its input %s", info->name,
                operand->name);
    }
    bool is_set = operand->direction == TR__OUT && c.values[t] != NULL &&
                  !(adds && (operand->flags & TR__ADDS));
    for (int64_t i = 0; is_free && is_set && i < first.count[t]; i++) {
      c.values[t][i] = first.dtype[t] == TR_I32 ? -7 : (double)NAN;
    }
  }
  op_result second = case_run(&c, reference, TR_F64);
  for (int t = 0; t < info->num_operands; t++) {
    if (tr__operand_is_written(&info->operands[t]) && first.data[t] != NULL) {
      ASSERT_EQ(memcmp(first.data[t], second.data[t],
                       (size_t)first.count[t] * tr_dtype_size(first.dtype[t])),
                0);
    }
  }
  result_free(&second);
  result_free(&first);
  case_free(&c);
}

static void test_operands_are_what_their_table_says(void)
{
  open_backend reference = backend_open("reference", 1);
  for (int op = 0; op < TR__NUM_OPS; op++) {
    for (int i = 0; i < CASES; i++) {
      check_operands((tr__op)op, reference.backend, i);
    }
  }
  backend_close(&reference);
}

static void test_unknown_device_is_not_found(void)
{
  ASSERT(tr__backend_find("tpu") == NULL);
  ASSERT(tr__backend_find("") == NULL);
  ASSERT(tr__backend_find("cpu") != NULL);
}

static void test_no_backend_has_an_empty_slot(void)
{
  for (int b = 0; tr__backend_table()[b] != NULL; b++) {
    const tr__backend_type *type = tr__backend_table()[b];
    ASSERT(tr__backend_find(type->name) == type);
    ASSERT(type->create && type->destroy && type->alloc && type->free);
    ASSERT(type->upload && type->download && type->wait);
    ASSERT(type->host_view && type->workspace);
    open_backend open = backend_open(type->name, 1);
    ASSERT_EQ(open.backend->ops.version, TR__OPS_VERSION);
    ASSERT(open.backend->stream.backend == open.backend);
#define SLOT(op) ASSERT(open.backend->ops.op != NULL);
    TR__OPS(SLOT)
#undef SLOT
    backend_close(&open);
  }
}

static void test_memory_is_zeroed_and_aligned(void)
{
  static const size_t sizes[] = {0, 1, 100, 4096, 5 << 20};
  for (int b = 0; tr__backend_table()[b] != NULL; b++) {
    open_backend open = backend_open(tr__backend_table()[b]->name, 1);
    tr__backend *backend = open.backend;
    for (int i = 0; i < 5; i++) {
      void *data;
      ASSERT_OK(backend->type->alloc(backend, sizes[i], &data));
      ASSERT_EQ((uintptr_t)data % 64, 0);
      char *host = malloc(sizes[i] + 1);
      memset(host, 1, sizes[i] + 1);
      ASSERT_OK(
          backend->type->download(&backend->stream, host, data, sizes[i]));
      for (size_t j = 0; j < sizes[i]; j++) {
        ASSERT_EQ(host[j], 0);
      }
      free(host);
      backend->type->free(backend, data, sizes[i]);
    }
    backend->type->free(backend, NULL, 0);
    void *data = &open;
    ASSERT_FAILS(backend->type->alloc(backend, SIZE_MAX - 5, &data), TR_ENOMEM,
                 "cannot allocate");
    ASSERT(data == NULL);
    backend_close(&open);
  }
}

#define LIST(op) TEST(test_##op##_agrees_with_reference_on_all_backends),

static const tr_test tests[] = {
    TR__OPS(LIST) TEST(test_numbers_of_16_bits_are_rounded_results),
    TEST(test_operands_are_what_their_table_says),
    TEST(test_unknown_device_is_not_found),
    TEST(test_no_backend_has_an_empty_slot),
    TEST(test_memory_is_zeroed_and_aligned),
};
TEST_MAIN(tests)
