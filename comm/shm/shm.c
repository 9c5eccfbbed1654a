/* Collectives of the ranks of one node in shared memory, without messages.
 *
 * Each rank sums its slice of the numbers by the tree of rank_tree.c: it reads
 * the memory of the other ranks and writes the sums into it. All ranks get the
 * same bits, for any size. Numbers outside shared memory go through a stage, a
 * piece of each slice at a time. Few numbers are summed by every rank for
 * itself, which takes one barrier instead of two.
 *
 * Barriers are counters. A rank raises its own counter when it comes to a
 * phase, and reads those of the others. Between a rank's first and second phase
 * of a transfer others read and write its memory; none does after it has seen
 * the second phase of all ranks. A rank that waits long sleeps on a futex, the
 * bell, until the last rank comes and rings it. */
#include "base/clones_impl.h"
#include "comm/mpi/mpi_impl.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The stage of a transfer in shared memory. */
typedef enum tr__shm_step {
  TR__SHM_FEW,      /* few numbers: each rank waits until all have come, then
                       adds all operands itself */
  TR__SHM_ARRIVING, /* waits until the numbers of all ranks are there */
  TR__SHM_SUMMING,  /* sums its slice, or copies in an all-gather */
  TR__SHM_LEAVING   /* waits until all ranks have done so */
} tr__shm_step;

typedef struct shm_state {
  tr__shm_step step;
  const tr__segment *arena; /* holds the buffer; NULL: the numbers go through
                               the stages */
  size_t offset;            /* of the buffer in each rank's area of the arena */
  size_t piece;             /* most bytes of each slice that move at once */
  size_t done;              /* bytes of each slice that have moved */
  size_t largest;           /* bytes of the largest slice */
  size_t at, end; /* bytes of this rank's piece that are summed or copied, and
                     all of them */
} shm_state;
TR__MPI_STATE(shm_state)

/* FEW_BYTES: the most bytes of "few numbers". The limit is lower for an arena,
 * since larger transfers need no copies there. STAGE_BYTES: a rank's stage. */
enum {
  FEW_BYTES = 4 << 10,
  FEW_ARENA_BYTES = 2 << 10,
  STAGE_BYTES = 512 << 10
};

/* A rank's area of the segment. Words that are written often have a cache line
 * of their own. All ranks use the bell of the first rank. */
typedef struct part {
  _Alignas(128) atomic_uint phase;
  _Alignas(128)
      atomic_uint bell; /* grows when the last rank comes to a phase */
  atomic_uint sleepers; /* ranks that sleep until the bell rings */
  _Alignas(128) char few[2][FEW_BYTES]; /* used alternately */
  _Alignas(128) char stage[STAGE_BYTES];
} part;

static part *part_of(const tr__comm_mpi *comm, int rank)
{
  return (part *)(void *)tr__segment_part(&comm->shared, rank);
}

tr_status tr__shm_create(tr__comm_mpi *comm)
{
  TR_TRY(tr__segment_create(comm->comm, sizeof(part), &comm->shared));
  return TR_OK;
}

static bool all_have_come(const tr__comm_mpi *comm)
{
  for (int r = 0; r < comm->base.size; r++) {
    unsigned phase =
        atomic_load_explicit(&part_of(comm, r)->phase, memory_order_seq_cst);
    if ((int)(phase - comm->phase) < 0) {
      return false;
    }
  }
  return true;
}

/* FUTEX_WAIT compares the word with `value`: a ring between the caller's read
 * and the sleep is not missed. */
static void futex(atomic_uint *word, int operation, unsigned value)
{
  const struct timespec limit = {.tv_nsec = 100000000};
  syscall(SYS_futex, word, operation, value,
          operation == FUTEX_WAIT ? &limit : NULL, NULL, 0);
}

/* A rank that sees this phase sees all that was written before. All ranks see
 * phases and sleepers change in one order: either a rank that goes to sleep
 * sees this phase, or this rank sees the sleeper; and of two ranks that come at
 * once one sees that all have come. */
static void come_to_next_phase(tr__comm_mpi *comm)
{
  part *first = part_of(comm, 0);
  comm->phase++;
  atomic_store(&part_of(comm, comm->base.rank)->phase, comm->phase);
  if (atomic_load(&first->sleepers) > 0 && all_have_come(comm)) {
    atomic_fetch_add(&first->bell, 1);
    futex(&first->bell, FUTEX_WAKE, INT_MAX);
  }
}

static bool shm_sleep(tr__comm_mpi *comm, const tr__request *request)
{
  part *first = part_of(comm, 0);
  unsigned rings = atomic_load(&first->bell);
  if (state_of(request)->step == TR__SHM_SUMMING) {
    return true; /* this rank has work to do */
  }
  atomic_fetch_add(&first->sleepers, 1);
  if (!all_have_come(comm)) {
    futex(&first->bell, FUTEX_WAIT, rings);
  }
  atomic_fetch_sub(&first->sleepers, 1);
  return true;
}

