/* The interface of collectives, and what is built on it alone. */
#ifndef TR_COMM_IMPL_H
#define TR_COMM_IMPL_H

#include "base/base_impl.h"
#include "base/spin_impl.h"
#include "core/status_board_impl.h"

typedef struct tr__comm tr__comm;
typedef struct tr__request tr__request;

typedef enum tr__reduce { TR__SUM, TR__MIN, TR__MAX } tr__reduce;

/* How a transfer works. AUTO takes one by size from a table. */
typedef enum tr__algorithm {
  TR__ALGORITHM_AUTO = 0,
  TR__ALGORITHM_DOUBLING = 1,    /* recursive doubling, for few bytes */
  TR__ALGORITHM_RING = 2,        /* own pipelined ring */
  TR__ALGORITHM_MPI = 3,         /* MPI_Allreduce, whatever that does; waits */
  TR__ALGORITHM_SHM = 4,         /* the node's shared memory */
  TR__ALGORITHM_DIRECT = 5,      /* a message from each rank to each other */
  TR__ALGORITHM_HALVING = 6,     /* recursive halving and the way back */
  TR__ALGORITHM_HIERARCHICAL = 7 /* shared memory in nodes, messages across */
} tr__algorithm;

/* What becomes of the ranks' buffers. A rank's slice of them is what
 * tr__comm_range() says. */
typedef enum tr__collective {
  TR__ALLREDUCE = 0,  /* all get all sums */
  TR__REDUCE_SCATTER, /* each gets the sums of its slice; the rest of its buffer
                         is undefined */
  TR__ALLGATHER       /* each rank's slice goes to all */
} tr__collective;

/* Elements begin..end-1 of a buffer or an arena. */
typedef struct tr__range {
  int64_t begin, end;
} tr__range;

/* A large collective, in place.
 *
 * With wire = TR_BF16 the numbers of a sum are sent in 16 bits,
 *
 *   y <- r(sum of r(x)),   r: to the nearest bfloat16, ties to even
 *
 * and summed in single precision; all ranks get the same. What does not travel
 * is not rounded: in a node's shared memory nothing is, and over several nodes
 * x are the sums of each. */
typedef struct tr__transfer {
  tr__collective kind;
  void *buf;      /* host memory */
  int64_t count;  /* elements, equal on all ranks; also 0 and beyond 2^31 */
  tr_dtype dtype; /* TR_F32 or TR_F64 */
  const tr__range *slices; /* [size], equal on all ranks, ascending without
                              gaps, some may be empty. NULL: those of
                              tr__comm_slice() */
  tr_dtype wire;           /* TR_BF16, of sums of TR_F32; 0: the numbers travel
                              as they are */

  /* Meetings in shared memory that other transfers of these ranks make
   * needless, equal on all ranks. */
  bool skip_entry_barrier; /* an earlier one has ended since any rank read or
                             wrote what this one overwrites */
  bool skip_exit_barrier; /* until a later one has ended no rank reads what this
                            one gives it, or writes its buffer */
} tr__transfer;

/* Which part of the fixed tree over virtual shards each rank holds. Sums then
 * follow this tree, and have the same bits for every number of ranks. */
typedef struct tr__shard_map {
  int64_t total;  /* shards; 0: none, sums take whatever order is fast */
  int64_t *first; /* [size + 1], the first shard of each rank; each range is one
                     node of the tree of backend/tree_impl.h */
} tr__shard_map;

/* Buffers are host memory. Every call is collective; ranks make the same
 * calls in the same order. */
typedef struct tr__comm_type {
  const char *name;

  void (*destroy)(tr__comm *comm);

  /* start - begin a transfer. The same bits on every rank that gets a sum. One
   * at a time: TR_ESTATE where the one before has not finished. The buffer and
   * slices stay as they are until it has. */
  tr_status (*start)(tr__comm *comm,
                     const tr__transfer *transfer,
                     tr__request **out);

  /* test - move a started call along without waiting; *done is set, and the
   * request released, when it has finished. */
  tr_status (*test)(tr__comm *comm, tr__request **request, bool *done);

  /* sleep - wait without work until a started call may have moved along, but
   * not long. False, at once, where only polling moves it. */
  bool (*sleep)(tr__comm *comm, tr__request *request);
  /* look - note on the board where a started call stands; it is not moved
   * along. NULL: nothing to note. */
  void (*look)(tr__comm *comm, const tr__request *request);

  /* broadcast - root's bytes to all ranks. */
  tr_status (*broadcast)(tr__comm *comm, void *buf, size_t bytes, int root);

  /* reduce_i64 - a few integers, element by element, the result on all. */
  tr_status (*reduce_i64)(tr__comm *comm,
                          int64_t *values,
                          int count,
                          tr__reduce how);

  /* sum_f64 - a few doubles, summed in rank order, the result on all. */
  tr_status (*sum_f64)(tr__comm *comm, double *values, int count);

  /* barrier - no rank leaves before all have come. */
  tr_status (*barrier)(tr__comm *comm);

  /* alloc - zeroed memory that is summed in place, without copies: the ranks
   * of a node share it. Collective, with the same bytes on all ranks. *out is
   * NULL on all of them, without a failure, where there is no such memory.
   * free - local; NULL is nothing. */
  tr_status (*alloc)(tr__comm *comm, size_t bytes, void **out);
  void (*free)(tr__comm *comm, void *data);
} tr__comm_type;

