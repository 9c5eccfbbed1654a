/* The loader: delivers this rank's samples of each global batch, epoch after
 * epoch, in the sampler's order. Prefetch threads read them ahead. */
#include "data/loader_impl.h"
#include "data/prefetch_impl.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define MAX_THREADS 256
#define MAX_DEPTH   1024

struct tr_loader {
  tr_context *ctx;        /* borrowed */
  const tr_dataset *data; /* borrowed */
  tr__sampler sampler;
  tr__deal *deal;      /* of distributed data; owned */
  int64_t epoch, done; /* finished epochs; samples delivered in this one */
  tr__prefetch *ring;
  tr__source source;   /* of the batch last delivered; in the context's list */
  bool is_before_stop; /* the batch last delivered came before any agreed
                          stop */
  tr_status status;    /* a failed read or TR_ESTOPPED; stays until
                          tr__loader_set_state() */
  char message[TR__MESSAGE_BYTES];
};

static tr_status check_opts(const tr_context *ctx,
                            const tr_dataset *data,
                            const tr_loader_opts *opts)
{
  TR_CHECK(data != NULL && opts != NULL, TR_EINVAL,
           "loader: data set and options are required");
  TR_CHECK(opts->batch > 0, TR_EINVAL,
           "loader: batch is %lld, expected 1 or more", (long long)opts->batch);
  TR_CHECK(opts->threads >= 0 && opts->threads <= MAX_THREADS, TR_EINVAL,
           "loader: threads is %d, expected 0 to %d", opts->threads,
           MAX_THREADS);
  TR_CHECK(opts->depth >= 0 && opts->depth <= MAX_DEPTH, TR_EINVAL,
           "loader: depth is %d, expected 0 to %d", opts->depth, MAX_DEPTH);
  TR_CHECK(data->counts != NULL || data->num_samples >= ctx->comm->size,
           TR_EDATA, "%s: %lld samples are fewer than the %d ranks", data->name,
           (long long)data->num_samples, ctx->comm->size);
  return TR_OK;
}

static tr_status create_local(tr_context *ctx,
                              const tr_dataset *data,
                              const tr_loader_opts *opts,
                              tr_loader **out)
{
  TR_TRY(check_opts(ctx, data, opts));
  tr_loader *loader = calloc(1, sizeof *loader);
  TR_CHECK(loader != NULL, TR_ENOMEM, "loader: out of memory");
  *out = loader;
  loader->ctx = ctx;
  loader->data = data;
  const tr__comm *comm = ctx->comm;
  int rank = comm->rank;
  if (data->counts != NULL) {
    TR_TRY(tr__deal_create(data->counts, comm->size, rank, &loader->deal));
  }
  loader->sampler =
      (tr__sampler){.seed = ctx->seed,
                    .num_samples = loader->deal != NULL ? loader->deal->total
                                                        : data->num_samples,
                    .batch = opts->batch,
                    .shuffle = opts->shuffle != 0,
                    .shards = tr__comm_num_shards(comm),
                    .shard = {tr__comm_first_shard(comm, rank),
                              tr__comm_first_shard(comm, rank + 1)},
                    .most = tr__comm_most_shards(comm),
                    .deal = loader->deal};
  const tr__prefetch_opts ring = {
      .data = data,
      .rows = tr__sampler_max_rows(&loader->sampler),
      .threads = opts->threads > 0 ? opts->threads : 1,
      .depth = opts->depth > 0 ? opts->depth : 3};
  TR_TRY(tr__prefetch_create(&ring, &loader->ring));
  return TR_OK;
}

/* All that decides the samples of a step must be equal on all ranks. Paths may
 * differ: every node may have a copy of its own. */
