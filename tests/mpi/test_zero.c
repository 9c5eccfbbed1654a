/* ZeRO stage 1, optimizer state partitioned over 1-4 ranks: the same bits as
 * with all state on every rank. */
#include "shared_dir.h"
#include "spread_helper.h"

static void expect_the_same_bits(run_opts opts)
{
  run_opts spread = opts;
  spread.update.shard_state = 1;
  uint64_t hash = hash_after_training(opts);
  ASSERT_EQ(hash_after_training(spread), hash);
  run r = begin(spread);
  fit(&r, (tr_trainer_opts){0});
  ASSERT_EQ(hash_of(&r), hash);
  end(&r);
}

typedef void (*type_fn)(const tr__optimizer_type *type, int number);

static void for_every_type(type_fn fn)
{
  const tr__optimizer_type *const *table = tr__optimizer_table();
  for (int i = 0; table[i] != NULL; i++) {
    for (int number = 0; number < 3; number++) {
      fn(table[i], number);
    }
  }
}

static const tr__optimizer_type *muon(void)
{
  const tr__optimizer_type *const *table = tr__optimizer_table();
  int i = 0;
  while (strcmp(table[i]->name, "muon") != 0) {
    i++;
  }
  return table[i];
}

static void check_type(const tr__optimizer_type *type, int number)
{
  const tr_param_group slow[] = {{.pattern = "*.bias", .lr_scale = 0.5},
                                 {.pattern = "fc1.*", .no_weight_decay = 1}};
  expect_the_same_bits(
      (run_opts){.comm = MPI_COMM_NULL,
                 .type = type,
                 .number = number,
                 .update = {.clip_norm = number == 1 ? 0.05 : 0,
                            .groups = slow,
                            .num_groups = number == 2 ? 2 : 0}});
}

static void test_every_optimizer_gives_the_bits_of_the_plain_one(void)
{
  for_every_type(check_type);
}

static void check_wide(const tr__optimizer_type *type, int number)
{
  if (number > 0) {
    return;
  }
  expect_the_same_bits((run_opts){.comm = MPI_COMM_NULL,
                                  .type = type,
                                  .width = 560,
                                  .update = {.clip_norm = 0.1}});
}

static void test_so_does_each_in_several_buckets(void)
{
  for_every_type(check_wide);
}

static void test_so_do_doubles_halves_and_other_devices(void)
{
  static const tr_dtype dtypes[] = {TR_F64, TR_BF16, TR_F16};
  for (int i = 0; i < 3; i++) {
    expect_the_same_bits((run_opts){.comm = MPI_COMM_NULL, .dtype = dtypes[i]});
  }
  const tr_update_opts clips = {.clip_norm = 0.1};
  expect_the_same_bits((run_opts){
      .comm = MPI_COMM_NULL, .device = "reference", .update = clips});
  expect_the_same_bits(
      (run_opts){.comm = MPI_COMM_NULL, .device = "strict", .update = clips});
}

static void test_so_do_sums_by_messages_and_with_16_bits(void)
{
  run_opts opts = {.comm = MPI_COMM_NULL,
                   .width = 560,
                   .algorithm = "direct",
                   .update = {.clip_norm = 0.1}};
  expect_the_same_bits(opts);
  opts.wire = TR_BF16;
  expect_the_same_bits(opts);
  opts.dtype = TR_BF16;
  expect_the_same_bits(opts);
}

/* With virtual shards the gradients of a tied weight are summed one by one. */
static void check_shards(const tr__optimizer_type *type, int number)
{
  run_opts opts = {.type = type,
                   .number = number,
                   .shards = 8,
                   .width = number == 0 ? 560 : 0,
                   .update = {.clip_norm = 0.1, .shard_state = 1}};
  uint64_t alone = 0;
  for (int count = 1; count <= world_size() && number < 2; count++) {
    opts.comm = first_ranks(count);
    if (opts.comm == MPI_COMM_NULL) {
      continue;
    }
    run r = begin(opts);
    fit(&r, (tr_trainer_opts){0});
    uint64_t hash = hash_of(&r);
    alone = count == 1 ? hash : alone;
    ASSERT(world_rank() != 0 || hash == alone);
    end(&r);
    MPI_Comm_free(&opts.comm);
  }
  MPI_Barrier(MPI_COMM_WORLD);
}

