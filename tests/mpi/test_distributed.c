/* Distributed arrays: each rank trains on the samples that it holds. */
#include "base/random_impl.h"
#include "data/data_impl.h"
#include "mpi_test.h"
#include "shared_dir.h"

#include <train/mpi.h>
#include <train/train.h>

enum { FEATURES = 3 };

/* The ranks' sums are added in another order than one rank adds all samples. */
static const double rank_tolerance = 1e-12;

/* This rank's samples: sample i of all ranks has target i and x (i, ...). */
typedef struct job {
  tr_context *ctx;
  int64_t counts[4], total;
  double *x, *targets;
  tr_dataset *data;
  tr_loader *loader;
} job;

static int64_t pick(int64_t number, int64_t low, int64_t high)
{
  tr__random random = {.seed = test_seed(),
                       .stream = tr__random_stream(TR__PURPOSE_TEST, 5)};
  return low + (int64_t)((double)(high - low + 1) *
                         tr__random_uniform(&random, number));
}

static double feature(int64_t number, int k)
{
  tr__random random = {.seed = 3,
                       .sample = number,
                       .stream = tr__random_stream(TR__PURPOSE_TEST, 6)};
  return k == 0 ? (double)number / 64 : tr__random_normal(&random, k);
}

static void make_arrays(job *j, int64_t first, int64_t count)
{
  j->x = malloc((size_t)(count * FEATURES + 1) * sizeof *j->x);
  j->targets = malloc((size_t)(count + 1) * sizeof *j->targets);
  for (int64_t i = 0; i < count; i++) {
    j->targets[i] = (double)(first + i);
    for (int k = 0; k < FEATURES; k++) {
      j->x[i * FEATURES + k] = feature(first + i, k);
    }
  }
}

static tr_array_opts arrays_of(const job *j, int64_t count)
{
  return (tr_array_opts){.x = count > 0 ? j->x : NULL,
                         .targets = count > 0 ? j->targets : NULL,
                         .num_samples = count,
                         .shape = {1, {FEATURES}},
                         .target_shape = {1, {1}},
                         .distributed = 1};
}

static void open_job(job *j, const int64_t *counts, const tr_loader_opts *opts)
{
  *j = (job){0};
  ASSERT_OK(tr_context_create(
      MPI_COMM_WORLD,
      &(tr_context_opts){.threads = 1, .dtype = TR_F64, .seed = 5}, &j->ctx));
  int64_t first = 0;
  for (int r = 0; r < world_size(); r++) {
    first = r == world_rank() ? j->total : first;
    j->counts[r] = counts[r];
    j->total += counts[r];
  }
  int64_t count = counts[world_rank()];
  make_arrays(j, first, count);
  tr_array_opts arrays = arrays_of(j, count);
  ASSERT_OK(tr_array_open(j->ctx, &arrays, &j->data));
  ASSERT_EQ(tr_dataset_num_samples(j->data), count);
  ASSERT_OK(tr_loader_create(j->ctx, j->data, opts, &j->loader));
  ASSERT_EQ(tr_loader_num_samples(j->loader), j->total);
}

/* A loader reads the arrays until it is destroyed. */
static void release_arrays(job *j)
{
  tr_loader_destroy(&j->loader);
  free(j->x);
  free(j->targets);
  j->x = NULL;
  j->targets = NULL;
}

static void close_job(job *j)
{
  release_arrays(j);
  tr_dataset_destroy(&j->data);
  tr_context_destroy(&j->ctx);
}

/* Reads the next global batch on all ranks. order: its sample numbers, -1 where
 * no rank has a sample. Returns its size, 0 at the end. */
