/* The interface of collectives, and helpers built on it alone. comm/ implements
 * it for MPI and for a single rank. */
#ifndef TR_COMM_IMPL_H
#define TR_COMM_IMPL_H

#include "base/base_impl.h"
#include "base/spin_impl.h"
#include "core/status_board_impl.h"

typedef struct tr__comm tr__comm;
typedef struct tr__request tr__request;

typedef enum tr__reduce { TR__SUM, TR__MIN, TR__MAX } tr__reduce;

/* The collective of a transfer. tr__comm_range() says which slice of the buffer
 * a rank owns. */
typedef enum tr__collective {
  TR__ALLREDUCE = 0,  /* every rank gets all sums */
  TR__REDUCE_SCATTER, /* each rank gets the sums of its slice; the rest of its
                         buffer is undefined */
  TR__ALLGATHER       /* each rank sends its slice to all ranks */
} tr__collective;

/* Elements begin..end-1 of a buffer or an arena. */
typedef struct tr__range {
  int64_t begin, end;
} tr__range;

/* A large collective, in place.
 *
 * With wire = TR_BF16 the ranks send the numbers of a sum in 16 bits,
 *
 *   y <- r(sum of r(x)),   r: to the nearest bfloat16, ties to even
 *
 * and add them in single precision; all ranks get the same y. Rounding applies
 * to messages only: inside the shared memory of a node no number is rounded,
 * and over several nodes x is the sum of one node. */
typedef struct tr__transfer {
  tr__collective kind;
  void *buf;      /* host memory */
  int64_t count;  /* elements; equal on all ranks; 0 and more than 2^31 are
                     allowed */
  tr_dtype dtype; /* TR_F32 or TR_F64 */
  const tr__range *slices; /* [size], equal on all ranks, ascending without
                              gaps; some may be empty. NULL: those of
                              tr__comm_slice() */
  tr_dtype wire;           /* type of the numbers in messages: TR_BF16, only for
                              sums of TR_F32; 0: dtype */

  /* Barriers in shared memory that other transfers of these ranks make
   * unnecessary; equal on all ranks. */
  bool skip_entry_barrier; /* an earlier transfer has ended since any rank last
                              accessed memory that this transfer overwrites */
  bool skip_exit_barrier; /* until a later transfer has ended, no rank reads the
                             result of this transfer or writes to its buffer */
} tr__transfer;

/* Reproducible mode: the shards of the fixed reduction tree that each rank
 * holds. Sums follow this tree and have the same bits for every number of
 * ranks. */
typedef struct tr__shard_map {
  int64_t total;  /* number of shards; 0: not in reproducible mode, sums use the
                     fastest order */
  int64_t *first; /* [size + 1], the first shard of each rank; the shards of a
                     rank form one node of the tree of backend/tree_impl.h */
} tr__shard_map;

/* Buffers are host memory. Calls are collective unless marked local; ranks make
 * the same calls in the same order. */
typedef struct tr__comm_type {
  const char *name;

  void (*destroy)(tr__comm *comm);

  /* start - begin a transfer. Every rank that gets a sum gets the same bits.
   * One transfer at a time: TR_ESTATE while the previous one has not finished.
   * Buffer and slices stay unchanged until it has. */
  tr_status (*start)(tr__comm *comm,
                     const tr__transfer *transfer,
                     tr__request **out);

  /* test - advance a started transfer without waiting. Sets *done and releases
   * the request when the transfer has finished. Local. */
  tr_status (*test)(tr__comm *comm, tr__request **request, bool *done);

  /* sleep - block for a short time, at most until the transfer may have
   * progressed. Returns false at once where only polling makes progress.
   * Local. */
  bool (*sleep)(tr__comm *comm, tr__request *request);
  /* look - write the progress of a started transfer to the status board without
   * advancing it. NULL: no progress to write. Local. */
  void (*look)(tr__comm *comm, const tr__request *request);

  /* broadcast - send root's bytes to all ranks. */
  tr_status (*broadcast)(tr__comm *comm, void *buf, size_t bytes, int root);

  /* reduce_i64 - reduce a few integers element by element; all ranks get the
   * result. */
  tr_status (*reduce_i64)(tr__comm *comm,
                          int64_t *values,
                          int count,
                          tr__reduce how);

  /* sum_f64 - add a few doubles in rank order; all ranks get the result. */
  tr_status (*sum_f64)(tr__comm *comm, double *values, int count);

  /* barrier - no rank returns before all ranks have called it. */
  tr_status (*barrier)(tr__comm *comm);

  /* alloc - zeroed memory that lies in a segment of the node, so that the ranks
   * reduce it in place without copies. Collective, with the same bytes on all
   * ranks. Where there is no such memory, *out is NULL on all ranks and the
   * call succeeds.
   * free - local; NULL is ignored. */
  tr_status (*alloc)(tr__comm *comm, size_t bytes, void **out);
  void (*free)(tr__comm *comm, void *data);
} tr__comm_type;