/* The sum for two ranks, the most frequent case, in one loop. */
static TR__CLONES void
shm_add_both_f32(float *restrict a, float *restrict b, int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    float sum = a[i] + b[i];
    a[i] = sum;
    b[i] = sum;
  }
}

/* The first byte of a rank's slice of the numbers, and the byte behind it. */
static size_t slice_begin(const tr__request *request, int rank)
{
  return (size_t)request->blocks[rank].begin * request->element;
}

static size_t slice_end(const tr__request *request, int rank)
{
  return (size_t)request->blocks[rank].end * request->element;
}

/* The bytes of a slice that move now. */
typedef struct piece {
  size_t begin, bytes; /* in the buffer */
  size_t staged;       /* offset in a stage */
} piece;

static piece piece_of(const tr__request *request, int slice)
{
  const shm_state *state = state_of(request);
  size_t end = slice_end(request, slice);
  size_t begin = slice_begin(request, slice) + state->done;
  begin = begin < end ? begin : end;
  size_t bytes = end - begin < state->piece ? end - begin : state->piece;
  return (piece){begin, bytes, (size_t)slice * state->piece};
}

/* The address of a piece's numbers in the memory of a rank. */
static char *numbers_of(const tr__comm_mpi *comm,
                        const tr__request *request,
                        int rank,
                        const piece *p)
{
  const shm_state *state = state_of(request);
  if (state->arena == NULL) {
    return part_of(comm, rank)->stage + p->staged;
  }
  return tr__segment_part(state->arena, rank) + state->offset + p->begin;
}

static void sum_block(const tr__comm_mpi *comm,
                      const tr__request *request,
                      const piece *own,
                      size_t at,
                      size_t bytes)
{
  int size = comm->base.size;
  bool is_for_all = request->kind == TR__ALLREDUCE;
  for (int r = 0; r < size; r++) {
    comm->parts[r] = numbers_of(comm, request, r, own) + at;
  }
  if (size == 2 && is_for_all && request->dtype == TR_F32) {
    shm_add_both_f32((float *)(void *)comm->parts[0],
                     (float *)(void *)comm->parts[1],
                     (int64_t)(bytes / sizeof(float)));
    return;
  }
  _Alignas(64) char sum[TR__SUM_BYTES];
  tr__mpi_sum(comm, request, bytes, sum);
  for (int r = 0; r < size; r++) {
    if (is_for_all || r == comm->base.rank) {
      memcpy(numbers_of(comm, request, r, own) + at, sum, bytes);
    }
  }
}

/* Copies all pieces, or this rank's own, from the buffer to the stage or back.
 */
static void stage(const tr__comm_mpi *comm,
                  const tr__request *request,
                  bool is_own,
                  bool is_out)
{
  if (state_of(request)->arena != NULL) {
    return;
  }
  for (int r = 0; r < comm->base.size; r++) {
    piece p = piece_of(request, r);
    char *staged = numbers_of(comm, request, comm->base.rank, &p);
    char *number = request->buf + p.begin;
    if (!is_own || r == comm->base.rank) {
      memcpy(is_out ? number : staged, is_out ? staged : number, p.bytes);
    }
  }
}

static void begin_piece(tr__comm_mpi *comm, tr__request *request)
{
  shm_state *state = state_of(request);
  stage(comm, request, request->kind == TR__ALLGATHER, false);
  state->at = 0;
  state->end = piece_of(request, comm->base.rank).bytes;
  if (state->arena != NULL && request->skip_entry_barrier) {
    state->step = TR__SHM_SUMMING;
    return;
  }
  state->step = TR__SHM_ARRIVING;
  come_to_next_phase(comm);
}

/* Ranks allocate an arena together and lay it out alike, so the buffer has the
 * same offset in each rank's area. */
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

static void few_start(tr__comm_mpi *comm, tr__request *request, size_t bytes)
{
  state_of(request)->step = TR__SHM_FEW;
  comm->few ^= 1;
  memcpy(part_of(comm, comm->base.rank)->few[comm->few], request->buf, bytes);
  come_to_next_phase(comm);
}

static tr_status shm_start(tr__comm_mpi *comm, tr__request *request)
{
  size_t bytes = (size_t)request->count * request->element;
  *state_of(request) =
      (shm_state){.arena = find_arena(comm, request->buf, bytes)};
  shm_state *state = state_of(request);
  if (bytes <= (state->arena != NULL ? FEW_ARENA_BYTES : FEW_BYTES)) {
    few_start(comm, request, bytes);
    return TR_OK;
  }
  state->largest =
      (size_t)tr__mpi_largest_block(comm, request) * request->element;
  state->piece = STAGE_BYTES / (size_t)comm->base.size / 64 * 64;
  if (state->arena != NULL) {
    const char *own = tr__segment_part(state->arena, comm->base.rank);
    state->offset = (size_t)(request->buf - own);
    state->piece = state->largest;
  }
  begin_piece(comm, request);
  return TR_OK;
}