static void test_virtual_shards_give_the_bits_of_one_rank(void)
{
  for_every_type(check_shards);
}

static void test_batches_add_up_with_virtual_shards_too(void)
{
  run_opts opts = {
      .comm = MPI_COMM_NULL, .shards = 8, .update = {.clip_norm = 0.1}};
  run plain = begin(opts), spread = begin_spread(opts);
  accumulate(&plain);
  accumulate(&spread);
  ASSERT_EQ(hash_of(&spread), hash_of(&plain));
  end(&spread);
  end(&plain);
}

/* Makes each rank sleep in other steps, just before it updates. */
static double dawdle(void *user, int64_t t)
{
  (void)user;
  static int64_t calls;
  const tr__random random = {.seed = test_seed(),
                             .sample = world_rank(),
                             .stream = tr__random_stream(TR__PURPOSE_TEST, 9)};
  uint32_t number = tr__random_u32(&random, calls++);
  if (number % 3 == 0) {
    nanosleep(&(struct timespec){.tv_nsec = number % 2000000}, NULL);
  }
  return t % 2 == 0 ? 1 : 0.5;
}

static void test_ranks_that_dawdle_have_the_same_bits(void)
{
  uint64_t hashes[2];
  for (int shards = 0; shards < 2; shards++) {
    run r = begin((run_opts){.comm = MPI_COMM_NULL,
                             .width = 560,
                             .rate = dawdle,
                             .update = {.shard_state = shards}});
    fit(&r, (tr_trainer_opts){.steps = 60});
    train(&r, 20);
    hashes[shards] = hash_of(&r);
    end(&r);
  }
  ASSERT_EQ(hashes[1], hashes[0]);
}

/* Other ranks' parameters appear only after a rank has begun its update,
 * although they could be written earlier: until then it may evaluate. */
