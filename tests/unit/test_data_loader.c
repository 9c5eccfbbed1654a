/* The loader and its sampler, as any rank of any number of ranks. */
#include "data/loader_impl.h"
#include "data_helper.h"

#include "base/random_impl.h"

/* Sample i of these data sets is the number i, of class i % 3. A number in
 * `broken` cannot be read. */
typedef struct numbers {
  int64_t broken;
} numbers;

static tr_status read_numbers(const tr_dataset *data,
                              const int64_t *ids,
                              int64_t count,
                              void *x,
                              void *targets)
{
  int32_t *y = targets;
  const numbers *state = data->state;
  for (int64_t i = 0; i < count; i++) {
    TR_CHECK(ids[i] != state->broken, TR_EIO, "numbers: %lld is broken",
             (long long)ids[i]);
    ((double *)x)[i] = (double)ids[i];
    y[i] = (int32_t)(ids[i] % 3);
  }
  return TR_OK;
}

static void close_numbers(tr_dataset *data)
{
  (void)data;
}

static const tr__dataset_type numbers_type = {
    .name = "numbers", .read = read_numbers, .close = close_numbers};

static tr_dataset *open_numbers(tr_context *ctx, int64_t count, numbers *state)
{
  const tr__dataset_info info = {.type = &numbers_type,
                                 .shape = {.ndim = 1, .dims = {1}},
                                 .num_samples = count,
                                 .num_classes = 3};
  tr_dataset *data;
  ASSERT_OK(tr__dataset_new(ctx, &info, "numbers", NULL, state, &data));
  return data;
}

/* One rank's loader with what it needs. */
typedef struct part {
  alone a;
  numbers state;
  tr_dataset *data;
  tr_loader *loader;
} part;

static void
open_part(part *p, int rank, int size, int64_t count, const tr_loader_opts *o)
{
  tr_context *ctx = alone_init(&p->a, rank, size, TR_F64);
  p->state.broken = -1;
  p->data = open_numbers(ctx, count, &p->state);
  ASSERT_OK(tr_loader_create(ctx, p->data, o, &p->loader));
}

static void close_part(part *p)
{
  tr_loader_destroy(&p->loader);
  tr_dataset_destroy(&p->data);
}

static int64_t pick(int64_t number, int64_t low, int64_t high)
{
  tr__random random = {.seed = test_seed(),
                       .stream = tr__random_stream(TR__PURPOSE_TEST, 1)};
  return low + (int64_t)((double)(high - low + 1) *
                         tr__random_uniform(&random, number));
}

/* Put one rank's batch into its place of the global batch. */
static void place_batch(const tr_batch *batch, int64_t *global)
{
  for (int64_t i = 0; i < batch->count; i++) {
    int64_t id = (int64_t)((const double *)batch->inputs[0])[i];
    ASSERT_EQ(((const int32_t *)batch->targets[0])[i], id % 3);
    ASSERT_EQ(global[batch->first + i], -1);
    global[batch->first + i] = id;
  }
}

/* All ranks' steps of the rest of an epoch, one after the other, appended to
 * order; how many samples came. */
static int64_t run_epoch(part *parts, int size, int64_t *order)
{
  int64_t done = 0;
  for (;;) {
    tr_batch batch;
    int64_t global_count = -1, sum = 0;
    for (int rank = 0; rank < size; rank++) {
      int more = tr_loader_next(parts[rank].loader, &batch);
      ASSERT(rank == 0 || more == (global_count >= 0));
      if (!more) {
        continue;
      }
      ASSERT(rank == 0 || batch.global_count == global_count);
      global_count = batch.global_count;
      sum += batch.count;
      ASSERT(batch.count <= parts[rank].a.ctx.loader_rows);
      place_batch(&batch, order + done);
    }
    if (global_count < 0) {
      return done;
    }
    ASSERT_EQ(sum, global_count);
    done += global_count;
  }
}

static int64_t *blank_order(int64_t count)
{
  int64_t *order = malloc((size_t)count * sizeof *order);
  for (int64_t i = 0; i < count; i++) {
    order[i] = -1;
  }
  return order;
}

static void assert_each_once(const int64_t *order, int64_t count)
{
  bool *seen = calloc((size_t)count, sizeof *seen);
  for (int64_t i = 0; i < count; i++) {
    ASSERT(order[i] >= 0 && order[i] < count);
    ASSERT(!seen[order[i]]);
    seen[order[i]] = true;
  }
  free(seen);
}

