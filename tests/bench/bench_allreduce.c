/* How long an all-reduce of floats takes, one JSON line per size on rank 0.
 *
 * us_median is the median over rounds of the slowest rank's time. algbw is
 * bytes / time, busbw that times 2 (n - 1) / n: what each rank's link carries.
 *
 * The algorithm memcpy is a yardstick: all ranks copy so many bytes at once;
 * central is what the library does without: rank 0 averages all numbers.
 * busiest_bytes go into and out of one rank, the busiest, by messages.
 * With --tune all algorithms over messages are measured, and the lines of
 * comm/mpi/algorithm_table.c for this number of ranks are printed. */
#include "central.h"
#include "comm/mpi/algorithm_table_impl.h"
#include "comm/mpi/comm_mpi_impl.h"
#include "core/comm_impl.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_SIZES = 64, MAX_ROUNDS = 100000, WARM_UP = 3 };

/* What --tune compares; MPI's own last, as the yardstick. */
static const char *const tuned[] = {"doubling", "halving", "ring", "direct",
                                    "mpi"};
enum { NUM_TUNED = sizeof tuned / sizeof tuned[0], TUNE_ROUNDS = 5 };

typedef struct options {
  int64_t bytes[MAX_SIZES];
  int num_sizes;
  const char *algorithm;
  double seconds;  /* per size */
  bool is_private; /* memory that the ranks do not share */
  bool is_memcpy, is_central;
  bool tunes;
  tr_dtype wire;
} options;

static tr_status usage(const char *what)
{
  return TR_FAIL(
      TR_EUSAGE,
      "%s\nusage: bench_allreduce --bytes A,B,C [--algorithm "
      "auto|doubling|halving|ring|direct|hierarchical|shm|mpi|memcpy|"
      "central] [--memory auto|private] [--wire full|bf16] [--seconds S] | "
      "--tune",
      what);
}

static tr_status parse_bytes(const char *text, options *out)
{
  out->num_sizes = 0;
  while (*text != '\0' && out->num_sizes < MAX_SIZES) {
    char *end;
    long long bytes = strtoll(text, &end, 10);
    if (end == text || bytes < 0 || (*end != ',' && *end != '\0')) {
      return usage("--bytes wants numbers separated by commas");
    }
    out->bytes[out->num_sizes++] = bytes;
    text = *end == ',' ? end + 1 : end;
  }
  return out->num_sizes > 0 ? TR_OK : usage("--bytes is missing");
}

static tr_status parse(int argc, char **argv, options *out)
{
  *out = (options){.algorithm = "auto", .seconds = 1};
  if (argc == 2 && strcmp(argv[1], "--tune") == 0) {
    *out = (options){.tunes = true, .seconds = 0.02, .is_private = true};
    return TR_OK;
  }
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc) {
      return usage("an option lacks its value");
    }
    if (strcmp(argv[i], "--bytes") == 0) {
      TR_TRY(parse_bytes(argv[i + 1], out));
    } else if (strcmp(argv[i], "--algorithm") == 0) {
      out->is_memcpy = strcmp(argv[i + 1], "memcpy") == 0;
      out->is_central = strcmp(argv[i + 1], "central") == 0;
      out->algorithm = out->is_memcpy || out->is_central ? "auto" : argv[i + 1];
    } else if (strcmp(argv[i], "--wire") == 0) {
      out->wire = strcmp(argv[i + 1], "bf16") == 0 ? TR_BF16 : TR_F32;
    } else if (strcmp(argv[i], "--memory") == 0) {
      out->is_private = strcmp(argv[i + 1], "private") == 0;
    } else if (strcmp(argv[i], "--seconds") == 0) {
      out->seconds = atof(argv[i + 1]);
    } else {
      return usage("unknown option");
    }
  }
  return out->num_sizes > 0 ? TR_OK : usage("--bytes is missing");
}

/* As gradients lie: in the communicator's memory, if it has any. */
typedef struct numbers {
  float *values;
  float *copy; /* NULL: summed, not copied */
  int64_t count;
  bool is_shared;
  tr_dtype wire;
  central server; /* parts NULL: none */
} numbers;

