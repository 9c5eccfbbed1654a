/* MPI requests on which a simulated rank can sleep, and costs of sums and
 * memory; see simulated.h. */
#define SIMULATED_OWN
#include "simulated.h"

#include "base/base_impl.h"
#include "comm/shm/node_memory_impl.h"

#include <simgrid/actor.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { MAX_RANKS = 4096, FOLD_BYTES = 2 << 20 };

/* The library's MPI_Request points to one of these. */
typedef struct request {
  MPI_Request real;
  MPI_Status status;
  bool is_done;
  int place; /* index + 1 in waiting; 0: not in it */
} request;

typedef struct rank_state {
  request **waiting; /* tested, and not done */
  MPI_Request *real; /* their handles, for MPI_Waitany */
  int num_waiting, max_waiting;
  bool has_moved; /* a request has finished since the last yield */
  int num_idle;   /* yields in a row without a request to wait for */
} rank_state;

/* All ranks live in this process, on one thread. */
static rank_state ranks[MAX_RANKS];
static double add_bytes_per_s;
static bool is_folded;

static rank_state *mine(void)
{
  int64_t actor = sg_actor_self_get_pid(); /* 1 is the first rank */
  if (actor >= MAX_RANKS) {
    PMPI_Abort(MPI_COMM_WORLD, 1);
  }
  return &ranks[actor];
}

static request *request_new(MPI_Request *out)
{
  request *r = calloc(1, sizeof *r);
  if (r == NULL) {
    PMPI_Abort(MPI_COMM_WORLD, 1);
  }
  *out = (MPI_Request)(void *)r;
  return r;
}

int sim_isend(const void *buf,
              int count,
              MPI_Datatype type,
              int to,
              int tag,
              MPI_Comm comm,
              MPI_Request *out)
{
  request *r = request_new(out);
  r->is_done = to == MPI_PROC_NULL;
  return r->is_done ? MPI_SUCCESS
                    : PMPI_Isend(buf, count, type, to, tag, comm, &r->real);
}

int sim_irecv(void *buf,
              int count,
              MPI_Datatype type,
              int from,
              int tag,
              MPI_Comm comm,
              MPI_Request *out)
{
  request *r = request_new(out);
  r->is_done = from == MPI_PROC_NULL;
  return r->is_done ? MPI_SUCCESS
                    : PMPI_Irecv(buf, count, type, from, tag, comm, &r->real);
}

static void forget(rank_state *state, request *r)
{
  if (r->place > 0) {
    request *last = state->waiting[--state->num_waiting];
    state->waiting[r->place - 1] = last;
    last->place = r->place;
    r->place = 0;
  }
}

static void grow(rank_state *state)
{
  size_t most = 2 * (size_t)state->max_waiting + 16;
  state->waiting = realloc(state->waiting, most * sizeof *state->waiting);
  state->real = realloc(state->real, most * sizeof *state->real);
  if (state->waiting == NULL || state->real == NULL) {
    PMPI_Abort(MPI_COMM_WORLD, 1);
  }
  state->max_waiting = (int)most;
}

static void remember(rank_state *state, request *r)
{
  if (r->place > 0) {
    return;
  }
  if (state->num_waiting == state->max_waiting) {
    grow(state);
  }
  state->waiting[state->num_waiting++] = r;
  r->place = state->num_waiting;
}

static void release(rank_state *state, MPI_Request *handle, MPI_Status *status)
{
  request *r = (request *)(void *)*handle;
  if (status != MPI_STATUS_IGNORE) {
    *status = r->status;
  }
  forget(state, r);
  free(r);
  *handle = MPI_REQUEST_NULL;
  state->has_moved = true;
}

/* Does not call MPI: a rank that polls yields before it tests again, and
 * sim_yield() marks the requests that are done. MPI_Test would let SimGrid's
 * list of each rank's messages grow: only a wait removes a message from it. */
