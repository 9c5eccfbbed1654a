/* One process needs no messages and no MPI. */
#include "comm/mpi/algorithm_table_impl.h"
#include "comm/mpi/comm_mpi_impl.h"
#include "core/comm_impl.h"
#include "test.h"

#include <train/context.h>

static tr__comm *create_self(void)
{
  tr__comm *comm;
  ASSERT_OK(tr__comm_self_create(&comm));
  return comm;
}

static void test_self_allreduce_leaves_values_as_they_are(void)
{
  tr__comm *comm = create_self();
  float values[3] = {1, 2, 3};
  tr__request *request;
  ASSERT_OK(comm->type->start(
      comm, &(tr__transfer){.buf = values, .count = 3, .dtype = TR_F32},
      &request));
  ASSERT_OK(tr__comm_wait(comm, &request));
  ASSERT(request == NULL);
  ASSERT(values[0] == 1 && values[1] == 2 && values[2] == 3);
  comm->type->destroy(comm);
}

static void test_self_allreduce_refuses_what_mpi_refuses(void)
{
  tr__comm *comm = create_self();
  int32_t values[1] = {1};
  tr__request *request;
  ASSERT_FAILS(comm->type->start(
                   comm,
                   &(tr__transfer){.buf = values, .count = 1, .dtype = TR_I32},
                   &request),
               TR_EINVAL, "expected float32 or float64");
  ASSERT_FAILS(comm->type->start(
                   comm,
                   &(tr__transfer){.buf = values, .count = -1, .dtype = TR_F32},
                   &request),
               TR_EINVAL, "-1 elements");
  ASSERT_FAILS(comm->type->broadcast(comm, values, 4, 1), TR_EINVAL,
               "rank 1 of 1");
  comm->type->destroy(comm);
}

static void test_self_reductions_keep_values(void)
{
  tr__comm *comm = create_self();
  int64_t whole[2] = {-7, INT64_MAX};
  double real[2] = {0.1, -3};
  ASSERT_OK(comm->type->reduce_i64(comm, whole, 2, TR__MIN));
  ASSERT_OK(comm->type->sum_f64(comm, real, 2));
  ASSERT_OK(comm->type->barrier(comm));
  ASSERT(whole[0] == -7 && whole[1] == INT64_MAX);
  ASSERT(real[0] == 0.1 && real[1] == -3);
  comm->type->destroy(comm);
}

static void test_agree_on_one_rank_keeps_status_and_message(void)
{
  tr__comm *comm = create_self();
  ASSERT_OK(tr__agree(comm, TR_OK));
  tr_status mine = TR_FAIL(TR_EDATA, "label 12 in row 3");
  ASSERT_EQ(tr__agree(comm, mine), TR_EDATA);
  ASSERT_STR_EQ(tr_error_message(), "label 12 in row 3");
  ASSERT(tr__error_origin()->agreed);
  ASSERT(!tr__error_is_elsewhere());
  ASSERT_OK(tr__agree_text(comm, "options", "anything"));
  comm->type->destroy(comm);
}

static void test_agree_without_a_trace_says_what_the_status_means(void)
{
  tr__comm *comm = create_self();
  TR_FAIL(TR_EIO, "an old failure");
  ASSERT_EQ(tr__agree(comm, TR_ENOINPUT), TR_ENOINPUT);
  ASSERT_STR_EQ(tr_error_message(), tr_status_text(TR_ENOINPUT));
  comm->type->destroy(comm);
}

static void test_algorithms_are_chosen_by_name(void)
{
  tr__comm *comm = create_self();
  ASSERT_STR_EQ(tr__comm_algorithm_name(comm, 8), "doubling");
  ASSERT_STR_EQ(tr__comm_algorithm_name(comm, 1 << 30), "ring");
  ASSERT_OK(tr__comm_set_algorithm(comm, "mpi"));
  ASSERT_STR_EQ(tr__comm_algorithm_name(comm, 8), "mpi");
  ASSERT_OK(tr__comm_set_algorithm(comm, "auto"));
  ASSERT_STR_EQ(tr__comm_algorithm_name(comm, 8), "doubling");
  ASSERT_FAILS(tr__comm_set_algorithm(comm, "tree"), TR_EINVAL,
               "\"tree\" is none of auto, doubling, ring, mpi");
  comm->type->destroy(comm);
}

