/* All-reduce of ranks of one node, without messages.
 *
 * Each rank sums a slice of the numbers, in the order of ranks, reading the
 * others' memory and writing the sums into it: the same bits on all ranks, and
 * for any size. Memory that is not shared goes through a stage, chunk by chunk.
 * Few numbers are summed by every rank for itself, which takes one meeting
 * instead of two.
 *
 * Ranks meet by counters: a rank raises its own, which says that it has come to
 * a phase, and looks at the others'. Between a rank's first and second phase of
 * an operation others read and write its memory; nobody does after it has seen
 * the second phase of all. */
#include "base/clones_impl.h"
#include "comm/mpi_impl.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Few numbers; a chunk of the stage; what is summed between two looks at the
 * others, some ten microseconds; a block that stays in the first cache. */
enum {
  FEW_BYTES = 8 << 10,
  STAGE_BYTES = 1 << 20,
  TURN_BYTES = 256 << 10,
  BLOCK_BYTES = 8 << 10
};

/* A rank's part of the segment. The counter has a line of its own. */
typedef struct part {
  _Alignas(128) atomic_uint phase;
  _Alignas(128) char few[2][FEW_BYTES]; /* in turn */
  _Alignas(128) char stage[STAGE_BYTES];
} part;

static part *part_of(const tr__comm_mpi *comm, int rank)
{
  return (part *)(void *)tr__segment_part(&comm->shared, rank);
}

tr_status tr__shm_create(tr__comm_mpi *comm)
{
  if (comm->base.local_size != comm->base.size) {
    return TR_OK;
  }
  /* The node's ranks are numbered as the communicator's are: all of them are
   * here, and the key of the split is 0. */
  return tr__segment_create(comm->node, sizeof(part), &comm->shared);
}

/* What has been written so far is seen by whoever sees this phase. */
static void come_to_next_phase(tr__comm_mpi *comm)
{
  comm->phase++;
  atomic_store_explicit(&part_of(comm, comm->base.rank)->phase, comm->phase,
                        memory_order_release);
}

static bool all_have_come(const tr__comm_mpi *comm)
{
  for (int r = 0; r < comm->base.size; r++) {
    unsigned phase =
        atomic_load_explicit(&part_of(comm, r)->phase, memory_order_acquire);
    if ((int)(phase - comm->phase) < 0) {
      return false;
    }
  }
  return true;
}

static void
add(const tr__request *request, void *y, const void *x, size_t bytes)
{
  tr__mpi_add(request->dtype, y, x, (int64_t)(bytes / request->element));
}

/* Two ranks, the most frequent case, in one pass. */
static TR__CLONES void
shm_add_both_f32(float *restrict a, float *restrict b, int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    float sum = a[i] + b[i];
    a[i] = sum;
    b[i] = sum;
  }
}

/* Where the operation's numbers lie for a rank, `at` bytes from the chunk's
 * beginning. */
static char *numbers_of(const tr__comm_mpi *comm,
                        const tr__request *request,
                        int rank,
                        size_t at)
{
  const tr__shm *state = &request->shm;
  if (state->arena == NULL) {
    return part_of(comm, rank)->stage + at;
  }
  return tr__segment_part(state->arena, rank) + state->offset + at;
}

static void sum_block(const tr__comm_mpi *comm,
                      const tr__request *request,
                      size_t at,
                      size_t bytes)
{
  _Alignas(64) char sum[BLOCK_BYTES];
  char *first = numbers_of(comm, request, 0, at);
  if (comm->base.size == 2 && request->dtype == TR_F32) {
    shm_add_both_f32((float *)(void *)first,
                     (float *)(void *)numbers_of(comm, request, 1, at),
                     (int64_t)(bytes / sizeof(float)));
    return;
  }
  memcpy(sum, first, bytes);
  for (int r = 1; r < comm->base.size; r++) {
    add(request, sum, numbers_of(comm, request, r, at), bytes);
  }
  for (int r = 0; r < comm->base.size; r++) {
    memcpy(numbers_of(comm, request, r, at), sum, bytes);
  }
}

/* This rank's slice of the chunk, cut at lines of the cache. */
static void find_slice(const tr__comm_mpi *comm, tr__shm *state)
{
  int64_t lines = ((int64_t)state->chunk + 63) / 64;
  int64_t begin = tr__part(lines, comm->base.rank, comm->base.size) * 64;
  int64_t end = tr__part(lines, comm->base.rank + 1, comm->base.size) * 64;
  state->at = (size_t)tr__min(begin, (int64_t)state->chunk);
  state->end = (size_t)tr__min(end, (int64_t)state->chunk);
}

static void begin_chunk(tr__comm_mpi *comm, tr__request *request)
{
  tr__shm *state = &request->shm;
  size_t left = state->bytes - state->done;
  state->chunk = left;
  if (state->arena == NULL) {
    state->chunk = left < STAGE_BYTES ? left : STAGE_BYTES;
    memcpy(part_of(comm, comm->base.rank)->stage, request->buf + state->done,
           state->chunk);
  }
  find_slice(comm, state);
  state->step = TR__SHM_ARRIVING;
  come_to_next_phase(comm);
}

