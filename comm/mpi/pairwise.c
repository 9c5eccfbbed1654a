/* Recursive doubling and halving: the sequence of exchanges of each rank.
 *
 * With 2^k ranks, partners r and r ^ 2^s exchange in step s. In doubling both
 * send all numbers and add what comes. In halving each sends the half that its
 * partner continues with, so each rank ends with one block of 2^-k of the
 * numbers; the same steps in reverse gather the blocks. After s steps a rank
 * holds the sum over its group of 2^s neighbours, so the order of sums is that
 * of the fixed tree.
 *
 * With other numbers of ranks the first 2 (size - power) ranks work in pairs:
 * the even rank sends its numbers to the odd one and gets the result back. A
 * member is a rank that takes part in the steps, for itself or for its pair.
 *
 * Halving leaves member m with block number "m with its bits reversed". Where
 * each rank must get its own slice, partners swap these blocks at the end.
 * Source: Thakur et al. 2005, doi:10.1177/1094342005051521, sec. 4 */
#include "comm/mpi/pairs_impl.h"

tr__pairing tr__pairing_of(int size)
{
  int power = 1;
  while (power <= size / 2) {
    power *= 2;
  }
  return (tr__pairing){power, size - power};
}

int tr__pairs_first_rank(const tr__pairing *pairing, int member)
{
  return member + (member < pairing->pairs ? member : pairing->pairs);
}

typedef struct group {
  const tr__request *request;
  tr__pairing all;
  int levels;
  int rank, member; /* member: -1 for the even rank of a pair */
} group;

static group group_of(const tr__comm_mpi *comm, const tr__request *request)
{
  group g = {.request = request,
             .all = tr__pairing_of(comm->base.size),
             .rank = comm->base.rank};
  while (1 << g.levels < g.all.power) {
    g.levels++;
  }
  g.member = g.rank - g.all.pairs;
  if (g.rank < 2 * g.all.pairs) {
    g.member = g.rank % 2 == 0 ? -1 : g.rank / 2;
  }
  return g;
}

/* The rank that works for a member: the last of its ranks. */
static int rank_of(const group *g, int member)
{
  return tr__pairs_first_rank(&g->all, member + 1) - 1;
}

static tr__range whole(const group *g)
{
  return (tr__range){0, g->request->count};
}

/* The numbers of the blocks of members begin..end-1. They are the slices of
 * these members' ranks, or in an all-reduce, where slices do not matter, equal
 * blocks. */
static tr__range blocks(const group *g, int begin, int end)
{
  const tr__request *request = g->request;
  if (request->kind == TR__ALLREDUCE) {
    int64_t count = request->count;
    return (tr__range){tr__even_split(count, begin, g->all.power),
                       tr__even_split(count, end, g->all.power)};
  }
  int first = tr__pairs_first_rank(&g->all, begin);
  return (tr__range){request->blocks[first].begin,
                     request->blocks[rank_of(g, end - 1)].end};
}

/* The numbers that a member still works on after so many steps of halving. */
static tr__range halved(const group *g, int member, int steps)
{
  int begin = 0, length = g->all.power;
  for (int s = 0; s < steps; s++) {
    length /= 2;
    begin += (member >> s & 1) * length;
  }
  return blocks(g, begin, begin + length);
}

static int reversed(const group *g, int member)
{
  int out = 0;
  for (int s = 0; s < g->levels; s++) {
    out = out * 2 + (member >> s & 1);
  }
  return out;
}

static const tr__exchange nothing = {.to = MPI_PROC_NULL,
                                     .from = MPI_PROC_NULL};

/* The exchange before the steps: the even rank of a pair sends numbers to add,
 * or in an all-gather its slice. */
static tr__exchange fold(const group *g)
{
  tr__exchange e = nothing;
  bool gathers = g->request->kind == TR__ALLGATHER;
  if (g->rank >= 2 * g->all.pairs) {
    return e;
  }
  int even = g->rank / 2 * 2;
  tr__range moved = gathers ? g->request->blocks[even] : whole(g);
  if (g->rank == even) {
    e.to = even + 1;
    e.out = moved;
  } else {
    e.from = even;
    e.in = moved;
    e.adds = !gathers;
  }
  return e;
}

/* The exchange after the steps: the even rank of a pair gets its result. */
static tr__exchange unfold(const group *g)
{
  tr__exchange e = nothing;
  if (g->rank >= 2 * g->all.pairs) {
    return e;
  }
  int even = g->rank / 2 * 2;
  bool is_own = g->request->kind == TR__REDUCE_SCATTER;
  tr__range moved = is_own ? g->request->blocks[even] : whole(g);
  if (g->rank == even) {
    e.from = even + 1;
    e.in = moved;
  } else {
    e.to = even;
    e.out = moved;
  }
  return e;
}

/* One step of adding. */
static tr__exchange reduce(const group *g, int level)
{
  int partner = g->member ^ 1 << level;
  tr__exchange e = {.to = rank_of(g, partner),
                    .from = rank_of(g, partner),
                    .out = whole(g),
                    .in = whole(g),
                    .adds = true};
  if (state_of(g->request)->is_halving) {
    e.out = halved(g, partner, level + 1);
    e.in = halved(g, g->member, level + 1);
  }
  return e;
}

/* The swap after halving: from the block that a member ends with to its own. */
static tr__exchange swap(const group *g)
{
  int partner = reversed(g, g->member);
  if (partner == g->member) {
    return nothing;
  }
  return (tr__exchange){.to = rank_of(g, partner),
                        .from = rank_of(g, partner),
                        .out = blocks(g, partner, partner + 1),
                        .in = blocks(g, g->member, g->member + 1)};
}

/* One step of the all-gather. */
static tr__exchange gather(const group *g, int step)
{
  bool is_way_back = g->request->kind == TR__ALLREDUCE;
  int level = is_way_back ? g->levels - 1 - step : step;
  int partner = g->member ^ 1 << level;
  tr__exchange e = {.to = rank_of(g, partner), .from = rank_of(g, partner)};
  if (is_way_back) {
    e.out = halved(g, g->member, level + 1);
    e.in = halved(g, partner, level + 1);
    return e;
  }
  int own = g->member >> level << level, other = partner >> level << level;
  e.out = blocks(g, own, own + (1 << level));
  e.in = blocks(g, other, other + (1 << level));
  return e;
}

bool tr__mpi_pairs_exchange(const tr__comm_mpi *comm,
                            const tr__request *request,
                            int step,
                            tr__exchange *out)
{
  const group g = group_of(comm, request);
  tr__collective kind = request->kind;
  bool is_halving = state_of(request)->is_halving;
  int reduces = kind != TR__ALLGATHER ? g.levels : 0;
  int swaps = kind == TR__REDUCE_SCATTER && is_halving;
  bool gathers = kind == TR__ALLGATHER || (kind == TR__ALLREDUCE && is_halving);
  int last = 1 + reduces + swaps + (gathers ? g.levels : 0);
  if (step > last) {
    return false;
  }
  if (step == 0 || step == last) {
    *out = step == 0 ? fold(&g) : unfold(&g);
  } else if (g.member < 0) {
    *out = nothing;
  } else if (step <= reduces) {
    *out = reduce(&g, step - 1);
  } else if (step <= reduces + swaps) {
    *out = swap(&g);
  } else {
    *out = gather(&g, step - 1 - reduces - swaps);
  }
  return true;
}