static int64_t next_batch(job *j, tr_batch *batch, int64_t *order)
{
  int64_t more = tr_loader_next(j->loader, batch), all = more, any = more;
  MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT64_T, MPI_MIN, MPI_COMM_WORLD);
  MPI_Allreduce(MPI_IN_PLACE, &any, 1, MPI_INT64_T, MPI_MAX, MPI_COMM_WORLD);
  ASSERT_EQ(all, any); /* the epoch ends on all ranks at once */
  if (!more) {
    return 0;
  }
  int64_t sum = batch->count, largest = batch->global_count;
  MPI_Allreduce(MPI_IN_PLACE, &sum, 1, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
  MPI_Allreduce(MPI_IN_PLACE, &largest, 1, MPI_INT64_T, MPI_MAX,
                MPI_COMM_WORLD);
  ASSERT_EQ(sum, batch->global_count);
  ASSERT_EQ(largest, batch->global_count);
  for (int64_t i = 0; i < sum; i++) {
    order[i] = -1;
  }
  for (int64_t i = 0; i < batch->count; i++) {
    order[batch->first + i] = (int64_t)((const double *)batch->targets[0])[i];
  }
  MPI_Allreduce(MPI_IN_PLACE, order, (int)sum, MPI_INT64_T, MPI_MAX,
                MPI_COMM_WORLD);
  return sum;
}

static void assert_each_once(const int64_t *order, int64_t count)
{
  bool *seen = calloc((size_t)count, sizeof *seen);
  for (int64_t i = 0; i < count; i++) {
    ASSERT(order[i] >= 0 && order[i] < count && !seen[order[i]]);
    seen[order[i]] = true;
  }
  free(seen);
}

/* Reads one epoch. After each batch the samples of a rank so far are in
 * proportion to what it holds, to within a few samples. */
static void run_epoch(job *j, int64_t *order)
{
  int64_t done = 0, count, mine = 0, steps = 0;
  int64_t own = j->counts[world_rank()];
  tr_batch batch;
  while ((count = next_batch(j, &batch, order + done)) > 0) {
    done += count;
    mine += batch.count;
    steps++;
    ASSERT(batch.count <= j->ctx->loader_rows);
    double share = (double)own * (double)done / (double)j->total;
    ASSERT(fabs((double)mine - share) <= world_size());
  }
  ASSERT_OK(tr_loader_status(j->loader));
  ASSERT_EQ(done, j->total);
  ASSERT_EQ(mine, own);
  ASSERT_EQ(steps, tr_loader_num_steps(j->loader));
  assert_each_once(order, j->total);
}

static const int64_t uneven[4] = {100, 150, 0, 7};

static void test_every_sample_comes_once_in_each_epoch(void)
{
  for (int64_t trial = 0; trial < 12; trial++) {
    int64_t counts[4], total = 0;
    for (int r = 0; r < 4; r++) {
      counts[r] = trial == 0 ? uneven[r] : pick(trial * 16 + r, -30, 90);
      counts[r] = tr__max(counts[r], r == world_size() - 1);
      total += r < world_size() ? counts[r] : 0;
    }
    const tr_loader_opts opts = {
        .batch = trial == 0 ? 16 : pick(trial * 16 + 8, 1, total + 3),
        .shuffle = pick(trial * 16 + 9, 0, 2) > 0,
        .threads = (int)pick(trial * 16 + 10, 0, 3)};
    int64_t *order = calloc((size_t)(2 * total), sizeof *order);
    job j;
    open_job(&j, counts, &opts);
    run_epoch(&j, order);
    run_epoch(&j, order + total);
    ASSERT_EQ(tr_loader_epoch(j.loader), 2);
    bool is_same = memcmp(order, order + total, (size_t)total * 8) == 0;
    ASSERT(!opts.shuffle ? is_same : total < 20 || !is_same);
    close_job(&j);
    free(order);
  }
}

static tr_node build(tr_context *ctx, tr_model **net, tr_optimizer **opt)
{
  ASSERT_OK(tr_model_create(ctx, net));
  tr_node x = tr_input(*net, (tr_shape){1, {FEATURES}});
  x = tr_linear(*net, x, &(tr_linear_opts){.out = 5});
  x = tr_linear(*net, tr_tanh(*net, x), &(tr_linear_opts){.out = 1});
  tr_mse(*net, x, NULL);
  ASSERT_OK(tr_model_build(*net, &(tr_build_opts){.max_local_batch = 300}));
  ASSERT_OK(tr_sgd_create(*net, &(tr_sgd_opts){.lr = 1e-4}, opt));
  return x;
}

