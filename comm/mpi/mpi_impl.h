/* Internals of the collective over MPI: its struct, the state of each
 * algorithm, and its errors. */
#ifndef TR_MPI_IMPL_H
#define TR_MPI_IMPL_H

#include "comm/mpi/comm_mpi_impl.h"
#include "comm/shm/node_memory_impl.h"

#include <mpi.h>

/* Chunks that may be on their way at once in each direction. */
#define TR__DEPTH 8

/* Bytes of one chunk. Between ranks of one node a chunk is small enough to stay
 * in the caches between its arrival and its departure, and large enough to hide
 * a message's latency. Between nodes a chunk is what TCP sends at once: a
 * larger message waits for an answer, which queues behind the chunks of the
 * other direction. That left a third of a link of 1 Gbit/s unused. */
#define TR__CHUNK_BYTES     ((size_t)256 << 10)
#define TR__FAR_CHUNK_BYTES ((size_t)60 << 10)

/* One call of advance adds or copies about this many bytes, which takes some
 * ten microseconds. */
#define TR__TURN_BYTES ((size_t)256 << 10)

enum {
  TR__TAG_RING = 1,
  TR__TAG_PAIRS,
  TR__TAG_DIRECT_PARTS,
  TR__TAG_DIRECT_SUMS
};

typedef struct tr__comm_mpi tr__comm_mpi;

/* One exchange with other ranks: one block goes out, one comes in. */
typedef struct tr__exchange {
  int to, from; /* MPI_PROC_NULL: no message */
  tr__range out, in;
  bool adds; /* the incoming block is added, not copied */
} tr__exchange;

/* A list of the arenas that the ranks of the node share. */
typedef struct tr__arena {
  struct tr__arena *next;
  tr__segment segment;
} tr__arena;

/* The functions of an algorithm. start sets up the state. advance moves the
 * transfer along without waiting, and sets *done once when it has finished.
 * sleep is that of tr__comm_type; NULL: the transfer moves only by polls. look
 * is for the watchdog: it returns a number that changes as the transfer
 * progresses, and sets *awaited to the rank whose message the transfer needs;
 * where no message is awaited, *awaited stays. look is NULL where ranks wait
 * for others of their node. */
typedef struct tr__mpi_algorithm {
  const char *name; /* for tr__comm_set_algorithm() */

  /* check - TR_EUNSUPPORTED, with the reason, where these ranks cannot use it;
   * NULL: all can. keeps_order - do its sums follow the fixed tree of virtual
   * shards on these ranks? NULL: always. */
  tr_status (*check)(const tr__comm *comm);
  bool (*keeps_order)(const tr__comm *comm);

  tr_status (*start)(tr__comm_mpi *comm, tr__request *request);
  tr_status (*advance)(tr__comm_mpi *comm, tr__request *request, bool *done);
  bool (*sleep)(tr__comm_mpi *comm, const tr__request *request);
  int64_t (*look)(const tr__comm_mpi *comm,
                  const tr__request *request,
                  int *awaited);
  bool has_wire;      /* can send 16-bit numbers on request */
  bool sends_nothing; /* all ranks share memory */
} tr__mpi_algorithm;

/* All algorithms: a new one is a file and its line here. The line adds it to
 * the names that tr__comm_set_algorithm() knows and to the tests. */
#define TR__MPI_ALGORITHMS(X)                                                  \
  X(doubling)                                                                  \
  X(ring)                                                                      \
  X(library)                                                                   \
  X(shm)                                                                       \
  X(direct)                                                                    \
  X(halving)                                                                   \
  X(hierarchical)

#define TR__MPI_DECLARE(name) extern const tr__mpi_algorithm tr__mpi_##name;
TR__MPI_ALGORITHMS(TR__MPI_DECLARE)
#undef TR__MPI_DECLARE

/* Room for the state of any algorithm between two calls of it. Each says its
 * struct by TR__MPI_STATE(type), which defines type *state_of(request). */