int sim_testall(int count,
                MPI_Request handles[],
                int *flag,
                MPI_Status *statuses)
{
  rank_state *state = mine();
  *flag = 1;
  for (int i = 0; i < count; i++) {
    if (handles[i] != MPI_REQUEST_NULL) {
      request *r = (request *)(void *)handles[i];
      if (!r->is_done) {
        remember(state, r);
      }
      *flag = *flag && r->is_done;
    }
  }
  for (int i = 0; *flag && i < count; i++) {
    if (handles[i] != MPI_REQUEST_NULL) {
      release(state, &handles[i],
              statuses != MPI_STATUSES_IGNORE ? &statuses[i]
                                              : MPI_STATUS_IGNORE);
    }
  }
  return MPI_SUCCESS;
}

int sim_test(MPI_Request *handle, int *flag, MPI_Status *status)
{
  return sim_testall(1, handle, flag, status);
}

/* Reads the state only: does not move, release or wait for the request. */
int sim_get_status(MPI_Request handle, int *flag, MPI_Status *status)
{
  const request *r = (const request *)(const void *)handle;
  *flag = handle == MPI_REQUEST_NULL || r->is_done;
  if (*flag && handle != MPI_REQUEST_NULL && status != MPI_STATUS_IGNORE) {
    *status = r->status;
  }
  return MPI_SUCCESS;
}

/* Changes to shared memory by other ranks of the node wake no rank: it naps and
 * looks again. The first naps take no time. */
static void idle(rank_state *state)
{
  static const useconds_t naps[] = {0, 0, 1, 2, 4};
  const int last = sizeof naps / sizeof naps[0] - 1;
  smpi_usleep(naps[state->num_idle]);
  state->num_idle += state->num_idle < last;
}

int sim_yield(void)
{
  rank_state *state = mine();
  int count = state->num_waiting, which = MPI_UNDEFINED;
  if (state->has_moved) { /* the rank may have more to do */
    state->has_moved = false;
    return 0;
  }
  if (count == 0) {
    idle(state);
    return 0;
  }
  state->num_idle = 0;
  for (int i = 0; i < count; i++) {
    state->real[i] = state->waiting[i]->real;
  }
  MPI_Status status;
  PMPI_Waitany(count, state->real, &which, &status);
  if (which == MPI_UNDEFINED) {
    PMPI_Abort(MPI_COMM_WORLD, 1);
  }
  request *r = state->waiting[which];
  r->is_done = true;
  r->status = status;
  forget(state, r);
  return 0;
}

void sim_fold(void)
{
  is_folded = true;
}

void sim_set_add(double bytes_per_s)
{
  add_bytes_per_s = bytes_per_s;
}

/* The linker redirects calls of the library to these functions (--wrap). */
void __real_tr__mpi_add(tr_dtype dtype,
                        void *dst,
                        const void *src,
                        int64_t count);
void __wrap_tr__mpi_add(tr_dtype dtype,
                        void *dst,
                        const void *src,
                        int64_t count);
tr_status
__real_tr__segment_create(MPI_Comm node, size_t part, tr__segment *out);
tr_status
__wrap_tr__segment_create(MPI_Comm node, size_t part, tr__segment *out);
void __real_tr__segment_release(tr__segment *segment);
void __wrap_tr__segment_release(tr__segment *segment);

void __wrap_tr__mpi_add(tr_dtype dtype,
                        void *dst,
                        const void *src,
                        int64_t count)
{
  if (!is_folded) {
    __real_tr__mpi_add(dtype, dst, src, count);
  }
  if (add_bytes_per_s > 0) {
    double bytes = (double)count * (double)tr_dtype_size(dtype);
    sg_actor_sleep_for(bytes / add_bytes_per_s);
  }
}

/* The block is never released, since the next call may use it. */
static char *folded_block(size_t bytes)
{
  static char *block;
  static size_t size;
  if (bytes > size) {
    block = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size = bytes;
  }
  return block != MAP_FAILED ? block : NULL;
}

tr_status
__wrap_tr__segment_create(MPI_Comm node, size_t part, tr__segment *out)
{
  if (!is_folded || part < FOLD_BYTES) {
    return __real_tr__segment_create(node, part, out);
  }
  *out = (tr__segment){.part = part, .base = folded_block(part)};
  PMPI_Comm_rank(node, &out->rank);
  PMPI_Comm_size(node, &out->size);
  return TR_OK;
}

void __wrap_tr__segment_release(tr__segment *segment)
{
  if (segment->stride > 0) {
    __real_tr__segment_release(segment);
  }
  segment->base = NULL;
}