struct tr__comm {
  const tr__comm_type *type;
  int rank, size;
  int local_size;  /* ranks on this node */
  int cpu_sharers; /* of these, the ones whose CPUs overlap with mine, me too */
  double spin_s; /* how long a wait polls at most before it sleeps or yields */
  tr__spin spins[TR__SERIES_COUNT]; /* what waits lasted so far */
  tr__algorithm algorithm;
  tr__shard_map shards;
  bool has_shm;           /* all ranks are on one node and share memory */
  bool has_nodes;         /* they are on several, share memory in each, and are
                             numbered node by node */
  bool may_change_thread; /* calls may come from any thread, one at a time */
  int64_t tr__int_limit;  /* most elements in one foreign call */

  tr__status_board
      *board; /* where calls are noted; NULL: nobody waits for another.
                       Released with the rest, unless it is NULL then */

  /* Host memory for sums of memory that the host may not touch; grown by
   * sync/staging.c, released with the rest. */
  void *staging;
  size_t staging_bytes;
};

/* tr__comm_check - TR_EINVAL for a transfer that no collective takes. */
tr_status tr__comm_check(const tr__transfer *transfer);

/* tr__comm_slice - first element of a rank's slice of so many; rank = size: the
 * end. Cut where lines of 64 bytes end. */
int64_t
tr__comm_slice(const tr__comm *comm, int64_t count, tr_dtype dtype, int rank);

/* tr__comm_range - a rank's slice of a buffer: what `slices` says, or where
 * that is NULL tr__comm_slice(). */
static inline tr__range tr__comm_range(const tr__comm *comm,
                                       const tr__range *slices,
                                       int64_t count,
                                       tr_dtype dtype,
                                       int rank)
{
  return slices != NULL
             ? slices[rank]
             : (tr__range){tr__comm_slice(comm, count, dtype, rank),
                           tr__comm_slice(comm, count, dtype, rank + 1)};
}

/* tr__comm_set_shards - deal so many virtual shards out to the ranks, once; 0:
 * nothing. TR_EINVAL for fewer shards than ranks. */
tr_status tr__comm_set_shards(tr__comm *comm, int64_t shards);

/* Without virtual shards each rank holds one shard of as many as there are
 * ranks. tr__comm_first_row - of the rows of a global batch; rank = size: the
 * end. */
int64_t tr__comm_num_shards(const tr__comm *comm);
int64_t tr__comm_first_shard(const tr__comm *comm, int rank);
int64_t tr__comm_first_row(const tr__comm *comm, int64_t rows, int rank);
int64_t tr__comm_most_shards(const tr__comm *comm); /* of any rank */

/* tr__comm_sum - a few numbers of a type, TR_F32 or TR_F64, summed over ranks
 * as gradients are; without virtual shards in double, in the order of ranks. */
tr_status
tr__comm_sum(tr__comm *comm, tr_dtype dtype, double *values, int count);

/* tr__comm_rest - what a wait does between two polls, after so many seconds:
 * nothing, yield, or sleep. request: what is polled; NULL: something else. */
void tr__comm_rest(tr__comm *comm, tr__request *request, double waited);

/* tr__comm_rested - a wait with such rests is over, after so many seconds. */
void tr__comm_rested(tr__comm *comm, tr__series series, double waited);

/* tr__comm_wait - run a started transfer to its end. */
tr_status tr__comm_wait(tr__comm *comm, tr__request **request);

/* tr__agree - see tr_context_agree(). */
tr_status tr__agree(tr__comm *comm, tr_status status);

/* tr__agree_text - all ranks must give the same text, line by line.
 *
 * A difference is TR_EMISMATCH on all ranks and says `what`, both ranks and
 * the first line in which they differ. */
tr_status tr__agree_text(tr__comm *comm, const char *what, const char *text);

#endif
