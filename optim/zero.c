/* ZeRO stage 1: a rank updates the slices of its partition and has optimizer
 * state for these alone. Without shard_state it updates all slices.
 *
 * Source: Rajbhandari et al. 2020, arXiv:1910.02054 (ZeRO, stage 1). */
#include "model/access_impl.h"
#include "optim/optimizer_impl.h"

#include <stdlib.h>
#include <string.h>

/* Bytes of one broadcast to the rank that saves a checkpoint. */
enum { CHUNK = 64 << 10 };

/* An item is what one rank owns as a whole: the elements of one sum of squares,
 * so that one rank computes it, or a parameter where updates need matrices. */
static int64_t items_of(const tr_optimizer *opt, const tr__param *param)
{
  return opt->type->grain == TR__GRAIN_ELEMENT
             ? (param->count + TR__SQUARES_BLOCK - 1) / TR__SQUARES_BLOCK
             : 1;
}

static tr_status find_items(const tr_optimizer *opt, tr__partition_spec *cuts)
{
  const tr__store *store = opt->store;
  for (int i = 0; i < store->num_trained; i++) {
    cuts->count += items_of(opt, &store->params[i]);
  }
  int64_t *begins = calloc((size_t)cuts->count + 1, sizeof *begins);
  TR_CHECK(begins != NULL, TR_ENOMEM, "no memory for %lld parts of parameters",
           (long long)cuts->count);
  int64_t at = 0, end = 0;
  for (int i = 0; i < store->num_trained; i++) {
    const tr__param *param = &store->params[i];
    for (int64_t k = 0; k < items_of(opt, param); k++) {
      begins[at++] = param->offset + k * TR__SQUARES_BLOCK;
    }
    end = param->offset + tr__param_room(param);
  }
  begins[at] = end;
  cuts->begins = begins;
  return TR_OK;
}

/* Moves the end of each bucket down to the end of an item. The rest goes to the
 * next bucket, which is final later. */
static void move_buckets(tr__buckets *buckets,
                         int64_t count,
                         const tr__partition_spec *cuts)
{
  int64_t begin = 0, item = 0;
  int kept = 0;
  for (int b = 0; b < buckets->count; b++) {
    tr__bucket bucket = buckets->all[b];
    while (item < cuts->count && cuts->begins[item + 1] <= bucket.end) {
      item++;
    }
    bool is_last = b == buckets->count - 1;
    bucket.begin = begin;
    bucket.end = is_last ? count : cuts->begins[item];
    if (bucket.end > begin || is_last) {
      buckets->all[kept++] = bucket;
    }
    begin = bucket.end;
  }
  buckets->count = kept;
}

static tr_status make_partition(tr_optimizer *opt)
{
  const tr__store *store = opt->store;
  tr__buckets *of_net = tr__model_buckets(opt->net);
  tr__partition_spec cuts = {0};
  TR_TRY(find_items(opt, &cuts));
  move_buckets(of_net, store->count, &cuts);
  size_t count = (size_t)of_net->count;
  tr__range *buckets = calloc(count, sizeof *buckets);
  tr_status status = TR_OK;
  if (buckets == NULL) {
    status = TR_FAIL(TR_ENOMEM, "no memory for %zu buckets", count);
  }
  for (size_t b = 0; b < count && buckets != NULL; b++) {
    const tr__bucket *bucket = &of_net->all[b];
    buckets[b] = (tr__range){bucket->begin,
                             tr__min(bucket->end, cuts.begins[cuts.count])};
  }
  cuts.buckets = buckets;
  cuts.num_buckets = of_net->count;
  if (status == TR_OK) {
    status =
        tr__partition_create(&cuts, store->ctx->comm->size, &opt->partition);
  }
  free(buckets);
  free(cuts.begins);
  return status;
}

/* Appends what of the slices lies in `own`, this rank's range of a bucket. */
static void add_parts(tr_optimizer *opt, tr__range own)
{
  for (int i = 0; i < opt->num_slices; i++) {
    const tr__slice *slice = &opt->slices[i];
    const tr__range all = {slice->offset, slice->offset + slice->count};
    const tr__range common = tr__range_common(all, own);
    if (common.end > common.begin) {
      tr__slice *part = &opt->own_slices[opt->num_own_slices++];
      *part = *slice;
      part->offset = common.begin;
      part->count = common.end - common.begin;
      part->slot = opt->slot_count + common.begin - own.begin;
    }
  }
  opt->slot_count += own.end - own.begin;
}

