/* Agreement of ranks on failures and texts, and how a rank waits for others. */
#include "core/context_impl.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

/* A longer wait is for a rank that is busy elsewhere (reading, saving). */
static const double patience_s = 0.02;

/* A sleep with its wake-up takes longer than letting other ranks run a few
 * times. Yielding for long is no wait: on Linux 6.18 two ranks of one CPU that
 * yield to each other keep all other processes from it, for minutes. */
static const double yield_s = 30e-6;

tr_status tr__comm_check(const tr__transfer *transfer)
{
  tr_dtype dtype = transfer->dtype;
  TR_CHECK(transfer->count >= 0, TR_EINVAL, "all-reduce of %lld elements",
           (long long)transfer->count);
  TR_CHECK(dtype == TR_F32 || dtype == TR_F64, TR_EINVAL,
           "all-reduce of %s, expected float32 or float64",
           tr__dtype_name(dtype));
  TR_CHECK(transfer->wire == 0 ||
               (transfer->wire == TR_BF16 && dtype == TR_F32 &&
                transfer->kind != TR__ALLGATHER),
           TR_EINVAL, "wire %s for %s, expected bfloat16 for sums of float32",
           tr__dtype_name(transfer->wire), tr__dtype_name(dtype));
  return TR_OK;
}

int64_t
tr__comm_slice(const tr__comm *comm, int64_t count, tr_dtype dtype, int rank)
{
  int64_t line = 64 / (int64_t)tr_dtype_size(dtype);
  int64_t lines = (count + line - 1) / line;
  return tr__min(tr__even_split(lines, rank, comm->size) * line, count);
}

void tr__comm_rest(tr__comm *comm, tr__request *request, double waited)
{
  if (waited > patience_s) {
    tr__wait_poll(comm->board);
    if (request != NULL && comm->type->look != NULL) {
      comm->type->look(comm, request);
    }
  }
  tr__series series = request != NULL ? TR__TRANSFERS : TR__MEETINGS;
  double limit_s = tr__spin_limit(&comm->spins[series], comm->spin_s);
  if (waited <= limit_s) {
    return;
  }
  if (waited <= limit_s + yield_s) {
    sched_yield();
    return;
  }
  if (request == NULL || !comm->type->sleep(comm, request)) {
    long rest_ns = waited > patience_s ? 100000 : 20000;
    nanosleep(&(struct timespec){.tv_nsec = rest_ns}, NULL);
  }
}

void tr__comm_rested(tr__comm *comm, tr__series series, double waited)
{
  tr__spin_note(&comm->spins[series], waited, comm->spin_s);
}

static tr_status run_to_end(tr__comm *comm, tr__request **request)
{
  double begin = tr__now();
  bool done = false;
  TR_TRY(comm->type->test(comm, request, &done));
  while (!done) {
    tr__comm_rest(comm, *request, tr__now() - begin);
    TR_TRY(comm->type->test(comm, request, &done));
  }
  tr__comm_rested(comm, TR__TRANSFERS, tr__now() - begin);
  return TR_OK;
}

tr_status tr__comm_wait(tr__comm *comm, tr__request **request)
{
  tr__wait_begin(comm->board, TR__TRANSFERS);
  tr_status status = run_to_end(comm, request);
  tr__wait_end(comm->board);
  return status;
}

/* The failure that the lowest failed rank sends to the others. */
typedef struct failure {
  int32_t status;
  int32_t rank;         /* the rank where it arose */
  int32_t is_elsewhere; /* the sender got it from another rank */
  char message[TR__MESSAGE_BYTES];
} failure;

static void describe(int rank, tr_status status, failure *out)
{
  if (tr__error_origin()->status != status) {
    TR_FAIL(status, "%s", tr_status_text(status));
  }
  const tr__origin *origin = tr__error_origin();
  memset(out, 0, sizeof *out);
  out->status = (int32_t)status;
  out->rank = origin->agreed ? origin->rank : rank;
  out->is_elsewhere = tr__error_is_elsewhere();
  memcpy(out->message, origin->message, sizeof out->message);
}

/* Whether the failure arose on this rank. A failure that is agreed on again
 * keeps its place. */
static bool arose_here(const failure *told, bool is_teller)
{
  const tr__origin *origin = tr__error_origin();
  if (is_teller) {
    return !told->is_elsewhere;
  }
  return told->is_elsewhere && origin->agreed && !tr__error_is_elsewhere() &&
         (int32_t)origin->status == told->status &&
         strcmp(origin->message, told->message) == 0;
}