#define TR__STATE_BYTES 320
#define TR__MPI_STATE(type)                                                    \
  _Static_assert(sizeof(type) <= TR__STATE_BYTES, "see TR__STATE_BYTES");      \
  static inline type *state_of(const tr__request *request)                     \
  {                                                                            \
    return (type *)(void *)(uintptr_t)request->state;                          \
  }

struct tr__request {
  const tr__mpi_algorithm *algorithm; /* NULL: no transfer is under way */
  bool is_done;
  tr__collective kind;
  char *buf;
  int64_t count;
  tr_dtype dtype;
  tr_dtype wire; /* 0 where the algorithm has no wire type */
  bool skip_entry_barrier, skip_exit_barrier;
  size_t element; /* bytes */
  MPI_Datatype type;
  const tr__range *blocks;                  /* [size], the ranks' slices */
  _Alignas(16) char state[TR__STATE_BYTES]; /* the algorithm's own */
};

/* The communicators of a job on several nodes, of which each shares memory. */
typedef struct tr__nodes {
  int count, own; /* the number of nodes, and that of this rank's node, in the
                     order of the nodes' first ranks */
  int carriers;   /* ranks of each node that exchange a slice of the numbers
                     with other nodes: as many as the smallest node has */
  int *first;     /* [count + 1], the first rank of each node, where ranks are
                     numbered node by node */
  tr__comm_mpi *inside; /* the ranks of this node */
  tr__comm_mpi *across; /* the carriers of the same slice on all nodes; NULL:
                           this rank is no carrier */
  tr__range *blocks;    /* [size], of the transfer under way */
} tr__nodes;

struct tr__comm_mpi {
  tr__comm base; /* first: a pointer to it is one to this struct */
  MPI_Comm comm; /* a duplicate of the caller's; errors return */
  tr__request request;
  tr__range *blocks;     /* [size], of the request */
  size_t chunk;          /* of a chunk, at most TR__CHUNK_BYTES */
  char *scratch;         /* buffers of the chunks under way */
  MPI_Request *requests; /* [4][TR__DEPTH][size], of direct exchange */
  int *ints;             /* [2 size], arguments of MPI calls */
  double *sums;          /* of all ranks, for sum_f64 */

  MPI_Comm node;   /* the ranks of this node */
  tr__nodes nodes; /* inside is NULL on one node, and where some node has no
                      shared memory */

  /* Used where all ranks are on one node. */
  tr__segment shared; /* counters and stages; base NULL: there is none */
  tr__arena *arenas;
  const char **parts; /* [size], operands of the sum in progress: where each
                         rank's numbers lie */
  unsigned phase;     /* the one this rank has come to */
  int few;            /* which of the two slots for few numbers is in use */
};

/* tr__mpi_bare_type - the collective over MPI without entries in the rank
 * status. */
extern const tr__comm_type tr__mpi_bare_type;

/* tr__node_status_create - the status board of this rank's node. Collective on
 * comm->node. */
tr_status tr__node_status_create(const tr__comm_mpi *comm,
                                 tr__status_board **out);

/* tr__mpi_make - a communicator that does not know its nodes yet. It takes
 * ownership of `own` on success. */
tr_status tr__mpi_make(MPI_Comm own, tr__comm_mpi **out);

/* tr__comm_choose - the algorithm that a transfer uses. */
const tr__mpi_algorithm *tr__comm_choose(const tr__comm *comm,
                                         const tr__transfer *transfer);

/* tr__comm_check_order - TR_EUNSUPPORTED, with the reason, where virtual shards
 * are set and the algorithm's sums do not follow their tree on these ranks. */
tr_status tr__comm_check_order(const tr__comm *comm,
                               const tr__mpi_algorithm *algorithm);

/* tr__pairs_keep_order - do the sums of recursive doubling and halving follow
 * the fixed tree? They do on 2^k ranks with equal numbers of shards, and on
 * some other numbers of ranks. */
bool tr__pairs_keep_order(const tr__comm *comm);

/* tr__nodes_keep_order - does each node hold one node of the fixed tree? */
bool tr__nodes_keep_order(const tr__comm *comm);

