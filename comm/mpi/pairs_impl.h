/* The state that recursive doubling and halving share. */
#ifndef TR_PAIRS_IMPL_H
#define TR_PAIRS_IMPL_H

#include "comm/mpi/mpi_impl.h"

/* A sequence of exchanges (pairwise.c), each in chunks. */
typedef struct tr__pairs {
  bool is_halving; /* a step moves half of what is left; false: all */
  int step;        /* the exchange under way, or the next one */
  bool is_under_way;
  tr__exchange now;
  int64_t chunk;
  int64_t num_in, num_out; /* chunks of this exchange */
  int64_t recv_posted, recv_done, send_posted, send_done;
  MPI_Request recv[TR__DEPTH], send[TR__DEPTH];
} tr__pairs;
TR__MPI_STATE(tr__pairs)

#endif
