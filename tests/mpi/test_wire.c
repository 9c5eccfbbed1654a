/* Training with 16-bit gradients in messages: losses near those of full
 * precision, the same bits on all ranks, and as good an accuracy. */
#include "base/random_impl.h"
#include "comm/mpi/algorithm_table_impl.h"
#include "comm/mpi/comm_mpi_impl.h"
#include "model/model_impl.h"
#include "mpi_test.h"

#include <math.h>
#include <train/mpi.h>
#include <train/train.h>

enum { BATCH = 64, CLASSES = 10 };

typedef struct run_opts {
  tr_dtype wire, dtype;
  const char *algorithm;
  int shard_state;
} run_opts;

typedef struct run {
  tr_context *ctx;
  tr_dataset *data, *test;
  tr_loader *loader, *test_loader;
  tr_model *net;
  tr_optimizer *opt;
} run;

static run begin(const run_opts *opts)
{
  run r = {0};
  const tr_context_opts ctx_opts = {
      .threads = 1, .seed = 4, .wire = opts->wire, .dtype = opts->dtype};
  ASSERT_OK(tr_context_create(MPI_COMM_WORLD, &ctx_opts, &r.ctx));
  if (r.ctx->comm->size > 1) {
    ASSERT_OK(tr__comm_set_algorithm(r.ctx->comm, opts->algorithm));
  }
  ASSERT_OK(tr_digits_open(r.ctx, "train", &r.data));
  ASSERT_OK(tr_digits_open(r.ctx, "test", &r.test));
  const tr_loader_opts loader = {.batch = BATCH, .shuffle = 1};
  ASSERT_OK(tr_loader_create(r.ctx, r.data, &loader, &r.loader));
  ASSERT_OK(tr_loader_create(r.ctx, r.test, &(tr_loader_opts){.batch = BATCH},
                             &r.test_loader));
  ASSERT_OK(tr_model_create(r.ctx, &r.net));
  tr_node x = tr_flatten(r.net, tr_input(r.net, tr_dataset_shape(r.data)));
  x = tr_relu(r.net, tr_linear(r.net, x, &(tr_linear_opts){.out = 64}));
  x = tr_relu(r.net, tr_linear(r.net, x, &(tr_linear_opts){.out = 32}));
  x = tr_linear(r.net, x, &(tr_linear_opts){.out = CLASSES, .name = "head"});
  tr_cross_entropy(r.net, x);
  ASSERT_OK(tr_model_build(r.net, NULL));
  tr_adamw_opts adamw = tr_adamw_defaults();
  adamw.update.shard_state = opts->shard_state;
  ASSERT_OK(tr_adamw_create(r.net, &adamw, &r.opt));
  return r;
}

static void end(run *r)
{
  tr_optimizer_destroy(&r->opt);
  tr_model_destroy(&r->net);
  tr_loader_destroy(&r->loader);
  tr_loader_destroy(&r->test_loader);
  tr_dataset_destroy(&r->data);
  tr_dataset_destroy(&r->test);
  tr_context_destroy(&r->ctx);
}

