/* Divides the gradient arena into buckets, large enough for an efficient
 * transfer. */
#include "sync/sync_impl.h"

#include <stdlib.h>

#define MIB ((int64_t)1 << 20)

/* The most that the last bucket holds besides the layer that backward ends
 * with: no computation is left to hide its transfer. */
enum { LAST_BYTES = 64 << 10 };

/* A bucket of 1 MiB is still in the L3 cache when it is summed. Over messages,
 * a ring sends one slice per rank, which should have at least 128 KiB. */
static int64_t least_bytes(const tr__comm *comm)
{
  int64_t blocks = (int64_t)comm->size * (128 << 10);
  return comm->has_shm ? MIB : tr__min(tr__max(blocks, MIB), 16 * MIB);
}

/* The element up to which gradients are final once backward has passed a node;
 * `before` is that of the previous node. */
static int64_t final_after(const tr_model *net, int node, int64_t before)
{
  const tr__node *n = &net->nodes[node];
  int64_t end = before;
  if (node == 0) {
    /* Gradients of tied weights may lie at the end, see model/tied.c. */
    return net->store.count;
  }
  for (int i = 0; i < n->num_params; i++) {
    const tr__param *param = &net->store.params[n->params[i]];
    if (tr__param_is_trained(param) && !n->is_tied[i]) {
      end = tr__max(end, param->offset + tr__param_room(param));
    }
  }
  return end;
}

/* The first begin of a layer's gradients from which on at most `most` elements
 * lie in front of `end`. */
static int64_t begin_within(const tr_model *net, int64_t end, int64_t most)
{
  int64_t begin = 0;
  for (int i = net->num_nodes - 1; i >= 0 && begin + most < end; i--) {
    begin = final_after(net, i, begin);
  }
  return tr__min(begin, end);
}

/* Where the last bucket begins: at most LAST_BYTES in front of the layer that
 * backward ends with. */
static int64_t last_begin(const tr_model *net, int64_t element)
{
  int64_t count = net->store.count, last = 0;
  for (int i = net->num_nodes - 1; i >= 0; i--) {
    int64_t next = final_after(net, i, last);
    if (next == count) {
      break;
    }
    last = next;
  }
  return begin_within(net, last, LAST_BYTES / element);
}

/* Appends a bucket, or several of at most four times the least size. */
static void add(tr__buckets *buckets, tr__bucket bucket, int64_t least)
{
  int64_t count = bucket.end - bucket.begin, most = 4 * least;
  int64_t parts = tr__max(1, (count + most - 1) / most);
  for (int64_t i = 0; i < parts; i++) {
    int64_t lines = count / TR__PARAM_ALIGN;
    buckets->all[buckets->count++] = (tr__bucket){
        .begin =
            bucket.begin + TR__PARAM_ALIGN * tr__even_split(lines, i, parts),
        .end = bucket.begin +
               TR__PARAM_ALIGN * tr__even_split(lines, i + 1, parts),
        .node = bucket.node};
  }
}

tr_status tr__sync_make_buckets(tr_model *net)
{
  const tr__store *store = &net->store;
  tr__buckets *buckets = &net->buckets;
  int64_t element = (int64_t)tr_dtype_size(net->ctx->dtype);
  int64_t least = least_bytes(net->ctx->comm) / element;
  int64_t room = net->num_nodes + store->count / least + 2;
  buckets->all = calloc((size_t)room, sizeof *buckets->all);
  TR_CHECK(buckets->all != NULL, TR_ENOMEM, "no memory for %lld buckets",
           (long long)room);
  int64_t last = last_begin(net, element), begin = 0, end = 0;
  for (int i = net->num_nodes - 1; i >= 0; i--) {
    int64_t next = final_after(net, i, end);
    bool is_full = next - begin >= least && next <= last;
    if (next > begin && (is_full || next == last || next == store->count)) {
      add(buckets, (tr__bucket){begin, next, i}, least);
      begin = next;
    }
    end = next;
  }
  if (buckets->count == 0) {
    add(buckets, (tr__bucket){0, 0, 0}, least); /* it carries the tail alone */
  }
  return TR_OK;
}