static tr_loader_opts random_opts(int64_t trial, int64_t count)
{
  return (tr_loader_opts){.batch = pick(trial * 8 + 1, 1, count + 3),
                          .shuffle = (int)pick(trial * 8 + 2, 0, 1),
                          .threads = (int)pick(trial * 8 + 3, 0, 4),
                          .depth = (int)pick(trial * 8 + 4, 0, 5)};
}

static void test_every_sample_comes_once_in_one_order_for_all_ranks(void)
{
  for (int64_t trial = 0; trial < 40; trial++) {
    int64_t count = pick(trial * 8, 4, 120);
    tr_loader_opts opts = random_opts(trial, count);
    int64_t *first = NULL;
    for (int size = 1; size <= 4; size++) {
      part parts[4];
      for (int rank = 0; rank < size; rank++) {
        open_part(&parts[rank], rank, size, count, &opts);
      }
      int64_t *order = blank_order(2 * count);
      ASSERT_EQ(run_epoch(parts, size, order), count);
      ASSERT_EQ(run_epoch(parts, size, order + count), count);
      ASSERT_EQ(tr_loader_epoch(parts[0].loader), 2);
      assert_each_once(order, count);
      assert_each_once(order + count, count);
      if (first == NULL) {
        first = order;
      } else {
        ASSERT(memcmp(first, order, (size_t)(2 * count) * 8) == 0);
        free(order);
      }
      for (int rank = 0; rank < size; rank++) {
        close_part(&parts[rank]);
      }
    }
    free(first);
  }
}

static void test_a_new_epoch_has_a_new_order_unless_shuffle_is_off(void)
{
  for (int shuffle = 0; shuffle < 2; shuffle++) {
    part p;
    open_part(&p, 0, 1, 100,
              &(tr_loader_opts){.batch = 32, .shuffle = shuffle});
    int64_t *order = blank_order(200);
    run_epoch(&p, 1, order);
    run_epoch(&p, 1, order + 100);
    bool equal = memcmp(order, order + 100, 100 * sizeof *order) == 0;
    ASSERT_EQ(equal, !shuffle);
    for (int64_t i = 0; i < 100 && !shuffle; i++) {
      ASSERT_EQ(order[i], i);
    }
    free(order);
    close_part(&p);
  }
}

/* Steps on `before` ranks, then the rest of the epoch on `after` ranks. */
static void resume_once(int64_t trial, int before, int after)
{
  int64_t count = pick(trial * 8, 4, 120);
  tr_loader_opts opts = random_opts(trial, count);
  part parts[4], whole;
  open_part(&whole, 0, 1, count, &opts);
  int64_t *undisturbed = blank_order(2 * count);
  run_epoch(&whole, 1, undisturbed);
  run_epoch(&whole, 1, undisturbed + count);
  int64_t steps = pick(trial * 8 + 5, 0, tr_loader_num_steps(whole.loader));
  close_part(&whole);

  int64_t *order = blank_order(2 * count);
  tr__loader_state state = {0};
  for (int rank = 0; rank < before; rank++) {
    tr_batch batch;
    open_part(&parts[0], rank, before, count, &opts);
    int64_t done = 0;
    for (int64_t step = 0; step < steps; step++) {
      ASSERT(tr_loader_next(parts[0].loader, &batch));
      place_batch(&batch, order + done);
      done += batch.global_count;
    }
    state = tr__loader_get_state(parts[0].loader);
    ASSERT_EQ(state.done, done);
    close_part(&parts[0]);
  }
  opts.batch = trial % 2 == 0 ? opts.batch : pick(trial * 8 + 6, 1, count);
  for (int rank = 0; rank < after; rank++) {
    open_part(&parts[rank], rank, after, count, &opts);
    parts[rank].a.ctx.seed = 99; /* the state's seed replaces the loader's */
    tr_batch batch;
    ASSERT(tr_loader_next(parts[rank].loader, &batch));
    ASSERT_OK(tr__loader_set_state(parts[rank].loader, &state));
  }
  ASSERT_EQ(run_epoch(parts, after, order + state.done), count - state.done);
  ASSERT_EQ(tr_loader_epoch(parts[0].loader), 1);
  ASSERT_EQ(run_epoch(parts, after, order + count), count);
  ASSERT(memcmp(order, undisturbed, (size_t)(2 * count) * 8) == 0);
  for (int rank = 0; rank < after; rank++) {
    close_part(&parts[rank]);
  }
  free(order);
  free(undisturbed);
}

static void test_resume_in_mid_epoch_on_other_ranks_goes_on_in_order(void)
{
  for (int64_t trial = 0; trial < 48; trial++) {
    resume_once(trial, 1 + (int)(trial % 4), 1 + (int)(trial / 4 % 4));
  }
}

