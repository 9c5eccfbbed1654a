/* tr_checkpoint_resume(): rank 0 finds the newest undamaged checkpoint and
 * checks that it fits this run. All ranks have its content before any of them
 * changes its state. */
#include "checkpoint/resume_impl.h"
#include "data/data_impl.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A resume of parameters only holds the lock while it reads. It reads without
 * the lock in a directory that it cannot write to or lock, and where another
 * model of this process holds the lock: what that model saves is complete
 * between two calls. */
static tr_status
lock_to_read(const tr__file_ops *ops, const char *dir, tr__run_dir *own)
{
  own->lock = -1;
  if (access(dir, F_OK) != 0 || access(dir, W_OK) != 0) {
    return TR_OK;
  }
  tr_status status = tr__run_dir_open(ops, dir, TR__LOCK_WAIT_S, own);
  return status == TR_EIO || status == TR_ESTATE ? TR_OK : status;
}

/* A run that continues will write, so it holds the lock from here on.
 * Exceptions: a run that is taken over may lie in a read-only directory and
 * continue elsewhere, and a second model of this process may resume from what
 * the first one saves, but not save there. */
static tr_status hold(tr_context *ctx,
                      const tr__file_ops *ops,
                      const char *dir,
                      const tr_checkpoint *run)
{
  bool is_there = access(dir, F_OK) == 0;
  if (is_there ? run->take_over == 1 && access(dir, W_OK) != 0
               : run->must_exist) {
    return TR_OK;
  }
  tr_status status = tr__checkpoint_claim(ops, dir, run);
  if (status != TR_ESTATE) {
    return status;
  }
  tr__warn_root(ctx, "%s; as long as it does, this one cannot save there",
                tr_error_message());
  return TR_OK;
}

/* Lines for rank 0's log, collected while the file is read and logged once the
 * run continues from it. */
typedef struct notes {
  FILE *out; /* NULL: closed */
  char *text;
  size_t bytes;
} notes;

static void release_notes(notes *n)
{
  if (n->out != NULL) {
    fclose(n->out);
  }
  free(n->text);
  *n = (notes){0};
}

static void tell(tr_context *ctx, notes *n)
{
  bool is_whole = n->out != NULL && fclose(n->out) == 0;
  n->out = NULL;
  const char *at = n->text;
  tr__text_line line;
  while (is_whole && tr__next_line(&at, &line)) {
    tr_log_root(ctx, "%.*s", line.length, line.text);
  }
}

/* What every rank receives: the numbers, then the arenas. */
typedef struct parcel {
  tr__run_numbers numbers;
  char *arenas[TR__MAX_ARENAS];
} parcel;

static void release_parcel(parcel *p)
{
  for (int k = 0; k < TR__MAX_ARENAS; k++) {
    free(p->arenas[k]);
  }
}

/* Arena 0 holds the parameters, all others hold optimizer slots or averages. */
static size_t arena_bytes(const tr__store *store, int k)
{
  return (size_t)tr__store_arena_count(store, k == 0) *
         tr_dtype_size(store->ctx->dtype);
}

/* Bytes of the slice of an arena that this rank keeps. */
static size_t own_bytes(const tr_checkpoint *run, int k)
{
  const tr__store *store = tr__model_store(run->model);
  return tr__arena_is_partitioned(run, k) ? (size_t)run->optimizer->slot_count *
                                                tr_dtype_size(store->ctx->dtype)
                                          : arena_bytes(store, k);
}

/* Rank 0 needs whole arenas to send. */
static tr_status make_parcel(const tr_checkpoint *run, parcel *out)
{
  const tr__store *store = tr__model_store(run->model);
  bool is_root = store->ctx->comm->rank == 0;
  for (int k = 0; k < tr__num_arenas(run); k++) {
    size_t bytes = is_root ? arena_bytes(store, k) : own_bytes(run, k);
    out->arenas[k] = calloc(1, bytes + 1);
    TR_CHECK(out->arenas[k] != NULL, TR_ENOMEM,
             "checkpoint: no memory for %zu bytes", bytes);
  }
  return TR_OK;
}

