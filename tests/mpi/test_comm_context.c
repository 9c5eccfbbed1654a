/* Agreement on errors, sub-communicators and contexts on 1-4 ranks. */
#include "backend/backend_table_impl.h"
#include "broken_device.h"
#include "comm/mpi/comm_mpi_impl.h"
#include "mpi_test.h"
#include "store/store_impl.h"
#include "sync/staging_impl.h"

#include <mpi.h>
#include <train/mpi.h>

static tr__comm *create(void)
{
  tr__comm *comm;
  ASSERT_OK(tr__comm_mpi_create(tr__mpi_world(), &comm));
  return comm;
}

static void test_agree_gives_the_lowest_failing_rank_on_all_ranks(void)
{
  tr__comm *comm = create();
  ASSERT_OK(tr__agree(comm, TR_OK));
  for (int lowest = 0; lowest < comm->size; lowest++) {
    tr_status status = TR_OK;
    if (comm->rank >= lowest) {
      status = TR_FAIL(comm->rank == lowest ? TR_EDATA : TR_EIO,
                       "rank %d cannot read its part", comm->rank);
    }
    char expected[64];
    snprintf(expected, sizeof expected, "rank %d cannot read its part", lowest);
    ASSERT_EQ(tr__agree(comm, status), TR_EDATA);
    ASSERT_STR_EQ(tr_error_message(), expected);
    ASSERT_EQ(tr__error_origin()->rank, lowest);
    ASSERT(tr__error_origin()->agreed);
    ASSERT_EQ(tr__error_is_elsewhere(), comm->rank != lowest);
  }
  comm->type->destroy(comm);
}

static void test_agreeing_again_keeps_where_a_failure_arose(void)
{
  tr__comm *comm = create();
  int last = comm->size - 1;
  tr_status status = comm->rank == last ? TR_FAIL(TR_EIO, "disk full") : TR_OK;
  status = tr__agree(comm, status);
  ASSERT_EQ(tr__agree(comm, status), TR_EIO);
  ASSERT_STR_EQ(tr_error_message(), "disk full");
  ASSERT_EQ(tr__error_origin()->rank, last);
  ASSERT_EQ(tr__error_is_elsewhere(), comm->rank != last);
  comm->type->destroy(comm);
}

static void test_agree_text_names_both_ranks_and_lines(void)
{
  tr__comm *comm = create();
  ASSERT_OK(tr__agree_text(comm, "options", "seed 1\nbatch 64\nlr 0.1\n"));
  if (comm->size > 1) {
    bool is_last = comm->rank == comm->size - 1;
    char expected[128];
    snprintf(expected, sizeof expected,
             "options differ: rank 0 has \"batch 64\", rank %d has "
             "\"batch 32\"",
             comm->size - 1);
    tr_status status = tr__agree_text(
        comm, "options", is_last ? "seed 1\nbatch 32\n" : "seed 1\nbatch 64\n");
    ASSERT_EQ(status, TR_EMISMATCH);
    ASSERT_STR_EQ(tr_error_message(), expected);
    ASSERT_EQ(tr__error_is_elsewhere(), comm->rank != 0);
    ASSERT(tr__error_origin()->agreed);
  }
  comm->type->destroy(comm);
}

static void test_agree_text_shows_a_line_that_is_missing(void)
{
  tr__comm *comm = create();
  if (comm->size > 1) {
    const char *text = comm->rank == 0 ? "fc1\n" : "fc1\nfc2\n";
    ASSERT_FAILS(tr__agree_text(comm, "models", text), TR_EMISMATCH,
                 "models differ: rank 0 has \"\", rank 1 has \"fc2\"");
    text = comm->rank == 0 ? "fc1" : "fc1\n";
    ASSERT_FAILS(tr__agree_text(comm, "models", text), TR_EMISMATCH,
                 "models differ");
  }
  comm->type->destroy(comm);
}

static void test_communicator_null_is_refused(void)
{
  tr_context *ctx;
  ASSERT_FAILS(tr_context_create(MPI_COMM_NULL, NULL, &ctx), TR_EINVAL,
               "MPI_COMM_NULL");
  ASSERT(ctx == NULL);
}