static void test_set_state_refuses_another_data_set_and_nonsense(void)
{
  part p;
  open_part(&p, 0, 1, 10, &(tr_loader_opts){.batch = 4, .shuffle = 1});
  tr__loader_state state = tr__loader_get_state(p.loader);
  state.num_samples = 11;
  ASSERT_FAILS(tr__loader_set_state(p.loader, &state), TR_EMISMATCH,
               "has 10 samples");
  state.num_samples = 10;
  state.done = 11;
  ASSERT_FAILS(tr__loader_set_state(p.loader, &state), TR_EDATA,
               "11 samples done of 10");
  close_part(&p);
}

static void test_a_sample_that_cannot_be_read_gives_one_empty_batch(void)
{
  part p;
  tr_batch batch;
  open_part(&p, 1, 2, 20, &(tr_loader_opts){.batch = 8});
  /* Rank 1 has places 4..7, 12..15 and 18..19. */
  p.state.broken = 13;
  tr__loader_state start = tr__loader_get_state(p.loader);
  ASSERT_OK(tr__loader_set_state(p.loader, &start));
  ASSERT(tr_loader_next(p.loader, &batch));
  ASSERT_EQ(batch.count, 4);
  ASSERT(tr_loader_next(p.loader, &batch));
  ASSERT_EQ(batch.count, 0);
  ASSERT_EQ(batch.global_count, 8);
  ASSERT_EQ(p.a.ctx.pending, TR_EIO);
  ASSERT_STR_EQ(p.a.ctx.pending_message, "numbers: 13 is broken");
  ASSERT(!tr_loader_next(p.loader, &batch));
  ASSERT(!tr_loader_next(p.loader, &batch));
  ASSERT_FAILS(tr_loader_status(p.loader), TR_EIO, "13 is broken");
  ASSERT_EQ(tr_loader_epoch(p.loader), 0);
  close_part(&p);
}

static void test_a_batch_may_be_smaller_than_ranks_or_larger_than_all(void)
{
  part p;
  tr_batch batch;
  open_part(&p, 0, 4, 6, &(tr_loader_opts){.batch = 2});
  ASSERT_EQ(tr_loader_num_steps(p.loader), 3);
  ASSERT_EQ(p.a.ctx.loader_rows, 1);
  int64_t steps = 0;
  while (tr_loader_next(p.loader, &batch)) {
    ASSERT_EQ(batch.count, 0); /* two samples: ranks 1 and 3 have them */
    steps++;
  }
  ASSERT_EQ(steps, 3);
  ASSERT_OK(tr_loader_status(p.loader));
  close_part(&p);
  open_part(&p, 0, 4, 6, &(tr_loader_opts){.batch = INT64_MAX});
  ASSERT_EQ(tr_loader_num_steps(p.loader), 1);
  ASSERT_EQ(tr_loader_num_samples(p.loader), 6);
  ASSERT_EQ(p.a.ctx.loader_rows, 2);
  ASSERT(tr_loader_next(p.loader, &batch));
  ASSERT_EQ(batch.global_count, 6);
  close_part(&p);
}

static void test_bad_options_are_refused(void)
{
  alone a;
  numbers state = {-1};
  tr_loader *loader;
  tr_context *ctx = alone_init(&a, 0, 1, TR_F64);
  tr_dataset *data = open_numbers(ctx, 3, &state);
  ASSERT_FAILS(tr_loader_create(ctx, data, &(tr_loader_opts){0}, &loader),
               TR_EINVAL, "batch is 0");
  ASSERT(loader == NULL);
  ASSERT_FAILS(tr_loader_create(ctx, data,
                                &(tr_loader_opts){.batch = 1, .threads = -1},
                                &loader),
               TR_EINVAL, "threads is -1");
  ASSERT_FAILS(tr_loader_create(ctx, data,
                                &(tr_loader_opts){.batch = 1, .depth = 1 << 20},
                                &loader),
               TR_EINVAL, "depth is 1048576");
  ASSERT_FAILS(tr_loader_create(ctx, data, NULL, &loader), TR_EINVAL,
               "options are required");
  a.comm.size = 4;
  ASSERT_FAILS(
      tr_loader_create(ctx, data, &(tr_loader_opts){.batch = 1}, &loader),
      TR_EDATA, "3 samples are fewer than the 4 ranks");
  tr_dataset_destroy(&data);
  tr_loader_destroy(NULL);
  tr_dataset_destroy(NULL);
}

