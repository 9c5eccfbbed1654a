/* The MPI collective's own: its struct, its algorithms and its errors. */
#ifndef TR_MPI_IMPL_H
#define TR_MPI_IMPL_H

#include "comm/comm_mpi_impl.h"
#include "comm/node_memory_impl.h"

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

/* Where an all-reduce in shared memory stands. */
typedef enum tr__shm_step {
  TR__SHM_FEW,      /* all numbers are in the parts; every rank adds them */
  TR__SHM_ARRIVING, /* waits until all ranks have their numbers there */
  TR__SHM_SUMMING,  /* this rank's slice */
  TR__SHM_LEAVING   /* waits until all slices are there */
} tr__shm_step;

typedef struct tr__shm {
  tr__shm_step step;
  const tr__segment *arena; /* the numbers lie in it; NULL: they go through the
                               stage */
  size_t offset;            /* of the numbers in each part of the arena */
  size_t piece;             /* most bytes of each slice that move at once */
  size_t done;              /* bytes of each slice that have */
  size_t largest;           /* slice */
  size_t at, end; /* of this rank's piece, what it has to sum or to copy */
} tr__shm;

/* An arena that the ranks of the node share. */
typedef struct tr__arena {
  struct tr__arena *next;
  tr__segment segment;
} tr__arena;

typedef struct tr__comm_mpi tr__comm_mpi;

/* start sets the state up; advance moves it along without waiting, and sets
 * *done, once, when it has finished. look is for the watchdog, NULL where a
 * rank of this node is awaited: a number that changes as the call gets on, and
 * the rank whose message it needs; *awaited stays where that is none. */
typedef struct tr__mpi_algorithm {
  tr_status (*start)(tr__comm_mpi *comm, tr__request *request);
  tr_status (*advance)(tr__comm_mpi *comm, tr__request *request, bool *done);
  int64_t (*look)(const tr__comm_mpi *comm,
                  const tr__request *request,
                  int *awaited);
} tr__mpi_algorithm;

extern const tr__mpi_algorithm tr__mpi_ring;
extern const tr__mpi_algorithm tr__mpi_doubling;
extern const tr__mpi_algorithm tr__mpi_allreduce;
extern const tr__mpi_algorithm tr__mpi_shm;

struct tr__request {
  const tr__mpi_algorithm *algorithm; /* NULL: nothing under way */
  bool is_done;
  tr__collective kind;
  char *buf;
  int64_t count;
  tr_dtype dtype;
  const bool *is_absent;
  size_t element; /* bytes */
  MPI_Datatype type;
  tr__ring ring;
  tr__doubling doubling;
  tr__shm shm;
};

struct tr__comm_mpi {
  tr__comm base; /* first, so that a tr__comm is one of these */
  MPI_Comm comm; /* our duplicate; errors return */
  tr__request request;
  char *scratch; /* TR__SCRATCH_BYTES */
  double *sums;  /* for sum_f64, grown only */
  int64_t num_sums;

  /* Where all ranks are on one node. */
  MPI_Comm node;
  tr__segment shared; /* counters and stages; base NULL: messages only */
  tr__arena *arenas;
  const char **parts; /* [size], of the numbers that are being summed */
  unsigned phase;     /* this rank's, as its counter says */
  int few;            /* which of the two places of few numbers is in use */
};

/* tr__mpi_bare_type - the mpi collective without notes on the board. */
extern const tr__comm_type tr__mpi_bare_type;

/* tr__node_board_create - the board of this rank's node. Collective on
 * comm->node. */
tr_status tr__node_board_create(const tr__comm_mpi *comm, tr__board **out);

/* tr__shm_create - counters and stages, where all ranks are on one node and can
 * share memory. Collective. tr__shm_destroy - with all arenas. */
tr_status tr__shm_create(tr__comm_mpi *comm);
void tr__shm_destroy(tr__comm_mpi *comm);

/* tr__shm_alloc, tr__shm_free - see tr__comm_type. */
tr_status tr__shm_alloc(tr__comm *base, size_t bytes, void **out);
void tr__shm_free(tr__comm *base, void *data);

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

/* Most bytes that tr__mpi_sum() takes: a block that stays in the first cache.
 */
enum { TR__SUM_BYTES = 8 << 10 };

/* tr__mpi_sum - out <- the sum of comm->parts[rank] over ranks that are not
 * absent, by the fixed tree; zeros where all are. out may be one of the parts.
 */
void tr__mpi_sum(const tr__comm_mpi *comm,
                 const tr__request *request,
                 size_t bytes,
                 void *out);

#endif
