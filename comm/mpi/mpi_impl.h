/* The MPI collective's own: its struct, its algorithms and its errors. */
#ifndef TR_MPI_IMPL_H
#define TR_MPI_IMPL_H

#include "comm/mpi/comm_mpi_impl.h"
#include "comm/shm/node_memory_impl.h"

#include <mpi.h>

/* Chunks that may be on their way at once, in each direction. */
#define TR__DEPTH 8

/* Bytes of one chunk between ranks of one node: small enough to stay in the
 * caches between its arrival and its departure, large enough to hide a
 * message's latency. Between nodes it is what TCP sends at once: a larger
 * message waits for an answer, and the answers behind the chunks of the other
 * direction, which left a third of a link of 1 Gbit/s unused. */
#define TR__CHUNK_BYTES     ((size_t)256 << 10)
#define TR__FAR_CHUNK_BYTES ((size_t)60 << 10)

/* About as many bytes are added or copied in one call of advance: some ten
 * microseconds. */
#define TR__TURN_BYTES ((size_t)256 << 10)

enum {
  TR__TAG_RING = 1,
  TR__TAG_PAIRS,
  TR__TAG_DIRECT_PARTS,
  TR__TAG_DIRECT_SUMS
};

typedef struct tr__comm_mpi tr__comm_mpi;

/* A ring's items are numbered (step, chunk), step-major. Item i is received
 * from the left and, num_chunks items later, sent to the right. */
typedef struct tr__ring {
  int64_t chunk;      /* elements of a full chunk */
  int64_t num_chunks; /* of the largest block */
  int64_t total;      /* the item after the last */
  int64_t recv_posted, recv_done, send_posted, send_done;
  MPI_Request recv[TR__DEPTH], send[TR__DEPTH];
} tr__ring;

/* One exchange with other ranks: a block out, a block in. */
typedef struct tr__exchange {
  int to, from; /* MPI_PROC_NULL: none */
  tr__range out, in;
  bool adds; /* what comes in is added, not copied */
} tr__exchange;

/* A sequence of exchanges (pairwise.c), each in chunks. */
typedef struct tr__pairs {
  bool is_halving; /* the vector's half at each step, else all of it */
  int step;        /* the exchange under way, or the next one */
  bool is_under_way;
  tr__exchange now;
  int64_t chunk;
  int64_t num_in, num_out; /* chunks of this exchange */
  int64_t recv_posted, recv_done, send_posted, send_done;
  MPI_Request recv[TR__DEPTH], send[TR__DEPTH];
} tr__pairs;

/* Item k is chunk k of all blocks. Its counters, in the order of its life. */
typedef struct tr__direct {
  int64_t chunk, num_items;
  int64_t posted; /* parts are on their way, to and from all ranks */
  int64_t left;   /* the parts that this rank sent are gone */
  int64_t summed; /* those that it was to get are there, and added */
  int64_t shared; /* the sums are on their way, to and from all ranks */
  int64_t done;
} tr__direct;

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

/* Where a transfer over several nodes stands: which of its parts is under way,
 * and on which communicator. */
typedef struct tr__hierarchical {
  int step;
  tr__comm_mpi *where; /* NULL: none */
} tr__hierarchical;

/* start sets the state up; advance moves it along without waiting, and sets
 * *done, once, when it has finished. sleep: see tr__comm_type; NULL: it moves
 * only when somebody polls. look is for the watchdog, NULL where ranks of this
 * node are awaited: a number that changes as the call gets on, and the rank
 * whose message it needs; *awaited stays where that is none. */
typedef struct tr__mpi_algorithm {
  tr_status (*start)(tr__comm_mpi *comm, tr__request *request);
  tr_status (*advance)(tr__comm_mpi *comm, tr__request *request, bool *done);
  bool (*sleep)(tr__comm_mpi *comm, const tr__request *request);
  int64_t (*look)(const tr__comm_mpi *comm,
                  const tr__request *request,
                  int *awaited);
  bool has_wire; /* sends numbers of 16 bits where it is told to */
} tr__mpi_algorithm;

extern const tr__mpi_algorithm tr__mpi_ring;
extern const tr__mpi_algorithm tr__mpi_doubling;
extern const tr__mpi_algorithm tr__mpi_halving;
extern const tr__mpi_algorithm tr__mpi_direct;
extern const tr__mpi_algorithm tr__mpi_library;
extern const tr__mpi_algorithm tr__mpi_shm;
extern const tr__mpi_algorithm tr__mpi_hierarchical;

struct tr__request {
  const tr__mpi_algorithm *algorithm; /* NULL: nothing under way */
  bool is_done;
  tr__collective kind;
  char *buf;
  int64_t count;
  tr_dtype dtype;
  tr_dtype wire; /* 0 where the algorithm has none */
  bool skip_entry_barrier, skip_exit_barrier;
  size_t element; /* bytes */
  MPI_Datatype type;
  const tr__range *blocks; /* [size], the ranks' slices */
  tr__ring ring;
  tr__pairs pairs;
  tr__direct direct;
  tr__shm shm;
  tr__hierarchical hierarchical;
};