static void test_intercommunicator_is_refused(void)
{
  tr__comm *comm = create();
  if (comm->size > 1) {
    MPI_Comm half, inter;
    tr_context *ctx;
    int color = comm->rank == 0 ? 0 : 1;
    MPI_Comm_split(MPI_COMM_WORLD, color, 0, &half);
    MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, color == 0 ? 1 : 0, 7,
                         &inter);
    ASSERT_FAILS(tr_context_create(inter, NULL, &ctx), TR_EINVAL,
                 "intercommunicator");
    MPI_Comm_free(&inter);
    MPI_Comm_free(&half);
  }
  comm->type->destroy(comm);
}

static void test_context_refuses_ranks_with_different_options(void)
{
  int rank, size;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (size == 1) {
    return;
  }
  tr_context *ctx;
  tr_context_opts opts = {.seed = rank == size - 1 ? 8 : 7};
  char expected[128];
  snprintf(expected, sizeof expected,
           "options of the context differ: rank 0 has \"seed 7\", rank %d has "
           "\"seed 8\"",
           size - 1);
  ASSERT_FAILS(tr_context_create(MPI_COMM_WORLD, &opts, &ctx), TR_EMISMATCH,
               expected);
  ASSERT(ctx == NULL);
  opts = (tr_context_opts){.dtype = rank == 0 ? TR_F64 : TR_F32};
  ASSERT_FAILS(tr_context_create(MPI_COMM_WORLD, &opts, &ctx), TR_EMISMATCH,
               "rank 0 has \"dtype float64\", rank 1 has \"dtype float32\"");
}

static void test_one_ranks_bad_option_fails_on_all_ranks(void)
{
  int rank, size;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  tr_context *ctx;
  tr_context_opts opts = {.threads = rank == size - 1 ? -3 : 1};
  ASSERT_FAILS(tr_context_create(MPI_COMM_WORLD, &opts, &ctx), TR_EINVAL,
               "threads is -3");
  ASSERT(ctx == NULL);
}

static void test_threads_may_differ_between_ranks(void)
{
  int rank;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  tr_context *ctx;
  ASSERT_OK(tr_context_create(MPI_COMM_WORLD,
                              &(tr_context_opts){.threads = 1 + rank}, &ctx));
  ASSERT_EQ(tr__threads_count(ctx->pool), 1 + rank);
  tr_context_destroy(&ctx);
}

static void test_ranks_share_the_cpus_of_their_node(void)
{
  tr_context *ctx;
  ASSERT_OK(tr_context_create(MPI_COMM_WORLD, NULL, &ctx));
  int sharers = ctx->comm->cpu_sharers;
  ASSERT(sharers >= 1 && sharers <= ctx->comm->size);
  ASSERT_EQ(tr__threads_count(ctx->pool), tr__max(1, tr__num_cpus() / sharers));
  tr_context_destroy(&ctx);
}

static void sum_ones(tr_context *ctx, int count)
{
  void *data;
  float *ones = malloc((size_t)count * sizeof *ones);
  ASSERT(ones != NULL);
  for (int i = 0; i < count; i++) {
    ones[i] = 1;
  }
  tr__backend *backend = ctx->backend;
  size_t bytes = (size_t)count * sizeof *ones;
  ASSERT_OK(backend->type->alloc(backend, bytes, &data));
  backend->type->upload(&backend->stream, data, ones, bytes);
  ASSERT_OK(tr__staged_allreduce(ctx, data, count, TR_F32));
  ASSERT_OK(backend->type->download(&backend->stream, ones, data, bytes));
  for (int i = 0; i < count; i++) {
    ASSERT_EQ(ones[i], tr_context_size(ctx));
  }
  backend->type->free(backend, data, bytes);
  free(ones);
}

static void test_two_contexts_on_halves_work_at_once(void)
{
  int rank, size;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Comm half;
  MPI_Comm_split(MPI_COMM_WORLD, rank % 2, -rank, &half);
  tr_context *all, *part;
  ASSERT_OK(tr_context_create(MPI_COMM_WORLD, NULL, &all));
  ASSERT_OK(tr_context_create(
      half, &(tr_context_opts){.seed = (uint64_t)rank % 2}, &part));
  MPI_Comm_free(&half);
  ASSERT_EQ(tr_context_size(part), rank % 2 ? size / 2 : (size + 1) / 2);
  for (int i = 0; i < 20; i++) {
    sum_ones(part, 1 + 5000 * i);
    if (i % 5 == 0) {
      sum_ones(all, 1000);
    }
  }
  tr_context_destroy(&part);
  tr_context_destroy(&all);
}

