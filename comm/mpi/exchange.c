/* Recursive doubling and halving as a state machine: it does one exchange
 * (pairwise.c) after the other, each in chunks of which a few are under way. */
#include "comm/mpi/pairs_impl.h"

static tr_status
pairs_start(tr__comm_mpi *comm, tr__request *request, bool is_halving)
{
  *state_of(request) =
      (tr__pairs){.is_halving = is_halving,
                  .chunk = tr__min((int64_t)(comm->chunk / request->element),
                                   comm->base.tr__int_limit)};
  return TR_OK;
}

static tr_status doubling_start(tr__comm_mpi *comm, tr__request *request)
{
  return pairs_start(comm, request, false);
}

static tr_status halving_start(tr__comm_mpi *comm, tr__request *request)
{
  return pairs_start(comm, request, true);
}

static int64_t chunks_of(const tr__pairs *state, int rank, tr__range block)
{
  int64_t count = rank == MPI_PROC_NULL ? 0 : block.end - block.begin;
  return (count + state->chunk - 1) / state->chunk;
}

static void open_exchange(tr__pairs *state)
{
  state->num_in = chunks_of(state, state->now.from, state->now.in);
  state->num_out = chunks_of(state, state->now.to, state->now.out);
  state->recv_posted = state->recv_done = 0;
  state->send_posted = state->send_done = 0;
  state->is_under_way = true;
}

typedef struct piece {
  char *data;
  int64_t count;
} piece;

static piece piece_of(const tr__request *request, tr__range block, int64_t i)
{
  int64_t chunk = state_of(request)->chunk;
  int64_t begin = block.begin + i * chunk;
  return (piece){request->buf + begin * (int64_t)request->element,
                 tr__min(chunk, block.end - begin)};
}

static char *slot_of(const tr__comm_mpi *comm, int64_t i)
{
  return comm->scratch + (size_t)(i % TR__DEPTH) * comm->chunk;
}

static tr_status post(tr__comm_mpi *comm, tr__request *request, bool *moved)
{
  tr__pairs *state = state_of(request);
  const tr__exchange *now = &state->now;
  while (state->recv_posted < state->num_in &&
         state->recv_posted - state->recv_done < TR__DEPTH) {
    int64_t i = state->recv_posted++;
    piece in = piece_of(request, now->in, i);
    TR_TRY_MPI(MPI_Irecv(now->adds ? slot_of(comm, i) : in.data,
                         tr__int(in.count), request->type, now->from,
                         TR__TAG_PAIRS, comm->comm,
                         &state->recv[i % TR__DEPTH]));
    *moved = true;
  }
  while (state->send_posted < state->num_out &&
         state->send_posted - state->send_done < TR__DEPTH) {
    int64_t i = state->send_posted++;
    piece out = piece_of(request, now->out, i);
    TR_TRY_MPI(MPI_Isend(out.data, tr__int(out.count), request->type, now->to,
                         TR__TAG_PAIRS, comm->comm,
                         &state->send[i % TR__DEPTH]));
    *moved = true;
  }
  return TR_OK;
}

static tr_status finish_send(tr__request *request, bool *moved)
{
  tr__pairs *state = state_of(request);
  int left = 0;
  if (state->send_done < state->send_posted) {
    TR_TRY_MPI(MPI_Test(&state->send[state->send_done % TR__DEPTH], &left,
                        MPI_STATUS_IGNORE));
  }
  state->send_done += left != 0;
  *moved = *moved || left;
  return TR_OK;
}

/* In doubling an exchange sends and adds to the same memory: a chunk must have
 * left before its sum overwrites it. */
static bool may_add(const tr__pairs *state)
{
  bool is_same = state->now.in.begin == state->now.out.begin &&
                 state->now.in.end == state->now.out.end &&
                 state->now.to != MPI_PROC_NULL;
  return !is_same || state->send_done > state->recv_done;
}

static tr_status finish_receive(tr__comm_mpi *comm,
                                tr__request *request,
                                size_t *added,
                                bool *moved)
{
  tr__pairs *state = state_of(request);
  const tr__exchange *now = &state->now;
  int arrived = 0;
  int64_t i = state->recv_done;
  if (i == state->recv_posted || (now->adds && !may_add(state))) {
    return TR_OK;
  }
  TR_TRY_MPI(
      MPI_Test(&state->recv[i % TR__DEPTH], &arrived, MPI_STATUS_IGNORE));
  if (!arrived) {
    return TR_OK;
  }
  piece in = piece_of(request, now->in, i);
  if (now->adds) {
    tr__mpi_add(request->dtype, in.data, slot_of(comm, i), in.count);
    *added += (size_t)in.count * request->element;
  }
  state->recv_done++;
  *moved = true;
  return TR_OK;
}

static tr_status
pairs_advance(tr__comm_mpi *comm, tr__request *request, bool *done)
{
  tr__pairs *state = state_of(request);
  size_t added = 0;
  bool moved = true;
  while (moved && added < TR__TURN_BYTES) {
    moved = false;
    if (!state->is_under_way) {
      if (!tr__mpi_pairs_exchange(comm, request, state->step, &state->now)) {
        *done = true;
        return TR_OK;
      }
      open_exchange(state);
    }
    TR_TRY(post(comm, request, &moved));
    TR_TRY(finish_send(request, &moved));
    TR_TRY(finish_receive(comm, request, &added, &moved));
    if (state->recv_done == state->num_in &&
        state->send_done == state->num_out) {
      state->is_under_way = false;
      state->step++;
      moved = true;
    }
  }
  return TR_OK;
}

static int64_t
pairs_look(const tr__comm_mpi *comm, const tr__request *request, int *awaited)
{
  (void)comm;
  const tr__pairs *state = state_of(request);
  bool receives = state->recv_done < state->num_in;
  *awaited = receives ? state->now.from : state->now.to;
  return state->step * (int64_t)1000000 + state->recv_done + state->send_done;
}

const tr__mpi_algorithm tr__mpi_doubling = {.name = "doubling",
                                            .keeps_order = tr__pairs_keep_order,
                                            .start = doubling_start,
                                            .advance = pairs_advance,
                                            .look = pairs_look};
const tr__mpi_algorithm tr__mpi_halving = {.name = "halving",
                                           .keeps_order = tr__pairs_keep_order,
                                           .start = halving_start,
                                           .advance = pairs_advance,
                                           .look = pairs_look};
