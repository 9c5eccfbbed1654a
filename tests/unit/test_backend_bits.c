/* Bits do not depend on threads, and sums over shards are the fixed tree. */
#include "backend/backend_table_impl.h"
#include "backend_cases.h"

enum { THREAD_CASES = 6, SHARD_CASES = 32, MAX_SHARDS = 9 };

static void
assert_same_bits(const char *what, const op_result *a, const op_result *b)
{
  for (int t = 0; t < MAX_OPERANDS; t++) {
    ASSERT_EQ(a->count[t], b->count[t]);
    size_t bytes = (size_t)a->count[t] * tr_dtype_size(a->dtype[t]);
    if (bytes > 0 && memcmp(a->data[t], b->data[t], bytes) != 0) {
      test_fail(__FILE__, __LINE__, "%s: operand %d has other bits", what, t);
    }
  }
}

static void check_threads(tr_dtype dtype)
{
  static const int threads[] = {2, 3, 5};
  open_backend one = backend_open("cpu", 1);
  for (int i = 0; i < 3; i++) {
    open_backend many = backend_open("cpu", threads[i]);
    for (int op = 0; op < TR__NUM_OPS; op++) {
      for (int64_t k = 0; k < THREAD_CASES; k++) {
        op_case c = case_make((tr__op)op, k, true);
        op_result expected = case_run(&c, one.backend, dtype);
        op_result got = case_run(&c, many.backend, dtype);
        char what[128];
        snprintf(what, sizeof what, "%s, case %d, %d threads",
                 tr__op_info_of((tr__op)op)->name, (int)k, threads[i]);
        assert_same_bits(what, &got, &expected);
        result_free(&expected);
        result_free(&got);
        case_free(&c);
      }
    }
    backend_close(&many);
  }
  backend_close(&one);
}

static void test_bits_are_the_same_for_any_number_of_threads(void)
{
  check_threads(TR_F32);
}

static void test_16_bits_are_the_same_for_any_number_of_threads(void)
{
  check_threads(TR_BF16);
}

/* The call that sees only some rows of another one's inputs. Operands from
 * `first_row` on have rows; the shards are the caller's. */
static op_case
rows_of(const op_case *c, int first_row, int64_t begin, int64_t end)
{
  op_case part = *c;
  for (int t = first_row; t < MAX_OPERANDS; t++) {
    tr__tensor *tensor = &part.args.tensors[t];
    if (c->values[t] == NULL) {
      continue;
    }
    part.values[t] = c->values[t] + begin * tr__tensor_row(tensor);
    tensor->dims[0] = end - begin;
  }
  return part;
}

static void add_results(op_result *sum, const op_result *other)
{
  for (int t = 0; t < MAX_OPERANDS; t++) {
    for (int64_t i = 0; i < sum->count[t]; i++) {
      if (sum->dtype[t] == TR_F64) {
        ((double *)sum->data[t])[i] += ((const double *)other->data[t])[i];
      } else {
        ((float *)sum->data[t])[i] += ((const float *)other->data[t])[i];
      }
    }
  }
}

/* Neighbours are added in rounds; one left over waits for the next round.
 * This is the tree that splits at the largest power of two below, grown from
 * its leaves. */
static void add_in_rounds(op_result *sums, bool *any, int64_t count)
{
  for (; count > 1; count = (count + 1) / 2) {
    for (int64_t i = 0; 2 * i < count; i++) {
      op_result sum = sums[2 * i];
      bool is_there = any[2 * i];
      if (2 * i + 1 < count && any[2 * i + 1]) {
        if (is_there) {
          add_results(&sum, &sums[2 * i + 1]);
          result_free(&sums[2 * i + 1]);
        } else {
          result_free(&sum);
          sum = sums[2 * i + 1];
        }
        is_there = true;
      } else if (2 * i + 1 < count) {
        result_free(&sums[2 * i + 1]);
      }
      sums[i] = sum;
      any[i] = is_there;
    }
  }
}

