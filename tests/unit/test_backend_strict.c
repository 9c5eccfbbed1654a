/* The strict backend finds what a GPU would punish. */
#include "backend_cases.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COUNT = 10 };

static void *new_memory(tr__backend *backend, size_t bytes)
{
  void *data;
  ASSERT_OK(backend->type->alloc(backend, bytes, &data));
  return data;
}

static tr__tensor vector(void *data, int64_t count)
{
  return tr__tensor_of(data, TR_F32, 1, &count);
}

static void fill(tr__backend *backend, tr__tensor y, double value)
{
  call_op(backend, TR__OP_fill, &(tr__fill_args){.y = y, .value = value});
}

/* How a child ends that reads or writes a byte. */
static int signal_of_touch(volatile char *data, bool writes)
{
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    if (writes) {
      *data = 1;
    }
    _exit(*data == 2 ? 3 : 0);
  }
  int status;
  ASSERT(waitpid(child, &status, 0) == child);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void test_host_that_touches_memory_crashes(void)
{
  open_backend b = backend_open("strict", 1);
  char *data = new_memory(b.backend, COUNT * sizeof(float));
  ASSERT_EQ(signal_of_touch(data, false), SIGSEGV);
  ASSERT_EQ(signal_of_touch(data, true), SIGSEGV);
  fill(b.backend, vector(data, COUNT), 3);
  ASSERT_OK(b.backend->type->wait(&b.backend->stream));
  ASSERT_EQ(signal_of_touch(data, false), SIGSEGV);
  ASSERT(b.backend->type->host_view(b.backend, data) == NULL);
  b.backend->type->free(b.backend, data, COUNT * sizeof(float));
  backend_close(&b);
}

static void test_ops_run_after_their_call_returned(void)
{
  open_backend b = backend_open("strict", 1);
  const tr__backend_type *type = b.backend->type;
  void *data = new_memory(b.backend, COUNT * sizeof(float));
  fill(b.backend, vector(data, COUNT), 3);
  /* Too early: the op has not run yet. */
  type->free(b.backend, data, COUNT * sizeof(float));
  ASSERT_FAILS(type->wait(&b.backend->stream), TR_EDEVICE, "strict: fill");
  ASSERT_FAILS(type->wait(&b.backend->stream), TR_EDEVICE, "strict: fill");
  float host;
  ASSERT_FAILS(type->download(&b.backend->stream, &host, data, 0), TR_EDEVICE,
               "live allocation");
  backend_close(&b);
}

static void test_op_beyond_its_allocation_is_named(void)
{
  open_backend b = backend_open("strict", 1);
  void *data = new_memory(b.backend, COUNT * sizeof(float));
  void *other = new_memory(b.backend, 2 * COUNT * sizeof(float));
  call_op(b.backend, TR__OP_add,
          &(tr__add_args){.y = vector(other, COUNT + 1),
                          .x = vector(data, COUNT + 1)});
  ASSERT_FAILS(b.backend->type->wait(&b.backend->stream), TR_EDEVICE,
               "strict: add: the 44 bytes of operand 1");
  backend_close(&b);
}

static void test_upload_takes_what_it_is_given_at_once(void)
{
  open_backend b = backend_open("strict", 1);
  const tr__backend_type *type = b.backend->type;
  float host[COUNT] = {1, 2, 3};
  void *data = new_memory(b.backend, sizeof host);
  type->upload(&b.backend->stream, data, host, sizeof host);
  memset(host, 0, sizeof host);
  ASSERT_OK(type->download(&b.backend->stream, host, data, sizeof host));
  ASSERT(host[0] == 1 && host[1] == 2 && host[2] == 3);
  backend_close(&b);
}

static void test_calls_keep_the_order_of_the_stream(void)
{
  open_backend b = backend_open("strict", 1);
  const tr__backend_type *type = b.backend->type;
  float host[COUNT];
  tr__tensor x = vector(new_memory(b.backend, sizeof host), COUNT);
  tr__tensor sum = vector(new_memory(b.backend, sizeof host), COUNT);
  float expected = 0;
  for (int i = 0; i < 500; i++) {
    /* x is overwritten in every turn, by an op or by an upload. */
    for (int j = 0; j < COUNT; j++) {
      host[j] = (float)i;
    }
    if (i % 3 == 0) {
      fill(b.backend, x, i);
    } else {
      type->upload(&b.backend->stream, x.data, host, sizeof host);
    }
    call_op(b.backend, TR__OP_add, &(tr__add_args){.y = sum, .x = x});
    expected += (float)i;
  }
  ASSERT_OK(type->download(&b.backend->stream, host, sum.data, sizeof host));
  ASSERT_NEAR(host[0], expected, 0);
  ASSERT_NEAR(host[COUNT - 1], expected, 0);
  backend_close(&b);
}

static void test_workspace_is_poisoned(void)
{
  open_backend b = backend_open("strict", 1);
  const tr__backend_type *type = b.backend->type;
  int64_t bytes = 64;
  void *scratch = new_memory(b.backend, 64);
  void *data = new_memory(b.backend, COUNT * sizeof(float));
  tr__linear_backward_weight_args args = {
      .dw = tr__tensor_of(data, TR_F32, 2, (int64_t[]){2, 3}),
      .x = tr__tensor_of(data, TR_F32, 2, (int64_t[]){0, 3}),
      .dy = tr__tensor_of(data, TR_F32, 2, (int64_t[]){0, 2}),
      .workspace = tr__tensor_of(scratch, TR_U8, 1, &bytes),
      .shards = tr__one_shard(0),
  };
  call_op(b.backend, TR__OP_linear_backward_weight, &args);
  float host[16];
  ASSERT_OK(type->download(&b.backend->stream, host, scratch, 64));
  ASSERT(isnan(host[0]) && isnan(host[15]));
  backend_close(&b);
}

static const tr_test tests[] = {
    TEST(test_host_that_touches_memory_crashes),
    TEST(test_ops_run_after_their_call_returned),
    TEST(test_op_beyond_its_allocation_is_named),
    TEST(test_upload_takes_what_it_is_given_at_once),
    TEST(test_calls_keep_the_order_of_the_stream),
    TEST(test_workspace_is_poisoned),
};
TEST_MAIN(tests)