static void test_values_stay_until_a_rank_updates(void)
{
  run r = begin_spread((run_opts){.comm = MPI_COMM_NULL, .width = 560});
  size_t bytes = (size_t)r.net->store.count * sizeof(float);
  char *before = malloc(bytes);
  ASSERT(before != NULL);
  for (int t = 0; t < 2 * world_size(); t++) {
    tr_batch batch;
    next_batch(&r, &batch);
    ASSERT_OK(tr_model_forward(r.net, &batch));
    ASSERT_OK(tr_model_backward(r.net));
    memcpy(before, r.net->store.values, bytes);
    ASSERT_OK(tr_model_allreduce_grads(r.net));
    if (t % world_size() == world_rank()) {
      nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    ASSERT(memcmp(before, r.net->store.values, bytes) == 0);
    ASSERT_OK(tr_optimizer_step(r.opt));
    ASSERT(memcmp(before, r.net->store.values, bytes) != 0);
  }
  free(before);
  end(&r);
}

static void test_frozen_parameters_have_no_share(void)
{
  expect_the_same_bits((run_opts){.comm = MPI_COMM_NULL, .freeze = "fc1.*"});
}

static void test_gradients_of_several_batches_are_added_up(void)
{
  const run_opts opts = {.comm = MPI_COMM_NULL, .update = {.clip_norm = 0.1}};
  run plain = begin(opts), spread = begin_spread(opts);
  accumulate(&plain);
  accumulate(&spread);
  ASSERT_EQ(hash_of(&spread), hash_of(&plain));
  end(&spread);
  end(&plain);
}

static void test_the_norm_is_the_same_on_all_ranks_and_without(void)
{
  const run_opts opts = {
      .comm = MPI_COMM_NULL, .width = 560, .update = {.clip_norm = 1e-3}};
  run plain = begin(opts), spread = begin_spread(opts);
  for (int i = 0; i < 3; i++) {
    double a, b;
    train(&plain, 1);
    train(&spread, 1);
    ASSERT_OK(tr_optimizer_grad_norm(plain.opt, &a, NULL));
    ASSERT_OK(tr_optimizer_grad_norm(spread.opt, &b, NULL));
    ASSERT(a > 1e-3 && a == b);
  }
  end(&spread);
  end(&plain);
}

/* NaN in a sample of one rank. */

static void poison(bool is_bad)
{
  samples[17 * FEATURES + 5] = is_bad ? NAN : 0.25f;
}

static void test_steps_that_are_not_finite_are_skipped(void)
{
  const run_opts opts = {.comm = MPI_COMM_NULL,
                         .update = {.on_nonfinite = TR_NONFINITE_SKIP}};
  poison(true); /* before a loader reads ahead */
  run plain = begin(opts), spread = begin_spread(opts);
  train(&plain, STEPS);
  train(&spread, STEPS);
  poison(false);
  double norm;
  int64_t skipped = 0, expected = 0;
  ASSERT_OK(tr_optimizer_grad_norm(plain.opt, &norm, &expected));
  ASSERT_OK(tr_optimizer_grad_norm(spread.opt, &norm, &skipped));
  ASSERT(expected > 0);
  ASSERT_EQ(skipped, expected);
  /* The bad sample has changed the statistics of BatchNorm but not the
   * parameters. */
  float a[CLASSES], b[CLASSES];
  ASSERT_OK(tr_model_get_param(plain.net, "head.bias", a));
  ASSERT_OK(tr_model_get_param(spread.net, "head.bias", b));
  ASSERT(isfinite(a[0]) && memcmp(a, b, sizeof a) == 0);
  end(&spread);
  end(&plain);
}

static void test_a_step_that_is_not_finite_stops_on_all_ranks(void)
{
  bool has_failed = false;
  poison(true);
  run r = begin_spread((run_opts){
      .comm = MPI_COMM_NULL, .update = {.on_nonfinite = TR_NONFINITE_STOP}});
  for (int i = 0; i < STEPS && !has_failed; i++) {
    tr_batch batch;
    next_batch(&r, &batch);
    ASSERT_OK(tr_model_forward(r.net, &batch));
    ASSERT_OK(tr_model_backward(r.net));
    ASSERT_OK(tr_model_allreduce_grads(r.net));
    tr_status status = tr_optimizer_step(r.opt);
    has_failed = status == TR_ENUMERIC;
    ASSERT(has_failed || status == TR_OK);
  }
  ASSERT(has_failed);
  end(&r);
  poison(false);
}

/* Memory. */

static size_t printed_state(const tr_model *net)
{
  char *text = NULL;
  size_t length, bytes = 0;
  FILE *out = open_memstream(&text, &length);
  ASSERT(out != NULL);
  ASSERT_OK(tr_model_print_plan(net, out));
  fclose(out);
  const char *line = strstr(text, "optimizer state ");
  ASSERT(line != NULL && sscanf(line, "optimizer state %zu B", &bytes) == 1);
  free(text);
  return bytes;
}

/* A rank's state is 1/P of the whole, up to what the partition may not divide.
 */
static void check_bytes(const tr__optimizer_type *type, int number)
{
  run_opts opts = {
      .comm = MPI_COMM_NULL, .type = type, .number = number, .width = 560};
  run plain = begin(opts), spread = begin_spread(opts);
  const tr__store *store = &spread.net->store;
  size_t whole = printed_state(plain.net), own = printed_state(spread.net);
  size_t slots = (size_t)spread.opt->num_slots;
  size_t block =
      type->grain == TR__GRAIN_ELEMENT ? TR__SQUARES_BLOCK : (size_t)560 * 560;
  size_t size = (size_t)spread.ctx->comm->size;
  int64_t counts[1] = {(int64_t)own};
  ASSERT_EQ(whole, slots * (size_t)store->count * sizeof(float));
  ASSERT_OK(
      spread.ctx->comm->type->reduce_i64(spread.ctx->comm, counts, 1, TR__SUM));
  ASSERT_EQ((size_t)counts[0], whole);
  ASSERT(own <= whole / size + 2 * slots * block * sizeof(float));
  ASSERT_EQ(own, store->state_bytes);
  end(&spread);
  ASSERT_EQ(printed_state(plain.net), whole);
  end(&plain);
}

static void test_a_rank_has_its_share_of_the_state(void)
{
  const tr__optimizer_type *const *table = tr__optimizer_table();
  for (int i = 0; table[i] != NULL; i++) {
    for (int number = 0; number < 2; number++) {
      run r = begin((run_opts){
          .comm = MPI_COMM_NULL, .type = table[i], .number = number});
      bool has_slots = r.opt->num_slots > 0;
      end(&r);
      if (has_slots) {
        check_bytes(table[i], number);
      }
    }
  }
}

/* Checkpoints. */

/* Resumes on the first ranks from dir. hashes: after the resume and later. */
static void go_on(run_opts opts, const char *dir, uint64_t hashes[2])
{
  run r = begin(opts);
  ASSERT_OK(tr_checkpoint_resume(r.ctx, dir, &r.checkpoint));
  ASSERT_EQ(tr_optimizer_num_steps(r.opt), 5);
  hashes[0] = hash_of(&r);
  train(&r, 6);
  hashes[1] = hash_of(&r);
  end(&r);
}

static void resume_everywhere(run_opts opts, const char *dir, uint64_t hash)
{
  for (int count = 1; count <= world_size(); count++) {
    opts.comm = first_ranks(count);
    if (opts.comm == MPI_COMM_NULL) {
      continue;
    }
    uint64_t plain[2], spread[2];
    opts.update.shard_state = 0;
    go_on(opts, dir, plain);
    opts.update.shard_state = 1;
    go_on(opts, dir, spread);
    ASSERT(plain[0] == hash && spread[0] == hash);
    ASSERT_EQ(spread[1], plain[1]);
    MPI_Comm_free(&opts.comm);
  }
  MPI_Barrier(MPI_COMM_WORLD);
}

static void save_and_resume(run_opts opts)
{
  for (int shards = 0; shards < 2; shards++) {
    const char *dir = shared_dir();
    opts.comm = MPI_COMM_WORLD;
    opts.update.shard_state = shards;
    run r = begin(opts);
    train(&r, 5);
    uint64_t hash = hash_of(&r);
    ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &r.checkpoint));
    end(&r);
    resume_everywhere(opts, dir, hash);
  }
}

