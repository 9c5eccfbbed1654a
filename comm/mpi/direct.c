/* Direct exchange: each rank gets its slice from every other rank, adds all of
 * them by the fixed tree (rank_tree.c), and sends the sums to every other rank.
 * No link carries a byte more than needed, and the order of sums is fixed for
 * every number of ranks. The price is a message to every rank.
 *
 * The slices move in chunks. Item k is chunk k of all slices, and a few items
 * are under way at once. With a wire of 16 bits the first half of a slot
 * receives and the second half sends. */
#include "comm/mpi/mpi_impl.h"

/* Direct exchange: item k is chunk k of every block. The counters give the
 * number of items that have reached each stage, in the order of the stages. */
typedef struct direct_state {
  int64_t chunk, num_items;
  int64_t posted; /* messages with operands are posted, to and from all ranks */
  int64_t left;   /* the operands that this rank sent have left */
  int64_t summed; /* the operands for this rank have come and are added */
  int64_t shared; /* messages with sums are posted, to and from all ranks */
  int64_t done;
} direct_state;
TR__MPI_STATE(direct_state)

/* The four groups of requests. */
enum { PARTS_IN, PARTS_OUT, SUMS_IN, SUMS_OUT };

/* The chunks of one item, of all ranks, fit in the caches when they are added.
 */
size_t tr__direct_chunk_bytes(const tr__comm_mpi *comm)
{
  size_t bytes = TR__TURN_BYTES / (size_t)comm->base.size / 64 * 64;
  const size_t least = 4096;
  bytes = bytes < comm->chunk ? bytes : comm->chunk;
  return bytes > least ? bytes : least;
}

static MPI_Request *requests_of(const tr__comm_mpi *comm, int whose, int64_t k)
{
  int64_t row = whose * TR__DEPTH + k % TR__DEPTH;
  return comm->requests + row * comm->base.size;
}

static char *slot_of(const tr__comm_mpi *comm, int64_t k, int rank)
{
  int64_t i = k % TR__DEPTH * comm->base.size + rank;
  return comm->scratch + (size_t)i * tr__direct_chunk_bytes(comm);
}

static MPI_Datatype wire_type(const tr__request *request)
{
  return request->wire != 0 ? MPI_UINT16_T : request->type;
}

typedef struct piece {
  char *data;
  int count;
} piece;

static piece piece_of(const tr__request *request, int rank, int64_t k)
{
  tr__range block = request->blocks[rank];
  int64_t chunk = state_of(request)->chunk;
  int64_t begin = tr__min(block.begin + k * chunk, block.end);
  return (piece){request->buf + begin * (int64_t)request->element,
                 tr__int(tr__min(chunk, block.end - begin))};
}

/* The data to send for a piece: the piece itself, or its 16-bit copy in a slot.
 */
static const void *packed(const tr__comm_mpi *comm,
                          const tr__request *request,
                          int64_t k,
                          int slot,
                          const piece *p)
{
  if (request->wire == 0) {
    return p->data;
  }
  char *out = slot_of(comm, k, slot) + tr__direct_chunk_bytes(comm) / 2;
  tr__wire_pack(out, p->data, p->count);
  return out;
}

static tr_status direct_start(tr__comm_mpi *comm, tr__request *request)
{
  int64_t limit = comm->base.tr__int_limit;
  size_t bytes = tr__direct_chunk_bytes(comm);
  direct_state *state = state_of(request);
  *state = (direct_state){
      .chunk = tr__min((int64_t)(bytes / request->element), limit)};
  int64_t largest = tr__mpi_largest_block(comm, request);
  state->num_items = (largest + state->chunk - 1) / state->chunk;
  if (request->kind == TR__ALLGATHER) {
    state->posted = state->left = state->summed = state->num_items;
  }
  return TR_OK;
}

