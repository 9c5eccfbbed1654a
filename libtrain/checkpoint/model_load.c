/* tr_model_load(), tr_model_load_matching(): read parameters from any HDF5
 * file, all that the caller asks for or none. */
#include "checkpoint/checkpoint_impl.h"
#include "hdf5/h5_strict_impl.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEAD_BYTES = TR__IMAGE_USER_BLOCK + 8 };

/* Read the beginning of a file. Bytes that a shorter file lacks are 0. */
static tr_status read_head(const char *path, unsigned char head[HEAD_BYTES])
{
  int file;
  size_t length;
  TR_CHECK(path != NULL, TR_EINVAL, "tr_model_load: path is NULL");
  TR_TRY(tr__open_read(path, &file, NULL));
  memset(head, 0, HEAD_BYTES);
  int code = tr__read_full(file, head, HEAD_BYTES, &length);
  close(file);
  TR_CHECK(code == 0, tr__errno_status(code), "%s: %s", path, strerror(code));
  return TR_OK;
}

/* Whether an HDF5 file follows a user block of the seal's size. */
static bool has_user_block(const unsigned char *head)
{
  static const unsigned char signature[8] = {0x89, 'H',  'D',  'F',
                                             '\r', '\n', 0x1a, '\n'};
  return memcmp(head, signature, sizeof signature) != 0 &&
         memcmp(head + TR__IMAGE_USER_BLOCK, signature, sizeof signature) == 0;
}

/* The header is damaged. The table at the end still shows whether libtrain
 * wrote the file, because HDF5 itself stores no names with slashes. */
static tr_status
check_lost_seal(tr_context *ctx, const char *path, const unsigned char *head)
{
  static const char entry[] = "/state/params_hash";
  unsigned char *bytes;
  size_t length;
  TR_TRY(tr__read_file(tr__file_ops_system(), path, SIZE_MAX / 2, &bytes,
                       &length));
  bool is_ours = tr__seal_is_near(head) ||
                 memmem(bytes, length, entry, sizeof entry) != NULL;
  free(bytes);
  TR_CHECK(!is_ours, TR_EDATA,
           "%s: is a checkpoint whose header is damaged: nothing proves its "
           "values",
           path);
  tr__warn_root(ctx,
                "%s: has a user block that is no seal of a checkpoint: its "
                "values are taken as they are",
                path);
  return TR_OK;
}

/* libtrain wrote a sealed file: find damage before libhdf5 reads it. */
static tr_status check_seal(tr_context *ctx, const char *path)
{
  unsigned char head[HEAD_BYTES], *bytes = NULL;
  size_t length;
  tr__sealed sealed = {0};
  TR_TRY(read_head(path, head));
  if (!tr__seal_is_on(head, sizeof head)) {
    return has_user_block(head) ? check_lost_seal(ctx, path, head) : TR_OK;
  }
  TR_TRY(tr__read_file(tr__file_ops_system(), path, SIZE_MAX / 2, &bytes,
                       &length));
  tr_status status = tr__seal_verify(path, bytes, length, &sealed);
  tr__sealed_release(&sealed);
  free(bytes);
  return status;
}

/* What the caller asks for, and how many parameters were found. */
typedef struct request {
  const char *path;
  tr_load_opts opts; /* pattern is not NULL */
  int64_t num_loaded;
} request;

static tr_status read_param(const tr__store *store,
                            tr__h5_file *file,
                            const tr__param *param,
                            char *arena)
{
  char name[TR__VIEW_NAME_BYTES];
  tr_dtype dtype = store->ctx->dtype;
  char *values = arena + (size_t)param->offset * tr_dtype_size(dtype);
  tr__param_set_name(param, NULL, name);
  TR_TRY(tr__h5_read(file, name, &param->shape, dtype, values));
  int64_t bad = tr__first_not_finite(dtype, values, param->count);
  TR_CHECK(bad < 0, TR_EDATA,
           "%s: element %lld of data set %s is not a finite %s", file->path,
           (long long)bad, name, tr__dtype_name(dtype));
  return TR_OK;
}