/* One rank computes the gradients of the samples with these numbers. */
static void step_alone(tr_model *net, const int64_t *order, int64_t count)
{
  double *x = malloc((size_t)(count * FEATURES) * sizeof *x);
  double *y = malloc((size_t)count * sizeof *y);
  for (int64_t i = 0; i < count; i++) {
    y[i] = (double)order[i];
    for (int k = 0; k < FEATURES; k++) {
      x[i * FEATURES + k] = feature(order[i], k);
    }
  }
  const tr_batch batch = {
      .count = count, .global_count = count, .inputs = {x}, .targets = {y}};
  ASSERT_OK(tr_model_forward(net, &batch));
  ASSERT_OK(tr_model_backward(net));
  ASSERT_OK(tr_model_allreduce_grads(net));
  free(x);
  free(y);
}

static void assert_same_gradients(tr_model *a, tr_model *b)
{
  const char *const names[] = {"linear_1.weight", "linear_1.bias",
                               "linear_2.weight", "linear_2.bias"};
  for (int i = 0; i < 4; i++) {
    double mine[FEATURES * 5], wanted[FEATURES * 5];
    int64_t count[] = {FEATURES * 5, 5, 5, 1};
    ASSERT_OK(tr_model_get_grad(a, names[i], mine));
    ASSERT_OK(tr_model_get_grad(b, names[i], wanted));
    ASSERT_TENSOR_NEAR(names[i], TR_F64, mine, wanted, count[i],
                       rank_tolerance);
  }
}

/* Compares with a model that each rank trains alone on all samples of every
 * batch. */
static void test_gradients_are_the_mean_over_the_global_batch(void)
{
  job j;
  tr_context *solo;
  tr_model *net, *whole;
  tr_optimizer *opt, *whole_opt;
  int64_t *order = calloc(300, sizeof *order), count;
  open_job(&j, uneven, &(tr_loader_opts){.batch = 37, .shuffle = 1});
  const tr_context_opts opts = {.threads = 1, .dtype = TR_F64, .seed = 5};
  ASSERT_OK(tr_context_create(MPI_COMM_SELF, &opts, &solo));
  build(j.ctx, &net, &opt);
  build(solo, &whole, &whole_opt);
  tr_batch batch;
  while ((count = next_batch(&j, &batch, order)) > 0) {
    double loss, wanted;
    ASSERT_OK(tr_model_forward(net, &batch));
    ASSERT_OK(tr_model_backward(net));
    ASSERT_OK(tr_model_allreduce_grads(net));
    ASSERT_OK(tr_model_loss(net, &loss));
    step_alone(whole, order, count);
    ASSERT_OK(tr_model_loss(whole, &wanted));
    ASSERT_NEAR(loss, wanted, rank_tolerance);
    assert_same_gradients(net, whole);
    ASSERT_OK(tr_optimizer_step(opt));
    ASSERT_OK(tr_optimizer_step(whole_opt));
  }
  tr_optimizer_destroy(&whole_opt);
  tr_optimizer_destroy(&opt);
  tr_model_destroy(&whole);
  tr_model_destroy(&net);
  tr_context_destroy(&solo);
  close_job(&j);
  free(order);
}

/* An evaluation sees every sample once. */
static void test_evaluation_is_that_of_all_samples(void)
{
  job j;
  tr_context *solo;
  tr_model *net, *whole;
  tr_optimizer *opt, *whole_opt;
  tr_trainer *trainer;
  double loss, accuracy, wanted;
  open_job(&j, uneven, &(tr_loader_opts){.batch = 64});
  const tr_context_opts opts = {.threads = 1, .dtype = TR_F64, .seed = 5};
  ASSERT_OK(tr_context_create(MPI_COMM_SELF, &opts, &solo));
  build(j.ctx, &net, &opt);
  build(solo, &whole, &whole_opt);
  const tr_trainer_opts train = {
      .model = net, .optimizer = opt, .loader = j.loader, .epochs = 1};
  ASSERT_OK(tr_trainer_create(j.ctx, &train, &trainer));
  ASSERT_OK(tr_trainer_evaluate(trainer, j.loader, &loss, &accuracy));
  int64_t *order = calloc(300, sizeof *order);
  for (int64_t i = 0; i < j.total; i++) {
    order[i] = i;
  }
  step_alone(whole, order, j.total);
  ASSERT_OK(tr_model_loss(whole, &wanted));
  ASSERT_NEAR(loss, wanted, rank_tolerance);
  free(order);
  tr_trainer_destroy(&trainer);
  tr_optimizer_destroy(&whole_opt);
  tr_optimizer_destroy(&opt);
  tr_model_destroy(&whole);
  tr_model_destroy(&net);
  tr_context_destroy(&solo);
  close_job(&j);
}

