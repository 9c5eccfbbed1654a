/* Which ranks are on this rank's node, and the communicators inside and across
 * nodes. */
#include "comm/mpi/mpi_impl.h"

#include <sched.h>
#include <stdlib.h>

/* A wait polls this long before it sleeps: the time of a medium all-reduce. */
static const double spin_s = 1e-3;

/* Counts the ranks of this node whose CPUs overlap with this rank's. */
static tr_status count_sharers(tr__comm *base, MPI_Comm node, cpu_set_t *sets)
{
  cpu_set_t own;
  CPU_ZERO(&own);
  sched_getaffinity(0, sizeof own, &own);
  TR_TRY_MPI(MPI_Allgather(&own, sizeof own, MPI_BYTE, sets, sizeof own,
                           MPI_BYTE, node));
  base->cpu_sharers = 0;
  for (int i = 0; i < base->local_size; i++) {
    cpu_set_t common;
    CPU_AND(&common, &own, &sets[i]);
    base->cpu_sharers += CPU_COUNT(&common) > 0;
  }
  base->cpu_sharers = base->cpu_sharers > 0 ? base->cpu_sharers : 1;
  /* With more ranks than CPUs, polls would keep the awaited rank from running.
   */
  base->spin_s = base->cpu_sharers > CPU_COUNT(&own) ? 0 : spin_s;
  return TR_OK;
}

static tr_status look_at_cpus(tr__comm_mpi *comm)
{
  cpu_set_t *sets = calloc((size_t)comm->base.local_size, sizeof *sets);
  tr_status status = TR_OK;
  if (sets == NULL) {
    status = TR_FAIL(TR_ENOMEM, "no memory for the CPU sets of %d ranks",
                     comm->base.local_size);
  }
  TR_TRY_GOTO(tr__agree(&comm->base, status), done);
  TR_TRY_GOTO(count_sharers(&comm->base, comm->node, sets), done);

done:
  free(sets);
  return status;
}

/* For tests on one machine: LIBTRAIN_RANKS_PER_NODE divides a node into
 * simulated nodes of so many ranks of the job. */
static tr_status split_further(tr__comm_mpi *comm)
{
  const char *text = getenv("LIBTRAIN_RANKS_PER_NODE");
  int per_node = text != NULL ? atoi(text) : 0, rank;
  if (per_node <= 0) {
    return TR_OK;
  }
  MPI_Comm part;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  TR_TRY_MPI(MPI_Comm_split(comm->node, rank / per_node, 0, &part));
  MPI_Comm_free(&comm->node);
  comm->node = part;
  return TR_OK;
}

/* Numbers the nodes. lowest: for each rank the lowest rank of its node. */
static void number_nodes(tr__comm_mpi *comm, const int *lowest)
{
  tr__nodes *nodes = &comm->nodes;
  int size = comm->base.size;
  bool is_in_order = true;
  nodes->count = 0;
  nodes->carriers = size;
  for (int r = 0; r < size; r++) {
    is_in_order = is_in_order && (r == 0 || lowest[r] >= lowest[r - 1]);
    if (lowest[r] == r) {
      nodes->first[nodes->count++] = r;
    }
    if (r == comm->base.rank) {
      nodes->own = nodes->count - 1;
    }
  }
  nodes->first[nodes->count] = size;
  comm->base.has_nodes = is_in_order && nodes->count > 1 && nodes->count < size;
  for (int i = 0; comm->base.has_nodes && i < nodes->count; i++) {
    int ranks = nodes->first[i + 1] - nodes->first[i];
    nodes->carriers = ranks < nodes->carriers ? ranks : nodes->carriers;
  }
}

static tr_status look_at_nodes(tr__comm_mpi *comm, int *lowest)
{
  int first = comm->base.rank;
  TR_TRY_MPI(MPI_Bcast(&first, 1, MPI_INT, 0, comm->node));
  TR_TRY_MPI(MPI_Allgather(&first, 1, MPI_INT, lowest, 1, MPI_INT, comm->comm));
  number_nodes(comm, lowest);
  if (comm->nodes.count > 1) {
    comm->chunk = TR__FAR_CHUNK_BYTES;
  }
  return TR_OK;
}

/* Memory for the virtual shards of the ranks of a communicator; each transfer
 * fills it in. */
static tr_status make_cut(tr__comm_mpi *comm)
{
  size_t size = (size_t)comm->base.size;
  comm->base.shards.first = calloc(size + 1, sizeof *comm->base.shards.first);
  TR_CHECK(comm->base.shards.first != NULL, TR_ENOMEM,
           "no memory for the shards of %zu ranks", size);
  return TR_OK;
}

/* `own` is released where that fails. */
static tr_status make_on(MPI_Comm own, tr__comm_mpi **out)
{
  tr_status status = tr__mpi_make(own, out);
  if (status != TR_OK) {
    MPI_Comm_free(&own);
  }
  return tr_error_push(status, __FILE__, __LINE__);
}

