/* Reads and writes the identity file of a checkpoint directory. */
#include "checkpoint/run_identity_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_BYTES = 1 << 20, MOST_NAMES = 100 };

static const char begin[] = "libtrain run ";

static char *format(const tr__identity *identity, const char *options)
{
  char *text = NULL, run[TR__HEX_BYTES], hash[TR__HEX_BYTES];
  size_t bytes = 0;
  FILE *out = open_memstream(&text, &bytes);
  if (out == NULL) {
    return NULL;
  }
  tr__to_hex(identity->run_id, run);
  fprintf(out,
          "%s%u\nrun %s\nseed %" PRIu64 "\nshards %" PRId64 "\nstarted %" PRId64
          "\n%s",
          begin, TR__SEAL_VERSION, run, identity->seed, identity->shards,
          identity->started, options);
  if (fflush(out) == 0) {
    tr__hash_text(text, bytes, hash);
    fprintf(out, "hash %s\n", hash);
  }
  if (fclose(out) != 0) {
    free(text);
    return NULL;
  }
  return text;
}

/* Whether the last line is the hash of the text before it. */
static bool has_right_hash(const char *text, size_t length)
{
  char line[TR__HEX_BYTES + 8], hash[TR__HEX_BYTES];
  const size_t last = strlen("hash \n") + TR__HEX_BYTES - 1;
  if (length <= last) {
    return false;
  }
  tr__hash_text(text, length - last, hash);
  snprintf(line, sizeof line, "hash %s\n", hash);
  return memcmp(text + length - last, line, last) == 0;
}

static tr_status
parse(const char *path, const char *text, size_t length, tr__identity *out)
{
  char run[TR__HEX_BYTES];
  unsigned version = 0;
  int fields = sscanf(text,
                      "libtrain run %u\nrun %32s\nseed %" SCNu64
                      "\nshards %" SCNd64 "\nstarted %" SCNd64,
                      &version, run, &out->seed, &out->shards, &out->started);
  TR_CHECK(fields < 1 || version == TR__SEAL_VERSION, TR_EDATA,
           "%s: has format version %u, this library reads %u", path, version,
           TR__SEAL_VERSION);
  TR_CHECK(fields == 5 && tr__from_hex(run, out->run_id) &&
               has_right_hash(text, length),
           TR_EDATA, "%s: is damaged (its hash or its form differs)", path);
  return TR_OK;
}

tr_status
tr__identity_read(const tr__file_ops *ops, const char *dir, tr__identity *out)
{
  unsigned char *text;
  size_t length;
  const tr__joined path = tr__join(dir, TR__IDENTITY_NAME);
  memset(out, 0, sizeof *out);
  TR_TRY(tr__read_file(ops, path.text, MOST_BYTES, &text, &length));
  tr_status status = parse(path.text, (char *)text, length, out);
  free(text);
  return tr_error_push(status, __FILE__, __LINE__);
}

/* A user's file may have this name: it is renamed to "run.identity.kept0", or a
 * higher number if that is taken. */
static tr_status keep_foreign(const tr__file_ops *ops, const char *dir)
{
  char head[sizeof begin] = "";
  size_t length;
  const tr__joined path = tr__join(dir, TR__IDENTITY_NAME);
  tr_status status =
      tr__read_head(ops, path.text, head, sizeof begin - 1, &length);
  bool is_ours = status == TR_OK && (length == 0 || strcmp(head, begin) == 0);
  if (is_ours || status == TR_ENOINPUT) {
    return TR_OK;
  }
  TR_CHECK(status == TR_OK || status == TR_EDATA, status,
           "%s: cannot be looked at", path.text);
  for (int i = 0; i < MOST_NAMES; i++) {
    char name[40];
    snprintf(name, sizeof name, TR__IDENTITY_NAME ".kept%d", i);
    if (tr__link_new(ops, path.text, tr__join(dir, name).text) >= 0) {
      return tr__sync_dir(ops, dir);
    }
    TR_CHECK(errno == EEXIST, TR_EIO, "%s: cannot get another name: %s",
             path.text, strerror(errno));
  }
  return TR_FAIL(TR_EIO, "%s: is no file of libtrain's; move it away",
                 path.text);
}

tr_status tr__identity_write(const tr__file_ops *ops,
                             const char *dir,
                             const tr__identity *identity,
                             const char *options)
{
  TR_TRY(keep_foreign(ops, dir));
  char *text = format(identity, options);
  TR_CHECK(text != NULL, TR_ENOMEM, "%s: no memory for the identity of the run",
           dir);
  tr_status status =
      tr__write_durably(ops, dir, TR__IDENTITY_NAME, text, strlen(text));
  free(text);
  return tr_error_push(status, __FILE__, __LINE__);
}

void tr__identity_describe(const tr__identity *identity,
                           char out[TR__WHOSE_BYTES])
{
  char run[TR__HEX_BYTES], started[48] = "";
  const time_t seconds = (time_t)identity->started;
  struct tm parts;
  tr__to_hex(identity->run_id, run);
  if (identity->started > 0 && gmtime_r(&seconds, &parts) != NULL) {
    strftime(started, sizeof started, ", started %Y-%m-%d %H:%M:%S UTC",
             &parts);
  }
  snprintf(out, TR__WHOSE_BYTES, "run %.8s (seed %" PRIu64 "%s)", run,
           identity->seed, started);
}
