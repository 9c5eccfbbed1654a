/* The status board of a node, in a segment that its ranks share. */
#include "comm/mpi/mpi_impl.h"

#include <stdlib.h>

typedef struct node_board {
  tr__status_board base; /* first: a pointer to it is one to this */
  tr__segment segment;
} node_board;

static void release(tr__status_board *base)
{
  node_board *board = (node_board *)base;
  tr__segment_release(&board->segment);
  free(board);
}

/* Where the ranks share no memory, each gets a board of its own. Where this
 * rank has no memory for a board, *out is NULL. */
tr_status tr__node_status_create(const tr__comm_mpi *comm,
                                 tr__status_board **out)
{
  *out = NULL;
  tr__segment segment;
  TR_TRY(tr__segment_create(comm->node, sizeof(tr__rank_status), &segment));
  if (segment.base == NULL) {
    *out = tr__status_board_create(comm->base.rank, comm->base.size);
    return TR_OK;
  }
  tr__rank_status *own =
      (tr__rank_status *)(void *)tr__segment_part(&segment, segment.rank);
  atomic_store(&own->rank, comm->base.rank);
  /* No rank reads a rank status before its owner has written the rank into it.
   */
  int code = MPI_Barrier(comm->node);
  node_board *board = calloc(1, sizeof *board);
  if (code != MPI_SUCCESS || board == NULL) {
    tr__segment_release(&segment);
    free(board);
    TR_TRY_MPI(code);
    return TR_OK;
  }
  board->segment = segment;
  board->base = (tr__status_board){.lines = segment.base,
                                   .stride = segment.stride,
                                   .count = segment.size,
                                   .own = segment.rank,
                                   .size = comm->base.size,
                                   .release = release};
  *out = &board->base;
  return TR_OK;
}
