/* Hierarchical transfers over several nodes of which each shares memory: sums
 * inside the nodes, messages between them, then the results inside the nodes.
 *
 * A carrier is a rank that sums one slice of the numbers over its node and
 * exchanges it with the carriers of the same slice on the other nodes. All
 * carriers of a node send at once, and no byte reaches a node twice. A region
 * is the slices of all ranks of one node.
 *
 *   all-reduce      reduce-scatter inside, all-reduce across, all-gather inside
 *   reduce-scatter  reduce-scatter inside of each region, reduce-scatter of
 *                   regions across, all-gather of the own region inside
 *   all-gather      all-gather of the own region inside, all-gather of regions
 *                   across, all-gather of each other region inside
 *
 * Each of these is a transfer on the communicator `inside` or `across`. The
 * sums follow the fixed tree where the ranks of each node hold one node of it.
 */
#include "comm/mpi/mpi_impl.h"

/* A transfer over several nodes is a sequence of transfers: which one is under
 * way, and on which communicator. */
typedef struct hierarchical_state {
  int step;
  tr__comm_mpi *where; /* NULL: none is under way */
} hierarchical_state;
TR__MPI_STATE(hierarchical_state)

/* Up to this many nodes exchange directly. The order of sums is then that of
 * the tree for every kind and size. */
enum { MAX_DIRECT = 8 };

/* Where the slice of carrier j begins, of `count` elements. */
static int64_t
cut(const tr__comm_mpi *comm, const tr__request *request, int64_t count, int j)
{
  int64_t line = 64 / (int64_t)request->element;
  int64_t lines = (count + line - 1) / line;
  return tr__min(tr__even_split(lines, j, comm->nodes.carriers) * line, count);
}

/* One transfer inside or across. */
typedef struct part {
  tr__collective kind;
  tr__range where; /* elements of the request's buffer */
  bool is_sliced;  /* blocks are the ranks' slices, not those of the carriers */
} part;

static tr__range
region_of(const tr__comm_mpi *comm, const tr__request *request, int node)
{
  const int *first = comm->nodes.first;
  return (tr__range){request->blocks[first[node]].begin,
                     request->blocks[first[node + 1] - 1].end};
}

/* Sets the blocks of a transfer inside. Ranks that are no carriers have an
 * empty block. */
static void
cut_inside(tr__comm_mpi *comm, const tr__request *request, const part *p)
{
  const tr__nodes *nodes = &comm->nodes;
  int64_t count = p->where.end - p->where.begin;
  for (int j = 0; j < nodes->inside->base.size; j++) {
    tr__range *block = &nodes->blocks[j];
    *block = (tr__range){count, count};
    if (p->is_sliced) {
      tr__range slice = request->blocks[nodes->first[nodes->own] + j];
      block->begin = slice.begin - p->where.begin;
      block->end = slice.end - p->where.begin;
    } else if (j < nodes->carriers) {
      block->begin = cut(comm, request, count, j);
      block->end = cut(comm, request, count, j + 1);
    }
  }
}

static void cut_across(tr__comm_mpi *comm, const tr__request *request)
{
  const tr__nodes *nodes = &comm->nodes;
  int own = nodes->inside->base.rank;
  for (int i = 0; i < nodes->count; i++) {
    tr__range region = region_of(comm, request, i);
    int64_t count = region.end - region.begin;
    nodes->blocks[i].begin = region.begin + cut(comm, request, count, own);
    nodes->blocks[i].end = region.begin + cut(comm, request, count, own + 1);
  }
}

static tr__transfer transfer_of(const tr__request *request, const part *p)
{
  return (tr__transfer){.kind = p->kind,
                        .buf = request->buf +
                               p->where.begin * (int64_t)request->element,
                        .count = p->where.end - p->where.begin,
                        .dtype = request->dtype};
}

static tr_status
begin_inside(tr__comm_mpi *comm, tr__request *request, const part *p)
{
  const tr__transfer transfer = transfer_of(request, p);
  state_of(request)->where = comm->nodes.inside;
  cut_inside(comm, request, p);
  TR_TRY(tr__mpi_begin(comm->nodes.inside, &tr__mpi_shm, &transfer,
                       comm->nodes.blocks));
  return TR_OK;
}

/* Begins the transfer across: an all-reduce of this carrier's slice, or
 * otherwise the collective of the regions. */
static tr_status begin_across(tr__comm_mpi *comm, tr__request *request)
{
  tr__comm_mpi *across = comm->nodes.across;
  part p = {.kind = request->kind, .where = {0, request->count}};
  if (across == NULL) {
    return TR_OK;
  }
  state_of(request)->where = across;
  const tr__range *blocks = comm->nodes.blocks;
  bool is_ordered =
      across->base.shards.total > 0 && request->kind != TR__ALLGATHER;
  bool few = comm->nodes.count <= MAX_DIRECT || is_ordered;
  const tr__mpi_algorithm *algorithm =
      few || request->wire != 0 ? &tr__mpi_direct : &tr__mpi_ring;
  if (request->kind == TR__ALLREDUCE) {
    int own = comm->nodes.inside->base.rank;
    p.where.begin = cut(comm, request, request->count, own);
    p.where.end = cut(comm, request, request->count, own + 1);
    blocks = NULL;
  } else {
    cut_across(comm, request);
  }
  tr__transfer transfer = transfer_of(request, &p);
  transfer.wire = request->wire;
  if (request->kind == TR__ALLREDUCE && !few) {
    TR_TRY(tr__mpi_choose(across, &transfer, &algorithm));
  }
  TR_TRY(tr__mpi_begin(across, algorithm, &transfer, blocks));
  return TR_OK;
}