/* A slot is used again two transfers later. A rank that does so has seen all
 * ranks begin the transfer between, so they have read the slot. */
static void few_end(tr__comm_mpi *comm, tr__request *request)
{
  int size = comm->base.size;
  for (int r = 0; r < size; r++) {
    comm->parts[r] = part_of(comm, r)->few[comm->few];
  }
  if (request->kind != TR__ALLGATHER) {
    tr__mpi_sum(comm, request, (size_t)request->count * request->element,
                request->buf);
    return;
  }
  for (int r = 0; r < size; r++) {
    size_t begin = slice_begin(request, r);
    memcpy(request->buf + begin, comm->parts[r] + begin,
           slice_end(request, r) - begin);
  }
}

static void sum_turn(const tr__comm_mpi *comm, tr__request *request)
{
  shm_state *state = state_of(request);
  const piece own = piece_of(request, comm->base.rank);
  size_t stop = (size_t)tr__min(state->end, state->at + TR__TURN_BYTES);
  while (state->at < stop) {
    size_t bytes = (size_t)tr__min(stop - state->at, TR__SUM_BYTES);
    sum_block(comm, request, &own, state->at, bytes);
    state->at += bytes;
  }
}

/* Copies this rank's slice into the memory of the others. */
static void share_turn(const tr__comm_mpi *comm, tr__request *request)
{
  shm_state *state = state_of(request);
  int rank = comm->base.rank, size = comm->base.size;
  const piece own = piece_of(request, rank);
  size_t bytes = (size_t)tr__min(state->end - state->at,
                                 TR__TURN_BYTES / (size_t)(size - 1));
  for (int r = 0; r < size; r++) {
    if (r != rank) {
      memcpy(numbers_of(comm, request, r, &own) + state->at,
             numbers_of(comm, request, rank, &own) + state->at, bytes);
    }
  }
  state->at += bytes;
}

/* Copies the pieces of the others out of their stages. */
static void collect(const tr__comm_mpi *comm, tr__request *request)
{
  for (int r = 0; r < comm->base.size; r++) {
    const piece p = piece_of(request, r);
    if (r != comm->base.rank) {
      memcpy(request->buf + p.begin, numbers_of(comm, request, r, &p), p.bytes);
    }
  }
  state_of(request)->at = state_of(request)->end;
}

static void do_turn(tr__comm_mpi *comm, tr__request *request, bool *done)
{
  shm_state *state = state_of(request);
  if (request->kind != TR__ALLGATHER) {
    sum_turn(comm, request);
  } else if (state->arena != NULL) {
    share_turn(comm, request);
  } else {
    collect(comm, request);
  }
  if (state->at < state->end) {
    return;
  }
  *done = state->arena != NULL && request->skip_exit_barrier;
  if (!*done) {
    state->step = TR__SHM_LEAVING;
    come_to_next_phase(comm);
  }
}

/* Called when the sums of all pieces are there: begins the next pieces. */
static void end_piece(tr__comm_mpi *comm, tr__request *request, bool *done)
{
  shm_state *state = state_of(request);
  if (request->kind != TR__ALLGATHER) {
    stage(comm, request, request->kind == TR__REDUCE_SCATTER, true);
  }
  state->done += state->piece;
  *done = state->done >= state->largest;
  if (!*done) {
    begin_piece(comm, request);
  }
}

static tr_status
shm_advance(tr__comm_mpi *comm, tr__request *request, bool *done)
{
  shm_state *state = state_of(request);
  if (state->step == TR__SHM_SUMMING) {
    do_turn(comm, request, done);
  }
  if (state->step == TR__SHM_SUMMING || !all_have_come(comm)) {
    return TR_OK;
  }
  switch (state->step) {
  case TR__SHM_FEW:
    few_end(comm, request);
    *done = true;
    break;
  case TR__SHM_ARRIVING:
    state->step = TR__SHM_SUMMING;
    break;
  default:
    end_piece(comm, request, done);
  }
  return TR_OK;
}

static tr_status shm_check(const tr__comm *comm)
{
  TR_CHECK(comm->has_shm, TR_EUNSUPPORTED,
           "all-reduce algorithm \"shm\": the %d ranks share no memory",
           comm->size);
  return TR_OK;
}

const tr__mpi_algorithm tr__mpi_shm = {.name = "shm",
                                       .check = shm_check,
                                       .sends_nothing = true,
                                       .start = shm_start,
                                       .advance = shm_advance,
                                       .sleep = shm_sleep};

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
    status = tr__segment_create(comm->comm, bytes, &arena->segment);
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

static char *own_part(const tr__arena *arena)
{
  return tr__segment_part(&arena->segment, arena->segment.rank);
}

void tr__shm_free(tr__comm *base, void *data)
{
  tr__comm_mpi *comm = (tr__comm_mpi *)base;
  tr__arena **at = &comm->arenas;
  while (*at != NULL && own_part(*at) != data) {
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
    tr__shm_free(&comm->base, own_part(comm->arenas));
  }
  tr__segment_release(&comm->shared);
}