struct tr__comm {
  const tr__comm_type *type;
  int rank, size;
  int local_size;  /* ranks on this node */
  int cpu_sharers; /* ranks on this node whose CPU sets overlap with this
                      rank's, this rank included */
  double spin_s;   /* most seconds for which a wait polls before it yields or
                      sleeps */
  tr__spin spins[TR__SERIES_COUNT];          /* lengths of past waits */
  const struct tr__mpi_algorithm *algorithm; /* of transfers; NULL: chosen by
                                                size */
  tr__shard_map shards;
  bool has_shm;           /* all ranks are on one node and share a segment */
  bool has_nodes;         /* the ranks are on several nodes, share a segment in
                             each node, and are numbered node by node */
  bool may_change_thread; /* any thread may call, one thread at a time */
  int64_t tr__int_limit;  /* most elements in one call of MPI; tests lower it */

  tr__status_board
      *board; /* where calls are recorded; NULL: no watchdog observes this
                 communicator. Destroying the communicator releases it, unless
                 it is NULL then */

  /* Host memory for transfers of device memory that the host cannot access.
   * sync/staging.c grows it; destroying the communicator releases it. */
  void *staging;
  size_t staging_bytes;
};

/* tr__comm_check - TR_EINVAL for a transfer that no algorithm supports. */
tr_status tr__comm_check(const tr__transfer *transfer);

/* tr__comm_slice - the first element of a rank's slice of count elements; rank
 * = size gives the end. Slices begin at multiples of 64 bytes. */
int64_t
tr__comm_slice(const tr__comm *comm, int64_t count, tr_dtype dtype, int rank);

/* tr__comm_range - a rank's slice of a buffer: slices[rank], or the slice of
 * tr__comm_slice() where slices is NULL. */
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

/* tr__comm_set_shards - assign so many shards to the ranks, once. 0 does
 * nothing. TR_EINVAL for fewer shards than ranks. */
tr_status tr__comm_set_shards(tr__comm *comm, int64_t shards);

/* Shards and rows of ranks. Outside reproducible mode there is one shard per
 * rank. tr__comm_first_row - the first of the rows of a global batch that a
 * rank holds; rank = size gives the end. */
int64_t tr__comm_num_shards(const tr__comm *comm);
int64_t tr__comm_first_shard(const tr__comm *comm, int rank);
int64_t tr__comm_first_row(const tr__comm *comm, int64_t rows, int rank);
int64_t tr__comm_most_shards(const tr__comm *comm); /* the largest number of
                                                       shards of any rank */

/* tr__comm_sum - sum a few numbers over the ranks in the way gradients are
 * summed: in reproducible mode as dtype, TR_F32 or TR_F64, by the tree;
 * otherwise as double, in rank order. */
tr_status
tr__comm_sum(tr__comm *comm, tr_dtype dtype, double *values, int count);

/* tr__comm_rest - pause between two polls of a wait that has lasted so many
 * seconds: return at once, yield, or sleep. request: the transfer that is
 * polled; NULL: the wait is for something else. */
void tr__comm_rest(tr__comm *comm, tr__request *request, double waited);

/* tr__comm_rested - record that a wait with such pauses has ended after so many
 * seconds. */
void tr__comm_rested(tr__comm *comm, tr__series series, double waited);

/* tr__comm_wait - advance a started transfer until it has finished. */
tr_status tr__comm_wait(tr__comm *comm, tr__request **request);

/* tr__agree - see tr_context_agree(). */
tr_status tr__agree(tr__comm *comm, tr_status status);

/* tr__agree_text - check that all ranks give the same text.
 *
 * Where texts differ, all ranks return TR_EMISMATCH. The message names `what`,
 * rank 0, the lowest rank whose text differs from rank 0's, and the first line
 * in which these two differ. */
tr_status tr__agree_text(tr__comm *comm, const char *what, const char *text);

#endif