static void need_two_ranks(void)
{
  if (world_size() == 1) {
    test_not_here("needs two ranks");
  }
}

/* The last rank differs in one number of x, in one target, or has one sample
 * less. */
static void test_other_arrays_are_refused_unless_distributed(void)
{
  need_two_ranks();
  job j;
  open_job(&j, (int64_t[]){9, 9, 9, 9}, &(tr_loader_opts){.batch = 4});
  bool is_last = world_rank() == world_size() - 1;
  const char *const texts[] = {"\"x of the hash ", "\"targets of the hash ",
                               "\"samples 9\""};
  for (int trial = 0; trial < 3; trial++) {
    tr_dataset *data;
    char who[32];
    snprintf(who, sizeof who, "rank %d has", world_size() - 1);
    release_arrays(&j);
    make_arrays(&j, 0, 9);
    j.x[5] += trial == 0 && is_last;
    j.targets[8] += trial == 1 && is_last;
    tr_array_opts arrays = arrays_of(&j, 9 - (trial == 2 && is_last));
    arrays.distributed = 0;
    ASSERT_FAILS(tr_array_open(j.ctx, &arrays, &data), TR_EMISMATCH,
                 texts[trial]);
    ASSERT(data == NULL);
    ASSERT(strstr(tr_error_message(), who) != NULL);
    ASSERT(strstr(tr_error_message(), "set tr_array_opts.distributed") != NULL);
    arrays.distributed = is_last;
    ASSERT_FAILS(tr_array_open(j.ctx, &arrays, &data), TR_EMISMATCH,
                 "rank 0 has \"distributed 0\"");
  }
  close_job(&j);
}

static void test_the_same_arrays_on_all_ranks_are_taken(void)
{
  job j;
  tr_dataset *data;
  open_job(&j, (int64_t[]){9, 9, 9, 9}, &(tr_loader_opts){.batch = 4});
  release_arrays(&j);
  make_arrays(&j, 0, 9);
  tr_array_opts arrays = arrays_of(&j, 9);
  arrays.distributed = 0;
  ASSERT_OK(tr_array_open(j.ctx, &arrays, &data));
  tr_dataset_destroy(&data);
  close_job(&j);
}

static void test_shards_and_samples_of_nobody_are_refused(void)
{
  tr_context *ctx;
  tr_dataset *data;
  const tr_context_opts opts = {.threads = 1, .virtual_shards = 8};
  const float x[2] = {1, 2};
  tr_array_opts arrays = {.x = x,
                          .targets = x,
                          .num_samples = 2,
                          .shape = {1, {1}},
                          .target_shape = {1, {1}},
                          .distributed = 1};
  ASSERT_OK(tr_context_create(MPI_COMM_WORLD, &opts, &ctx));
  ASSERT_FAILS(tr_array_open(ctx, &arrays, &data), TR_EINVAL,
               "distributed excludes virtual_shards");
  tr_context_destroy(&ctx);
  ASSERT_OK(tr_context_create(MPI_COMM_WORLD, NULL, &ctx));
  arrays.num_samples = 0;
  ASSERT_FAILS(tr_array_open(ctx, &arrays, &data), TR_EDATA,
               "no rank has a sample");
  ASSERT(data == NULL);
  arrays.num_samples = -1;
  ASSERT_FAILS(tr_array_open(ctx, &arrays, &data), TR_EINVAL,
               "num_samples is -1");
  arrays.num_samples = 2;
  arrays.shape.dims[0] = 1 + (world_rank() == world_size() - 1);
  arrays.num_samples = 1;
  if (world_size() > 1) {
    ASSERT_FAILS(tr_array_open(ctx, &arrays, &data), TR_EMISMATCH,
                 "\"shape (1)\"");
  }
  tr_context_destroy(&ctx);
}