static void test_arena_sums_on_every_backend(void)
{
  const tr__backend_type *const *table = tr__backend_table();
  for (int i = 0; table[i] != NULL; i++) {
    tr_context *ctx;
    ASSERT_OK(tr_context_create(
        MPI_COMM_WORLD, &(tr_context_opts){.device = table[i]->name}, &ctx));
    sum_ones(ctx, 1);
    sum_ones(ctx, 100003);
    sum_ones(ctx, 17);
    tr_context_destroy(&ctx);
  }
}

static void check_failed_device(const char *device)
{
  tr_context *ctx;
  ASSERT_OK(tr_context_create(MPI_COMM_WORLD,
                              &(tr_context_opts){.device = device}, &ctx));
  void *data;
  float values[5];
  ASSERT_OK(ctx->backend->type->alloc(ctx->backend, sizeof values, &data));
  const tr__backend_type *type = break_last_device(ctx);
  ASSERT_OK(tr__staged_allreduce(ctx, data, 5, TR_F32));
  mend_device(ctx, type);
  ASSERT_OK(type->download(&ctx->backend->stream, values, data, sizeof values));
  if (ctx->comm->size > 1) {
    ASSERT(isnan(values[0]) && isnan(values[4]));
    ASSERT_FAILS(tr__context_agree_pending(ctx), TR_EDEVICE,
                 "the device is gone");
  }
  type->free(ctx->backend, data, sizeof values);
  tr_context_destroy(&ctx);
}

static void test_one_ranks_failed_device_reaches_all_ranks(void)
{
  check_failed_device("cpu");
  check_failed_device("strict");
}

/* The number of communicators that exist, counted through MPI's profiling
 * interface: a leak would show. */
static int num_communicators;

int MPI_Comm_dup(MPI_Comm comm, MPI_Comm *out)
{
  num_communicators++;
  return PMPI_Comm_dup(comm, out);
}

int MPI_Comm_split(MPI_Comm comm, int color, int key, MPI_Comm *out)
{
  int code = PMPI_Comm_split(comm, color, key, out);
  num_communicators += *out != MPI_COMM_NULL;
  return code;
}

int MPI_Comm_split_type(
    MPI_Comm comm, int type, int key, MPI_Info info, MPI_Comm *out)
{
  int code = PMPI_Comm_split_type(comm, type, key, info, out);
  num_communicators += *out != MPI_COMM_NULL;
  return code;
}

int MPI_Comm_free(MPI_Comm *comm)
{
  num_communicators--;
  return PMPI_Comm_free(comm);
}

static void test_destroyed_contexts_leave_no_communicators(void)
{
  int before = num_communicators;
  for (int i = 0; i < 3; i++) {
    tr_context *ctx;
    MPI_Comm own;
    MPI_Comm_dup(MPI_COMM_WORLD, &own);
    ASSERT_OK(tr_context_create(own, &(tr_context_opts){.threads = 1}, &ctx));
    MPI_Comm_free(&own);
    ASSERT(num_communicators > before || tr_context_size(ctx) == 1);
    sum_ones(ctx, 3);
    tr_context_destroy(&ctx);
    ASSERT_EQ(num_communicators, before);
  }
}

static const tr_test tests[] = {
    TEST(test_agree_gives_the_lowest_failing_rank_on_all_ranks),
    TEST(test_agreeing_again_keeps_where_a_failure_arose),
    TEST(test_agree_text_names_both_ranks_and_lines),
    TEST(test_agree_text_shows_a_line_that_is_missing),
    TEST(test_communicator_null_is_refused),
    TEST(test_intercommunicator_is_refused),
    TEST(test_context_refuses_ranks_with_different_options),
    TEST(test_one_ranks_bad_option_fails_on_all_ranks),
    TEST(test_threads_may_differ_between_ranks),
    TEST(test_ranks_share_the_cpus_of_their_node),
    TEST(test_two_contexts_on_halves_work_at_once),
    TEST(test_arena_sums_on_every_backend),
    TEST(test_one_ranks_failed_device_reaches_all_ranks),
    TEST(test_destroyed_contexts_leave_no_communicators),
};

TEST_MPI_MAIN(tests)
