/* Changes of a model's values have the same result on all ranks, or are refused
 * on all ranks. */
#include "layer_helper.h"
#include "mpi_test.h"

#include <train/mpi.h>

#include <mpi.h>

/* The network x (4) -> fc (2). */
static tr_model *make_net(tr_context **ctx)
{
  tr_model *net;
  ASSERT_OK(tr_context_create(MPI_COMM_WORLD, NULL, ctx));
  ASSERT_OK(tr_model_create(*ctx, &net));
  tr_node x = tr_input(net, (tr_shape){1, {4}});
  tr_linear(net, x, &(tr_linear_opts){.out = 2, .name = "fc"});
  return net;
}

static void end(tr_context **ctx, tr_model **net)
{
  tr_model_destroy(net);
  tr_context_destroy(ctx);
}

static void test_ranks_that_freeze_differently_are_refused(void)
{
  tr_context *ctx;
  tr_model *net = make_net(&ctx);
  int last = tr_context_size(ctx) - 1;
  bool is_other = tr_context_rank(ctx) == last && last > 0;
  ASSERT_OK(tr_model_freeze(net, is_other ? "fc.bias" : "fc.weight", 1));
  tr_status status =
      tr_model_build(net, &(tr_build_opts){.max_local_batch = 1});
  if (last > 0) {
    ASSERT_EQ(status, TR_EMISMATCH);
    ASSERT(strstr(tr_error_message(), "fc.bias is trained") != NULL);
    ASSERT(strstr(tr_error_message(), "fc.bias is frozen") != NULL);
  } else {
    ASSERT_EQ(status, TR_OK);
  }
  end(&ctx, &net);
}

/* The ranks differ in one option of one layer, which no shape shows. */
static void test_ranks_with_other_options_are_refused_with_both_sides(void)
{
  tr_context *ctx;
  tr_model *net;
  ASSERT_OK(tr_context_create(MPI_COMM_WORLD, NULL, &ctx));
  ASSERT_OK(tr_model_create(ctx, &net));
  int last = tr_context_size(ctx) - 1;
  bool is_causal = tr_context_rank(ctx) == 0;
  tr_attention(net, tr_input(net, (tr_shape){2, {4, 12}}),
               &(tr_attention_opts){.heads = 2, .causal = is_causal});
  tr_status status =
      tr_model_build(net, &(tr_build_opts){.max_local_batch = 1});
  ASSERT_EQ(status, last > 0 ? TR_EMISMATCH : TR_OK);
  if (last > 0) {
    ASSERT_STR_EQ(tr_error_message(),
                  "models differ: rank 0 has \"layer attention_1: attention of "
                  "input_1, heads 2, causal, gives (4, 4)\", rank 1 has "
                  "\"layer attention_1: attention of input_1, heads 2, gives "
                  "(4, 4)\"");
  }
  tr_model_destroy(&net);
  tr_context_destroy(&ctx);
}

/* One rank cannot build again: all ranks fail with its error, and none hangs.
 */
static void test_one_ranks_workspace_stops_a_second_build_on_all(void)
{
  tr_context *ctx;
  tr_model *net = make_net(&ctx);
  tr_inference *plan = NULL;
  ASSERT_OK(tr_model_build(net, &(tr_build_opts){.max_local_batch = 1}));
  if (tr_context_rank(ctx) == tr_context_size(ctx) - 1) {
    ASSERT_OK(tr_inference_create(net, NULL, &plan));
  }
  ASSERT_OK(tr_model_freeze(net, "fc.bias", 1));
  ASSERT_FAILS(tr_model_build(net, NULL), TR_ESTATE, "1 workspaces use");
  tr_inference_destroy(&plan);
  ASSERT_OK(tr_model_build(net, NULL));
  end(&ctx, &net);
}

/* All ranks have the same values as a single rank. */
static void test_initialisers_give_all_ranks_the_values_of_one(void)
{
  tr_context *ctx, *alone;
  uint64_t hashes[2];
  tr_model *net = make_net(&ctx);
  ASSERT_OK(tr_context_create(MPI_COMM_SELF, NULL, &alone));
  tr_model *single;
  ASSERT_OK(tr_model_create(alone, &single));
  tr_node x = tr_input(single, (tr_shape){1, {4}});
  tr_linear(single, x, &(tr_linear_opts){.out = 2, .name = "fc"});
  tr_model *both[2] = {net, single};
  for (int i = 0; i < 2; i++) {
    ASSERT_OK(tr_model_build(both[i], &(tr_build_opts){.max_local_batch = 1}));
    ASSERT_OK(tr_model_init_param(both[i], "fc.weight",
                                  &(tr_init_opts){.kind = "orthogonal"}));
    ASSERT_OK(tr_model_init_param(
        both[i], "fc.bias",
        &(tr_init_opts){.kind = "trunc_normal", .std = 0.02}));
    ASSERT_OK(tr_model_params_hash(both[i], &hashes[i]));
  }
  ASSERT(hashes[0] == hashes[1]);
  /* All ranks fail where one rank's option is wrong. */
  bool is_last = tr_context_rank(ctx) == tr_context_size(ctx) - 1;
  const tr_init_opts opts = {.kind = is_last ? "xaver_normal" : "ones"};
  ASSERT_FAILS(tr_model_init_param(net, "*", &opts), TR_EINVAL,
               "kind is \"xaver_normal\"");
  ASSERT_OK(tr_model_params_hash(net, &hashes[0]));
  ASSERT(hashes[0] == hashes[1]);
  end(&alone, &single);
  end(&ctx, &net);
}

static const tr_test tests[] = {
    TEST(test_ranks_that_freeze_differently_are_refused),
    TEST(test_ranks_with_other_options_are_refused_with_both_sides),
    TEST(test_one_ranks_workspace_stops_a_second_build_on_all),
    TEST(test_initialisers_give_all_ranks_the_values_of_one),
};

TEST_MPI_MAIN(tests)