static void expect_choice(int ranks, int64_t slice, const char *name)
{
  const tr__comm comm = {.size = ranks};
  ASSERT_STR_EQ(tr__comm_algorithm_name(&comm, slice * ranks), name);
}

/* A ring needs slices that are worth their messages. */
static void test_many_ranks_halve_what_is_small_for_a_ring(void)
{
  expect_choice(4, 10 << 10, "ring");
  expect_choice(8, 7 << 10, "halving");
  expect_choice(16, 127 << 10, "halving");
  expect_choice(16, 128 << 10, "ring");
  expect_choice(24, 9 << 10, "ring"); /* a ring sends less */
  expect_choice(512, 255 << 10, "halving");
  expect_choice(512, 256 << 10, "ring");
}

static void test_context_without_launcher_does_not_initialise_mpi(void)
{
  tr_context *ctx;
  ASSERT_OK(tr_context_create_auto(NULL, &ctx));
  ASSERT_EQ(tr_context_rank(ctx), 0);
  ASSERT_EQ(tr_context_size(ctx), 1);
  ASSERT(!tr__mpi_is_active());
  tr_context_destroy(&ctx);
  ASSERT(ctx == NULL);
  tr_context_destroy(&ctx);
  tr_context_destroy(NULL);
}

static void test_context_on_a_communicator_needs_mpi(void)
{
  tr_context *ctx;
  ASSERT_FAILS(tr_context_create_f(0, NULL, &ctx), TR_ESTATE,
               "needs MPI to be initialised");
  ASSERT(ctx == NULL);
}

static void test_context_refuses_bad_options(void)
{
  tr_context *ctx;
  ASSERT_FAILS(
      tr_context_create_auto(&(tr_context_opts){.device = "gpu"}, &ctx),
      TR_EUNSUPPORTED, "device \"gpu\" is none of ");
  ASSERT(strstr(tr_error_message(), "cpu") != NULL);
  ASSERT(ctx == NULL);
  ASSERT_FAILS(tr_context_create_auto(&(tr_context_opts){.threads = -1}, &ctx),
               TR_EINVAL, "threads is -1");
  ASSERT_FAILS(
      tr_context_create_auto(&(tr_context_opts){.threads = 4097}, &ctx),
      TR_EINVAL, "threads is 4097");
  ASSERT_FAILS(
      tr_context_create_auto(&(tr_context_opts){.dtype = TR_I32}, &ctx),
      TR_EINVAL, "expected float32, float64, bfloat16 or float16");
  ASSERT_FAILS(tr_context_create_auto(NULL, NULL), TR_EINVAL, "out is NULL");
}

typedef struct log_lines {
  int num_lines;
  tr_log_level level;
  char line[64];
} log_lines;

static void keep_line(void *user, tr_log_level level, const char *line)
{
  log_lines *lines = user;
  lines->num_lines++;
  lines->level = level;
  snprintf(lines->line, sizeof lines->line, "%s", line);
}

static void test_context_log_goes_to_the_callers_function(void)
{
  log_lines lines = {0};
  tr_context *ctx;
  ASSERT_OK(tr_context_create_auto(
      &(tr_context_opts){.log = keep_line, .log_user = &lines}, &ctx));
  tr_log_root(ctx, "epoch %d", 3);
  ASSERT_EQ(lines.num_lines, 1);
  ASSERT_EQ(lines.level, TR_LOG_INFO);
  ASSERT_STR_EQ(lines.line, "epoch 3");
  tr_context_destroy(&ctx);
}

static const tr_test tests[] = {
    TEST(test_self_allreduce_leaves_values_as_they_are),
    TEST(test_self_allreduce_refuses_what_mpi_refuses),
    TEST(test_self_reductions_keep_values),
    TEST(test_agree_on_one_rank_keeps_status_and_message),
    TEST(test_agree_without_a_trace_says_what_the_status_means),
    TEST(test_algorithms_are_chosen_by_name),
    TEST(test_many_ranks_halve_what_is_small_for_a_ring),
    TEST(test_context_without_launcher_does_not_initialise_mpi),
    TEST(test_context_on_a_communicator_needs_mpi),
    TEST(test_context_refuses_bad_options),
    TEST(test_context_log_goes_to_the_callers_function),
};
TEST_MAIN(tests)