typedef struct sharded_op {
  tr__op op;
  size_t shards, accumulate; /* where they are in the arguments */
  int first_row;             /* the first operand with rows */
} sharded_op;

static const sharded_op sharded[] = {
#define ROW(op, first_row)                                                     \
  {                                                                            \
    TR__OP_##op, offsetof(tr__##op##_args, shards),                            \
        offsetof(tr__##op##_args, accumulate), first_row                       \
  }
    ROW(linear_backward_weight, 2),
    ROW(conv_backward_weight, 2),
    ROW(loss_sum, 1),
    ROW(embedding_backward, 1),
    ROW(position_backward, 1),
};

static void set_shards(op_case *c, const sharded_op *s, tr__shards shards)
{
  memcpy((char *)&c->args + s->shards, &shards, sizeof shards);
  memset((char *)&c->args + s->accumulate, 0, sizeof(int));
}

/* Of the tail, only the sums are the op's. */
static op_result run_sum(const op_case *c, open_backend *b, tr_dtype dtype)
{
  op_result result = case_run(c, b->backend, dtype);
  if (c->op == TR__OP_loss_sum) {
    result.count[0] = TR__TAIL_CORRECT + 1;
  }
  return result;
}

/* The whole batch of the case, sum by sum, each shard a call of its own, as by
 * a rank that holds it alone. */
static op_result sum_by_hand(const op_case *c,
                             const sharded_op *s,
                             int64_t rows,
                             int64_t total,
                             open_backend *b,
                             tr_dtype dtype)
{
  op_result sums[MAX_SHARDS];
  bool any[MAX_SHARDS];
  for (int64_t i = 0; i < total; i++) {
    int64_t begin = tr__even_split(rows, i, total);
    int64_t end = tr__even_split(rows, i + 1, total);
    op_case part = rows_of(c, s->first_row, begin, end);
    set_shards(
        &part, s,
        (tr__shards){.rows = rows, .total = total, .first = i, .count = 1});
    sums[i] = run_sum(&part, b, dtype);
    any[i] = end > begin;
  }
  add_in_rounds(sums, any, total);
  return sums[0];
}

/* The same on `ranks` that hold as many shards each, whose sums are added as
 * neighbours: for a power of two of them the whole is the same tree. */
static op_result sum_by_ranks(const op_case *c,
                              const sharded_op *s,
                              int64_t rows,
                              int64_t total,
                              int64_t ranks,
                              open_backend *b,
                              tr_dtype dtype)
{
  op_result sums[MAX_SHARDS];
  bool any[MAX_SHARDS];
  for (int64_t r = 0; r < ranks; r++) {
    tr__shards shards = {.rows = rows,
                         .total = total,
                         .first = total / ranks * r,
                         .count = total / ranks};
    int64_t begin = tr__even_split(rows, shards.first, total);
    op_case part = rows_of(c, s->first_row, begin,
                           begin + tr__shard_begin(&shards, shards.count));
    set_shards(&part, s, shards);
    sums[r] = run_sum(&part, b, dtype);
    any[r] = tr__shard_begin(&shards, shards.count) > 0;
  }
  add_in_rounds(sums, any, ranks);
  return sums[0];
}

static void
check_sharded(const sharded_op *s, int64_t i, open_backend *b, tr_dtype dtype)
{
  op_case c = case_make(s->op, i, i % 3 == 0);
  /* The rows that the case has values for are the global batch. */
  int64_t rows = c.args.tensors[s->first_row].dims[0];
  int64_t total = 2 + i % (MAX_SHARDS - 1);
  op_result expected = sum_by_hand(&c, s, rows, total, b, dtype);
  tr__shards all = {.rows = rows, .total = total, .count = total};
  op_case whole = c;
  set_shards(&whole, s, all);
  op_result got = run_sum(&whole, b, dtype);
  char what[128];
  snprintf(what, sizeof what, "%s on %s, %lld shards of %lld rows",
           tr__op_info_of(s->op)->name, b->backend->type->name,
           (long long)total, (long long)rows);
  assert_same_bits(what, &got, &expected);
  for (int64_t ranks = 2; ranks <= 4; ranks *= 2) {
    if (total == 4 || total == 8) {
      op_result joined = sum_by_ranks(&c, s, rows, total, ranks, b, dtype);
      assert_same_bits(what, &joined, &expected);
      result_free(&joined);
    }
  }
  result_free(&got);
  result_free(&expected);
  case_free(&c);
}

static void test_sharded_sums_are_the_tree_of_separate_shards(void)
{
  for (int b = 0; tr__backend_table()[b] != NULL; b++) {
    open_backend open = backend_open(tr__backend_table()[b]->name, 2);
    for (size_t s = 0; s < sizeof sharded / sizeof sharded[0]; s++) {
      for (int64_t i = 0; i < SHARD_CASES; i++) {
        check_sharded(&sharded[s], i, &open, TR_F32);
        check_sharded(&sharded[s], i, &open, TR_F64);
      }
    }
    backend_close(&open);
  }
}

/* Products whose first two operands have rows. */
static const struct {
  tr__op op;
  size_t shards;
} products[] = {
    {TR__OP_linear_forward, offsetof(tr__linear_forward_args, shards)},
    {TR__OP_linear_backward_input,
     offsetof(tr__linear_backward_input_args, shards)},
};

static op_case
piece_of(const op_case *c, size_t place, tr__shards shards, int64_t begin)
{
  op_case piece = *c;
  for (int t = 0; t < 2; t++) {
    tr__tensor *tensor = &piece.args.tensors[t];
    tensor->dims[0] = tr__shard_begin(&shards, shards.count);
    piece.values[t] = c->values[t] + begin * tr__tensor_row(tensor);
  }
  memcpy((char *)&piece.args + place, &shards, sizeof shards);
  return piece;
}

/* All rows at once, then shard by shard. */
static void check_pieces(int p, int64_t i, open_backend *b)
{
  op_case c = case_make(products[p].op, i, i % 2 == 0);
  int64_t rows = c.args.tensors[0].dims[0], total = 1 + i % MAX_SHARDS;
  tr__shards all = {.rows = rows, .total = total, .count = total};
  op_case whole = piece_of(&c, products[p].shards, all, 0);
  op_result expected = case_run(&whole, b->backend, TR_F32);
  int64_t row = tr__tensor_row(&c.args.tensors[0]);
  for (int64_t s = 0; s < total; s++) {
    tr__shards one = {.rows = rows, .total = total, .first = s, .count = 1};
    int64_t begin = tr__shard_begin(&all, s);
    op_case piece = piece_of(&c, products[p].shards, one, begin);
    op_result got = case_run(&piece, b->backend, TR_F32);
    size_t bytes = (size_t)got.count[0] * sizeof(float);
    const float *from = expected.data[0];
    ASSERT_EQ(got.count[0], tr__shard_begin(&one, 1) * row);
    ASSERT(bytes == 0 || memcmp(got.data[0], from + begin * row, bytes) == 0);
    result_free(&got);
  }
  result_free(&expected);
  case_free(&c);
}

static void test_rows_do_not_depend_on_the_shards_of_a_rank(void)
{
  for (int b = 0; tr__backend_table()[b] != NULL; b++) {
    open_backend open = backend_open(tr__backend_table()[b]->name, 2);
    for (int p = 0; p < 2; p++) {
      for (int64_t i = 0; i < 2 * SHARD_CASES; i++) {
        check_pieces(p, i, &open);
      }
    }
    backend_close(&open);
  }
}

static const tr_test tests[] = {
    TEST(test_bits_are_the_same_for_any_number_of_threads),
    TEST(test_16_bits_are_the_same_for_any_number_of_threads),
    TEST(test_sharded_sums_are_the_tree_of_separate_shards),
    TEST(test_rows_do_not_depend_on_the_shards_of_a_rank),
};
TEST_MAIN(tests)