static tr_status one_round(tr__comm *comm, numbers *n)
{
  tr__request *request;
  if (n->server.parts != NULL) {
    return central_mean(comm, &n->server, n->values);
  }
  if (n->copy != NULL) {
    memcpy(n->copy, n->values, (size_t)n->count * sizeof *n->values);
    return TR_OK;
  }
  TR_TRY(comm->type->start(comm,
                           &(tr__transfer){.buf = n->values,
                                           .count = n->count,
                                           .dtype = TR_F32,
                                           .wire = n->wire},
                           &request));
  TR_TRY(tr__comm_wait(comm, &request));
  return TR_OK;
}

static int compare(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The slowest rank's seconds, in nanoseconds through the integer maximum. */
static tr_status slowest(tr__comm *comm, double *seconds)
{
  int64_t ns = (int64_t)(*seconds * 1e9);
  TR_TRY(comm->type->reduce_i64(comm, &ns, 1, TR__MAX));
  *seconds = (double)ns * 1e-9;
  return TR_OK;
}

static tr_status
time_rounds(tr__comm *comm, const options *opts, numbers *n, double *median)
{
  double *times = malloc(MAX_ROUNDS * sizeof *times);
  tr_status status = TR_OK;
  if (times == NULL) {
    status = TR_FAIL(TR_ENOMEM, "no memory for the times");
  }
  TR_TRY_GOTO(tr__agree(comm, status), done);
  double total = 0;
  int num_rounds = 0;
  for (int i = 0; i < WARM_UP; i++) {
    TR_TRY_GOTO(one_round(comm, n), done);
  }
  while (num_rounds < MAX_ROUNDS && (total < opts->seconds || !num_rounds)) {
    TR_TRY_GOTO(comm->type->barrier(comm), done);
    double begin = tr__now();
    TR_TRY_GOTO(one_round(comm, n), done);
    double time = tr__now() - begin;
    TR_TRY_GOTO(slowest(comm, &time), done);
    times[num_rounds++] = time;
    total += time; /* the same on all ranks, so all end together */
  }
  qsort(times, (size_t)num_rounds, sizeof *times, compare);
  *median = times[num_rounds / 2];

done:
  free(times);
  return status;
}

static tr_status
make_numbers(tr__comm *comm, const options *opts, int64_t count, numbers *out)
{
  void *shared = NULL;
  size_t bytes = ((size_t)count + 1) * sizeof *out->values;
  *out = (numbers){.count = count, .wire = opts->wire};
  if (opts->is_central) {
    TR_TRY(central_create(comm, count, &out->server));
  }
  if (!opts->is_private && !opts->is_memcpy) {
    TR_TRY(comm->type->alloc(comm, bytes, &shared));
  }
  out->is_shared = shared != NULL;
  out->values = shared != NULL ? shared : calloc(1, bytes);
  out->copy = opts->is_memcpy ? calloc(1, bytes) : NULL;
  bool is_there =
      out->values != NULL && (out->copy != NULL || !opts->is_memcpy);
  return tr__agree(
      comm,
      is_there ? TR_OK : TR_FAIL(TR_ENOMEM, "no memory for %zu bytes", bytes));
}

static void release_numbers(tr__comm *comm, numbers *n)
{
  if (n->is_shared) {
    comm->type->free(comm, n->values);
  } else {
    free(n->values);
  }
  free(n->copy);
  central_release(&n->server);
}

static tr_status
time_size(tr__comm *comm, const options *opts, int64_t bytes, double *seconds)
{
  numbers n = {.values = NULL};
  tr_status status;
  *seconds = 0;
  TR_TRY_GOTO(make_numbers(comm, opts, bytes / (int64_t)sizeof(float), &n),
              done);
  /* What calloc gave is one page of zeros until it is written. */
  for (int64_t i = 0; i < n.count; i++) {
    n.values[i] = 1e-30f;
  }
  TR_TRY_GOTO(time_rounds(comm, opts, &n, seconds), done);

done:
  release_numbers(comm, &n);
  return status;
}

/* In and out of rank 0, or of any rank where all do the same. */
static int64_t
busiest_bytes(const tr__comm *comm, const options *opts, int64_t bytes)
{
  int64_t sent = opts->wire != 0 ? bytes / 2 : bytes;
  int64_t all = 4 * (comm->size - 1) * sent;
  return opts->is_central ? 2 * (comm->size - 1) * bytes : all / comm->size;
}

static tr_status bench_size(tr__comm *comm, const options *opts, int64_t bytes)
{
  double seconds;
  TR_TRY(time_size(comm, opts, bytes, &seconds));
  if (comm->rank == 0) {
    const char *name = opts->is_memcpy ? "memcpy"
                       : opts->is_central
                           ? "central"
                           : tr__comm_algorithm_name(comm, bytes);
    double bandwidth = seconds > 0 ? (double)bytes / seconds * 1e-9 : 0;
    double share = 2.0 * (comm->size - 1) / comm->size;
    printf("{\"bytes\":%lld,\"ranks\":%d,\"algorithm\":\"%s\","
           "\"us_median\":%.3f,\"algbw_gb_s\":%.4f,\"busbw_gb_s\":%.4f,"
           "\"busiest_bytes\":%lld}\n",
           (long long)bytes, comm->size, name, seconds * 1e6, bandwidth,
           bandwidth * share, (long long)busiest_bytes(comm, opts, bytes));
    fflush(stdout);
  }
  return TR_OK;
}

/* The medians of a size, the algorithms taking turns. */
static tr_status tune_size(tr__comm *comm,
                           const options *opts,
                           int64_t bytes,
                           double medians[NUM_TUNED])
{
  double times[NUM_TUNED][TUNE_ROUNDS];
  for (int round = 0; round < TUNE_ROUNDS; round++) {
    for (int a = 0; a < NUM_TUNED; a++) {
      TR_TRY(tr__comm_set_algorithm(comm, tuned[a]));
      TR_TRY(time_size(comm, opts, bytes, &times[a][round]));
    }
  }
  for (int a = 0; a < NUM_TUNED; a++) {
    qsort(times[a], TUNE_ROUNDS, sizeof times[a][0], compare);
    medians[a] = times[a][TUNE_ROUNDS / 2];
  }
  return TR_OK;
}

/* What served the size before goes on until another is clearly faster. */
static int best_of(const double medians[NUM_TUNED], int before)
{
  const double clearly = 0.95;
  int best = before;
  for (int a = 0; a < NUM_TUNED - 1; a++) {
    if (medians[a] < (best == before ? clearly : 1) * medians[best]) {
      best = a;
    }
  }
  return best;
}

static void print_line(int64_t max_bytes, int algorithm)
{
  static const char *const names[] = {"DOUBLING", "HALVING", "RING", "DIRECT"};
  if (max_bytes == INT64_MAX) {
    printf("    {INT64_MAX, TR__ALGORITHM_%s},\n", names[algorithm]);
  } else {
    printf("    {%lld << 10, TR__ALGORITHM_%s},\n", (long long)max_bytes >> 10,
           names[algorithm]);
  }
}

static void print_medians(int64_t bytes, const double medians[NUM_TUNED])
{
  fprintf(stderr, "%9lld bytes:", (long long)bytes);
  for (int a = 0; a < NUM_TUNED; a++) {
    fprintf(stderr, "  %s %.1f us", tuned[a], medians[a] * 1e6);
  }
  fprintf(stderr, "\n");
}

static tr_status tune(tr__comm *comm, const options *opts)
{
  int before = 0;
  for (int64_t bytes = 1 << 10; bytes <= 64 << 20; bytes *= 2) {
    double medians[NUM_TUNED];
    TR_TRY(tune_size(comm, opts, bytes, medians));
    int best = best_of(medians, before);
    if (comm->rank == 0) {
      print_medians(bytes, medians);
      if (best != before && bytes > 1 << 10) {
        print_line(bytes / 2, before);
      }
    }
    before = best;
  }
  if (comm->rank == 0) {
    print_line(INT64_MAX, before);
  }
  return TR_OK;
}

static tr_status bench(tr__comm *comm, int argc, char **argv)
{
  options opts;
  TR_TRY(tr__agree(comm, parse(argc, argv, &opts)));
  if (opts.tunes) {
    return tune(comm, &opts);
  }
  TR_TRY(tr__agree(comm, tr__comm_set_algorithm(comm, opts.algorithm)));
  for (int i = 0; i < opts.num_sizes; i++) {
    TR_TRY(bench_size(comm, &opts, opts.bytes[i]));
  }
  return TR_OK;
}

int main(int argc, char **argv)
{
  tr__comm *comm;
  if (tr__mpi_is_launched()) {
    TR_MUST(tr__mpi_init());
    TR_MUST(tr__comm_create(tr__mpi_world(), &comm));
  } else {
    TR_MUST(tr__comm_self_create(&comm));
  }
  TR_MUST(bench(comm, argc, argv));
  comm->type->destroy(comm);
  tr__mpi_finalize();
  return EXIT_SUCCESS;
}