static tr_status make_inside(tr__comm_mpi *comm)
{
  MPI_Comm inside;
  TR_TRY_MPI(MPI_Comm_dup(comm->node, &inside));
  TR_TRY(make_on(inside, &comm->nodes.inside));
  TR_TRY(make_cut(comm->nodes.inside));
  return TR_OK;
}

static tr_status make_across(tr__comm_mpi *comm)
{
  const tr__nodes *nodes = &comm->nodes;
  int number = comm->base.rank - nodes->first[nodes->own];
  int color = number < nodes->carriers ? number : MPI_UNDEFINED;
  MPI_Comm across;
  TR_TRY_MPI(MPI_Comm_split(comm->comm, color, nodes->own, &across));
  if (across != MPI_COMM_NULL) {
    TR_TRY(make_on(across, &comm->nodes.across));
    comm->nodes.across->chunk = TR__FAR_CHUNK_BYTES;
    TR_TRY(make_cut(comm->nodes.across));
  }
  return TR_OK;
}

/* Shares memory in all nodes, or in none where the ranks of one node cannot. */
static tr_status share_memory(tr__comm_mpi *comm)
{
  tr__comm_mpi *owner = comm->base.has_nodes ? comm->nodes.inside : comm;
  int64_t is_there = 0;
  if (comm->base.has_nodes || comm->nodes.count == 1) {
    TR_TRY(tr__shm_create(owner));
    is_there = owner->shared.base != NULL;
  }
  TR_TRY(comm->base.type->reduce_i64(&comm->base, &is_there, 1, TR__MIN));
  comm->base.has_shm = is_there && !comm->base.has_nodes;
  comm->base.has_nodes = is_there && comm->base.has_nodes;
  if (!is_there) {
    tr__nodes_release(comm);
  }
  return TR_OK;
}

static tr_status get_memory(tr__comm_mpi *comm, int **lowest)
{
  size_t size = (size_t)comm->base.size;
  *lowest = calloc(size, sizeof **lowest);
  comm->nodes.first = calloc(size + 1, sizeof *comm->nodes.first);
  comm->nodes.blocks = calloc(size, sizeof *comm->nodes.blocks);
  tr_status status = TR_OK;
  if (*lowest == NULL || comm->nodes.first == NULL ||
      comm->nodes.blocks == NULL) {
    status = TR_FAIL(TR_ENOMEM, "no memory for the nodes of %zu ranks", size);
  }
  return tr__agree(&comm->base, status);
}

tr_status tr__nodes_create(tr__comm_mpi *comm)
{
  TR_TRY_MPI(MPI_Comm_split_type(comm->comm, MPI_COMM_TYPE_SHARED, 0,
                                 MPI_INFO_NULL, &comm->node));
  MPI_Comm_size(comm->node, &comm->base.local_size);
  TR_TRY(look_at_cpus(comm));
  TR_TRY(split_further(comm));
  TR_TRY_MPI(MPI_Comm_set_errhandler(comm->node, MPI_ERRORS_RETURN));
  MPI_Comm_size(comm->node, &comm->base.local_size);
  int *lowest = NULL;
  tr_status status;
  TR_TRY_GOTO(get_memory(comm, &lowest), done);
  TR_TRY_GOTO(look_at_nodes(comm, lowest), done);
  if (comm->base.has_nodes) {
    TR_TRY_GOTO(tr__agree(&comm->base, make_inside(comm)), done);
    TR_TRY_GOTO(tr__agree(&comm->base, make_across(comm)), done);
  }
  TR_TRY_GOTO(share_memory(comm), done);

done:
  free(lowest);
  return status;
}

void tr__nodes_release(tr__comm_mpi *comm)
{
  tr__nodes *nodes = &comm->nodes;
  if (nodes->across != NULL) {
    nodes->across->base.type->destroy(&nodes->across->base);
  }
  if (nodes->inside != NULL) {
    nodes->inside->base.type->destroy(&nodes->inside->base);
  }
  free(nodes->first);
  free(nodes->blocks);
  *nodes = (tr__nodes){.count = 0};
}

tr_status tr__nodes_alloc(tr__comm *base, size_t bytes, void **out)
{
  tr__comm_mpi *inside = ((tr__comm_mpi *)base)->nodes.inside;
  if (inside == NULL) {
    TR_TRY(tr__shm_alloc(base, bytes, out));
    return TR_OK;
  }
  TR_TRY(tr__agree(base, tr__shm_alloc(&inside->base, bytes, out)));
  int64_t is_there = *out != NULL;
  TR_TRY(base->type->reduce_i64(base, &is_there, 1, TR__MIN));
  if (!is_there) {
    tr__shm_free(&inside->base, *out);
    *out = NULL;
  }
  return TR_OK;
}

void tr__nodes_free(tr__comm *base, void *data)
{
  tr__comm_mpi *inside = ((tr__comm_mpi *)base)->nodes.inside;
  tr__shm_free(inside != NULL ? &inside->base : base, data);
}
