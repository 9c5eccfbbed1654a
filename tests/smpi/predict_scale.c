/* Predicts how long a collective takes, on a simulated platform; see
 * simulated.h.
 *
 * usage: predict_scale --algorithm NAME --bytes A,B,C [--add BYTES_PER_S]
 *
 * Prints one JSON line per size, with the time from the moment at which all
 * ranks begin to the one at which the last rank ends. All ranks work in the
 * same memory, so that large vectors fit; the numbers in it are worthless.
 * --add is the speed at which a rank adds what it receives; without it adding
 * takes no time. */
#include "comm/mpi/algorithm_table_impl.h"
#include "simulated.h"

#include "comm/mpi/comm_mpi_impl.h"
#include "core/comm_impl.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_SIZES = 64 };

/* For all ranks, which live in one process. */
static struct {
  void *memory;
  double begin, end; /* simulated seconds */
} shared;

typedef struct options {
  const char *algorithm;
  int64_t bytes[MAX_SIZES];
  int num_sizes;
  double add;
} options;

static tr_status usage(void)
{
  return TR_FAIL(TR_EUSAGE,
                 "usage: predict_scale --algorithm NAME --bytes A,B,C "
                 "[--add BYTES_PER_S]");
}

static tr_status parse(int argc, char **argv, options *out)
{
  *out = (options){.algorithm = "auto"};
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc) {
      return usage();
    }
    if (strcmp(argv[i], "--algorithm") == 0) {
      out->algorithm = argv[i + 1];
    } else if (strcmp(argv[i], "--add") == 0) {
      out->add = atof(argv[i + 1]);
    } else if (strcmp(argv[i], "--bytes") == 0) {
      const char *at = argv[i + 1];
      for (char *end; *at != '\0' && out->num_sizes < MAX_SIZES;
           at = *end == ',' ? end + 1 : end) {
        out->bytes[out->num_sizes++] = strtoll(at, &end, 10);
      }
    } else {
      return usage();
    }
  }
  return out->num_sizes > 0 ? TR_OK : usage();
}

static tr_status share_memory(const options *opts)
{
  int64_t largest = 0;
  for (int i = 0; i < opts->num_sizes; i++) {
    largest = tr__max(largest, opts->bytes[i]);
  }
  if (shared.memory == NULL) {
    shared.memory = calloc(1, (size_t)largest + sizeof(float));
  }
  TR_CHECK(shared.memory != NULL, TR_ENOMEM, "no memory for %lld bytes",
           (long long)largest);
  return TR_OK;
}

/* All ranks begin at the same simulated time, after all have left a barrier. */
static void begin_together(void)
{
  double now = MPI_Wtime();
  if (shared.begin < now) {
    shared.begin = now + 1;
    shared.end = 0;
  }
  double pause = shared.begin - now;
  struct timespec time = {(time_t)pause,
                          (long)((pause - (double)(time_t)pause) * 1e9)};
  smpi_nanosleep(&time, NULL);
}

/* Times one all-reduce in memory of the communicator, if it has any, as for
 * gradients. */
static tr_status predict(tr__comm *comm, int64_t bytes)
{
  tr__request *request;
  void *own;
  TR_TRY(comm->type->alloc(comm, (size_t)bytes, &own));
  TR_TRY(comm->type->barrier(comm));
  begin_together();
  double begin = MPI_Wtime();
  TR_TRY(comm->type->start(
      comm,
      &(tr__transfer){.buf = own != NULL ? own : shared.memory,
                      .count = bytes / (int64_t)sizeof(float),
                      .dtype = TR_F32},
      &request));
  TR_TRY(tr__comm_wait(comm, &request));
  double end = MPI_Wtime();
  shared.end = end > shared.end ? end : shared.end;
  TR_TRY(comm->type->barrier(comm));
  if (comm->rank == 0) {
    printf("{\"bytes\":%lld,\"ranks\":%d,\"per_node\":%d,\"algorithm\":\"%s\","
           "\"us\":%.4f}\n",
           (long long)bytes, comm->size, comm->local_size,
           comm->algorithm == NULL ? "auto" : tr__comm_algorithm_name(comm, 4),
           (shared.end - begin) * 1e6);
    fflush(stdout);
  }
  comm->type->free(comm, own);
  return TR_OK;
}

static tr_status predict_all(tr__comm *comm, const options *opts)
{
  TR_TRY(share_memory(opts));
  TR_TRY(tr__comm_set_algorithm(comm, opts->algorithm));
  for (int i = 0; i < opts->num_sizes; i++) {
    TR_TRY(predict(comm, opts->bytes[i]));
  }
  return TR_OK;
}

int main(int argc, char **argv)
{
  options opts;
  tr__comm *comm;
  sim_fold();
  if (parse(argc, argv, &opts) != TR_OK || tr__mpi_init() != TR_OK ||
      tr__comm_mpi_create(tr__mpi_world(), &comm) != TR_OK) {
    fprintf(stderr, "%s\n", tr_error_message());
    return 2;
  }
  sim_set_add(opts.add);
  comm->spin_s = -1; /* polls take no simulated time */
  tr_status status = predict_all(comm, &opts);
  if (status != TR_OK && comm->rank == 0) {
    fprintf(stderr, "%s\n", tr_error_message());
  }
  comm->type->destroy(comm);
  tr__mpi_finalize();
  return status == TR_OK ? 0 : 1;
}