/* Ranks sum the same part of the same arena: they made it together, and lay it
 * out alike. */
static const tr__segment *
find_arena(const tr__comm_mpi *comm, const void *buf, size_t bytes)
{
  for (const tr__arena *a = comm->arenas; a != NULL; a = a->next) {
    if (tr__segment_holds(&a->segment, buf, bytes)) {
      return &a->segment;
    }
  }
  return NULL;
}

static tr_status shm_start(tr__comm_mpi *comm, tr__request *request)
{
  size_t bytes = (size_t)request->count * request->element;
  request->shm = (tr__shm){.bytes = bytes};
  tr__shm *state = &request->shm;
  if (bytes <= FEW_BYTES) {
    state->step = TR__SHM_FEW;
    comm->few ^= 1;
    memcpy(part_of(comm, comm->base.rank)->few[comm->few], request->buf, bytes);
    come_to_next_phase(comm);
    return TR_OK;
  }
  state->arena = find_arena(comm, request->buf, bytes);
  if (state->arena != NULL) {
    const char *own = tr__segment_part(state->arena, comm->base.rank);
    state->offset = (size_t)(request->buf - own);
  }
  begin_chunk(comm, request);
  return TR_OK;
}

/* A slot is used again two operations later: whoever does has seen all ranks
 * begin the one between, so they have read it. */
static void sum_few(tr__comm_mpi *comm, tr__request *request)
{
  size_t bytes = request->shm.bytes;
  memcpy(request->buf, part_of(comm, 0)->few[comm->few], bytes);
  for (int r = 1; r < comm->base.size; r++) {
    add(request, request->buf, part_of(comm, r)->few[comm->few], bytes);
  }
}

static void sum_turn(const tr__comm_mpi *comm, tr__request *request)
{
  tr__shm *state = &request->shm;
  size_t stop = tr__min(state->end, state->at + TURN_BYTES);
  while (state->at < stop) {
    size_t bytes = tr__min(stop - state->at, BLOCK_BYTES);
    sum_block(comm, request, state->at, bytes);
    state->at += bytes;
  }
}

/* All sums of the chunk are there. */
static void end_chunk(tr__comm_mpi *comm, tr__request *request)
{
  tr__shm *state = &request->shm;
  if (state->arena == NULL) {
    memcpy(request->buf + state->done, part_of(comm, comm->base.rank)->stage,
           state->chunk);
  }
  state->done += state->chunk;
  if (state->done < state->bytes) {
    begin_chunk(comm, request);
  }
}

static tr_status
shm_advance(tr__comm_mpi *comm, tr__request *request, bool *done)
{
  tr__shm *state = &request->shm;
  if (state->step == TR__SHM_SUMMING) {
    sum_turn(comm, request);
    if (state->at == state->end) {
      state->step = TR__SHM_LEAVING;
      come_to_next_phase(comm);
    }
  }
  if (state->step == TR__SHM_SUMMING || !all_have_come(comm)) {
    return TR_OK;
  }
  if (state->step == TR__SHM_FEW) {
    sum_few(comm, request);
    *done = true;
    return TR_OK;
  }
  if (state->step == TR__SHM_ARRIVING) {
    state->step = TR__SHM_SUMMING;
    return TR_OK;
  }
  end_chunk(comm, request);
  *done = state->done == state->bytes;
  return TR_OK;
}

const tr__mpi_algorithm tr__mpi_shm = {shm_start, shm_advance};

tr_status tr__shm_alloc(tr__comm *base, size_t bytes, void **out)
{
  tr__comm_mpi *comm = (tr__comm_mpi *)base;
  *out = NULL;
  if (comm->shared.base == NULL) {
    return TR_OK;
  }
  tr__arena *arena = calloc(1, sizeof *arena);
  tr_status status = arena != NULL
                         ? TR_OK
                         : TR_FAIL(TR_ENOMEM, "no memory for an arena's name");
  status = tr__agree(base, status);
  if (status == TR_OK) {
    status = tr__segment_create(comm->node, bytes, &arena->segment);
  }
  if (status != TR_OK || arena->segment.base == NULL) {
    free(arena);
    return status;
  }
  arena->next = comm->arenas;
  comm->arenas = arena;
  *out = tr__segment_part(&arena->segment, base->rank);
  return TR_OK;
}

void tr__shm_free(tr__comm *base, void *data)
{
  tr__comm_mpi *comm = (tr__comm_mpi *)base;
  tr__arena **at = &comm->arenas;
  while (*at != NULL && !tr__segment_holds(&(*at)->segment, data, 0)) {
    at = &(*at)->next;
  }
  if (*at != NULL) {
    tr__arena *arena = *at;
    *at = arena->next;
    tr__segment_release(&arena->segment);
    free(arena);
  }
}

void tr__shm_destroy(tr__comm_mpi *comm)
{
  while (comm->arenas != NULL) {
    const tr__segment *segment = &comm->arenas->segment;
    tr__shm_free(&comm->base, tr__segment_part(segment, segment->rank));
  }
  tr__segment_release(&comm->shared);
}