/* A run that the tests save. */
typedef struct saved_job {
  job data;
  tr_model *net;
  tr_optimizer *opt;
  tr_checkpoint run;
} saved_job;

static void open_saved(saved_job *s, const int64_t *counts)
{
  open_job(&s->data, counts, &(tr_loader_opts){.batch = 24, .shuffle = 1});
  build(s->data.ctx, &s->net, &s->opt);
  s->run = (tr_checkpoint){
      .model = s->net, .optimizer = s->opt, .loader = s->data.loader};
}

static void close_saved(saved_job *s)
{
  tr_optimizer_destroy(&s->opt);
  tr_model_destroy(&s->net);
  close_job(&s->data);
}

static const int64_t equal[] = {60, 60, 60, 60};

/* The same number of samples in all, but the last rank holds twelve of the
 * first rank's. */
static void open_moved(saved_job *s)
{
  int64_t counts[] = {48, 60, 60, 60};
  counts[world_size() - 1] = 72;
  open_saved(s, counts);
}

/* Saves a run after at most so many batches; returns the number of samples
 * read. */
static int64_t save_job(const char *dir, int64_t batches)
{
  saved_job s;
  int64_t done = 0;
  tr_batch batch;
  open_saved(&s, equal);
  for (; batches > 0 && tr_loader_next(s.data.loader, &batch); batches--) {
    done += batch.global_count;
  }
  ASSERT_OK(tr_checkpoint_save(s.data.ctx, dir, &s.run));
  close_saved(&s);
  return done;
}

/* The number of samples that are left in the epoch. */
static int64_t count_rest(saved_job *s)
{
  int64_t rest = 0;
  tr_batch batch;
  while (tr_loader_next(s->data.loader, &batch)) {
    rest += batch.global_count;
  }
  return rest;
}

static void test_other_counts_do_not_go_on_in_the_middle_of_an_epoch(void)
{
  need_two_ranks();
  const char *dir = shared_dir();
  const int64_t total = 60 * world_size();
  ASSERT_EQ(save_job(dir, 2), 48);
  saved_job s;
  open_moved(&s);
  ASSERT_FAILS(tr_checkpoint_resume(s.data.ctx, dir, &s.run), TR_EMISMATCH,
               "the ranks hold other numbers of samples");
  ASSERT_EQ(count_rest(&s), total); /* nothing has changed */
  s.run.allow_changes = 1;
  ASSERT_OK(tr_checkpoint_resume(s.data.ctx, dir, &s.run));
  ASSERT_EQ(count_rest(&s), total); /* the epoch begins again */
  close_saved(&s);
  open_saved(&s, equal);
  ASSERT_OK(tr_checkpoint_resume(s.data.ctx, dir, &s.run));
  ASSERT_EQ(count_rest(&s), total - 48);
  close_saved(&s);
}

static void test_other_counts_go_on_between_two_epochs(void)
{
  need_two_ranks();
  const char *dir = shared_dir();
  const int64_t total = 60 * world_size();
  ASSERT_EQ(save_job(dir, (total + 23) / 24), total);
  saved_job s;
  open_moved(&s);
  ASSERT_OK(tr_checkpoint_resume(s.data.ctx, dir, &s.run));
  ASSERT_EQ(count_rest(&s), 0); /* first the end of the epoch is announced */
  ASSERT_EQ(count_rest(&s), total);
  close_saved(&s);
}

static const tr_test tests[] = {
    TEST(test_every_sample_comes_once_in_each_epoch),
    TEST(test_gradients_are_the_mean_over_the_global_batch),
    TEST(test_evaluation_is_that_of_all_samples),
    TEST(test_other_arrays_are_refused_unless_distributed),
    TEST(test_the_same_arrays_on_all_ranks_are_taken),
    TEST(test_shards_and_samples_of_nobody_are_refused),
    TEST(test_other_counts_do_not_go_on_in_the_middle_of_an_epoch),
    TEST(test_other_counts_go_on_between_two_epochs),
};

TEST_MPI_MAIN(tests)