static uint64_t hash_of(run *r)
{
  uint64_t hash, first;
  ASSERT_OK(tr_model_params_hash(r->net, &hash));
  first = hash;
  MPI_Bcast(&first, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
  ASSERT(first == hash);
  return hash;
}

static tr_report fit(run *r, int64_t epochs)
{
  tr_trainer *trainer;
  tr_report report;
  const tr_trainer_opts opts = {.model = r->net,
                                .optimizer = r->opt,
                                .loader = r->loader,
                                .test_loader = r->test_loader,
                                .epochs = epochs};
  ASSERT_OK(tr_trainer_create(r->ctx, &opts, &trainer));
  ASSERT_OK(tr_trainer_fit(trainer, &report));
  tr_trainer_destroy(&trainer);
  return report;
}

/* The gradients of the first batch, and its loss from the sums in the tail. */
static void first_gradients(run *r, float *head, double *loss)
{
  tr_batch batch;
  ASSERT(tr_loader_next(r->loader, &batch));
  ASSERT_OK(tr_model_forward(r->net, &batch));
  ASSERT_OK(tr_model_backward(r->net));
  ASSERT_OK(tr_model_allreduce_grads(r->net));
  ASSERT_OK(tr_model_get_grad(r->net, "head.weight", head));
  ASSERT_OK(tr_model_loss(r->net, loss));
  ASSERT_NEAR(r->net->known[TR__TAIL_WEIGHT], BATCH, 0);
}

static void test_a_gradient_is_rounded_and_its_loss_is_not(void)
{
  enum { COUNT = CLASSES * 32 };
  run plain = begin(&(run_opts){.algorithm = "direct"});
  run wired = begin(&(run_opts){.algorithm = "direct", .wire = TR_BF16});
  float expected[COUNT], got[COUNT], largest = 0;
  double loss, same;
  int num_rounded = 0;
  first_gradients(&plain, expected, &loss);
  first_gradients(&wired, got, &same);
  ASSERT(loss == same);
  for (int i = 0; i < COUNT; i++) {
    largest = fmaxf(largest, fabsf(expected[i]));
  }
  /* The bound holds since the operand of each rank is at most a few times as
   * large as the largest sum. */
  for (int i = 0; i < COUNT; i++) {
    ASSERT_NEAR(got[i], expected[i], 4 * 0x1p-8 * (double)largest);
    num_rounded += got[i] != expected[i];
  }
  ASSERT(plain.ctx->comm->size == 1 ? num_rounded == 0
                                    : num_rounded > COUNT / 2);
  end(&wired);
  end(&plain);
}

static void test_a_wire_of_16_bits_learns_as_well(void)
{
  run plain = begin(&(run_opts){.algorithm = "direct"});
  run wired = begin(&(run_opts){.algorithm = "direct", .wire = TR_BF16});
  tr_report a = fit(&plain, 3), b = fit(&wired, 3);
  ASSERT(a.test_accuracy > 0.85);
  ASSERT(b.test_accuracy > a.test_accuracy - 0.02);
  ASSERT(b.test_loss < 1.1 * a.test_loss);
  ASSERT_EQ(hash_of(&plain) == hash_of(&wired), plain.ctx->comm->size == 1);
  end(&wired);
  end(&plain);
}

static void test_shared_memory_is_no_wire(void)
{
  run plain = begin(&(run_opts){.algorithm = "auto"});
  if (plain.ctx->comm->size > 1 && !plain.ctx->comm->has_shm) {
    end(&plain);
    test_skip("the ranks share no memory here");
  }
  run wired = begin(&(run_opts){.algorithm = "auto", .wire = TR_BF16});
  fit(&plain, 1);
  fit(&wired, 1);
  ASSERT_EQ(hash_of(&wired), hash_of(&plain));
  end(&wired);
  end(&plain);
}

static void test_it_goes_with_mixed_precision_and_shared_state(void)
{
  static const tr_dtype dtypes[] = {TR_F32, TR_BF16, TR_F16};
  for (int i = 0; i < 3; i++) {
    run_opts opts = {
        .algorithm = "direct", .wire = TR_BF16, .dtype = dtypes[i]};
    run plain = begin(&opts);
    opts.shard_state = 1;
    run spread = begin(&opts);
    fit(&plain, 1);
    fit(&spread, 1);
    ASSERT_EQ(hash_of(&spread), hash_of(&plain));
    end(&spread);
    end(&plain);
  }
}

static void
expect_refused(tr_context_opts opts, tr_status status, const char *text)
{
  tr_context *ctx;
  ASSERT_FAILS(tr_context_create(MPI_COMM_WORLD, &opts, &ctx), status, text);
}

static void test_what_cannot_be_is_refused(void)
{
  int rank, size;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  expect_refused((tr_context_opts){.wire = TR_BF16, .dtype = TR_F64}, TR_EINVAL,
                 "wire is bfloat16 with dtype float64");
  expect_refused((tr_context_opts){.wire = TR_F16}, TR_EINVAL,
                 "wire is float16");
  expect_refused((tr_context_opts){.wire = TR_BF16, .virtual_shards = 8},
                 TR_EINVAL, "with 8 virtual shards");
  if (size > 1) {
    expect_refused((tr_context_opts){.wire = rank == 0 ? TR_BF16 : TR_F32},
                   TR_EMISMATCH, "wire");
  }
}

static const tr_test tests[] = {
    TEST(test_a_gradient_is_rounded_and_its_loss_is_not),
    TEST(test_a_wire_of_16_bits_learns_as_well),
    TEST(test_shared_memory_is_no_wire),
    TEST(test_it_goes_with_mixed_precision_and_shared_state),
    TEST(test_what_cannot_be_is_refused),
};

TEST_MPI_MAIN(tests)
