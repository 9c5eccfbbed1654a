/* A pipelined ring of chunks as a state machine.
 *
 * Each rank's slice is a block, divided into chunks. In step s of the first
 * half, the reduce-scatter, rank r sends block r - s - 1 to the right and adds
 * what comes from the left to block r - s - 2. After size - 1 steps block r is
 * complete on rank r. The second half, the all-gather, passes the complete
 * blocks round the ring. Each block is summed along one path, so every rank
 * gets the same bits.
 *
 * A chunk that arrives in one step leaves in the next without waiting for the
 * rest of its block. MPI keeps the order of messages between two ranks, so
 * items need no tags of their own.
 * Source: Patarasuk and Yuan 2009, doi:10.1016/j.jpdc.2008.09.002 */
#include "comm/mpi/mpi_impl.h"

/* A ring's items are numbered (step, chunk), step-major. A rank receives item i
 * from its left neighbour and sends it to the right num_chunks items later. */
typedef struct ring_state {
  int64_t chunk;      /* elements of a full chunk */
  int64_t num_chunks; /* of the largest block */
  int64_t total;      /* the item behind the last one */
  int64_t recv_posted, recv_done, send_posted, send_done;
  MPI_Request recv[TR__DEPTH], send[TR__DEPTH];
} ring_state;
TR__MPI_STATE(ring_state)

typedef struct piece {
  char *data;
  int64_t count;
} piece;

static int64_t half(const tr__comm_mpi *comm, const ring_state *ring)
{
  return (comm->base.size - 1) * ring->num_chunks;
}

/* The elements that an item sends (shift 0) or receives (shift 1). */
static piece piece_of(const tr__comm_mpi *comm,
                      const tr__request *request,
                      int64_t item,
                      int shift)
{
  const ring_state *ring = state_of(request);
  int64_t size = comm->base.size;
  int64_t step = item / ring->num_chunks;
  /* The formula holds in the second half too, which continues where the first
   * ends: it sends block r - s - 1. */
  int64_t number = (comm->base.rank - step - 1 - shift + 2 * size) % size;
  tr__range block = request->blocks[number];
  int64_t begin = block.begin + item % ring->num_chunks * ring->chunk;
  begin = tr__min(begin, block.end); /* the last chunks of a short block are
                                        empty */
  return (piece){request->buf + begin * (int64_t)request->element,
                 tr__min(ring->chunk, block.end - begin)};
}

static char *slot_of(const tr__comm_mpi *comm, int64_t item)
{
  return comm->scratch + (size_t)(item % TR__DEPTH) * comm->chunk;
}

static tr_status ring_start(tr__comm_mpi *comm, tr__request *request)
{
  ring_state *ring = state_of(request);
  int64_t block = tr__mpi_largest_block(comm, request);
  ring->chunk = tr__min((int64_t)(comm->chunk / request->element),
                        comm->base.tr__int_limit);
  ring->num_chunks = (block + ring->chunk - 1) / ring->chunk;
  int64_t middle = half(comm, ring);
  int64_t first = request->kind == TR__ALLGATHER ? middle : 0;
  ring->total = request->kind == TR__REDUCE_SCATTER ? middle : 2 * middle;
  ring->recv_posted = ring->recv_done = first;
  ring->send_posted = ring->send_done = first;
  return TR_OK;
}

static tr_status
post_receive(tr__comm_mpi *comm, tr__request *request, bool *moved)
{
  ring_state *ring = state_of(request);
  int64_t item = ring->recv_posted, first_half = half(comm, ring);
  if (item == ring->total || item - ring->recv_done == TR__DEPTH) {
    return TR_OK;
  }
  /* The second half overwrites what the first half sent: the item one half
   * earlier must have left. */
  if (item >= first_half && ring->send_done <= item - first_half) {
    return TR_OK;
  }
  MPI_Request *handle = &ring->recv[item % TR__DEPTH];
  piece in = piece_of(comm, request, item, 1);
  *handle = MPI_REQUEST_NULL;
  if (in.count > 0) {
    int size = comm->base.size;
    void *to = item < first_half ? slot_of(comm, item) : in.data;
    TR_TRY_MPI(MPI_Irecv(to, tr__int(in.count), request->type,
                         (comm->base.rank + size - 1) % size, TR__TAG_RING,
                         comm->comm, handle));
  }
  ring->recv_posted++;
  *moved = true;
  return TR_OK;
}

static tr_status
finish_receive(tr__comm_mpi *comm, tr__request *request, bool *moved)
{
  ring_state *ring = state_of(request);
  int64_t item = ring->recv_done;
  int arrived = 0;
  if (item == ring->recv_posted) {
    return TR_OK;
  }
  TR_TRY_MPI(
      MPI_Test(&ring->recv[item % TR__DEPTH], &arrived, MPI_STATUS_IGNORE));
  if (!arrived) {
    return TR_OK;
  }
  if (item < half(comm, ring)) {
    piece in = piece_of(comm, request, item, 1);
    tr__mpi_add(request->dtype, in.data, slot_of(comm, item), in.count);
  }
  ring->recv_done++;
  *moved = true;
  return TR_OK;
}

static tr_status
post_send(tr__comm_mpi *comm, tr__request *request, bool *moved)
{
  ring_state *ring = state_of(request);
  int64_t item = ring->send_posted;
  if (item == ring->total || item - ring->send_done == TR__DEPTH ||
      ring->recv_done <= item - ring->num_chunks) {
    return TR_OK;
  }
  MPI_Request *handle = &ring->send[item % TR__DEPTH];
  piece out = piece_of(comm, request, item, 0);
  *handle = MPI_REQUEST_NULL;
  if (out.count > 0) {
    TR_TRY_MPI(MPI_Isend(out.data, tr__int(out.count), request->type,
                         (comm->base.rank + 1) % comm->base.size, TR__TAG_RING,
                         comm->comm, handle));
  }
  ring->send_posted++;
  *moved = true;
  return TR_OK;
}

static tr_status finish_send(tr__request *request, bool *moved)
{
  ring_state *ring = state_of(request);
  int64_t item = ring->send_done;
  int left = 0;
  if (item == ring->send_posted) {
    return TR_OK;
  }
  TR_TRY_MPI(MPI_Test(&ring->send[item % TR__DEPTH], &left, MPI_STATUS_IGNORE));
  if (left) {
    ring->send_done++;
    *moved = true;
  }
  return TR_OK;
}

static tr_status
ring_advance(tr__comm_mpi *comm, tr__request *request, bool *done)
{
  const ring_state *ring = state_of(request);
  bool moved = true;
  while (moved) {
    moved = false;
    TR_TRY(post_receive(comm, request, &moved));
    TR_TRY(post_send(comm, request, &moved));
    TR_TRY(finish_receive(comm, request, &moved));
    TR_TRY(finish_send(request, &moved));
  }
  *done = ring->recv_done == ring->total && ring->send_done == ring->total;
  return TR_OK;
}

static int64_t
ring_look(const tr__comm_mpi *comm, const tr__request *request, int *awaited)
{
  const ring_state *ring = state_of(request);
  int size = comm->base.size;
  bool receives = ring->recv_done < ring->total;
  *awaited = (comm->base.rank + (receives ? size - 1 : 1)) % size;
  return ring->recv_done + ring->send_done;
}

const tr__mpi_algorithm tr__mpi_ring = {.name = "ring",
                                        .keeps_order = tr__mpi_no_order,
                                        .start = ring_start,
                                        .advance = ring_advance,
                                        .look = ring_look};