/* Begins transfer number `i` inside, of those before or after the one across.
 */
static tr_status begin_inside_step(tr__comm_mpi *comm,
                                   tr__request *request,
                                   bool is_before,
                                   int i)
{
  tr__collective kind = request->kind;
  int own = comm->nodes.own;
  part p = {.kind = is_before ? TR__REDUCE_SCATTER : TR__ALLGATHER,
            .where = {0, request->count}};
  bool is_of_each = is_before == (kind == TR__REDUCE_SCATTER);
  int node = is_of_each ? i : own;
  if (kind != TR__ALLREDUCE) {
    p.where = region_of(comm, request, node);
  }
  if (kind == TR__ALLGATHER && is_before) {
    p.kind = TR__ALLGATHER;
    p.is_sliced = true;
  } else if (kind == TR__ALLGATHER && node == own) {
    p.where.end = p.where.begin; /* the own region is there already */
  }
  return begin_inside(comm, request, &p);
}

/* Begins transfer number `step`; *is_last: all transfers are done. */
static tr_status
begin_step(tr__comm_mpi *comm, tr__request *request, bool *is_last)
{
  int step = state_of(request)->step, count = comm->nodes.count;
  int before = request->kind == TR__REDUCE_SCATTER ? count : 1;
  int after = request->kind == TR__ALLGATHER ? count : 1;
  *is_last = step == before + 1 + after;
  if (*is_last) {
    return TR_OK;
  }
  return step == before ? begin_across(comm, request)
         : step < before
             ? begin_inside_step(comm, request, true, step)
             : begin_inside_step(comm, request, false, step - before - 1);
}

/* Tells the communicators `inside` and `across` which virtual shards their
 * ranks hold. */
static void set_cuts(tr__comm_mpi *comm)
{
  const tr__nodes *nodes = &comm->nodes;
  int first = nodes->first[nodes->own];
  tr__comm *inside = &nodes->inside->base;
  inside->shards.total = comm->base.shards.total;
  for (int j = 0; j <= inside->size; j++) {
    inside->shards.first[j] = tr__comm_first_shard(&comm->base, first + j);
  }
  if (nodes->across != NULL) {
    tr__comm *across = &nodes->across->base;
    across->shards.total = comm->base.shards.total;
    for (int i = 0; i <= nodes->count; i++) {
      across->shards.first[i] =
          tr__comm_first_shard(&comm->base, nodes->first[i]);
    }
  }
}

static tr_status hierarchical_start(tr__comm_mpi *comm, tr__request *request)
{
  *state_of(request) = (hierarchical_state){.step = 0};
  set_cuts(comm);
  comm->nodes.inside->base.tr__int_limit = comm->base.tr__int_limit;
  if (comm->nodes.across != NULL) {
    comm->nodes.across->base.tr__int_limit = comm->base.tr__int_limit;
  }
  bool is_last = false;
  TR_TRY(begin_step(comm, request, &is_last));
  return TR_OK;
}

static tr_status
hierarchical_advance(tr__comm_mpi *comm, tr__request *request, bool *done)
{
  hierarchical_state *state = state_of(request);
  while (!*done) {
    tr__comm_mpi *where = state->where;
    if (where != NULL && !where->request.is_done) {
      TR_TRY(where->request.algorithm->advance(where, &where->request,
                                               &where->request.is_done));
    }
    if (where != NULL && !where->request.is_done) {
      return TR_OK;
    }
    state->where = NULL;
    state->step++;
    TR_TRY(begin_step(comm, request, done));
  }
  return TR_OK;
}

static bool hierarchical_sleep(tr__comm_mpi *comm, const tr__request *request)
{
  tr__comm_mpi *where = state_of(request)->where;
  return where != NULL && where == comm->nodes.inside &&
         tr__mpi_shm.sleep(where, &where->request);
}

/* The communicator `across` numbers its ranks as the nodes: *awaited becomes
 * the rank of that node that carries the same slice. */
static int64_t hierarchical_look(const tr__comm_mpi *comm,
                                 const tr__request *request,
                                 int *awaited)
{
  const tr__nodes *nodes = &comm->nodes;
  const tr__comm_mpi *where = state_of(request)->where;
  int64_t moves = state_of(request)->step;
  if (where == NULL || where != nodes->across ||
      where->request.algorithm->look == NULL) {
    return moves;
  }
  int node = -1;
  moves += 100 * where->request.algorithm->look(where, &where->request, &node);
  if (node >= 0) {
    *awaited = nodes->first[node] + nodes->inside->base.rank;
  }
  return moves;
}

static tr_status hierarchical_check(const tr__comm *comm)
{
  TR_CHECK(comm->has_nodes, TR_EUNSUPPORTED,
           "all-reduce algorithm \"hierarchical\": the %d ranks are not on "
           "several nodes that share memory and are numbered node by node",
           comm->size);
  return TR_OK;
}

const tr__mpi_algorithm tr__mpi_hierarchical = {
    .name = "hierarchical",
    .check = hierarchical_check,
    .keeps_order = tr__nodes_keep_order,
    .start = hierarchical_start,
    .advance = hierarchical_advance,
    .sleep = hierarchical_sleep,
    .look = hierarchical_look,
    .has_wire = true, /* only across */
};