tr_status tr__agree(tr__comm *comm, tr_status status)
{
  int64_t lowest = status == TR_OK ? comm->size : comm->rank;
  TR_TRY(comm->type->reduce_i64(comm, &lowest, 1, TR__MIN));
  if (lowest == comm->size) {
    return TR_OK;
  }
  failure told;
  memset(&told, 0, sizeof told);
  bool is_teller = lowest == comm->rank;
  if (is_teller) {
    describe(comm->rank, status, &told);
  }
  TR_TRY(comm->type->broadcast(comm, &told, sizeof told, (int)lowest));
  status = (tr_status)told.status;
  bool here = arose_here(&told, is_teller);
  if (!here && !is_teller) {
    TR_FAIL(status, "%s", told.message);
  }
  tr__error_set_agreed(told.rank, here, told.message);
  return status;
}

tr_status tr_context_agree(tr_context *ctx, tr_status status)
{
  return tr__agree(ctx->comm, status);
}

/* Broadcast the text of one rank. The caller frees *out. */
static tr_status
share_text(tr__comm *comm, const char *text, int rank, char **out)
{
  int64_t bytes = (int64_t)strlen(text) + 1;
  *out = NULL;
  TR_TRY(comm->type->broadcast(comm, &bytes, sizeof bytes, rank));
  char *copy = malloc((size_t)bytes);
  tr_status status = TR_OK;
  if (copy == NULL) {
    status = TR_FAIL(TR_ENOMEM, "no memory for a text of %lld bytes",
                     (long long)bytes);
  }
  TR_TRY_GOTO(tr__agree(comm, status), failed);
  if (comm->rank == rank) {
    memcpy(copy, text, (size_t)bytes);
  }
  TR_TRY_GOTO(comm->type->broadcast(comm, copy, (size_t)bytes, rank), failed);
  *out = copy;
  return TR_OK;

failed:
  free(copy);
  return status;
}

typedef struct line {
  const char *begin;
  int length;
} line;

static line line_at(const char *text)
{
  return (line){text, (int)strcspn(text, "\n")};
}

static const char *next_line(line now)
{
  const char *end = now.begin + now.length;
  return *end == '\n' ? end + 1 : end;
}

/* The first line in which two texts differ. Behind its end a text has empty
 * lines. */
static void
find_difference(const char *a, const char *b, line *in_a, line *in_b)
{
  *in_a = line_at(a);
  *in_b = line_at(b);
  while (in_a->length == in_b->length &&
         memcmp(in_a->begin, in_b->begin, (size_t)in_a->length) == 0 &&
         (*next_line(*in_a) != '\0' || *next_line(*in_b) != '\0')) {
    *in_a = line_at(next_line(*in_a));
    *in_b = line_at(next_line(*in_b));
  }
}

static tr_status
report_difference(tr__comm *comm, const char *what, const char *text, int other)
{
  char *first = NULL, *second = NULL;
  tr_status status = TR_OK;
  TR_TRY_GOTO(share_text(comm, text, 0, &first), done);
  TR_TRY_GOTO(share_text(comm, text, other, &second), done);
  line in_first, in_second;
  find_difference(first, second, &in_first, &in_second);
  char message[TR__MESSAGE_BYTES];
  snprintf(message, sizeof message,
           "%s differ: rank 0 has \"%.*s\", rank %d has \"%.*s\"", what,
           in_first.length, in_first.begin, other, in_second.length,
           in_second.begin);
  status = TR_FAIL(TR_EMISMATCH, "%s", message);
  tr__error_set_agreed(0, comm->rank == 0, message);

done:
  free(first);
  free(second);
  return status;
}

tr_status tr__agree_text(tr__comm *comm, const char *what, const char *text)
{
  if (comm->size == 1) {
    return TR_OK;
  }
  int64_t mine = (int64_t)XXH3_64bits(text, strlen(text));
  int64_t first = mine;
  TR_TRY(comm->type->broadcast(comm, &first, sizeof first, 0));
  int64_t other = mine == first ? comm->size : comm->rank;
  TR_TRY(comm->type->reduce_i64(comm, &other, 1, TR__MIN));
  if (other == comm->size) {
    return TR_OK;
  }
  TR_TRY(report_difference(comm, what, text, (int)other));
  return TR_OK;
}
