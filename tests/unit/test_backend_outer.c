/* Gradients of weights that are summed in registers, by every kind of vector
 * that this CPU has, and the same by products for large batches. */
#include "backend/cpu/linear/outer_impl.h"
#include "backend_cases.h"

#include <stdlib.h>

enum { CASES = 300, MAX_ROWS = 40, STRIDE = TR__OUTER_COLUMNS + 3 };
enum { LENGTH = MAX_ROWS * TR__OUTER_ROWS, OUT = TR__OUTER_ROWS * STRIDE };

/* -4..4: sums of products are exact. */
static void fill_small(draws *d, float *to, int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    to[i] = (float)(draw(d, 9) - 4);
  }
}

static void fill_uneven(draws *d, float *to, int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    to[i] = (float)(draw(d, 2000001) - 1000000) * 1.1e-6f;
  }
}

/* Operands end where their last element does, for the sanitizer to see. */
typedef struct input {
  float *a, *b;
  float stack[8 * TR__OUTER_BLOCK];
  tr__tree_step steps[MAX_ROWS];
  tr__shards shards;
} input;

static float *alloc_floats(int64_t count)
{
  float *made = malloc((size_t)count * sizeof *made);
  ASSERT(made != NULL);
  return made;
}

static tr__cpu_outer draw_input(draws *d,
                                input *in,
                                tr__cpu_block *out,
                                bool has_shards,
                                void (*fill)(draws *, float *, int64_t))
{
  *out = (tr__cpu_block){.stride = STRIDE,
                         .rows = 1 + draw(d, TR__OUTER_ROWS),
                         .columns = 1 + draw(d, TR__OUTER_COLUMNS),
                         .accumulate = (int)draw(d, 2)};
  int64_t total = 1 + draw(d, 9), count = 1 + draw(d, MAX_ROWS);
  in->shards = (tr__shards){.rows = count, .total = total, .count = total};
  tr__cpu_outer sum = {.b_step = out->columns + draw(d, 3), .count = count};
  int64_t a = (count - 1) * TR__OUTER_ROWS + out->rows;
  if (has_shards) {
    sum.steps = in->steps;
    sum.num_steps = tr__tree_steps(&in->shards, in->steps);
    sum.stack = in->stack;
  } else {
    sum.a_row = count + draw(d, 3);
    a = (out->rows - 1) * sum.a_row + count;
  }
  int64_t b = (count - 1) * sum.b_step + out->columns;
  sum.a = in->a = alloc_floats(a);
  sum.b = in->b = alloc_floats(b);
  fill(d, in->a, a);
  fill(d, in->b, b);
  return sum;
}

static void free_input(input *in)
{
  free(in->a);
  free(in->b);
}

/* Where a(i, r) is. */
static const float *left_at(const tr__cpu_outer *of, int64_t i, int64_t r)
{
  return of->a +
         (of->num_steps > 0 ? i * TR__OUTER_ROWS + r : r * of->a_row + i);
}

static float plain(const tr__cpu_outer *of, int64_t r, int64_t c)
{
  float sum = 0;
  for (int64_t i = 0; i < of->count; i++) {
    sum += *left_at(of, i, r) * of->b[i * of->b_step + c];
  }
  return sum;
}

static void check_block(const tr__cpu_outer_kind *kind, draws *d)
{
  input in;
  tr__cpu_block block;
  tr__cpu_outer sum = draw_input(d, &in, &block, draw(d, 2), fill_small);
  float out[OUT], before[OUT];
  fill_small(d, before, OUT);
  memcpy(out, before, sizeof out);
  block.data = out;
  kind->run(&sum, &block);
  for (int64_t i = 0; i < OUT; i++) {
    int64_t r = i / STRIDE, c = i % STRIDE;
    bool is_inside = r < block.rows && c < block.columns;
    float expected = is_inside && !block.accumulate ? 0 : before[i];
    expected += is_inside ? plain(&sum, r, c) : 0;
    if (out[i] != expected) {
      test_fail(__FILE__, __LINE__,
                "%s, %d steps, %d x %d: %g in row %d, column %d, expected %g",
                kind->name, (int)sum.num_steps, (int)block.rows,
                (int)block.columns, (double)out[i], (int)r, (int)c,
                (double)expected);
      break;
    }
  }
  free_input(&in);
}

