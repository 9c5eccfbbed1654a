/* Gradients of weights that are summed in registers, by every kind of vector
 * that this CPU has, and the same by products for large batches. */
#include "backend/cpu/outer_impl.h"
#include "backend_cases.h"

#include <stdlib.h>

enum { CASES = 200, MAX_ROWS = 40, STRIDE = TR__OUTER_COLUMNS + 3 };
enum { BLOCK = TR__OUTER_ROWS * TR__OUTER_COLUMNS };

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

typedef struct input {
  float a[MAX_ROWS * TR__OUTER_ROWS], x[MAX_ROWS * STRIDE];
  float stack[8 * BLOCK];
  tr__tree_step steps[MAX_ROWS];
  tr__shards shards;
} input;

static tr__cpu_outer draw_input(draws *d, input *in, bool is_small)
{
  void (*fill)(draws *, float *, int64_t) = is_small ? fill_small : fill_uneven;
  fill(d, in->a, MAX_ROWS * TR__OUTER_ROWS);
  fill(d, in->x, MAX_ROWS * STRIDE);
  int64_t total = 1 + draw(d, 9);
  in->shards = (tr__shards){
      .rows = 1 + draw(d, MAX_ROWS), .total = total, .count = total};
  return (tr__cpu_outer){.a = in->a,
                         .x = in->x,
                         .x_stride = STRIDE,
                         .steps = in->steps,
                         .num_steps = tr__tree_steps(&in->shards, in->steps),
                         .stack = in->stack};
}

static float plain(const input *in, int64_t k, int64_t c)
{
  float sum = 0;
  for (int64_t n = 0; n < in->shards.rows; n++) {
    sum += in->a[n * TR__OUTER_ROWS + k] * in->x[n * STRIDE + c];
  }
  return sum;
}

static void check_block(const tr__cpu_outer_kind *kind, draws *d)
{
  input in;
  tr__cpu_outer block = draw_input(d, &in, true);
  float out[TR__OUTER_ROWS * STRIDE], before[TR__OUTER_ROWS * STRIDE];
  int accumulate = (int)draw(d, 2);
  fill_small(d, before, TR__OUTER_ROWS * STRIDE);
  memcpy(out, before, sizeof out);
  kind->run(&block, out, STRIDE, accumulate);
  for (int64_t i = 0; i < TR__OUTER_ROWS * STRIDE; i++) {
    int64_t k = i / STRIDE, c = i % STRIDE;
    float expected = c >= TR__OUTER_COLUMNS ? before[i]
                     : accumulate           ? before[i] + plain(&in, k, c)
                                            : plain(&in, k, c);
    if (out[i] != expected) {
      test_fail(__FILE__, __LINE__, "%s: %g in row %d, column %d, expected %g",
                kind->name, (double)out[i], (int)k, (int)c, (double)expected);
      return;
    }
  }
}

static void test_every_kind_sums_as_plain_loops(void)
{
  for (const tr__cpu_outer_kind *kind = tr__cpu_outer_kinds; kind->name != NULL;
       kind++) {
    draws d = {.random = {.seed = 31}};
    for (int i = 0; i < CASES && kind->is_supported(); i++) {
      check_block(kind, &d);
    }
  }
}

static void
leaf_alone(void *arg, int64_t begin, int64_t end, void *sum, int accumulate)
{
  const void **of = arg;
  const tr__cpu_outer_kind *kind = of[0];
  tr__cpu_outer block = *(const tr__cpu_outer *)of[1];
  tr__tree_step step = {begin, end, 0};
  block.steps = &step;
  block.num_steps = 1;
  kind->run(&block, sum, TR__OUTER_COLUMNS, accumulate);
}

static void add_blocks(void *arg, void *sum, const void *other)
{
  (void)arg;
  for (int i = 0; i < BLOCK; i++) {
    ((float *)sum)[i] += ((const float *)other)[i];
  }
}

static void test_every_kind_adds_shards_as_the_tree_says(void)
{
  static float expected[BLOCK], got[BLOCK], scratch[8 * BLOCK];
  for (const tr__cpu_outer_kind *kind = tr__cpu_outer_kinds; kind->name != NULL;
       kind++) {
    draws d = {.random = {.seed = 32}};
    for (int i = 0; i < CASES && kind->is_supported(); i++) {
      input in;
      tr__cpu_outer block = draw_input(&d, &in, false);
      const void *of[2] = {kind, &block};
      tr__tree tree = {.shards = in.shards,
                       .bytes = sizeof expected,
                       .leaf = leaf_alone,
                       .add = add_blocks,
                       .arg = of};
      tr__tree_sum(&tree, expected, 0, scratch);
      kind->run(&block, got, TR__OUTER_COLUMNS, 0);
      ASSERT(memcmp(expected, got, sizeof got) == 0);
    }
  }
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
    TEST(test_every_kind_adds_shards_as_the_tree_says),
    TEST(test_steps_are_the_tree),
    TEST(test_many_rows_are_the_tree_of_separate_shards),
};
TEST_MAIN(tests)