static tr_status post_parts(tr__comm_mpi *comm, tr__request *request)
{
  int size = comm->base.size, rank = comm->base.rank;
  int64_t k = state_of(request)->posted;
  MPI_Request *in = requests_of(comm, PARTS_IN, k);
  MPI_Request *out = requests_of(comm, PARTS_OUT, k);
  piece own = piece_of(request, rank, k);
  in[rank] = out[rank] = MPI_REQUEST_NULL;
  for (int d = 1; d < size; d++) {
    int from = (rank + size - d) % size, to = (rank + d) % size;
    piece theirs = piece_of(request, to, k);
    in[from] = out[to] = MPI_REQUEST_NULL;
    if (own.count > 0) {
      TR_TRY_MPI(MPI_Irecv(slot_of(comm, k, from), own.count,
                           wire_type(request), from, TR__TAG_DIRECT_PARTS,
                           comm->comm, &in[from]));
    }
    if (theirs.count > 0) {
      TR_TRY_MPI(MPI_Isend(packed(comm, request, k, to, &theirs), theirs.count,
                           wire_type(request), to, TR__TAG_DIRECT_PARTS,
                           comm->comm, &out[to]));
    }
  }
  state_of(request)->posted++;
  return TR_OK;
}

static void sum_item(tr__comm_mpi *comm, tr__request *request)
{
  int64_t k = state_of(request)->summed;
  piece own = piece_of(request, comm->base.rank, k);
  size_t bytes = (size_t)own.count * request->element;
  for (size_t at = 0; at < bytes; at += TR__SUM_BYTES) {
    for (int r = 0; r < comm->base.size; r++) {
      bool is_own = r == comm->base.rank;
      char *part = is_own ? own.data : slot_of(comm, k, r);
      comm->parts[r] = part + (request->wire != 0 && !is_own ? at / 2 : at);
    }
    tr__mpi_sum(comm, request, (size_t)tr__min(bytes - at, TR__SUM_BYTES),
                own.data + at);
  }
}

/* Incoming sums overwrite only what this rank has sent before: move_sums()
 * waits until these messages have left. */
static tr_status post_sums(tr__comm_mpi *comm, tr__request *request)
{
  int size = comm->base.size, rank = comm->base.rank;
  int64_t k = state_of(request)->shared;
  MPI_Request *in = requests_of(comm, SUMS_IN, k);
  MPI_Request *out = requests_of(comm, SUMS_OUT, k);
  piece own = piece_of(request, rank, k);
  const void *sums = packed(comm, request, k, rank, &own);
  in[rank] = out[rank] = MPI_REQUEST_NULL;
  for (int d = 1; d < size; d++) {
    int from = (rank + size - d) % size, to = (rank + d) % size;
    piece theirs = piece_of(request, from, k);
    void *place = request->wire != 0 ? slot_of(comm, k, from) : theirs.data;
    in[from] = out[to] = MPI_REQUEST_NULL;
    if (theirs.count > 0) {
      TR_TRY_MPI(MPI_Irecv(place, theirs.count, wire_type(request), from,
                           TR__TAG_DIRECT_SUMS, comm->comm, &in[from]));
    }
    if (own.count > 0) {
      TR_TRY_MPI(MPI_Isend(sums, own.count, wire_type(request), to,
                           TR__TAG_DIRECT_SUMS, comm->comm, &out[to]));
    }
  }
  state_of(request)->shared++;
  return TR_OK;
}

/* Converts sums that came as 16-bit numbers. */
static void unpack_sums(const tr__comm_mpi *comm, const tr__request *request)
{
  int64_t k = state_of(request)->done;
  for (int r = 0; r < comm->base.size && request->wire != 0; r++) {
    piece theirs = piece_of(request, r, k);
    if (r != comm->base.rank) {
      tr__wire_unpack(theirs.data, slot_of(comm, k, r), theirs.count);
    }
  }
}

static tr_status
test_all(tr__comm_mpi *comm, int whose, int64_t k, bool *finished)
{
  int flag = 0;
  TR_TRY_MPI(MPI_Testall(comm->base.size, requests_of(comm, whose, k), &flag,
                         MPI_STATUSES_IGNORE));
  *finished = flag != 0;
  return TR_OK;
}

