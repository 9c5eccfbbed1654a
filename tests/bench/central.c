#include "central.h"

#include <limits.h>
#include <mpi.h>
#include <stdlib.h>

enum { TAG = 7, MOST_RANKS = 256 };

static tr_status check(int code)
{
  TR_CHECK(code == MPI_SUCCESS, TR_ECOMM, "MPI says %d", code);
  return TR_OK;
}

/* Adds whatever arrives first, as a server would. */
static tr_status collect(const tr__comm *comm, central *server, float *values)
{
  MPI_Request requests[MOST_RANKS];
  int count = (int)server->count, others = comm->size - 1;
  for (int i = 0; i < others; i++) {
    TR_TRY(check(MPI_Irecv(server->parts + i * server->count, count, MPI_FLOAT,
                           i + 1, TAG, MPI_COMM_WORLD, &requests[i])));
  }
  for (int i = 0; i < others; i++) {
    int which;
    TR_TRY(check(MPI_Waitany(others, requests, &which, MPI_STATUS_IGNORE)));
    const float *part = server->parts + which * server->count;
    for (int64_t k = 0; k < server->count; k++) {
      values[k] += part[k];
    }
  }
  float share = 1.0f / (float)comm->size;
  for (int64_t k = 0; k < server->count; k++) {
    values[k] *= share;
  }
  return TR_OK;
}

static tr_status serve(const tr__comm *comm, central *server, float *values)
{
  MPI_Request requests[MOST_RANKS];
  int count = (int)server->count, others = comm->size - 1;
  TR_TRY(collect(comm, server, values));
  for (int i = 0; i < others; i++) {
    TR_TRY(check(MPI_Isend(values, count, MPI_FLOAT, i + 1, TAG, MPI_COMM_WORLD,
                           &requests[i])));
  }
  return check(MPI_Waitall(others, requests, MPI_STATUSES_IGNORE));
}

tr_status central_mean(tr__comm *comm, central *server, float *values)
{
  int count = (int)server->count;
  if (comm->rank == 0) {
    return serve(comm, server, values);
  }
  TR_TRY(check(MPI_Send(values, count, MPI_FLOAT, 0, TAG, MPI_COMM_WORLD)));
  return check(MPI_Recv(values, count, MPI_FLOAT, 0, TAG, MPI_COMM_WORLD,
                        MPI_STATUS_IGNORE));
}

static tr_status allocate(const tr__comm *comm, int64_t count, central *server)
{
  *server = (central){.count = count};
  TR_CHECK(comm->size <= MOST_RANKS && count <= INT_MAX, TR_EINVAL,
           "central: at most %d ranks and %d numbers", MOST_RANKS, INT_MAX);
  size_t parts = comm->rank == 0 ? (size_t)comm->size : 1;
  server->parts = calloc(parts * (size_t)count + 1, sizeof *server->parts);
  TR_CHECK(server->parts != NULL, TR_ENOMEM, "no memory for a central rank");
  return TR_OK;
}

/* On its own numbers. */
static tr_status try_out(tr__comm *comm, central *server)
{
  float *values = malloc(((size_t)server->count + 1) * sizeof *values);
  TR_CHECK(values != NULL, TR_ENOMEM, "no memory for a trial");
  bool is_right = true;
  for (int64_t i = 0; i < server->count; i++) {
    values[i] = (float)(comm->rank + i % 3);
  }
  tr_status status = central_mean(comm, server, values);
  for (int64_t i = 0; i < server->count; i++) {
    double mean = 0.5 * (comm->size - 1) + (double)(i % 3);
    double error = (double)values[i] - mean;
    is_right &= error < 1e-4 && error > -1e-4;
  }
  free(values);
  TR_CHECK(status != TR_OK || is_right, TR_ECOMM, "central: a wrong mean");
  return status;
}

tr_status central_create(tr__comm *comm, int64_t count, central *server)
{
  TR_TRY(tr__agree(comm, allocate(comm, count, server)));
  return tr__agree(comm, try_out(comm, server));
}

void central_release(central *server)
{
  free(server->parts);
  server->parts = NULL;
}
