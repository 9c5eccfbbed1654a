#include "test.h"
#include "base/half_impl.h"

#include <ftw.h>
#include <setjmp.h>
#include <unistd.h>

int test_argc;
char **test_argv;

/* A test program is one process with one list, so its state may be static. */
static struct {
  jmp_buf end;
  enum { TEST_PASSED, TEST_FAILED, TEST_SKIPPED } result;
  char why[512];
  char scratch[256];
  uint64_t seed;
  int rank, size;
} state = {.seed = 20261123};

/* What Open MPI's launcher or MPICH's tells a process. */
static int launcher_int(const char *open_mpi, const char *mpich, int fallback)
{
  const char *text = getenv(open_mpi);
  if (text == NULL) {
    text = getenv(mpich);
  }
  return text != NULL ? atoi(text) : fallback;
}

void test_fail(const char *file, int line, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  printf("# rank %d: %s:%d: ", state.rank, file, line);
  vprintf(format, arguments);
  printf(" (--seed %llu)\n", (unsigned long long)state.seed);
  va_end(arguments);
  fflush(stdout);
  if (state.size > 1) {
    /* The others may be waiting for this rank: mpirun ends them. */
    printf("Bail out! rank %d failed\n", state.rank);
    fflush(stdout);
    _exit(1);
  }
  state.result = TEST_FAILED;
  longjmp(state.end, 1);
}

void test_skip(const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(state.why, sizeof state.why, format, arguments);
  va_end(arguments);
  state.result = TEST_SKIPPED;
  longjmp(state.end, 1);
}

void test_not_here(const char *why)
{
  test_skip("not here: %s", why);
}

uint64_t test_seed(void)
{
  return state.seed;
}

static int remove_entry(const char *path,
                        const struct stat *info,
                        int type,
                        struct FTW *where)
{
  (void)info;
  (void)type;
  (void)where;
  return remove(path);
}

static void remove_scratch(void)
{
  nftw(state.scratch, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *test_scratch(void)
{
  if (state.scratch[0] == '\0') {
    const char *base = getenv("TMPDIR");
    snprintf(state.scratch, sizeof state.scratch, "%s/libtrain-test-XXXXXX",
             base != NULL ? base : "/tmp");
    if (mkdtemp(state.scratch) == NULL) {
      test_fail(__FILE__, __LINE__, "cannot make %s", state.scratch);
    }
    atexit(remove_scratch);
  }
  return state.scratch;
}

static double value_at(tr_dtype dtype, const void *values, int64_t i)
{
  switch (dtype) {
  case TR_F64:
    return ((const double *)values)[i];
  case TR_I32:
    return ((const int32_t *)values)[i];
  case TR_U8:
    return ((const uint8_t *)values)[i];
  case TR_BF16:
  case TR_F16:
    return (double)tr__half_get(dtype, ((const uint16_t *)values)[i]);
  case TR_F32:
    break;
  }
  return ((const float *)values)[i];
}

void test_no_log(void *user, tr_log_level level, const char *line)
{
  (void)user;
  (void)level;
  (void)line;
}

void test_tensor_near(const char *file,
                      int line,
                      const char *what,
                      tr_dtype dtype,
                      const void *a,
                      const void *b,
                      int64_t count,
                      double tolerance)
{
  double largest = 0, worst = -1;
  int64_t where = -1;
  for (int64_t i = 0; i < count; i++) {
    double x = value_at(dtype, a, i), y = value_at(dtype, b, i);
    double difference = x == y || (isnan(x) && isnan(y)) ? 0 : fabs(x - y);
    if (isnan(difference)) {
      difference = INFINITY;
    }
    if (difference > worst) {
      worst = difference;
      where = i;
    }
    if (isfinite(y)) {
      largest = fmax(largest, fabs(y));
    }
  }
  if (worst > tolerance * largest) {
    test_fail(file, line,
              "%s: element %lld of %lld is %.9g, expected %.9g; difference "
              "%.3g, allowed %.3g * %.3g",
              what, (long long)where, (long long)count,
              value_at(dtype, a, where), value_at(dtype, b, where), worst,
              tolerance, largest);
  }
}

static void run_one(const tr_test *test, int number)
{
  state.result = TEST_PASSED;
  if (setjmp(state.end) == 0) {
    test->run();
  }
  if (state.rank != 0 && state.result != TEST_FAILED) {
    return;
  }
  const char *ok = state.result == TEST_FAILED ? "not ok" : "ok";
  const char *skip = state.result == TEST_SKIPPED ? " # SKIP " : "";
  printf("%s %d - %s%s%s\n", ok, number, test->name, skip,
         state.result == TEST_SKIPPED ? state.why : "");
  fflush(stdout);
}

int test_main(int argc, char **argv, const tr_test *tests, int count)
{
  test_argc = argc;
  test_argv = argv;
  state.rank = launcher_int("OMPI_COMM_WORLD_RANK", "PMI_RANK", 0);
  state.size = launcher_int("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", 1);
  const char *only = NULL;
  for (int i = 1; i + 1 < argc; i++) {
    if (strcmp(argv[i], "--seed") == 0) {
      state.seed = strtoull(argv[i + 1], NULL, 10);
    }
    if (strcmp(argv[i], "--only") == 0) {
      only = argv[i + 1];
    }
  }
  if (state.rank == 0) {
    printf("1..%d\n", count);
  }
  bool failed = false;
  for (int i = 0; i < count; i++) {
    if (only != NULL && strcmp(only, tests[i].name) != 0) {
      continue;
    }
    run_one(&tests[i], i + 1);
    failed = failed || state.result == TEST_FAILED;
  }
  return failed ? 1 : 0;
}