/* tr__mpi_no_order - for algorithms whose sums never follow the fixed tree. */
bool tr__mpi_no_order(const tr__comm *comm);

/* tr__mpi_choose - the algorithm for a transfer. The result, or the refusal, is
 * the same on all ranks. */
tr_status tr__mpi_choose(const tr__comm_mpi *comm,
                         const tr__transfer *transfer,
                         const tr__mpi_algorithm **out);

/* tr__mpi_begin - start a transfer in comm->request. blocks: [size], each
 * rank's elements, borrowed until the transfer has finished; NULL: the slices
 * of the transfer. */
tr_status tr__mpi_begin(tr__comm_mpi *comm,
                        const tr__mpi_algorithm *algorithm,
                        const tr__transfer *transfer,
                        const tr__range *blocks);

/* tr__nodes_create - find the ranks of each node and share memory with those of
 * this one; collective. tr__nodes_release - free the communicators of nodes.
 * tr__nodes_alloc, tr__nodes_free - see tr__comm_type. */
tr_status tr__nodes_create(tr__comm_mpi *comm);
void tr__nodes_release(tr__comm_mpi *comm);
tr_status tr__nodes_alloc(tr__comm *base, size_t bytes, void **out);
void tr__nodes_free(tr__comm *base, void *data);

/* tr__shm_create - counters and stages for ranks that are all on one node, if
 * they can share memory. Collective. tr__shm_destroy - free them and all
 * arenas. */
tr_status tr__shm_create(tr__comm_mpi *comm);
void tr__shm_destroy(tr__comm_mpi *comm);

/* tr__shm_alloc, tr__shm_free - see tr__comm_type. */
tr_status tr__shm_alloc(tr__comm *base, size_t bytes, void **out);
void tr__shm_free(tr__comm *base, void *data);

/* tr__direct_chunk_bytes - bytes of a chunk of a direct exchange. */
size_t tr__direct_chunk_bytes(const tr__comm_mpi *comm);

/* tr__mpi_pairs_exchange - exchange number `step` of this rank in recursive
 * doubling or halving; false: the one before was the last. */
bool tr__mpi_pairs_exchange(const tr__comm_mpi *comm,
                            const tr__request *request,
                            int step,
                            tr__exchange *out);

/* The members of recursive doubling and halving, `power` in all: the first
 * `pairs` members are two ranks each, the others one rank. tr__pairs_first_rank
 * - the first rank of a member; for member = power the number of ranks. */
typedef struct tr__pairing {
  int power, pairs;
} tr__pairing;
tr__pairing tr__pairing_of(int size);
int tr__pairs_first_rank(const tr__pairing *pairing, int member);

/* tr__mpi_largest_block - elements of the largest block. */
int64_t tr__mpi_largest_block(const tr__comm_mpi *comm,
                              const tr__request *request);

/* tr__mpi_fail - TR_ECOMM with the text of MPI_Error_string(). */
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

/* Most bytes that one tr__mpi_sum() adds: they stay in the first-level cache.
 */
enum { TR__SUM_BYTES = 8 << 10 };

/* tr__mpi_sum - out <- the sum of comm->parts[rank] over ranks, by the fixed
 * tree. out may be one of these operands. Where the request's wire is bfloat16,
 * the operands of other ranks are 16-bit numbers, and this rank's operand and
 * the sum are rounded to bfloat16. */
void tr__mpi_sum(const tr__comm_mpi *comm,
                 const tr__request *request,
                 size_t bytes,
                 void *out);

/* Conversion for a wire of bfloat16. tr__wire_pack - floats to 16 bits, to
 * nearest, ties to even. tr__wire_unpack - 16 bits to floats. tr__wire_round -
 * both, floats to floats; out may be in. */
void tr__wire_pack(void *out, const void *in, int64_t count);
void tr__wire_unpack(void *out, const void *in, int64_t count);
void tr__wire_round(void *out, const void *in, int64_t count);

#endif
