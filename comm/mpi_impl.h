/* The MPI collective's own: its struct, its algorithms and its errors. */
#ifndef TR_MPI_IMPL_H
#define TR_MPI_IMPL_H

#include "comm/comm_mpi_impl.h"

#include <mpi.h>

/* Segments of a ring that may be on their way at once, in each direction. */
#define TR__RING_DEPTH 4

/* Bytes of one segment: small enough to stay in the caches between its
 * arrival and its departure, large enough to hide a message's latency. */
#define TR__RING_SEGMENT_BYTES ((size_t)128 << 10)

#define TR__SCRATCH_BYTES (TR__RING_DEPTH * TR__RING_SEGMENT_BYTES)

enum { TR__TAG_RING = 1, TR__TAG_DOUBLING = 2 };

/* A ring's items are numbered (step, segment), step-major. Item i is received
 * from the left and, num_segments items later, sent to the right. */
typedef struct tr__ring {
  int64_t segment;      /* elements of a full segment */
  int64_t num_segments; /* of the largest block */
  int64_t total;        /* items: 2 (size - 1) num_segments */
  int64_t recv_posted, recv_done, send_posted, send_done;
  MPI_Request recv[TR__RING_DEPTH], send[TR__RING_DEPTH];
} tr__ring;

typedef struct tr__doubling {
  int step;        /* next exchange to begin */
  bool is_waiting; /* an exchange is on its way */
  bool adds;       /* what it brings is added, not copied */
  MPI_Request recv, send;
} tr__doubling;

typedef struct tr__comm_mpi tr__comm_mpi;

/* start sets the state up; advance moves it along without waiting, and sets
 * *done, once, when it has finished. */
typedef struct tr__mpi_algorithm {
  tr_status (*start)(tr__comm_mpi *comm, tr__request *request);
  tr_status (*advance)(tr__comm_mpi *comm, tr__request *request, bool *done);
} tr__mpi_algorithm;

extern const tr__mpi_algorithm tr__mpi_ring;
extern const tr__mpi_algorithm tr__mpi_doubling;
extern const tr__mpi_algorithm tr__mpi_allreduce;

struct tr__request {
  const tr__mpi_algorithm *algorithm; /* NULL: nothing under way */
  bool is_done;
  char *buf;
  int64_t count;
  tr_dtype dtype;
  size_t element; /* bytes */
  MPI_Datatype type;
  tr__ring ring;
  tr__doubling doubling;
};

struct tr__comm_mpi {
  tr__comm base; /* first, so that a tr__comm is one of these */
  MPI_Comm comm; /* our duplicate; errors return */
  tr__request request;
  char *scratch; /* TR__SCRATCH_BYTES */
  double *sums;  /* for sum_f64, grown only */
  int64_t num_sums;
};

/* tr__mpi_fail - TR_ECOMM with MPI's own text. */
tr_status tr__mpi_fail(int code, const char *call, const char *file, int line);

#define TR_TRY_MPI(call)                                                       \
  do {                                                                         \
    int tr__code = (call);                                                     \
    if (tr__code != MPI_SUCCESS) {                                             \
      return tr__mpi_fail(tr__code, #call, __FILE__, __LINE__);                \
    }                                                                          \
  } while (0)

/* tr__mpi_add - dst <- dst + src */
void tr__mpi_add(tr_dtype dtype, void *dst, const void *src, int64_t count);

#endif