static tr_status make_parts(tr_optimizer *opt)
{
  const tr__partition *p = opt->partition;
  int most = opt->num_slices + (p != NULL ? p->num_buckets : 0);
  opt->num_own_slices = 0;
  opt->slot_count = 0;
  opt->own_slices = calloc((size_t)most + 1, sizeof *opt->own_slices);
  TR_CHECK(opt->own_slices != NULL, TR_ENOMEM, "no memory for %d slices", most);
  if (p == NULL) {
    add_parts(opt, (tr__range){0, opt->store->count});
    return TR_OK;
  }
  for (int b = 0; b < p->num_buckets; b++) {
    add_parts(opt, tr__partition_range(p, b, opt->store->ctx->comm->rank));
  }
  return TR_OK;
}

static tr_status spread(tr_model *net, tr_optimizer *opt)
{
  tr__buckets *buckets = tr__model_buckets(net);
  tr__comm *comm = opt->store->ctx->comm;
  TR_CHECK(buckets->partition == NULL, TR_ESTATE,
           "%s: the model has an optimizer with shard_state already: destroy "
           "it first",
           opt->type->name);
  if (comm->size == 1) {
    return make_parts(opt);
  }
  tr_status status = make_partition(opt);
  if (status == TR_OK) {
    status = make_parts(opt);
  }
  TR_TRY(tr__agree(comm, status));
  TR_TRY(tr__model_use_shared_memory(net));
  buckets->partition = opt->partition;
  return TR_OK;
}

tr_status tr__optimizer_partition(tr_model *net, tr_optimizer *opt, bool shards)
{
  return shards ? spread(net, opt) : make_parts(opt);
}

void tr__optimizer_unpartition(tr_optimizer *opt)
{
  tr__buckets *buckets = tr__model_buckets(opt->net);
  if (buckets->partition == opt->partition) {
    buckets->partition = NULL;
  }
  tr__partition_destroy(&opt->partition);
  free(opt->own_slices);
  opt->own_slices = NULL;
}

bool tr__optimizer_next_slice(const tr_optimizer *opt,
                              const tr__param *param,
                              int *at,
                              tr__slice *out)
{
  const tr__range all = {param->offset, param->offset + param->count};
  while (*at < opt->num_own_slices) {
    const tr__slice *part = &opt->own_slices[(*at)++];
    const tr__range own = {part->offset, part->offset + part->count};
    const tr__range common = tr__range_common(all, own);
    if (common.end > common.begin) {
      *out = *part;
      out->offset = common.begin;
      out->count = common.end - common.begin;
      out->slot = part->slot + common.begin - part->offset;
      return true;
    }
  }
  return false;
}

/* The index in this rank's slots of an element of its partition. */
static int64_t slot_of(const tr_optimizer *opt, int64_t element)
{
  for (int i = 0; i < opt->num_own_slices; i++) {
    const tr__slice *part = &opt->own_slices[i];
    if (element >= part->offset && element < part->offset + part->count) {
      return part->slot + element - part->offset;
    }
  }
  return 0;
}

/* Sends a range from its owner to rank 0, by broadcasts of CHUNK bytes: the
 * other ranks have nothing else to do. */
static tr_status send_range(
    const tr_optimizer *opt, int i, int owner, tr__range range, char *out)
{
  tr_context *ctx = opt->store->ctx;
  tr__backend *backend = ctx->backend;
  const int64_t size = (int64_t)tr_dtype_size(ctx->dtype);
  _Alignas(64) char chunk[CHUNK];
  tr_status status = TR_OK;
  for (int64_t at = range.begin; at < range.end; at += CHUNK / size) {
    int64_t count = tr__min(range.end - at, CHUNK / size);
    char *to = out != NULL ? out + (at - range.begin) * size : chunk;
    if (ctx->comm->rank == owner) {
      const char *slot = opt->slots[i];
      tr_status got = backend->type->download(&backend->stream, to,
                                              slot + slot_of(opt, at) * size,
                                              (size_t)(count * size));
      status = status == TR_OK ? got : status;
    }
    if (owner != 0) {
      TR_TRY(ctx->comm->type->broadcast(ctx->comm, to, (size_t)(count * size),
                                        owner));
    }
  }
  return status;
}

tr_status tr__optimizer_gather_slot(const tr_optimizer *opt,
                                    int i,
                                    const tr__param *param,
                                    void *out)
{
  const tr__partition *p = opt->partition;
  const tr__range all = {param->offset, param->offset + param->count};
  const size_t size = tr_dtype_size(opt->store->ctx->dtype);
  tr_status status = TR_OK;
  if (p == NULL) {
    return send_range(opt, i, 0, all, out);
  }
  for (int b = 0; b < p->num_buckets; b++) {
    for (int r = 0; r < p->num_ranks; r++) {
      const tr__range part =
          tr__range_common(all, tr__partition_range(p, b, r));
      if (part.begin == part.end) {
        continue;
      }
      char *to = out != NULL
                     ? (char *)out + (size_t)(part.begin - all.begin) * size
                     : NULL;
      tr_status sent = send_range(opt, i, r, part, to);
      status = status == TR_OK ? sent : status;
    }
  }
  return status;
}