static tr_status agree_on_data(const tr_loader *loader)
{
  const tr__sampler *sampler = &loader->sampler;
  const tr_dataset *data = loader->data;
  tr__comm *comm = loader->ctx->comm;
  bool has_hash = comm->size > 1 && data->type->hash != NULL;
  char shape[TR__SHAPE_BYTES], text[2 * TR__SHAPE_BYTES + 320];
  snprintf(text, sizeof text,
           "samples %lld\nshape %s\nclasses %lld\ntargets %lld\nbatch "
           "%lld\nshuffle %d\n"
           "seed %llu\ndistributed %d\nlabels with the hash %016llx\n",
           (long long)sampler->num_samples, tr__shape_text(&data->shape, shape),
           (long long)data->num_classes, (long long)data->target_values,
           (long long)sampler->batch, sampler->shuffle,
           (unsigned long long)sampler->seed, data->counts != NULL,
           (unsigned long long)(has_hash ? data->type->hash(data) : 0));
  return tr__agree_text(comm, "loaders", text);
}

tr_status tr_loader_create(tr_context *ctx,
                           const tr_dataset *data,
                           const tr_loader_opts *opts,
                           tr_loader **out)
{
  *out = NULL;
  tr_loader *loader = NULL;
  tr_status status = create_local(ctx, data, opts, &loader);
  TR_TRY_GOTO(tr__agree(ctx->comm, status), failed);
  TR_TRY_GOTO(agree_on_data(loader), failed);
  ctx->loader_rows =
      tr__max(ctx->loader_rows, tr__sampler_max_rows(&loader->sampler));
  tr__prefetch_start(loader->ring, &loader->sampler, 0, 0);
  loader->source = (tr__source){.data = data, .next = ctx->sources};
  ctx->sources = &loader->source;
  *out = loader;
  return TR_OK;
failed:
  tr_loader_destroy(&loader);
  return status;
}

/* This rank could not read its samples: it delivers an empty batch, and the
 * step agrees on the failure with the other ranks. */
static void
give_empty(tr_loader *loader, const tr__prefetched *slot, tr_batch *batch)
{
  loader->status = slot->status;
  memcpy(loader->message, slot->message, sizeof loader->message);
  batch->count = 0;
  /* A prefetch thread recorded the message. tr_loader_status() sets it on this
   * thread. */
  tr__context_set_pending(loader->ctx, tr_loader_status(loader));
}

static tr_batch batch_of(const tr_dataset *data, const tr__prefetched *slot)
{
  int64_t inputs = tr_shape_count(&data->shape), targets = data->target_values;
  size_t width = tr_dtype_size(data->dtype);
  size_t target_width = tr_dtype_size(data->target_dtype);
  bool has_classes = data->target_dtype == TR_I32;
  return (tr_batch){.count = slot->step.count,
                    .first = slot->step.first,
                    .global_count = slot->step.global_count,
                    .inputs = {slot->x},
                    .targets = {slot->y},
                    .target_values = {has_classes ? targets : 0},
                    .input_bytes = {(size_t)inputs * width},
                    .target_bytes = {(size_t)targets * target_width}};
}

/* In the step of the batch last delivered, all ranks agreed on a request to
 * stop. A loader that begins its batches later is not stopped, so that a last
 * evaluation can run. */
static void stop(tr_loader *loader)
{
  loader->status = TR_ESTOPPED;
  snprintf(loader->message, sizeof loader->message, "stopped on request");
}

int tr_loader_next(tr_loader *loader, tr_batch *batch)
{
  *batch = (tr_batch){0};
  loader->source.x = NULL;
  if (loader->status != TR_OK) {
    return 0;
  }
  if (loader->is_before_stop && loader->ctx->stop_agreed) {
    stop(loader);
    return 0;
  }
  loader->is_before_stop = false;
  if (loader->done == loader->sampler.num_samples) {
    loader->epoch++;
    loader->done = 0;
    return 0;
  }
  tr__work before =
      tr__work_begin(loader->ctx->comm->board, TR__WORK_LOADING, 0);
  double begin = tr__timeline_begin(loader->ctx->timeline);
  const tr__prefetched *slot = tr__prefetch_take(loader->ring);
  tr__timeline_end(loader->ctx->timeline, begin, "wait", "data");
  tr__work_end(loader->ctx->comm->board, before);
  *batch = batch_of(loader->data, slot);
  loader->is_before_stop = !loader->ctx->stop_agreed;
  if (slot->status != TR_OK) {
    give_empty(loader, slot, batch);
    return 1;
  }
  loader->done += slot->step.global_count;
  loader->source.x = slot->x;
  loader->source.ids = slot->ids;
  return 1;
}

