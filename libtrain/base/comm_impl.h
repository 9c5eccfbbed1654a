/* The interface of collectives, and what is built on it alone. */
#ifndef TR_COMM_IMPL_H
#define TR_COMM_IMPL_H

#include "base/base_impl.h"

typedef struct tr__comm tr__comm;
typedef struct tr__request tr__request;

typedef enum tr__reduce { TR__SUM, TR__MIN, TR__MAX } tr__reduce;

/* Buffers are host memory. Every call is collective; ranks make the same
 * calls in the same order. */
typedef struct tr__comm_type {
  const char *name;

  void (*destroy)(tr__comm *comm);

  /* allreduce_start - begin buf <- sum over ranks, in place; TR_F32 or TR_F64;
   * any count, also 0 and beyond 2^31. The same bits on every rank. */
  tr_status (*allreduce_start)(tr__comm *comm,
                               void *buf,
                               int64_t count,
                               tr_dtype dtype,
                               tr__request **out);

  /* test - move a started call along without waiting; *done is set, and the
   * request released, when it has finished. */
  tr_status (*test)(tr__comm *comm, tr__request **request, bool *done);

  /* broadcast - root's bytes to all ranks. */
  tr_status (*broadcast)(tr__comm *comm, void *buf, size_t bytes, int root);

  /* reduce_i64 - a few integers, element by element, the result on all. */
  tr_status (*reduce_i64)(tr__comm *comm,
                          int64_t *values,
                          int count,
                          tr__reduce how);

  /* reduce_f64 - a few doubles, summed in rank order, the result on all. */
  tr_status (*sum_f64)(tr__comm *comm, double *values, int count);

  /* barrier - no rank leaves before all have come. */
  tr_status (*barrier)(tr__comm *comm);
} tr__comm_type;

struct tr__comm {
  const tr__comm_type *type;
  int rank, size;
  int local_size; /* ranks on this node */
};

/* tr__comm_wait - run a started all-reduce to its end. */
tr_status tr__comm_wait(tr__comm *comm, tr__request **request);

/* tr__agree - see tr_context_agree(). */
tr_status tr__agree(tr__comm *comm, tr_status status);

/* tr__agree_text - all ranks must give the same text, line by line.
 *
 * A difference is TR_EMISMATCH on all ranks and says `what`, both ranks and
 * the first line in which they differ. */
tr_status tr__agree_text(tr__comm *comm, const char *what, const char *text);

#endif