static void test_any_number_of_ranks_resumes_with_or_without(void)
{
  save_and_resume((run_opts){.width = 0});
  save_and_resume((run_opts){.type = muon(), .width = 300});
  save_and_resume((run_opts){.device = "strict", .freeze = "fc2.*"});
}

/* Compares every data set of the two files except the time when the run began.
 */
static void expect_same_values(const char *dirs[2])
{
  tr__sealed sealed[2];
  unsigned char *bytes[2];
  int num_values = 0;
  for (int i = 0; i < 2; i++) {
    char path[400];
    size_t length;
    snprintf(path, sizeof path, "%s/step-00000005.h5", dirs[i]);
    ASSERT_OK(tr__read_file(tr__file_ops_system(), path, 1 << 30, &bytes[i],
                            &length));
    ASSERT_OK(tr__seal_verify(path, bytes[i], length, &sealed[i]));
  }
  ASSERT_EQ(sealed[0].num_entries, sealed[1].num_entries);
  for (int k = 0; k < sealed[0].num_entries; k++) {
    const tr__sealed_entry *a = &sealed[0].entries[k];
    const tr__sealed_entry *b = tr__sealed_find(&sealed[1], a->name);
    ASSERT(b != NULL && a->bytes == b->bytes);
    bool is_time = strcmp(a->name, "/state/started") == 0;
    ASSERT(is_time || memcmp(a->data, b->data, a->bytes) == 0);
    num_values += strncmp(a->name, "/optim/", 7) == 0;
  }
  ASSERT(num_values > 0);
  for (int i = 0; i < 2; i++) {
    tr__sealed_release(&sealed[i]);
    free(bytes[i]);
  }
}

static void test_files_have_the_same_values_with_and_without(void)
{
  char first[300];
  for (int shards = 0; shards < 2; shards++) {
    const char *dir = shared_dir();
    run r = begin((run_opts){.comm = MPI_COMM_NULL,
                             .type = muon(),
                             .width = 300,
                             .update = {.shard_state = shards}});
    train(&r, 5);
    ASSERT_OK(tr_checkpoint_save(r.ctx, dir, &r.checkpoint));
    end(&r);
    if (shards == 0) {
      snprintf(first, sizeof first, "%s", dir);
    } else if (world_rank() == 0) {
      expect_same_values((const char *[2]){first, dir});
    }
  }
}

