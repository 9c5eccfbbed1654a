/* Sums over ranks by the fixed tree.
 *
 * The numbers of each rank are one node of the tree over virtual shards;
 * without virtual shards each rank counts as one shard. The tree fixes the
 * order of the additions, and so the bits of the sum: see backend/tree_impl.h.
 */
#include "comm/mpi/mpi_impl.h"

#include <string.h>

typedef struct sum {
  const tr__comm_mpi *comm;
  const tr__request *request;
  size_t bytes;
} sum;

/* The first rank of the second half of the node that begin..end-1 hold. */
static int middle(const tr__comm *comm, int begin, int end)
{
  int64_t lo = tr__comm_first_shard(comm, begin);
  int64_t half = tr__tree_half(tr__comm_first_shard(comm, end) - lo);
  int rank = begin + 1;
  while (tr__comm_first_shard(comm, rank) < lo + half) {
    rank++;
  }
  return rank;
}

bool tr__mpi_no_order(const tr__comm *comm)
{
  (void)comm;
  return false;
}

bool tr__pairs_keep_order(const tr__comm *comm)
{
  const tr__pairing p = tr__pairing_of(comm->size);
  for (int length = 2; length <= p.power; length *= 2) {
    for (int m = 0; m < p.power; m += length) {
      int begin = tr__pairs_first_rank(&p, m);
      int end = tr__pairs_first_rank(&p, m + length);
      if (middle(comm, begin, end) !=
          tr__pairs_first_rank(&p, m + length / 2)) {
        return false;
      }
    }
  }
  return true;
}

bool tr__nodes_keep_order(const tr__comm *base)
{
  const tr__nodes *nodes = &((const tr__comm_mpi *)base)->nodes;
  for (int i = 0; i < nodes->count; i++) {
    int begin = 0, end = base->size;
    while (begin != nodes->first[i] || end != nodes->first[i + 1]) {
      int mid = end - begin > 1 ? middle(base, begin, end) : begin;
      bool is_left = nodes->first[i + 1] <= mid;
      if (!is_left && nodes->first[i] < mid) {
        return false; /* a node in both halves */
      }
      begin = is_left ? begin : mid;
      end = is_left ? mid : end;
    }
  }
  return true;
}

/* The operand of a rank. With a wire of 16 bits it is converted into `own`:
 * unpacked where it came from another rank, rounded to bfloat16 where it is
 * this rank's. */
static const char *leaf(const sum *s, int rank, char *own)
{
  const char *part = s->comm->parts[rank];
  int64_t count = (int64_t)(s->bytes / sizeof(float));
  if (s->request->wire == 0) {
    return part;
  }
  if (rank == s->comm->base.rank) {
    tr__wire_round(own, part, count);
  } else {
    tr__wire_unpack(own, part, count);
  }
  return own;
}

/* The sum over ranks begin..end-1. It lies in `own`, or is a rank's operand. */
static const char *node(const sum *s, int begin, int end, char *own)
{
  if (end - begin == 1) {
    return leaf(s, begin, own);
  }
  _Alignas(64) char spare[TR__SUM_BYTES];
  int mid = middle(&s->comm->base, begin, end);
  const char *left = node(s, begin, mid, own);
  const char *right = node(s, mid, end, left == own ? spare : own);
  if (left != own && right != own) {
    memcpy(own, left, s->bytes);
    left = own;
  }
  tr__mpi_add(s->request->dtype, own, left == own ? right : left,
              (int64_t)(s->bytes / s->request->element));
  return own;
}

void tr__mpi_sum(const tr__comm_mpi *comm,
                 const tr__request *request,
                 size_t bytes,
                 void *out)
{
  _Alignas(64) char own[TR__SUM_BYTES];
  const sum s = {comm, request, bytes};
  const char *total = node(&s, 0, comm->base.size, own);
  if (request->wire != 0) {
    tr__wire_round(out, total, (int64_t)(bytes / sizeof(float)));
  } else if (total != out) {
    memcpy(out, total, bytes);
  }
}
