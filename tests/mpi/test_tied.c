/* Tied weights on several ranks: the numbers are those of one rank, resumed
 * runs have the same bits, and ranks that tie differently are refused. */
#include "base/random_impl.h"
#include "mpi_test.h"
#include "shared_dir.h"

#include <mpi.h>
#include <train/mpi.h>
#include <train/train.h>

enum { CONTEXT = 6, TOKENS = 11, BATCH = 10, NUM_STEPS = 12 };

/* The ranks' sums are added in another order than one rank adds all samples. */
static const double rank_tolerance = 1e-11;

typedef struct run {
  tr_context *ctx;
  tr_model *net;
  tr_optimizer *opt;
} run;

/* Embedding tok (TOKENS, 8), one layer, and a head tied to the weight of tok.
 */
static void add_layers(tr_model *net)
{
  tr_node tok = tr_embedding(
      net, tr_input_ids(net, (tr_shape){1, {CONTEXT}}),
      &(tr_embedding_opts){.num = TOKENS, .out = 8, .name = "tok"});
  tr_node x = tr_linear(net, tok, &(tr_linear_opts){.out = 8, .name = "mid"});
  tr_node head = tr_linear(net, tr_tanh(net, x),
                           &(tr_linear_opts){.out = TOKENS, .name = "head"});
  tr_model_tie(net, head, tok);
  tr_cross_entropy(net, head);
}

static run begin(MPI_Comm comm, const char *device, tr_dtype dtype)
{
  run r;
  ASSERT_OK(tr_context_create(comm,
                              &(tr_context_opts){.device = device,
                                                 .dtype = dtype,
                                                 .threads = 1,
                                                 .seed = 3,
                                                 .log = test_no_log},
                              &r.ctx));
  ASSERT_OK(tr_model_create(r.ctx, &r.net));
  add_layers(r.net);
  ASSERT_OK(tr_model_build(r.net, &(tr_build_opts){.max_local_batch = BATCH}));
  tr_adamw_opts adamw = tr_adamw_defaults();
  adamw.lr = 0.01;
  ASSERT_OK(tr_adamw_create(r.net, &adamw, &r.opt));
  return r;
}

static void end(run *r)
{
  tr_optimizer_destroy(&r->opt);
  tr_model_destroy(&r->net);
  tr_context_destroy(&r->ctx);
}

/* Trains on this rank's rows of a global batch. */
static void train_step(run *r, int number)
{
  const tr__random random = {.seed = 5,
                             .sample = number,
                             .stream = tr__random_stream(TR__PURPOSE_TEST, 8)};
  int32_t ids[BATCH * CONTEXT], targets[BATCH * CONTEXT];
  for (int i = 0; i < BATCH * CONTEXT; i++) {
    ids[i] = (int32_t)(tr__random_u32(&random, i) % TOKENS);
    targets[i] = (3 * ids[i] + 1) % TOKENS;
  }
  int rank = tr_context_rank(r->ctx), size = tr_context_size(r->ctx);
  int first = BATCH * rank / size;
  const tr_batch batch = {.count = BATCH * (rank + 1) / size - first,
                          .first = first,
                          .global_count = BATCH,
                          .inputs = {ids + first * CONTEXT},
                          .targets = {targets + first * CONTEXT},
                          .target_values = {CONTEXT}};
  ASSERT_OK(tr_model_forward(r->net, &batch));
  ASSERT_OK(tr_model_backward(r->net));
  ASSERT_OK(tr_model_allreduce_grads(r->net));
  ASSERT_OK(tr_optimizer_step(r->opt));
}

static void train(run *r, int first, int end)
{
  for (int step = first; step < end; step++) {
    train_step(r, step);
  }
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

static void check_rank_invariance(const char *device)
{
  run alone = begin(MPI_COMM_SELF, device, TR_F64);
  run together = begin(MPI_COMM_WORLD, device, TR_F64);
  static const char *const names[] = {"tok.weight", "mid.weight", "mid.bias",
                                      "head.bias"};
  static const int64_t counts[] = {TOKENS * 8, 64, 8, TOKENS};
  train(&alone, 0, NUM_STEPS);
  train(&together, 0, NUM_STEPS);
  for (int i = 0; i < 4; i++) {
    double a[TOKENS * 8], b[TOKENS * 8];
    ASSERT_OK(tr_model_get_param(alone.net, names[i], a));
    ASSERT_OK(tr_model_get_param(together.net, names[i], b));
    ASSERT_TENSOR_NEAR(names[i], TR_F64, b, a, counts[i], rank_tolerance);
  }
  hash_of(&together);
  end(&alone);
  end(&together);
}

static void test_parameters_are_those_of_one_rank(void)
{
  check_rank_invariance("reference");
  check_rank_invariance("strict");
}

static tr_checkpoint checkpoint_of(const run *r)
{
  return (tr_checkpoint){.model = r->net, .optimizer = r->opt};
}

static void check_resume(const char *device)
{
  const char *dir = shared_dir();
  run whole = begin(MPI_COMM_WORLD, device, TR_F32);
  run first = begin(MPI_COMM_WORLD, device, TR_F32);
  run second = begin(MPI_COMM_WORLD, device, TR_F32);
  train(&whole, 0, NUM_STEPS);
  train(&first, 0, 5);
  tr_checkpoint saved = checkpoint_of(&first);
  ASSERT_OK(tr_checkpoint_save(first.ctx, dir, &saved));
  uint64_t hash = hash_of(&first);
  end(&first);
  saved = checkpoint_of(&second);
  ASSERT_OK(tr_checkpoint_resume(second.ctx, dir, &saved));
  ASSERT(hash_of(&second) == hash);
  train(&second, 5, NUM_STEPS);
  ASSERT(hash_of(&second) == hash_of(&whole));
  end(&whole);
  end(&second);
}

static void test_a_resumed_run_ends_with_the_same_bits(void)
{
  check_resume("cpu");
  check_resume("strict");
}

static void test_ranks_that_tie_to_other_layers_are_refused(void)
{
  tr_context *ctx;
  tr_model *net;
  ASSERT_OK(tr_context_create(MPI_COMM_WORLD, NULL, &ctx));
  ASSERT_OK(tr_model_create(ctx, &net));
  bool is_other = tr_context_size(ctx) > 1 &&
                  tr_context_rank(ctx) == tr_context_size(ctx) - 1;
  tr_node a = tr_input(net, (tr_shape){1, {4}}), nodes[3];
  for (int i = 0; i < 3; i++) {
    a = nodes[i] = tr_linear(net, a, &(tr_linear_opts){.out = 4});
  }
  tr_model_tie(net, nodes[2], nodes[is_other]);
  tr_status status =
      tr_model_build(net, &(tr_build_opts){.max_local_batch = 1});
  ASSERT_EQ(status, tr_context_size(ctx) > 1 ? TR_EMISMATCH : TR_OK);
  if (status != TR_OK) {
    ASSERT(strstr(tr_error_message(), "with linear_1.weight") != NULL);
    ASSERT(strstr(tr_error_message(), "with linear_2.weight") != NULL);
  }
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

static const tr_test tests[] = {
    TEST(test_parameters_are_those_of_one_rank),
    TEST(test_a_resumed_run_ends_with_the_same_bits),
    TEST(test_ranks_that_tie_to_other_layers_are_refused),
};

TEST_MPI_MAIN(tests)