/* For each kind that this CPU supports, case by case. */
static void for_every_kind(void (*check)(const tr__cpu_outer_kind *, draws *))
{
  for (const tr__cpu_outer_kind *kind = tr__cpu_outer_kinds; kind->name != NULL;
       kind++) {
    draws d = {.random = {.seed = 31}};
    for (int i = 0; i < CASES && kind->is_supported(); i++) {
      check(kind, &d);
    }
  }
}

static void test_every_kind_sums_as_plain_loops(void)
{
  for_every_kind(check_block);
}

static void set_to_zero(float *block)
{
  for (int i = 0; i < OUT; i++) {
    block[i] = 0;
  }
}

/* One column of one row alone. */
static void check_element(const tr__cpu_outer_kind *kind, draws *d)
{
  input in;
  tr__cpu_block block;
  tr__cpu_outer sum = draw_input(d, &in, &block, draw(d, 2), fill_uneven);
  float all[OUT], one = 0.5f;
  fill_uneven(d, all, OUT);
  int64_t r = draw(d, block.rows), c = draw(d, block.columns);
  one = all[r * STRIDE + c];
  block.data = all;
  kind->run(&sum, &block);
  sum.a = left_at(&sum, 0, r);
  sum.b += c;
  block.data = &one;
  block.rows = block.columns = 1;
  kind->run(&sum, &block);
  ASSERT(memcmp(&one, &all[r * STRIDE + c], sizeof one) == 0);
  free_input(&in);
}

static void test_bits_do_not_depend_on_the_extents_of_a_block(void)
{
  for_every_kind(check_element);
}

typedef struct leaf_call {
  const tr__cpu_outer_kind *kind;
  tr__cpu_outer sum;
  tr__cpu_block block;
} leaf_call;

static void
run_leaf(void *arg, int64_t begin, int64_t end, void *to, int accumulate)
{
  leaf_call call = *(leaf_call *)arg;
  tr__tree_step step = {begin, end, 0};
  call.sum.steps = &step;
  call.sum.num_steps = 1;
  call.block.data = to;
  call.block.accumulate = accumulate;
  call.kind->run(&call.sum, &call.block);
}

static void add_blocks(void *arg, void *sum, const void *other)
{
  (void)arg;
  for (int i = 0; i < OUT; i++) {
    ((float *)sum)[i] += ((const float *)other)[i];
  }
}

static void check_shards(const tr__cpu_outer_kind *kind, draws *d)
{
  static float expected[OUT], got[OUT], scratch[8 * (OUT + 16)];
  input in;
  leaf_call call = {.kind = kind};
  call.sum = draw_input(d, &in, &call.block, true, fill_uneven);
  call.block.accumulate = 0;
  set_to_zero(expected);
  set_to_zero(got);
  memset(scratch, 0, sizeof scratch);
  tr__tree tree = {.shards = in.shards,
                   .bytes = sizeof expected,
                   .leaf = run_leaf,
                   .add = add_blocks,
                   .arg = &call};
  tr__tree_sum(&tree, expected, 0, scratch);
  call.block.data = got;
  kind->run(&call.sum, &call.block);
  ASSERT(memcmp(expected, got, sizeof got) == 0);
  free_input(&in);
}

static void test_every_kind_adds_shards_as_the_tree_says(void)
{
  for_every_kind(check_shards);
}

/* A number that tells which leaves were added in which order. */
static uint64_t joined(uint64_t left, uint64_t right)
{
  return (left * 0x9e3779b97f4a7c15u) ^ (right + (left >> 7) + 1);
}

static void
number_rows(void *arg, int64_t begin, int64_t end, void *sum, int accumulate)
{
  (void)arg;
  (void)accumulate;
  *(uint64_t *)sum = joined((uint64_t)begin + 1, (uint64_t)end);
}

