/* Rank invariance: the same global batches, cut over the ranks, give the
 * losses and parameters of one rank, and PyTorch's. Run under mpirun. */
#include "golden.h"
#include "mpi_test.h"

#include <train/mpi.h>

/* Ranks add up in another order than one rank does. */
#define TOLERANCE_F64     1e-12
#define TOLERANCE_F32     1e-5
#define TOLERANCE_PYTORCH 1e-9

static tr_context *context_on(MPI_Comm comm, tr_dtype dtype, const char *device)
{
  tr_context *ctx;
  tr_context_opts opts = {.device = device, .dtype = dtype, .threads = 1};
  ASSERT_OK(tr_context_create(comm, &opts, &ctx));
  return ctx;
}

static double tolerance_of(tr_dtype dtype)
{
  return dtype == TR_F64 ? TOLERANCE_F64 : TOLERANCE_F32;
}

static void *get_param(const golden_net *net, int i)
{
  const struct golden_param *param = &net->params[i];
  void *values = malloc((size_t)param->count * tr_dtype_size(net->dtype));
  ASSERT(values != NULL);
  ASSERT_OK(tr_model_get_param(net->model, param->name, values));
  return values;
}

/* Adam makes steps of one size out of gradients of any size, so parameters
 * with tiny gradients show rounding: they are compared in fp64, where it
 * stays small, more loosely than the losses. */
static void check_params(const golden_net *got, const golden_net *expected)
{
  for (int i = 0; i < got->num_params && got->dtype == TR_F64; i++) {
    void *a = get_param(got, i), *b = get_param(expected, i);
    ASSERT_TENSOR_NEAR(got->params[i].name, got->dtype, a, b,
                       got->params[i].count, TOLERANCE_PYTORCH);
    free(a);
    free(b);
  }
}

static void check_alone(const recording *rec,
                        const char *optimizer,
                        const golden_net *net,
                        const double *losses)
{
  tr_context *ctx =
      context_on(MPI_COMM_SELF, net->dtype, net->ctx->backend->type->name);
  golden_net alone;
  double expected[GOLDEN_STEPS];
  golden_train(ctx, rec, optimizer, expected, &alone);
  ASSERT_TENSOR_NEAR("losses against one rank", TR_F64, losses, expected,
                     GOLDEN_STEPS, tolerance_of(net->dtype));
  check_params(net, &alone);
  golden_net_destroy(&alone);
  tr_context_destroy(&ctx);
}

static void check_pytorch(const recording *rec,
                          const char *optimizer,
                          tr_dtype dtype,
                          const double *losses)
{
  int bits = dtype == TR_F64 ? 64 : 32;
  double *expected = recording_numbers(rec, NULL, "%s/loss%d", optimizer, bits);
  ASSERT_TENSOR_NEAR("losses against PyTorch", TR_F64, losses, expected,
                     GOLDEN_STEPS,
                     dtype == TR_F64 ? TOLERANCE_PYTORCH : TOLERANCE_F32);
  free(expected);
}

/* The ranks' own copies must not only be close but the same. */
static void check_hashes(const golden_net *net)
{
  uint64_t hash, of_root;
  ASSERT_OK(tr_model_params_hash(net->model, &hash));
  of_root = hash;
  ASSERT_EQ(MPI_Bcast(&of_root, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD),
            MPI_SUCCESS);
  ASSERT(hash == of_root);
}

static void check_ranks(const char *run,
                        const char *optimizer,
                        tr_dtype dtype,
                        const char *device)
{
  recording *rec = recording_open(run);
  tr_context *ctx = context_on(MPI_COMM_WORLD, dtype, device);
  golden_net net;
  double losses[GOLDEN_STEPS];
  golden_train(ctx, rec, optimizer, losses, &net);
  check_pytorch(rec, optimizer, dtype, losses);
  check_hashes(&net);
  if (tr_context_rank(ctx) == 0) {
    check_alone(rec, optimizer, &net, losses);
  }
  golden_net_destroy(&net);
  tr_context_destroy(&ctx);
  recording_close(&rec);
}

static void test_mlp_in_fp64_does_not_depend_on_the_ranks(void)
{
  check_ranks("mlp", "adam", TR_F64, "reference");
}

static void test_mlp_in_fp32_does_not_depend_on_the_ranks(void)
{
  check_ranks("mlp", "sgd", TR_F32, "cpu");
  check_ranks("mlp", "momentum", TR_F32, "cpu");
  check_ranks("mlp", "adam", TR_F32, "cpu");
  check_ranks("mlp", "adamw", TR_F32, "cpu");
}

/* Batches of 32, 31, 7, 3 and 1: on four ranks some have no samples. */
static void test_uneven_batches_do_not_depend_on_the_ranks(void)
{
  check_ranks("mlp_uneven", "momentum", TR_F64, "reference");
  check_ranks("mlp_uneven", "momentum", TR_F32, "cpu");
  check_ranks("mlp_uneven", "adamw", TR_F32, "cpu");
}

static void test_weighted_samples_do_not_depend_on_the_ranks(void)
{
  check_ranks("tiny_weighted", "momentum", TR_F64, "reference");
  check_ranks("tiny_weighted", "adam", TR_F64, "reference");
  check_ranks("tiny_weighted", "adam", TR_F32, "cpu");
}

static void test_convnet_does_not_depend_on_the_ranks(void)
{
  check_ranks("convnet12", "momentum", TR_F32, "cpu");
  check_ranks("convnet12", "adamw", TR_F32, "cpu");
}

static void test_strict_backend_does_not_depend_on_the_ranks(void)
{
  check_ranks("tiny", "adam", TR_F64, "strict");
  check_ranks("tiny", "cosine", TR_F32, "strict");
}

static const tr_test tests[] = {
    TEST(test_mlp_in_fp64_does_not_depend_on_the_ranks),
    TEST(test_mlp_in_fp32_does_not_depend_on_the_ranks),
    TEST(test_uneven_batches_do_not_depend_on_the_ranks),
    TEST(test_weighted_samples_do_not_depend_on_the_ranks),
    TEST(test_convnet_does_not_depend_on_the_ranks),
    TEST(test_strict_backend_does_not_depend_on_the_ranks),
};

TEST_MPI_MAIN(tests)