/* Are the slots of the next item free? With a wire of 16 bits incoming sums use
 * slots too. */
static bool has_room(const tr__request *request)
{
  const direct_state *state = state_of(request);
  bool has_sums = request->wire != 0 && request->kind == TR__ALLREDUCE;
  return state->posted - state->summed < TR__DEPTH &&
         state->posted - state->left < TR__DEPTH &&
         (!has_sums || state->posted - state->done < TR__DEPTH);
}

/* The first half, reduce-scatter: operands go to the ranks that add them. */
static tr_status
move_parts(tr__comm_mpi *comm, tr__request *request, size_t *added, bool *moved)
{
  direct_state *state = state_of(request);
  bool finished = false;
  if (state->posted < state->num_items && has_room(request)) {
    TR_TRY(post_parts(comm, request));
    *moved = true;
  }
  if (state->left < state->posted) {
    TR_TRY(test_all(comm, PARTS_OUT, state->left, &finished));
    state->left += finished;
    *moved = *moved || finished;
  }
  if (state->summed < state->posted) {
    TR_TRY(test_all(comm, PARTS_IN, state->summed, &finished));
    if (finished) {
      sum_item(comm, request);
      *added +=
          (size_t)comm->base.size * (size_t)state->chunk * request->element;
      state->summed++;
      *moved = true;
    }
  }
  return TR_OK;
}

/* The second half, all-gather: sums go to all ranks. */
static tr_status
move_sums(tr__comm_mpi *comm, tr__request *request, bool *moved)
{
  direct_state *state = state_of(request);
  if (state->shared < tr__min(state->summed, state->left) &&
      state->shared - state->done < TR__DEPTH) {
    TR_TRY(post_sums(comm, request));
    *moved = true;
  }
  if (state->done < state->shared) {
    bool is_in = false, is_out = false;
    TR_TRY(test_all(comm, SUMS_IN, state->done, &is_in));
    TR_TRY(test_all(comm, SUMS_OUT, state->done, &is_out));
    if (is_in && is_out) {
      unpack_sums(comm, request);
      state->done++;
    }
    *moved = *moved || (is_in && is_out);
  }
  return TR_OK;
}

static tr_status
direct_advance(tr__comm_mpi *comm, tr__request *request, bool *done)
{
  direct_state *state = state_of(request);
  size_t added = 0;
  bool moved = true;
  while (moved && added < TR__TURN_BYTES) {
    moved = false;
    TR_TRY(move_parts(comm, request, &added, &moved));
    if (request->kind != TR__REDUCE_SCATTER) {
      TR_TRY(move_sums(comm, request, &moved));
    }
  }
  *done = request->kind == TR__REDUCE_SCATTER
              ? tr__min(state->summed, state->left) == state->num_items
              : state->done == state->num_items;
  return TR_OK;
}

/* The next rank whose message of an item has not come; -1: all have come. */
static int missing_of(const tr__comm_mpi *comm, int whose, int64_t k)
{
  int size = comm->base.size;
  for (int d = 1; d < size; d++) {
    int from = (comm->base.rank + d) % size, flag = 1;
    MPI_Request request = requests_of(comm, whose, k)[from];
    MPI_Request_get_status(request, &flag, MPI_STATUS_IGNORE);
    if (!flag) {
      return from;
    }
  }
  return -1;
}

static int64_t
direct_look(const tr__comm_mpi *comm, const tr__request *request, int *awaited)
{
  const direct_state *state = state_of(request);
  if (state->summed < state->posted) {
    *awaited = missing_of(comm, PARTS_IN, state->summed);
  } else if (state->done < state->shared) {
    *awaited = missing_of(comm, SUMS_IN, state->done);
  }
  return state->posted + state->left + state->summed + state->shared +
         state->done;
}

const tr__mpi_algorithm tr__mpi_direct = {.name = "direct",
                                          .start = direct_start,
                                          .advance = direct_advance,
                                          .look = direct_look,
                                          .has_wire = true};
