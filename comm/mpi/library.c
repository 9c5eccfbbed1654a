/* The algorithm "mpi": the collectives of the MPI library, as a yardstick.
 * Their calls block, so the whole transfer happens in start, and no computation
 * can hide it. */
#include "comm/mpi/mpi_impl.h"

#include <string.h>

static char *at(const tr__request *request, int64_t element)
{
  return request->buf + element * (int64_t)request->element;
}

static tr_status allreduce(tr__comm_mpi *comm, tr__request *request)
{
  int64_t done = 0;
  while (done < request->count) {
    int64_t count = tr__min(request->count - done, comm->base.tr__int_limit);
    TR_TRY_MPI(MPI_Allreduce(MPI_IN_PLACE, at(request, done), tr__int(count),
                             request->type, MPI_SUM, comm->comm));
    done += count;
  }
  return TR_OK;
}

/* One slice at a time, for more elements than an int can count. */
static tr_status allgather_by_slice(tr__comm_mpi *comm, tr__request *request)
{
  for (int r = 0; r < comm->base.size; r++) {
    int64_t end = request->blocks[r].end, i = request->blocks[r].begin;
    while (i < end) {
      int count = tr__int(tr__min(end - i, comm->base.tr__int_limit));
      TR_TRY_MPI(
          MPI_Bcast(at(request, i), count, request->type, r, comm->comm));
      i += count;
    }
  }
  return TR_OK;
}

static tr_status all_slices(tr__comm_mpi *comm, tr__request *request)
{
  int size = comm->base.size;
  int *counts = comm->ints, *begins = comm->ints + size;
  for (int r = 0; r < size; r++) {
    tr__range block = request->blocks[r];
    counts[r] = tr__int(block.end - block.begin);
    begins[r] = tr__int(block.begin);
  }
  if (request->kind == TR__ALLGATHER) {
    TR_TRY_MPI(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, request->buf,
                              counts, begins, request->type, comm->comm));
    return TR_OK;
  }
  TR_TRY_MPI(MPI_Reduce_scatter(MPI_IN_PLACE, request->buf, counts,
                                request->type, MPI_SUM, comm->comm));
  memmove(at(request, begins[comm->base.rank]), request->buf,
          (size_t)counts[comm->base.rank] * request->element);
  return TR_OK;
}

/* MPI_Reduce_scatter moves a rank's slice to the front of the buffer, and MPICH
 * 4.0 ends the program where the old and the new place overlap. */
static bool moves_onto_itself(const tr__comm_mpi *comm,
                              const tr__request *request)
{
  if (request->kind != TR__REDUCE_SCATTER) {
    return false;
  }
  for (int r = 0; r < comm->base.size; r++) {
    tr__range slice = request->blocks[r];
    if (slice.begin > 0 && slice.begin < slice.end - slice.begin) {
      return true;
    }
  }
  return false;
}

static tr_status all_of_it(tr__comm_mpi *comm, tr__request *request)
{
  if (request->kind == TR__ALLREDUCE) {
    return allreduce(comm, request);
  }
  if (request->count <= comm->base.tr__int_limit &&
      !moves_onto_itself(comm, request)) {
    return all_slices(comm, request);
  }
  /* An all-reduce gives each rank more sums than the slice it asked for. */
  return request->kind == TR__REDUCE_SCATTER
             ? allreduce(comm, request)
             : allgather_by_slice(comm, request);
}

static tr_status library_start(tr__comm_mpi *comm, tr__request *request)
{
  tr__block_begin(comm->base.board, TR__TRANSFERS);
  tr_status status = all_of_it(comm, request);
  tr__block_end(comm->base.board);
  return status;
}

static tr_status
library_advance(tr__comm_mpi *comm, tr__request *request, bool *done)
{
  (void)comm;
  (void)request;
  *done = true;
  return TR_OK;
}

const tr__mpi_algorithm tr__mpi_library = {.name = "mpi",
                                           .keeps_order = tr__mpi_no_order,
                                           .start = library_start,
                                           .advance = library_advance};