tr_status tr_loader_status(const tr_loader *loader)
{
  if (loader->status == TR_OK) {
    return TR_OK;
  }
  TR_FAIL(loader->status, "%s", loader->message);
  if (loader->status == TR_ESTOPPED) {
    int rank = loader->ctx->comm->rank;
    tr__error_set_agreed(0, rank == 0, loader->message);
  }
  return loader->status;
}

int64_t tr_loader_epoch(const tr_loader *loader)
{
  return loader->epoch;
}

int64_t tr_loader_num_steps(const tr_loader *loader)
{
  int64_t samples = loader->sampler.num_samples, batch = loader->sampler.batch;
  return samples / batch + (samples % batch != 0);
}

int64_t tr_loader_num_samples(const tr_loader *loader)
{
  return loader->sampler.num_samples;
}

const tr_dataset *tr__loader_dataset(const tr_loader *loader)
{
  return loader->data;
}

static int64_t hash_of_deal(const tr__deal *deal)
{
  if (deal == NULL) {
    return 0;
  }
  size_t bytes = (size_t)deal->size * sizeof *deal->counts;
  return (int64_t)XXH3_64bits(deal->counts, bytes);
}

tr__loader_state tr__loader_get_state(const tr_loader *loader)
{
  return (tr__loader_state){.seed = loader->sampler.seed,
                            .epoch = loader->epoch,
                            .done = loader->done,
                            .num_samples = loader->sampler.num_samples,
                            .batch = loader->sampler.batch,
                            .shuffle = loader->sampler.shuffle,
                            .deal = hash_of_deal(loader->deal)};
}

bool tr__loader_fits_deal(const tr_loader *loader,
                          const tr__loader_state *state)
{
  bool is_between = state->done == 0 || state->done == state->num_samples;
  return is_between || state->deal == hash_of_deal(loader->deal);
}

tr_status tr__loader_set_state(tr_loader *loader, const tr__loader_state *state)
{
  int64_t samples = loader->sampler.num_samples;
  TR_CHECK(state->num_samples == samples, TR_EMISMATCH,
           "%s: has %lld samples, the position to continue from is of a data "
           "set with %lld",
           loader->data->name, (long long)samples,
           (long long)state->num_samples);
  TR_CHECK(state->epoch >= 0 && state->done >= 0 && state->done <= samples,
           TR_EDATA,
           "%s: no such position: epoch %lld, %lld samples done of %lld",
           loader->data->name, (long long)state->epoch, (long long)state->done,
           (long long)samples);
  loader->sampler.seed = state->seed;
  loader->sampler.shuffle = state->shuffle != 0;
  loader->epoch = state->epoch;
  loader->done = state->done;
  loader->status = TR_OK;
  loader->is_before_stop = false;
  /* tr_loader_next() must still report the end of a finished epoch. The
   * prefetch threads begin with the next epoch. */
  bool is_ended = state->done == samples;
  tr__prefetch_start(loader->ring, &loader->sampler, state->epoch + is_ended,
                     is_ended ? 0 : state->done);
  return TR_OK;
}

/* Remove the loader from the context's list. A loader whose creation failed is
 * not in it. */
static void leave_sources(tr_loader *loader)
{
  tr__source **at = &loader->ctx->sources;
  while (*at != NULL && *at != &loader->source) {
    at = &(*at)->next;
  }
  if (*at != NULL) {
    *at = loader->source.next;
  }
}

void tr_loader_destroy(tr_loader **loader)
{
  if (loader == NULL || *loader == NULL) {
    return;
  }
  leave_sources(*loader);
  tr__prefetch_destroy(&(*loader)->ring);
  tr__deal_destroy(&(*loader)->deal);
  free(*loader);
  *loader = NULL;
}