static void test_a_state_that_is_not_finite_is_not_saved(void)
{
  run r = begin_spread((run_opts){.comm = MPI_COMM_NULL});
  train(&r, 1);
  /* An element of the last rank's slice. */
  if (r.ctx->comm->rank == r.ctx->comm->size - 1) {
    float *slot = r.opt->slots[1];
    slot[0] = INFINITY;
  }
  ASSERT_FAILS(tr_checkpoint_save(r.ctx, shared_dir(), &r.checkpoint),
               TR_ENUMERIC, "slot exp_avg_sq is not finite");
  end(&r);
}

static void test_a_run_rolls_back_with_the_same_bits(void)
{
  uint64_t hashes[2];
  for (int shards = 0; shards < 2; shards++) {
    run r = begin((run_opts){.comm = MPI_COMM_NULL,
                             .lr = 1e20,
                             .update = {.on_nonfinite = TR_NONFINITE_ROLLBACK,
                                        .shard_state = shards}});
    const tr_trainer_opts opts = {.checkpoint_dir = shared_dir(),
                                  .save_every = 2,
                                  .rollback_factor = 1e-22};
    tr_report report = fit(&r, opts);
    ASSERT(report.rollbacks > 0);
    hashes[shards] = hash_of(&r);
    end(&r);
  }
  ASSERT_EQ(hashes[1], hashes[0]);
}

static void test_averages_are_the_same(void)
{
  uint64_t hashes[2];
  for (int shards = 0; shards < 2; shards++) {
    run r = begin(
        (run_opts){.comm = MPI_COMM_NULL, .update = {.shard_state = shards}});
    tr_ema *ema;
    ASSERT_OK(tr_ema_create(r.net, 0.9, &ema));
    for (int i = 0; i < STEPS; i++) {
      train(&r, 1);
      ASSERT_OK(tr_ema_update(ema));
    }
    tr_ema_swap(ema);
    hashes[shards] = hash_of(&r);
    tr_ema_destroy(&ema);
    end(&r);
  }
  ASSERT_EQ(hashes[1], hashes[0]);
}

/* Calls that are refused. */

static void test_gradients_that_are_spread_are_not_read(void)
{
  run r = begin_spread((run_opts){.comm = MPI_COMM_NULL});
  float values[CLASSES];
  tr_batch batch;
  next_batch(&r, &batch);
  ASSERT_OK(tr_model_forward(r.net, &batch));
  ASSERT_OK(tr_model_backward(r.net));
  ASSERT_OK(tr_model_get_grad(r.net, "head.bias", values));
  ASSERT_OK(tr_model_allreduce_grads(r.net));
  tr_status status = tr_model_get_grad(r.net, "head.bias", values);
  ASSERT_EQ(status, world_size() > 1 ? TR_ESTATE : TR_OK);
  ASSERT_OK(tr_optimizer_step(r.opt));
  end(&r);
}

static void test_a_model_has_one_such_optimizer_at_a_time(void)
{
  run r = begin_spread((run_opts){.comm = MPI_COMM_NULL});
  tr_optimizer *other = NULL;
  tr_sgd_opts sgd = {.lr = 0.1, .update = {.shard_state = 1}};
  if (world_size() > 1) {
    ASSERT_FAILS(tr_sgd_create(r.net, &sgd, &other), TR_ESTATE,
                 "has an optimizer with shard_state already");
    sgd.update.shard_state = 0;
    ASSERT_OK(tr_sgd_create(r.net, &sgd, &other));
    tr_batch batch;
    next_batch(&r, &batch);
    ASSERT_OK(tr_model_forward(r.net, &batch));
    ASSERT_OK(tr_model_backward(r.net));
    ASSERT_OK(tr_model_allreduce_grads(r.net));
    ASSERT_FAILS(tr_optimizer_step(other), TR_ESTATE, "its slices only");
    tr_optimizer_destroy(&other);
    ASSERT_OK(tr_optimizer_step(r.opt));
  }
  tr_optimizer_destroy(&r.opt);
  sgd.update.shard_state = 0;
  ASSERT_OK(tr_sgd_create(r.net, &sgd, &r.opt));
  train(&r, 2);
  tr_optimizer_destroy(&r.opt);
  sgd.update.shard_state = 1;
  ASSERT_OK(tr_sgd_create(r.net, &sgd, &r.opt));
  train(&r, 2);
  hash_of(&r);
  end(&r);
}

