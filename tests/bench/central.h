/* What a parameter server does, to compare with: one rank gets all numbers,
 * averages them and gives all ranks the result. */
#ifndef BENCH_CENTRAL_H
#define BENCH_CENTRAL_H

#include "core/comm_impl.h"

typedef struct central {
  float *parts;  /* of the other ranks, on rank 0; owned */
  int64_t count; /* of each */
} central;

/* central_create - for so many numbers per rank, after a trial with numbers
 * whose mean is known. Collective. */
tr_status central_create(tr__comm *comm, int64_t count, central *server);
void central_release(central *server);

/* central_mean - values <- their mean over all ranks. Collective. */
tr_status central_mean(tr__comm *comm, central *server, float *values);

#endif