static void test_arrays_are_served_and_checked(void)
{
  alone a;
  tr_dataset *data;
  tr_context *ctx = alone_init(&a, 0, 1, TR_F32);
  const float x[6] = {1, 2, 3, 4, 5, 6};
  int32_t y[3] = {0, 1, 1};
  tr_array_opts opts = {.x = x,
                        .y = y,
                        .num_samples = 3,
                        .num_classes = 2,
                        .shape = tr_shape_of(1, (int64_t[]){2})};
  ASSERT_OK(tr_array_open(ctx, &opts, &data));
  float got[4];
  int32_t classes[2];
  ASSERT_OK(tr_dataset_read(data, (int64_t[]){2, 0}, 2, got, classes));
  ASSERT(got[0] == 5 && got[1] == 6 && got[2] == 1 && got[3] == 2);
  ASSERT(classes[0] == 1 && classes[1] == 0);
  tr_dataset_destroy(&data);
  y[1] = 2;
  ASSERT_FAILS(tr_array_open(ctx, &opts, &data), TR_EDATA,
               "label of sample 1 is 2, expected 0 to 1");
  y[1] = 1;
  opts.shape.dims[0] = 0;
  ASSERT_FAILS(tr_array_open(ctx, &opts, &data), TR_EINVAL, "shape");
  opts.x = NULL;
  ASSERT_FAILS(tr_array_open(ctx, &opts, &data), TR_EINVAL, "required");
}

/* Sample i is (i, 10 i), its target (i, 2 i, 3 i). */
static void test_arrays_of_numbers_have_numbers_as_targets(void)
{
  alone a;
  tr_dataset *data;
  tr_loader *loader;
  tr_context *ctx = alone_init(&a, 1, 2, TR_F32);
  float x[5][2], targets[5][3];
  for (int i = 0; i < 5; i++) {
    memcpy(x[i], (float[]){(float)i, (float)(10 * i)}, sizeof x[i]);
    memcpy(targets[i], (float[]){(float)i, (float)(2 * i), (float)(3 * i)},
           sizeof targets[i]);
  }
  tr_array_opts opts = {.x = x,
                        .targets = targets,
                        .num_samples = 5,
                        .shape = {1, {2}},
                        .target_shape = {2, {1, 3}}};
  ASSERT_OK(tr_array_open(ctx, &opts, &data));
  ASSERT_EQ(tr_dataset_num_classes(data), 0);
  ASSERT_EQ(tr_dataset_target_values(data), 3);
  const tr_loader_opts batches = {.batch = 4};
  ASSERT_OK(tr_loader_create(ctx, data, &batches, &loader));
  tr_batch batch;
  ASSERT(tr_loader_next(loader, &batch));
  ASSERT_EQ(batch.count, 2);
  ASSERT(memcmp(batch.inputs[0], x[2], sizeof x[2] * 2) == 0);
  ASSERT(memcmp(batch.targets[0], targets[2], sizeof targets[2] * 2) == 0);
  ASSERT_EQ(batch.target_values[0], 0);
  ASSERT_EQ(batch.target_bytes[0], sizeof targets[0]);
  tr_loader_destroy(&loader);
  tr_dataset_destroy(&data);
  opts.num_classes = 2;
  ASSERT_FAILS(tr_array_open(ctx, &opts, &data), TR_EINVAL,
               "num_classes is 2, expected 0 with targets");
  opts.num_classes = 0;
  opts.target_shape.dims[1] = 0;
  ASSERT_FAILS(tr_array_open(ctx, &opts, &data), TR_EINVAL, "target_shape");
  opts.y = (int32_t[]){0, 0, 0, 0, 0};
  ASSERT_FAILS(tr_array_open(ctx, &opts, &data), TR_EINVAL, "either");
}