static tr_status pack_arena(const tr__found *f,
                            const tr__store *store,
                            const char *slot,
                            char *arena)
{
  char name[TR__VIEW_NAME_BYTES];
  size_t size = tr_dtype_size(store->ctx->dtype);
  int num_params = tr__store_arena_params(store, slot == NULL);
  for (int i = 0; i < num_params; i++) {
    const tr__param *param = &store->params[i];
    size_t bytes = (size_t)param->count * size;
    tr__param_set_name(param, slot, name);
    const tr__sealed_entry *entry = tr__sealed_find(&f->sealed, name);
    TR_CHECK(entry != NULL, TR_EMISMATCH, "%s: has no data set %s%s", f->path,
             name, slot != NULL ? "; was the parameter frozen there?" : "");
    TR_CHECK(entry->bytes == bytes, TR_EMISMATCH,
             "%s: data set %s has %zu bytes, this run has %zu", f->path, name,
             entry->bytes, bytes);
    memcpy(arena + (size_t)param->offset * size, entry->data, bytes);
  }
  return TR_OK;
}

/* Check that the file fits this run, and collect the lines for the log. A
 * roll-back checks it too, but logs its own lines. */
static tr_status
describe(const tr__found *f, const tr_checkpoint *run, parcel *out, notes *n)
{
  const tr__saved_run saved = {f->path, &f->sealed};
  n->out = open_memstream(&n->text, &n->bytes);
  TR_CHECK(n->out != NULL, TR_ENOMEM, "%s: no memory to compare it", f->path);
  TR_TRY(tr__saved_numbers(&saved, &out->numbers));
  TR_TRY(tr__resume_note(&saved, &out->numbers, run, n->out));
  TR_TRY(tr__resume_compare(&saved, run, n->out));
  TR_TRY(tr__resume_place(&saved, run, &out->numbers, n->out));
  if (f->whose != TR__THIS_RUN && tr__saved_is_brief(&saved)) {
    tr__warn_root(tr__model_context(run->model),
                  "%s: was written by an older version, without the options of "
                  "its layers and the numbering of its data: they are not "
                  "compared",
                  f->path);
  }
  return TR_OK;
}

static tr_status
pack(const tr__found *f, const tr_checkpoint *run, parcel *out, notes *n)
{
  TR_TRY(describe(f, run, out, n));
  for (int k = 0; k < tr__num_arenas(run); k++) {
    TR_TRY(pack_arena(f, tr__model_store(run->model), tr__arena_slot(run, k),
                      out->arenas[k]));
  }
  TR_CHECK(run->loader == NULL || out->numbers.has_loader == 1, TR_EMISMATCH,
           "%s: was saved without a loader and has no position in the data",
           f->path);
  return TR_OK;
}

/* Broadcast rank 0's arena in chunks. Each rank keeps the slices that it owns,
 * in order. Rank 0 moves its own to the front of the same arena, over what it
 * has sent. */
static tr_status send_spread(tr__comm *comm, const tr_optimizer *opt, char *to)
{
  enum { CHUNK = 64 << 10 };
  const tr__partition *p = opt->partition;
  const int64_t size = (int64_t)tr_dtype_size(opt->store->ctx->dtype);
  char chunk[CHUNK], *from = to;
  for (int b = 0; b < p->num_buckets; b++) {
    const tr__range own = tr__partition_range(p, b, comm->rank);
    const tr__range bucket = p->buckets[b];
    for (int64_t at = bucket.begin; at < bucket.end; at += CHUNK / size) {
      const tr__range piece = {at, tr__min(at + CHUNK / size, bucket.end)};
      size_t bytes = (size_t)((piece.end - piece.begin) * size);
      if (comm->rank == 0) {
        memcpy(chunk, from + piece.begin * size, bytes);
      }
      TR_TRY(comm->type->broadcast(comm, chunk, bytes, 0));
      const tr__range kept = tr__range_common(piece, own);
      bytes = (size_t)((kept.end - kept.begin) * size);
      memcpy(to, chunk + (kept.begin - piece.begin) * size, bytes);
      to += bytes;
    }
  }
  return TR_OK;
}

static tr_status send(tr__comm *comm, const tr_checkpoint *run, parcel *p)
{
  const tr__store *store = tr__model_store(run->model);
  TR_TRY(comm->type->broadcast(comm, &p->numbers, sizeof p->numbers, 0));
  for (int k = 0; k < tr__num_arenas(run); k++) {
    TR_TRY(tr__arena_is_partitioned(run, k)
               ? send_spread(comm, run->optimizer, p->arenas[k])
               : comm->type->broadcast(comm, p->arenas[k],
                                       arena_bytes(store, k), 0));
  }
  return TR_OK;
}