/* How the ranks lie on several nodes, of which each shares memory. */
typedef struct tr__nodes {
  int count, own; /* nodes; number of this rank's, in the order of their first
                     ranks */
  int carriers;   /* ranks of each node that carry a part of the numbers to the
                     other nodes: as many as the smallest node has */
  int *first; /* [count + 1] of their ranks, where these are numbered node by
                 node */
  tr__comm_mpi *inside; /* the ranks of this node */
  tr__comm_mpi *across; /* the carriers of the same part; NULL: carries none */
  tr__range *blocks;    /* [max(count, size)], of the part under way */
} tr__nodes;

struct tr__comm_mpi {
  tr__comm base; /* first, so that a tr__comm is one of these */
  MPI_Comm comm; /* our duplicate; errors return */
  tr__request request;
  tr__range *blocks;     /* [size], of the request */
  size_t chunk;          /* bytes of one, at most TR__CHUNK_BYTES */
  char *scratch;         /* of chunks under way */
  MPI_Request *requests; /* [4][TR__DEPTH][size], of direct exchange */
  int *ints;             /* [2 size], arguments of MPI calls */
  double *sums;          /* for sum_f64, grown only */
  int64_t num_sums;

  MPI_Comm node;   /* the ranks of this node */
  tr__nodes nodes; /* inside NULL: one node, or no shared memory on some */

  /* Where all ranks are on one node. */
  tr__segment shared; /* counters and stages; base NULL: messages only */
  tr__arena *arenas;
  const char **parts; /* [size], of the numbers that are being summed */
  unsigned phase;     /* this rank's, as its counter says */
  int few;            /* which of the two places of few numbers is in use */
};

/* tr__mpi_bare_type - the mpi collective without notes on the board. */
extern const tr__comm_type tr__mpi_bare_type;

/* tr__node_status_create - the board of this rank's node. Collective on
 * comm->node. */
tr_status tr__node_status_create(const tr__comm_mpi *comm,
                                 tr__status_board **out);

/* tr__mpi_make - a communicator that knows nothing of nodes yet, on `own`,
 * which is taken. */
tr_status tr__mpi_make(MPI_Comm own, tr__comm_mpi **out);

/* tr__mpi_choose - the algorithm for a transfer; the same, or a refusal, on all
 * ranks. */
tr_status tr__mpi_choose(const tr__comm_mpi *comm,
                         const tr__transfer *transfer,
                         const tr__mpi_algorithm **out);

/* tr__mpi_begin - start a transfer in comm->request. blocks: [size] what
 * belongs to whom, NULL: slices; borrowed until it has finished. */
tr_status tr__mpi_begin(tr__comm_mpi *comm,
                        const tr__mpi_algorithm *algorithm,
                        const tr__transfer *transfer,
                        const tr__range *blocks);

/* tr__nodes_create - find out who is on this node, and share memory with them;
 * collective. tr__nodes_release - the communicators of nodes. tr__nodes_alloc,
 * tr__nodes_free - see tr__comm_type. */
tr_status tr__nodes_create(tr__comm_mpi *comm);
void tr__nodes_release(tr__comm_mpi *comm);
tr_status tr__nodes_alloc(tr__comm *base, size_t bytes, void **out);
void tr__nodes_free(tr__comm *base, void *data);

/* tr__shm_create - counters and stages for ranks that are all on one node, if
 * they can share memory. Collective. tr__shm_destroy - with all arenas. */
tr_status tr__shm_create(tr__comm_mpi *comm);
void tr__shm_destroy(tr__comm_mpi *comm);

/* tr__shm_alloc, tr__shm_free - see tr__comm_type. */
tr_status tr__shm_alloc(tr__comm *base, size_t bytes, void **out);
void tr__shm_free(tr__comm *base, void *data);

/* tr__direct_chunk_bytes - of a direct exchange. */
size_t tr__direct_chunk_bytes(const tr__comm_mpi *comm);

/* tr__mpi_pairs_exchange - exchange number `step` of this rank in recursive
 * doubling or halving; false: that was the last one. */
bool tr__mpi_pairs_exchange(const tr__comm_mpi *comm,
                            const tr__request *request,
                            int step,
                            tr__exchange *out);

/* Ranks in recursive doubling and halving: the first `pairs` members are two
 * ranks each, the others one, `power` of them in all. tr__pairs_first_rank - of
 * a member; member = power: the end. */
typedef struct tr__pairing {
  int power, pairs;
} tr__pairing;
tr__pairing tr__pairing_of(int size);
int tr__pairs_first_rank(const tr__pairing *pairing, int member);

/* tr__mpi_largest_block - elements of the largest slice. */
int64_t tr__mpi_largest_block(const tr__comm_mpi *comm,
                              const tr__request *request);

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

/* tr__mpi_sum - out <- the sum of comm->parts[rank] over ranks, by the fixed
 * tree; out may be one of the parts. Where the request's wire is bfloat16,
 * those of other ranks are of 16 bits, and this rank's and the sum are rounded.
 */
void tr__mpi_sum(const tr__comm_mpi *comm,
                 const tr__request *request,
                 size_t bytes,
                 void *out);

/* A wire of bfloat16. tr__wire_pack - floats to 16 bits, to the nearest, ties
 * to even; tr__wire_unpack - the way back; tr__wire_round - both, out may be
 * in. */
void tr__wire_pack(void *out, const void *in, int64_t count);
void tr__wire_unpack(void *out, const void *in, int64_t count);
void tr__wire_round(void *out, const void *in, int64_t count);

#endif
