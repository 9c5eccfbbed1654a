/* tr_text_open(): the characters of a text file as a data set for
 * next-character prediction. Characters are bytes, numbered by an alphabet.
 *
 * Sample i has the `context` characters from i * stride on; its targets are the
 * same window one character later. The first 90 % of the text are "train", the
 * rest is "test". The default alphabet of both splits is that of the whole
 * file, which is read once. */
#include "base/file_impl.h"
#include "data/data_impl.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

typedef struct text {
  uint8_t *ids; /* of the whole file; owned */
  int64_t length;
  int64_t first; /* character at which the split begins */
  int64_t context, stride;
  tr_alphabet alphabet;
} text;

static tr_status text_read(const tr_dataset *data,
                           const int64_t *ids,
                           int64_t count,
                           void *x,
                           void *targets)
{
  int32_t *y = targets;
  const text *state = data->state;
  for (int64_t i = 0; i < count; i++) {
    const uint8_t *window = state->ids + state->first + ids[i] * state->stride;
    int32_t *in = (int32_t *)x + i * state->context;
    int32_t *out = y + i * state->context;
    for (int64_t t = 0; t < state->context; t++) {
      in[t] = window[t];
      out[t] = window[t + 1];
    }
  }
  return TR_OK;
}

static void release(text *state)
{
  free(state->ids);
  free(state);
}

static void text_close(tr_dataset *data)
{
  release(data->state);
}

static uint64_t text_hash(const tr_dataset *data)
{
  const text *state = data->state;
  XXH64_hash_t codes =
      XXH3_64bits(state->alphabet.codes, (size_t)state->alphabet.count);
  return XXH3_64bits_withSeed(state->ids, (size_t)state->length, codes);
}

static const tr__dataset_type text_type = {
    .name = "text", .read = text_read, .close = text_close, .hash = text_hash};

static tr_status check_opts(const tr_text_opts *opts)
{
  TR_CHECK(opts != NULL, TR_EINVAL, "text: options are missing");
  TR_CHECK(opts->context > 0 && opts->context <= INT32_MAX, TR_EINVAL,
           "text: context is %lld, expected 1 to %d", (long long)opts->context,
           INT32_MAX);
  TR_CHECK(opts->stride >= 0, TR_EINVAL,
           "text: stride is %lld, expected 0 or "
           "more",
           (long long)opts->stride);
  const char *split = tr__text(opts->split);
  TR_CHECK(strcmp(split, "train") == 0 || strcmp(split, "test") == 0, TR_EINVAL,
           "text: split is \"%s\", expected \"train\" or \"test\"", split);
  return TR_OK;
}

static tr_status read_bytes(const char *path, text *state)
{
  int file, code = 0;
  size_t got = 0;
  TR_TRY(tr__open_read(path, &file, &state->length));
  state->ids = malloc((size_t)state->length + 1);
  if (state->ids != NULL) {
    code = tr__read_full(file, state->ids, (size_t)state->length, &got);
  }
  close(file);
  TR_CHECK(state->ids != NULL, TR_ENOMEM, "%s: no memory for %lld bytes", path,
           (long long)state->length);
  TR_CHECK(code == 0, TR_EIO, "%s: %s", path, strerror(code));
  TR_CHECK(got == (size_t)state->length, TR_EIO,
           "%s: %zu bytes could be read of %lld", path, got,
           (long long)state->length);
  return TR_OK;
}

/* The characters that the text has, in the order of their codes. */
static tr_alphabet own_alphabet(const text *state)
{
  bool is_there[TR_MAX_CODES] = {false};
  tr_alphabet alphabet = {.count = 0};
  for (int64_t i = 0; i < state->length; i++) {
    is_there[state->ids[i]] = true;
  }
  for (int code = 0; code < TR_MAX_CODES; code++) {
    if (is_there[code]) {
      alphabet.codes[alphabet.count++] = (uint8_t)code;
    }
  }
  return alphabet;
}

