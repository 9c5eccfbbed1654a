/* How long an all-reduce of floats takes, one JSON line per size on rank 0.
 *
 * us_median is the median over rounds of the slowest rank's time. algbw is
 * bytes / time, busbw that times 2 (n - 1) / n: what each rank's link carries.
 *
 * --algorithm central is no algorithm of the library but what it does without:
 * rank 0 averages. busiest_bytes are those that go into and out of one rank. */
#include "base/comm_impl.h"
#include "central.h"
#include "comm/comm_mpi_impl.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_SIZES = 64, MAX_ROUNDS = 100000, WARM_UP = 3 };

typedef struct options {
  int64_t bytes[MAX_SIZES];
  int num_sizes;
  const char *algorithm;
  double seconds;  /* per size */
  bool is_private; /* memory that the ranks do not share */
  bool is_central; /* a central rank averages */
  tr_dtype wire;
} options;

static tr_status usage(const char *what)
{
  return TR_FAIL(TR_EUSAGE,
                 "%s\nusage: bench_allreduce --bytes A,B,C [--algorithm "
                 "auto|doubling|ring|mpi|shm|direct|halving|central] [--memory "
                 "auto|private] "
                 "[--wire full|bf16] [--seconds S]",
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
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc) {
      return usage("an option lacks its value");
    }
    if (strcmp(argv[i], "--bytes") == 0) {
      TR_TRY(parse_bytes(argv[i + 1], out));
    } else if (strcmp(argv[i], "--algorithm") == 0) {
      out->is_central = strcmp(argv[i + 1], "central") == 0;
      out->algorithm = out->is_central ? "auto" : argv[i + 1];
    } else if (strcmp(argv[i], "--memory") == 0) {
      out->is_private = strcmp(argv[i + 1], "private") == 0;
    } else if (strcmp(argv[i], "--wire") == 0) {
      out->wire = strcmp(argv[i + 1], "bf16") == 0 ? TR_BF16 : TR_F32;
    } else if (strcmp(argv[i], "--seconds") == 0) {
      out->seconds = atof(argv[i + 1]);
    } else {
      return usage("unknown option");
    }
  }
  return out->num_sizes > 0 ? TR_OK : usage("--bytes is missing");
}

static tr_status
one_round(tr__comm *comm, central *server, const tr__transfer *sum)
{
  tr__request *request;
  if (server->parts != NULL) {
    return central_mean(comm, server, sum->buf);
  }
  TR_TRY(comm->type->start(comm, sum, &request));
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

static tr_status time_rounds(tr__comm *comm,
                             const options *opts,
                             central *server,
                             const tr__transfer *sum,
                             double *median)
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
    TR_TRY_GOTO(one_round(comm, server, sum), done);
  }
  while (num_rounds < MAX_ROUNDS && (total < opts->seconds || !num_rounds)) {
    TR_TRY_GOTO(comm->type->barrier(comm), done);
    double begin = tr__now();
    TR_TRY_GOTO(one_round(comm, server, sum), done);
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

/* As gradients lie: in the communicator's memory, if it has any. */
typedef struct numbers {
  float *values;
  bool is_shared;
} numbers;

static tr_status
make_numbers(tr__comm *comm, const options *opts, int64_t count, numbers *out)
{
  void *shared = NULL;
  size_t bytes = ((size_t)count + 1) * sizeof *out->values;
  if (!opts->is_private) {
    TR_TRY(comm->type->alloc(comm, bytes, &shared));
  }
  out->is_shared = shared != NULL;
  out->values = shared != NULL ? shared : calloc(1, bytes);
  return tr__agree(comm,
                   out->values != NULL
                       ? TR_OK
                       : TR_FAIL(TR_ENOMEM, "no memory for %zu bytes", bytes));
}

static void release_numbers(tr__comm *comm, numbers *n)
{
  if (n->is_shared) {
    comm->type->free(comm, n->values);
  } else {
    free(n->values);
  }
}

static tr_status bench_size(tr__comm *comm, const options *opts, int64_t bytes)
{
  int64_t count = bytes / (int64_t)sizeof(float);
  numbers n = {NULL, false};
  central server = {.parts = NULL};
  double seconds = 0;
  tr_status status;
  if (opts->is_central) {
    TR_TRY_GOTO(central_create(comm, count, &server), done);
  }
  TR_TRY_GOTO(make_numbers(comm, opts, count, &n), done);
  const tr__transfer sum = {
      .buf = n.values, .count = count, .dtype = TR_F32, .wire = opts->wire};
  TR_TRY_GOTO(time_rounds(comm, opts, &server, &sum, &seconds), done);
  if (comm->rank == 0) {
    double bandwidth = seconds > 0 ? (double)bytes / seconds * 1e-9 : 0;
    double share = 2.0 * (comm->size - 1) / comm->size;
    double sent = (opts->wire != 0 ? 0.5 : 1) * (double)bytes;
    printf("{\"bytes\":%lld,\"ranks\":%d,\"algorithm\":\"%s\","
           "\"us_median\":%.3f,\"algbw_gb_s\":%.4f,\"busbw_gb_s\":%.4f,"
           "\"busiest_bytes\":%lld}\n",
           (long long)bytes, comm->size,
           opts->is_central ? "central" : tr__comm_algorithm_name(comm, bytes),
           seconds * 1e6, bandwidth, bandwidth * share,
           opts->is_central ? (long long)(server.in + server.out)
                            : (long long)(2 * share * sent));
    fflush(stdout);
  }

done:
  central_release(&server);
  release_numbers(comm, &n);
  return status;
}

static tr_status bench(tr__comm *comm, int argc, char **argv)
{
  options opts;
  TR_TRY(tr__agree(comm, parse(argc, argv, &opts)));
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
