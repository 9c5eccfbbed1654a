/* Drift check: all ranks must have the same parameters. They differ if a bit
 * flips in one rank's memory or if processors round differently. Such a state
 * is the result of no run. */
#include "checkpoint/checkpoint_impl.h"

#include <stdlib.h>

enum { MOST_NAMED = 8 };

/* The most frequent hash; in a tie that of the lowest rank. */
static int64_t usual_hash(const int64_t *hashes, int count)
{
  int most = 0;
  int64_t usual = 0;
  for (int i = 0; i < count && 2 * most <= count; i++) {
    int equal = 0;
    for (int k = 0; k < count; k++) {
      equal += hashes[k] == hashes[i];
    }
    if (equal > most) {
      most = equal;
      usual = hashes[i];
    }
  }
  return usual;
}

static tr_status judge(const int64_t *hashes, int count)
{
  char list[16 * MOST_NAMED] = "";
  size_t used = 0;
  int odd = 0;
  int64_t usual = usual_hash(hashes, count);
  for (int rank = 0; rank < count; rank++) {
    if (hashes[rank] != usual && odd++ < MOST_NAMED) {
      used += (size_t)snprintf(list + used, sizeof list - used, "%s%d",
                               used > 0 ? ", " : "", rank);
    }
  }
  TR_CHECK(odd == 0, TR_ESYSTEM,
           "checkpoint: the parameters of %d of %d ranks differ from those of "
           "the others (rank %s%s): ranks have drifted apart, by memory that "
           "is broken or processors that round otherwise; nothing is saved",
           odd, count, list, odd > MOST_NAMED ? ", ..." : "");
  return TR_OK;
}

tr_status tr__check_drift(tr__comm *comm, tr_model *net)
{
  if (comm->size == 1) {
    return TR_OK;
  }
  uint64_t hash = 0;
  tr_status status = tr__model_equal_hash(net, &hash);
  int64_t *hashes = calloc((size_t)comm->size, sizeof *hashes);
  if (status == TR_OK && hashes == NULL) {
    status =
        TR_FAIL(TR_ENOMEM, "checkpoint: no memory for %d hashes", comm->size);
  }
  TR_TRY_GOTO(tr__agree(comm, status), done);
  hashes[comm->rank] = (int64_t)hash;
  TR_TRY_GOTO(comm->type->reduce_i64(comm, hashes, comm->size, TR__SUM), done);
  TR_TRY_GOTO(tr__agree(comm, judge(hashes, comm->size)), done);
done:
  free(hashes);
  return status;
}