static tr_status check_alphabet(const tr_alphabet *alphabet)
{
  bool is_there[TR_MAX_CODES] = {false};
  TR_CHECK(alphabet->count >= 0 && alphabet->count <= TR_MAX_CODES, TR_EINVAL,
           "text: the alphabet has %d characters, expected 0 to %d",
           alphabet->count, TR_MAX_CODES);
  for (int id = 0; id < alphabet->count; id++) {
    int code = alphabet->codes[id];
    TR_CHECK(!is_there[code], TR_EINVAL,
             "text: the alphabet has character %d twice", code);
    is_there[code] = true;
  }
  return TR_OK;
}

/* Replace each byte of the text by its id. TR_EMISMATCH for a byte that the
 * alphabet does not have. */
static tr_status number_codes(const char *path, text *state)
{
  const tr_alphabet *alphabet = &state->alphabet;
  int id[TR_MAX_CODES];
  for (int code = 0; code < TR_MAX_CODES; code++) {
    id[code] = -1;
  }
  for (int i = 0; i < alphabet->count; i++) {
    id[alphabet->codes[i]] = i;
  }
  for (int64_t i = 0; i < state->length; i++) {
    int code = state->ids[i];
    bool is_shown = code < 128 && isgraph(code);
    TR_CHECK(id[code] >= 0, TR_EMISMATCH,
             "%s: byte %lld is character %d%s%.1s%s, which is not among the %d "
             "of the alphabet that the model knows",
             path, (long long)i, code, is_shown ? " '" : "",
             is_shown ? (const char *)&state->ids[i] : "", is_shown ? "'" : "",
             alphabet->count);
    state->ids[i] = (uint8_t)id[code];
  }
  return TR_OK;
}

static tr_status fill(const char *path,
                      const tr_text_opts *opts,
                      text *state,
                      tr__dataset_info *info)
{
  TR_TRY(check_opts(opts));
  TR_TRY(opts->alphabet != NULL ? check_alphabet(opts->alphabet) : TR_OK);
  TR_TRY(read_bytes(path, state));
  bool has_alphabet = opts->alphabet != NULL && opts->alphabet->count > 0;
  state->alphabet = has_alphabet ? *opts->alphabet : own_alphabet(state);
  TR_TRY(number_codes(path, state));
  state->context = opts->context;
  state->stride = opts->stride > 0 ? opts->stride : opts->context;
  int64_t cut = tr__even_split(state->length, 9, 10);
  bool is_test = strcmp(opts->split, "test") == 0;
  state->first = is_test ? cut : 0;
  int64_t length = is_test ? state->length - cut : cut;
  TR_CHECK(length > opts->context, TR_EDATA,
           "%s (%s): %lld characters, expected more than a context of %lld",
           path, opts->split, (long long)length, (long long)opts->context);
  info->shape = (tr_shape){1, {opts->context}};
  info->num_samples = (length - opts->context - 1) / state->stride + 1;
  info->num_classes = state->alphabet.count;
  info->target_values = opts->context;
  info->has_ids = true;
  return TR_OK;
}

static tr_status open_local(tr_context *ctx,
                            const char *path,
                            const tr_text_opts *opts,
                            tr_dataset **out)
{
  text *state = calloc(1, sizeof *state);
  TR_CHECK(state != NULL, TR_ENOMEM, "%s: out of memory", path);
  tr__dataset_info info = {.type = &text_type};
  tr_status status;
  TR_TRY_GOTO(fill(path, opts, state, &info), failed);
  info.numbering = tr__alphabet_text(&state->alphabet);
  if (info.numbering == NULL) {
    status = TR_FAIL(TR_ENOMEM, "%s: out of memory", path);
    goto failed;
  }
  TR_TRY_GOTO(tr__dataset_new(ctx, &info, path, opts->split, state, out),
              failed);
  return TR_OK;
failed:
  free(info.numbering);
  release(state);
  return status;
}

tr_status tr_text_open(tr_context *ctx,
                       const char *path,
                       const tr_text_opts *opts,
                       tr_dataset **out)
{
  tr_dataset *data = NULL;
  tr_status status = open_local(ctx, tr__text(path), opts, &data);
  return tr__dataset_agree(ctx, status, data, out);
}

int tr_text_code(const tr_dataset *data, int64_t id)
{
  const text *state = data->state;
  bool is_one =
      data->type == &text_type && id >= 0 && id < state->alphabet.count;
  return is_one ? state->alphabet.codes[id] : -1;
}