static void join(void *arg, void *sum, const void *other)
{
  (void)arg;
  uint64_t *left = sum;
  *left = joined(*left, *(const uint64_t *)other);
}

static void test_steps_are_the_tree(void)
{
  draws d = {.random = {.seed = 33}};
  for (int i = 0; i < 20 * CASES; i++) {
    int64_t total = 2 + draw(&d, 40), first = draw(&d, total);
    tr__shards shards = {.rows = draw(&d, 90),
                         .total = total,
                         .first = first,
                         .count = 1 + draw(&d, total - first)};
    uint64_t expected = 0, stack[48], scratch[48 * 8];
    tr__tree tree = {.shards = shards,
                     .bytes = sizeof expected,
                     .leaf = number_rows,
                     .add = join};
    tr__tree_sum(&tree, &expected, 0, scratch);
    tr__tree_step steps[48];
    int64_t count = tr__tree_steps(&shards, steps), top = 0;
    ASSERT(count <= tr__min(shards.count, shards.rows));
    for (int64_t s = 0; s < count; s++) {
      number_rows(NULL, steps[s].begin, steps[s].end, &stack[top], 0);
      for (int k = 0; k < steps[s].adds; k++) {
        ASSERT(top > 0);
        join(NULL, &stack[top - 1], &stack[top]);
        top--;
      }
      top++;
    }
    ASSERT_EQ(top, count > 0 ? 1 : 0);
    ASSERT(top == 0 ? expected == 0 : expected == stack[0]);
  }
}

/* More rows than are summed in registers. */
enum { ROWS = 2500, K = 70, D = 9, SHARDS = 3 };

static void run_rows(open_backend *b, tr__shards shards, float *dw)
{
  static float x[ROWS * D], dy[ROWS * K];
  draws d = {.random = {.seed = 34}};
  fill_uneven(&d, x, ROWS * D);
  fill_uneven(&d, dy, ROWS * K);
  tr__shards before = {.rows = ROWS, .total = SHARDS, .count = shards.first};
  int64_t begin = tr__shard_begin(&before, before.count);
  int64_t rows = tr__shard_begin(&shards, shards.count);
  const int64_t extents[3][2] = {{K, D}, {rows, D}, {rows, K}};
  tr__linear_backward_weight_args args = {
      .dw = tr__tensor_of(dw, TR_F32, 2, extents[0]),
      .x = tr__tensor_of(x + begin * D, TR_F32, 2, extents[1]),
      .dy = tr__tensor_of(dy + begin * K, TR_F32, 2, extents[2]),
      .shards = shards};
  size_t bytes = b->backend->type->workspace(
      b->backend, TR__OP_linear_backward_weight, &args);
  int64_t count = (int64_t)(bytes / sizeof(float));
  void *scratch = malloc(bytes);
  ASSERT(scratch != NULL);
  args.workspace = tr__tensor_of(scratch, TR_F32, 1, &count);
  call_op(b->backend, TR__OP_linear_backward_weight, &args);
  free(scratch);
}

static void test_many_rows_are_the_tree_of_separate_shards(void)
{
  static float parts[SHARDS][K * D], whole[K * D];
  open_backend b = backend_open("cpu", 2);
  for (int s = 0; s < SHARDS; s++) {
    run_rows(
        &b, (tr__shards){.rows = ROWS, .total = SHARDS, .first = s, .count = 1},
        parts[s]);
  }
  run_rows(&b, (tr__shards){.rows = ROWS, .total = SHARDS, .count = SHARDS},
           whole);
  for (int i = 0; i < K * D; i++) {
    ASSERT(whole[i] == parts[0][i] + parts[1][i] + parts[2][i]);
  }
  backend_close(&b);
}

static const tr_test tests[] = {
    TEST(test_every_kind_sums_as_plain_loops),
    TEST(test_bits_do_not_depend_on_the_extents_of_a_block),
    TEST(test_every_kind_adds_shards_as_the_tree_says),
    TEST(test_steps_are_the_tree),
    TEST(test_many_rows_are_the_tree_of_separate_shards),
};
TEST_MAIN(tests)