static void test_ranks_that_do_not_all_want_it_are_refused(void)
{
  run r = begin((run_opts){.comm = MPI_COMM_NULL});
  tr_optimizer_destroy(&r.opt);
  const tr_sgd_opts sgd = {
      .lr = 0.1, .update = {.shard_state = world_rank() == world_size() - 1}};
  if (world_size() > 1) {
    ASSERT_FAILS(tr_sgd_create(r.net, &sgd, &r.opt), TR_EMISMATCH,
                 "shard_state 1");
  }
  end(&r);
}

/* A workspace reads the values, so they stay where they are. */
static void test_values_stay_where_a_workspace_reads_them(void)
{
  const run_opts opts = {.comm = MPI_COMM_NULL};
  run plain = begin(opts), spread = begin(opts);
  tr_inference *workspace;
  ASSERT_OK(tr_inference_create(spread.net, NULL, &workspace));
  tr_optimizer_destroy(&spread.opt);
  const run_opts shards = {.update = {.shard_state = 1}};
  ASSERT_OK(create_optimizer(&spread, &shards));
  ASSERT(!spread.net->store.values_are_shared);
  train(&plain, STEPS);
  train(&spread, STEPS);
  ASSERT_EQ(hash_of(&spread), hash_of(&plain));
  tr_inference_destroy(&workspace);
  end(&spread);
  end(&plain);
}

/* A model that is built again has new values. */
static void test_a_model_is_built_again(void)
{
  run r = begin_spread((run_opts){.comm = MPI_COMM_NULL});
  train(&r, 2);
  ASSERT_OK(tr_model_freeze(r.net, "fc1.*", 1));
  ASSERT_OK(tr_model_build(r.net, NULL));
  tr_optimizer_destroy(&r.opt);
  const run_opts shards = {.update = {.shard_state = 1}};
  ASSERT_OK(create_optimizer(&r, &shards));
  train(&r, 2);
  hash_of(&r);
  ASSERT_EQ(printed_state(r.net), r.net->store.state_bytes);
  end(&r);
}

static const tr_test tests[] = {
    TEST(test_every_optimizer_gives_the_bits_of_the_plain_one),
    TEST(test_so_does_each_in_several_buckets),
    TEST(test_so_do_doubles_halves_and_other_devices),
    TEST(test_so_do_sums_by_messages_and_with_16_bits),
    TEST(test_virtual_shards_give_the_bits_of_one_rank),
    TEST(test_batches_add_up_with_virtual_shards_too),
    TEST(test_ranks_that_dawdle_have_the_same_bits),
    TEST(test_values_stay_until_a_rank_updates),
    TEST(test_frozen_parameters_have_no_share),
    TEST(test_gradients_of_several_batches_are_added_up),
    TEST(test_the_norm_is_the_same_on_all_ranks_and_without),
    TEST(test_steps_that_are_not_finite_are_skipped),
    TEST(test_a_step_that_is_not_finite_stops_on_all_ranks),
    TEST(test_a_rank_has_its_share_of_the_state),
    TEST(test_any_number_of_ranks_resumes_with_or_without),
    TEST(test_files_have_the_same_values_with_and_without),
    TEST(test_a_state_that_is_not_finite_is_not_saved),
    TEST(test_a_run_rolls_back_with_the_same_bits),
    TEST(test_averages_are_the_same),
    TEST(test_gradients_that_are_spread_are_not_read),
    TEST(test_a_model_has_one_such_optimizer_at_a_time),
    TEST(test_ranks_that_do_not_all_want_it_are_refused),
    TEST(test_values_stay_where_a_workspace_reads_them),
    TEST(test_a_model_is_built_again),
};

int main(int argc, char **argv)
{
  int level;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &level);
  fill_samples();
  int code =
      test_main(argc, argv, tests, (int)(sizeof tests / sizeof tests[0]));
  MPI_Finalize();
  return code;
}
