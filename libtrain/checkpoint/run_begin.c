/* The start of a run in a directory: checks at once what could make its first
 * save fail, and writes durably which run owns the directory. */
#include "checkpoint/checkpoint_impl.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Create and remove a temporary file. The lock file proves nothing: it may be
 * older than a change of permissions. */
static tr_status try_to_write(const tr__run_dir *dir)
{
  tr__durable file;
  TR_TRY(tr__durable_open(dir->ops, dir->path, TR__IDENTITY_NAME, 1, &file));
  tr__durable_abort(&file);
  return TR_OK;
}

tr_status tr__checkpoint_claim(const tr__file_ops *ops,
                               const char *dir,
                               const tr_checkpoint *run)
{
  tr__checkpoint_cache *cache;
  TR_TRY(tr__checkpoint_cache_of(run->model, &cache));
  TR_TRY(tr__checkpoint_lock(cache, ops, dir));
  return try_to_write(&cache->dir);
}

static tr_status write_identity(tr__checkpoint_cache *cache,
                                const tr_checkpoint *run)
{
  char *options = run->optimizer != NULL ? tr__optimizer_text(run->optimizer)
                                         : strdup("none\n");
  TR_CHECK(options != NULL, TR_ENOMEM, "checkpoint: no memory for a text");
  if (cache->identity.started == 0) {
    cache->identity.started = (int64_t)time(NULL);
  }
  tr_status status = tr__identity_write(cache->dir.ops, cache->dir.path,
                                        &cache->identity, options);
  free(options);
  TR_TRY(status);
  cache->dir.has_begun = true;
  return TR_OK;
}

tr_status tr__checkpoint_begin(const tr__file_ops *ops,
                               const char *dir,
                               const tr_checkpoint *run)
{
  tr__checkpoint_cache *cache;
  tr__identity there;
  char whose[TR__WHOSE_BYTES];
  TR_TRY(tr__checkpoint_cache_of(run->model, &cache));
  TR_TRY(tr__checkpoint_lock(cache, ops, dir));
  tr_status status = tr__identity_read(ops, dir, &there);
  bool is_same = status == TR_OK && memcmp(there.run_id, cache->identity.run_id,
                                           sizeof there.run_id) == 0;
  if (is_same) {
    cache->dir.has_begun = true;
    return TR_OK;
  }
  if (status != TR_OK && status != TR_EDATA && status != TR_ENOINPUT) {
    return tr_error_push(status, __FILE__, __LINE__);
  }
  tr__identity_describe(&there, whose);
  TR_CHECK(status != TR_OK || !cache->dir.has_begun || cache->dir.is_locked,
           TR_ETEMPORARY, "%s: is in use by %s, which came later", dir, whose);
  return write_identity(cache, run);
}