static tr_status unpack(tr_context *ctx, const tr_checkpoint *run, parcel *p)
{
  tr__store *store = tr__model_store(run->model);
  tr__backend *backend = ctx->backend;
  tr_status status = TR_OK;
  /* The loader goes first: it alone can refuse, and it can be set back. */
  TR_TRY(tr__resume_loader(ctx->comm, run->loader, &p->numbers));
  for (int k = 0; k < tr__num_arenas(run); k++) {
    backend->type->upload(&backend->stream, tr__arena_of(run, k), p->arenas[k],
                          own_bytes(run, k));
  }
  tr__store_changed(store);
  if (run->optimizer != NULL) {
    tr__model_set_seed(run->model, (uint64_t)p->numbers.seed);
    status = tr__resume_optimizer(run->optimizer, &p->numbers);
    /* All of the state is consistent again, whatever a failed step left. */
    tr__step_clear(tr__model_step(run->model));
    ctx->torn = false;
    ctx->pending = TR_OK;
  }
  if (status == TR_OK) {
    status = backend->type->wait(&backend->stream);
  }
  return tr__agree(ctx->comm, status);
}

static tr_status search(tr_context *ctx,
                        const char *dir,
                        const tr_checkpoint *run,
                        tr__found *out)
{
  if (ctx->comm->rank != 0) {
    return TR_OK;
  }
  tr__checkpoint_cache *cache;
  tr__run_dir reading = {.lock = -1};
  TR_TRY(tr__checkpoint_cache_of(run->model, &cache));
  memcpy(out->run_id, cache->identity.run_id, sizeof out->run_id);
  if (out->whose == TR__THIS_RUN) {
    TR_TRY(tr__checkpoint_lock(cache, out->ops, dir));
  } else {
    TR_TRY(run->optimizer != NULL ? hold(ctx, out->ops, dir, run)
                                  : lock_to_read(out->ops, dir, &reading));
  }
  tr_status status = tr__find_checkpoint(ctx, dir, out);
  tr__run_dir_close(&reading);
  TR_TRY(status);
  /* Saves that an earlier resume refused stay refused. */
  bool refused = out->bytes != NULL && out->save < out->last_save;
  if (refused && cache->has_dir) {
    cache->dir.refused_after = out->save;
    cache->dir.refused_to = out->last_save;
  }
  return TR_OK;
}

/* From now on this process continues the run that it has read, or the run that
 * has begun in the directory and saved nothing yet. */
static tr_status go_on(const char *dir,
                       const tr_checkpoint *run,
                       const tr__found *f,
                       const tr__run_numbers *numbers)
{
  tr__checkpoint_cache *cache;
  TR_TRY(tr__checkpoint_cache_of(run->model, &cache));
  const tr__identity before = cache->identity;
  if (numbers != NULL) {
    cache->identity = tr__found_identity(f, numbers);
  } else if (f->has_current && f->current.seed == cache->identity.seed &&
             f->current.shards == cache->identity.shards) {
    cache->identity = f->current;
  }
  bool writes = run->optimizer != NULL && cache->has_dir &&
                strcmp(cache->dir.path, dir) == 0;
  tr_status status = writes ? tr__checkpoint_begin(f->ops, dir, run) : TR_OK;
  if (status != TR_OK) {
    cache->identity = before;
  }
  return status;
}

static void tell_whose(tr_context *ctx,
                       const char *dir,
                       const tr__found *f,
                       const tr__run_numbers *numbers)
{
  char whose[TR__WHOSE_BYTES], current[TR__WHOSE_BYTES];
  const tr__identity identity = tr__found_identity(f, numbers);
  if (f->has_current &&
      memcmp(f->current.run_id, f->run_id, sizeof f->run_id) != 0) {
    tr__identity_describe(&identity, whose);
    tr__identity_describe(&f->current, current);
    tr_log_root(ctx, "%s: takes over step %lld of %s in place of %s", dir,
                (long long)numbers->step, whose, current);
  }
}

/* Called on all ranks; only rank 0 has the text about other runs. */
static tr_status begin_anew(tr_context *ctx,
                            const char *dir,
                            const tr_checkpoint *run,
                            tr__found *f)
{
  bool is_root = ctx->comm->rank == 0;
  tr_status status = TR_OK;
  if (run->must_exist) {
    return tr__agree(
        ctx->comm, TR_FAIL(TR_ENOINPUT, "%s: no checkpoint%s", dir, f->others));
  }
  if (is_root && f->whose != TR__THIS_RUN) {
    status = go_on(dir, run, f, NULL);
  }
  TR_TRY(tr__agree(ctx->comm, status));
  if (f->others[0] != '\0') {
    tr__warn_root(ctx, "%s: no checkpoint to resume from%s", dir, f->others);
  } else if (f->whose != TR__THIS_RUN) {
    tr_log_root(ctx, "%s: no checkpoint to resume from: the run begins", dir);
  }
  return TR_OK;
}

