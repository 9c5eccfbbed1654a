/* Recursive doubling for few bytes: every rank adds its partner's sum, and the
 * distance to the partner doubles. Both partners add the same two numbers, so
 * all ranks get the same bits. With a number of ranks that is no power of two
 * the first 2 (size - power) ranks work in pairs: the even one hands its
 * numbers to the odd one and gets the result back.
 * Source: Thakur et al. 2005, doi:10.1177/1094342005051521, sec. 4.1 */
#include "comm/mpi_impl.h"

/* What one rank does in one step: nothing, give, take, or both. */
typedef struct exchange {
  int to, from; /* MPI_PROC_NULL: none */
  bool adds;
} exchange;

static int largest_power(int size)
{
  int power = 1;
  while (power <= size / 2) {
    power *= 2;
  }
  return power;
}

static exchange exchange_of(int rank, int size, int step, bool *is_last)
{
  int power = largest_power(size), pairs = size - power;
  int distance = step == 0 ? 0 : 1 << (step - 1);
  bool is_paired = rank < 2 * pairs, is_even = rank % 2 == 0;
  *is_last = distance == power;
  exchange nothing = {MPI_PROC_NULL, MPI_PROC_NULL, false};
  if (step == 0 && is_paired) {
    return is_even ? (exchange){rank + 1, MPI_PROC_NULL, false}
                   : (exchange){MPI_PROC_NULL, rank - 1, true};
  }
  if (*is_last && is_paired) {
    return is_even ? (exchange){MPI_PROC_NULL, rank + 1, false}
                   : (exchange){rank - 1, MPI_PROC_NULL, false};
  }
  if (step == 0 || *is_last || (is_paired && is_even)) {
    return nothing;
  }
  int partner = (is_paired ? rank / 2 : rank - pairs) ^ distance;
  partner = partner < pairs ? 2 * partner + 1 : partner + pairs;
  return (exchange){partner, partner, true};
}

static tr_status doubling_start(tr__comm_mpi *comm, tr__request *request)
{
  (void)comm;
  request->doubling = (tr__doubling){
      .step = 0, .recv = MPI_REQUEST_NULL, .send = MPI_REQUEST_NULL};
  return TR_OK;
}

static tr_status
begin(tr__comm_mpi *comm, tr__request *request, const exchange *now)
{
  tr__doubling *state = &request->doubling;
  int count = tr__int(request->count);
  state->adds = now->adds;
  state->is_waiting = true;
  void *in = now->adds ? comm->scratch : request->buf;
  TR_TRY_MPI(MPI_Irecv(in, count, request->type, now->from, TR__TAG_DOUBLING,
                       comm->comm, &state->recv));
  TR_TRY_MPI(MPI_Isend(request->buf, count, request->type, now->to,
                       TR__TAG_DOUBLING, comm->comm, &state->send));
  return TR_OK;
}

static tr_status
doubling_advance(tr__comm_mpi *comm, tr__request *request, bool *done)
{
  tr__doubling *state = &request->doubling;
  bool is_last = false;
  while (!is_last) {
    exchange now =
        exchange_of(comm->base.rank, comm->base.size, state->step, &is_last);
    if (!state->is_waiting) {
      TR_TRY(begin(comm, request, &now));
    }
    MPI_Request both[2] = {state->recv, state->send};
    int finished = 0;
    TR_TRY_MPI(MPI_Testall(2, both, &finished, MPI_STATUSES_IGNORE));
    if (!finished) {
      return TR_OK;
    }
    if (now.from != MPI_PROC_NULL && state->adds) {
      tr__mpi_add(request->dtype, request->buf, comm->scratch, request->count);
    }
    state->is_waiting = false;
    state->step++;
  }
  *done = true;
  return TR_OK;
}

static int64_t doubling_look(const tr__comm_mpi *comm,
                             const tr__request *request,
                             int *awaited)
{
  bool is_last;
  int step = request->doubling.step;
  exchange now = exchange_of(comm->base.rank, comm->base.size, step, &is_last);
  int partner = now.from != MPI_PROC_NULL ? now.from : now.to;
  if (partner != MPI_PROC_NULL) {
    *awaited = partner;
  }
  return step;
}

const tr__mpi_algorithm tr__mpi_doubling = {doubling_start, doubling_advance,
                                            doubling_look};