static tr_status
read_params(const tr__store *store, tr__h5_file *file, request *r, char *arena)
{
  char name[TR__VIEW_NAME_BYTES];
  for (int i = 0; i < store->num_params; i++) {
    const tr__param *param = &store->params[i];
    if (fnmatch(r->opts.pattern, param->name, 0) != 0) {
      continue;
    }
    tr__param_set_name(param, NULL, name);
    bool has = true;
    if (r->opts.allow_missing) {
      TR_TRY(tr__h5_has(file, name, &has));
    }
    if (!has) {
      continue;
    }
    TR_TRY(read_param(store, file, param, arena));
    r->num_loaded++;
  }
  return TR_OK;
}

static tr_status read_root(const tr__store *store, request *r, char *arena)
{
  tr__h5_file file;
  TR_TRY(check_seal(store->ctx, r->path));
  TR_TRY(tr__h5_open(r->path, &file));
  tr_status status = read_params(store, &file, r, arena);
  tr__h5_close(&file);
  return status;
}

static tr_status check_pattern(const tr__store *store, const char *pattern)
{
  char list[TR__MESSAGE_BYTES / 2];
  for (int i = 0; i < store->num_params; i++) {
    if (fnmatch(pattern, store->params[i].name, 0) == 0) {
      return TR_OK;
    }
  }
  return TR_FAIL(TR_EINVAL,
                 "tr_model_load_matching: no parameter matches \"%.80s\"; "
                 "there are%s",
                 pattern, tr__store_names(store, sizeof list, list));
}

/* Fill the whole arena on rank 0: the present values, overwritten by those of
 * the file. */
static tr_status
prepare(const tr__store *store, request *r, size_t bytes, char *arena)
{
  tr_context *ctx = store->ctx;
  TR_CHECK(arena != NULL, TR_ENOMEM, "no memory for %zu bytes of parameters",
           bytes);
  if (ctx->comm->rank != 0) {
    return TR_OK;
  }
  tr__backend *backend = ctx->backend;
  TR_TRY(
      backend->type->download(&backend->stream, arena, store->values, bytes));
  return read_root(store, r, arena);
}

static tr_status load(tr__store *store, request *r)
{
  tr_context *ctx = store->ctx;
  tr__comm *comm = ctx->comm;
  size_t bytes = (size_t)store->value_count * tr_dtype_size(ctx->dtype);
  char *arena = calloc(1, bytes + 1);
  tr_status status;
  TR_TRY_GOTO(tr__agree(comm, prepare(store, r, bytes, arena)), done);
  TR_TRY_GOTO(
      comm->type->broadcast(comm, &r->num_loaded, sizeof r->num_loaded, 0),
      done);
  TR_TRY_GOTO(comm->type->broadcast(comm, arena, bytes, 0), done);
  tr__backend *backend = ctx->backend;
  backend->type->upload(&backend->stream, store->values, arena, bytes);
  tr__store_changed(store);
  TR_TRY_GOTO(tr__agree(comm, backend->type->wait(&backend->stream)), done);

done:
  free(arena);
  return status;
}

tr_status tr_model_load(tr_model *net, const char *path)
{
  tr__store *store = tr__model_store(net);
  /* The same on every rank, so no agreement is needed. */
  TR_CHECK(store != NULL, TR_ESTATE, "tr_model_load before tr_model_build()");
  return load(store, &(request){.path = path, .opts = {.pattern = "*"}});
}

tr_status tr_model_load_matching(tr_model *net,
                                 const char *path,
                                 const tr_load_opts *opts,
                                 int *num_loaded)
{
  int unused;
  num_loaded = num_loaded != NULL ? num_loaded : &unused;
  *num_loaded = 0;
  tr__store *store = tr__model_store(net);
  TR_CHECK(store != NULL, TR_ESTATE,
           "tr_model_load_matching before tr_model_build()");
  request r = {.path = path};
  if (opts != NULL) {
    r.opts = *opts;
  }
  if (r.opts.pattern == NULL) {
    r.opts.pattern = "*";
  }
  TR_TRY(tr__agree(store->ctx->comm, check_pattern(store, r.opts.pattern)));
  TR_TRY(load(store, &r));
  *num_loaded = (int)r.num_loaded;
  return TR_OK;
}