/* A checkpoint of version 0.1 has no numbering. */
static tr_status read_alphabet(const tr__found *f, tr_alphabet *out)
{
  const tr__saved_run saved = {f->path, &f->sealed};
  const char *text;
  if (f->bytes == NULL || !tr__saved_has(&saved, "numbering")) {
    return TR_OK;
  }
  TR_TRY(tr__saved_text(&saved, "numbering", &text));
  return tr__alphabet_parse(text, out);
}

static tr_status
find_alphabet(tr_context *ctx, const char *dir, tr_alphabet *out)
{
  tr__found f = {.ops = tr__file_ops_system(), .whose = TR__CURRENT_RUN};
  TR_CHECK(dir != NULL && dir[0] != '\0', TR_EINVAL,
           "checkpoint: expected the name of a directory, got none");
  if (ctx->comm->rank != 0) {
    return TR_OK;
  }
  TR_TRY(tr__find_checkpoint(ctx, dir, &f));
  tr_status status = read_alphabet(&f, out);
  tr__found_release(&f);
  return status;
}

tr_status
tr_checkpoint_get_alphabet(tr_context *ctx, const char *dir, tr_alphabet *out)
{
  *out = (tr_alphabet){.count = 0};
  TR_TRY(tr__agree(ctx->comm, find_alphabet(ctx, dir, out)));
  return ctx->comm->type->broadcast(ctx->comm, out, sizeof *out, 0);
}

static tr_status resume(tr_context *ctx,
                        const tr__file_ops *ops,
                        const char *dir,
                        const tr_checkpoint *run,
                        bool is_own,
                        tr__resumed *out)
{
  tr__comm *comm = ctx->comm;
  tr_status status;
  tr__found f = {.ops = ops,
                 .whose = is_own ? TR__THIS_RUN
                          : run != NULL && run->take_over == 1
                              ? TR__ANY_RUN
                              : TR__CURRENT_RUN};
  parcel p = {0};
  notes n = {0};
  *out = (tr__resumed){0};
  TR_TRY(tr__agree(comm, tr__checkpoint_check(ctx, dir, run)));
  TR_TRY_GOTO(tr__agree(comm, search(ctx, dir, run, &f)), done);
  /* Saves count from 1, so 0 means that there is no checkpoint. */
  int64_t save = f.bytes != NULL ? f.save : 0;
  TR_TRY_GOTO(comm->type->broadcast(comm, &save, sizeof save, 0), done);
  if (save == 0) {
    status = begin_anew(ctx, dir, run, &f);
    goto done;
  }
  status = make_parcel(run, &p);
  if (status == TR_OK && comm->rank == 0) {
    status = pack(&f, run, &p, &n);
  }
  tr__found_release(&f);
  TR_TRY_GOTO(tr__agree(comm, status), done);
  TR_TRY_GOTO(send(comm, run, &p), done);
  /* What can fail comes before the state changes. */
  if (comm->rank == 0 && !is_own) {
    status = go_on(dir, run, &f, &p.numbers);
  }
  TR_TRY_GOTO(tr__agree(comm, status), done);
  TR_TRY_GOTO(unpack(ctx, run, &p), done);
  if (comm->rank == 0 && !is_own) {
    tell_whose(ctx, dir, &f, &p.numbers);
    tell(ctx, &n);
  }
  *out = (tr__resumed){.step = p.numbers.step, .save = save};

done:
  release_notes(&n);
  release_parcel(&p);
  tr__found_release(&f);
  return status;
}

static tr_status resume_watched(tr_context *ctx,
                                const tr__file_ops *ops,
                                const char *dir,
                                const tr_checkpoint *run,
                                bool is_own,
                                tr__resumed *out)
{
  tr__work before = tr__work_begin(ctx->comm->board, TR__WORK_RESUME, 0);
  tr_status status = resume(ctx, ops, dir, run, is_own, out);
  tr__work_end(ctx->comm->board, before);
  return status;
}

tr_status tr__checkpoint_resume_from(tr_context *ctx,
                                     const char *dir,
                                     const tr_checkpoint *run,
                                     bool is_own,
                                     tr__resumed *out)
{
  return resume_watched(ctx, tr__file_ops_system(), dir, run, is_own, out);
}

tr_status tr__checkpoint_resume_with(tr_context *ctx,
                                     const tr__file_ops *ops,
                                     const char *dir,
                                     const tr_checkpoint *run)
{
  tr__resumed taken;
  return resume_watched(ctx, ops, dir, run, false, &taken);
}

tr_status
tr_checkpoint_resume(tr_context *ctx, const char *dir, const tr_checkpoint *run)
{
  return tr__checkpoint_resume_with(ctx, tr__file_ops_system(), dir, run);
}