static void test_double_arrays_are_converted_and_not_taken_for_floats(void)
{
  enum { COUNT = 200 };
  alone a;
  tr_dataset *data;
  tr_context *ctx = alone_init(&a, 0, 1, TR_F32);
  double x[COUNT][2], targets[COUNT];
  float narrow[COUNT][2], got[2], wanted;
  for (int i = 0; i < COUNT; i++) {
    targets[i] = sin(i);
    for (int k = 0; k < 2; k++) {
      x[i][k] = cos(0.1 * i + k);
      narrow[i][k] = (float)x[i][k];
    }
  }
  tr_array_opts opts = {.x = x,
                        .targets = targets,
                        .num_samples = COUNT,
                        .shape = {1, {2}},
                        .target_shape = {1, {1}},
                        .dtype = TR_F64};
  ASSERT_OK(tr_array_open(ctx, &opts, &data));
  ASSERT_OK(tr_dataset_read(data, (int64_t[]){77}, 1, got, &wanted));
  ASSERT(got[0] == narrow[77][0] && got[1] == narrow[77][1]);
  ASSERT(wanted == (float)targets[77]);
  tr_dataset_destroy(&data);
  opts.dtype = 0;
  ASSERT_FAILS(tr_array_open(ctx, &opts, &data), TR_EDATA,
               "set .dtype = TR_F64");
  opts.x = narrow;
  ASSERT_FAILS(tr_array_open(ctx, &opts, &data), TR_EDATA,
               "targets are taken for float32");
  opts.targets = narrow;
  ASSERT_OK(tr_array_open(ctx, &opts, &data));
  tr_dataset_destroy(&data);
  ctx->dtype = TR_F64;
  opts.single = 1;
  ASSERT_OK(tr_array_open(ctx, &opts, &data));
  double wide[2], target;
  ASSERT_OK(tr_dataset_read(data, (int64_t[]){77}, 1, wide, &target));
  ASSERT(wide[0] == (double)narrow[77][0] && wide[1] == (double)narrow[77][1]);
  tr_dataset_destroy(&data);
  opts.dtype = TR_F64;
  ASSERT_FAILS(tr_array_open(ctx, &opts, &data), TR_EINVAL, "single is 1");
  opts.dtype = TR_I32;
  ASSERT_FAILS(tr_array_open(ctx, &opts, &data), TR_EINVAL, "dtype is 2");
}

/* Floats with every exponent, with zeros in every other place, with equal
 * numbers: whatever they are, no doubles. */
static void test_unusual_floats_are_not_taken_for_doubles(void)
{
  enum { COUNT = 1024 };
  alone a;
  tr_dataset *data;
  tr_context *ctx = alone_init(&a, 0, 1, TR_F32);
  static float x[COUNT];
  const tr_array_opts opts = {.x = x,
                              .y = (int32_t[COUNT]){0},
                              .num_samples = COUNT,
                              .num_classes = 2,
                              .shape = {1, {1}}};
  for (int kind = 0; kind < 4; kind++) {
    for (int i = 0; i < COUNT; i++) {
      float wild = (float)ldexp(i % 3 == 0 ? -1.1 : 1.7, i * 37 % 250 - 125);
      float steps = (float)(i % 2 == 0 ? 1e19 * (1 + i) : 300 + i);
      x[i] = kind == 0   ? wild
             : kind == 1 ? (i % 2 == 0 ? 0 : wild)
             : kind == 2 ? 3.25f
                         : steps;
    }
    ASSERT_OK(tr_array_open(ctx, &opts, &data));
    tr_dataset_destroy(&data);
  }
}

static void test_bad_targets_are_refused_with_their_sample(void)
{
  static const struct {
    double value;
    const char *text;
  } bad[] = {{NAN, "sample 3, element 1 of its target is nan"},
             {-INFINITY, "is -inf"},
             {1e39, "is 1e+39, more than float32 holds"},
             {9.9692099683868690e36, "NetCDF's fill value"}};
  alone a;
  tr_dataset *data;
  tr_context *ctx = alone_init(&a, 0, 1, TR_F32);
  double x[5] = {1, 2, 3, 4, NAN}, targets[5][2] = {{0}};
  tr_array_opts opts = {.x = x,
                        .targets = targets,
                        .num_samples = 5,
                        .shape = {1, {1}},
                        .target_shape = {1, {2}},
                        .dtype = TR_F64};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    targets[3][1] = bad[i].value;
    ASSERT_FAILS(tr_array_open(ctx, &opts, &data), TR_EDATA, bad[i].text);
  }
  targets[3][1] = 1e30;
  ASSERT_OK(tr_array_open(ctx, &opts, &data)); /* x is not searched */
  tr_dataset_destroy(&data);
}

static const tr_test tests[] = {
    TEST(test_every_sample_comes_once_in_one_order_for_all_ranks),
    TEST(test_a_new_epoch_has_a_new_order_unless_shuffle_is_off),
    TEST(test_resume_in_mid_epoch_on_other_ranks_goes_on_in_order),
    TEST(test_set_state_refuses_another_data_set_and_nonsense),
    TEST(test_a_sample_that_cannot_be_read_gives_one_empty_batch),
    TEST(test_a_batch_may_be_smaller_than_ranks_or_larger_than_all),
    TEST(test_bad_options_are_refused),
    TEST(test_arrays_are_served_and_checked),
    TEST(test_arrays_of_numbers_have_numbers_as_targets),
    TEST(test_double_arrays_are_converted_and_not_taken_for_floats),
    TEST(test_unusual_floats_are_not_taken_for_doubles),
    TEST(test_bad_targets_are_refused_with_their_sample),
};

TEST_MAIN(tests)
