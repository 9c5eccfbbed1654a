/* Writes the events of all ranks in the format of Chrome's trace viewer: one
 * process per rank, with one thread for computing and one for transfers.
 * Source: "Trace Event Format", the JSON object format, complete events */
#include "base/file_impl.h"
#include "base/locale_impl.h"
#include "run/trace_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Events kept per rank, 72 bytes each; events per broadcast to rank 0. */
enum { MOST_EVENTS = 1 << 16, CHUNK = 1 << 10, CLOCK_ROUNDS = 32 };

struct tr__trace {
  tr__comm *comm;         /* borrowed */
  tr__timeline *timeline; /* owned */
  FILE *file;             /* open on rank 0 only */
  char *path;
  double zero;   /* rank 0's clock at the beginning */
  double offset; /* rank 0's clock minus mine */
  double error;  /* largest error of offset */
};

/* What a rank tells about its events before it sends them. */
typedef struct header {
  int64_t count, dropped;
  double offset, error;
} header;

static int64_t now_ns(void)
{
  return (int64_t)(1e9 * tr__now());
}

/* Rank 0 reads its clock before and after an all-reduce. Its first reading is
 * not later than this rank's second one, and its second not earlier than this
 * rank's first. So each round bounds the offset on both sides; the tightest
 * bounds count. */
static tr_status compare_clocks(tr__trace *trace)
{
  tr__comm *comm = trace->comm;
  bool is_root = comm->rank == 0;
  int64_t low = INT64_MIN, high = INT64_MAX;
  for (int i = 0; i < CLOCK_ROUNDS; i++) {
    int64_t before = now_ns(), root_before = is_root ? before : INT64_MIN;
    TR_TRY(comm->type->reduce_i64(comm, &root_before, 1, TR__MAX));
    int64_t after = now_ns(), root_after = after;
    TR_TRY(comm->type->broadcast(comm, &root_after, sizeof root_after, 0));
    low = tr__max(low, root_before - after);
    high = tr__min(high, root_after - before);
  }
  trace->offset = is_root ? 0 : 0.5e-9 * ((double)low + (double)high);
  trace->error = is_root ? 0 : 0.5e-9 * ((double)high - (double)low);
  trace->zero = tr__now();
  return comm->type->broadcast(comm, &trace->zero, sizeof trace->zero, 0);
}

static tr_status open_trace(tr__comm *comm, const char *path, tr__trace **out)
{
  tr__trace *trace = calloc(1, sizeof *trace);
  TR_CHECK(trace != NULL, TR_ENOMEM, "no memory for a trace");
  *out = trace;
  trace->comm = comm;
  trace->path = strdup(path);
  TR_CHECK(trace->path != NULL, TR_ENOMEM, "no memory for a trace");
  TR_TRY(tr__timeline_create(MOST_EVENTS, &trace->timeline));
  if (comm->rank == 0) {
    int file;
    TR_TRY(tr__open_write(path, "trace", O_TRUNC, TR__TO_FILE, &file));
    trace->file = fdopen(file, "w");
    if (trace->file == NULL) {
      close(file);
      return TR_FAIL(TR_ENOMEM, "no memory for a trace");
    }
  }
  return TR_OK;
}

tr_status tr__trace_open(tr__comm *comm,
                         const char *path,
                         tr__trace **out,
                         tr__timeline **timeline)
{
  *out = NULL;
  *timeline = NULL;
  tr_status status = tr__agree(comm, open_trace(comm, path, out));
  if (status == TR_OK) {
    status = compare_clocks(*out);
  }
  if (status != TR_OK) {
    tr__trace_close(out);
    return status;
  }
  *timeline = (*out)->timeline;
  return TR_OK;
}

/* Writes "?" for other characters than ASCII: a name may end within one. */
static void write_text(FILE *file, const char *text)
{
  fputc('"', file);
  for (const char *c = text; *c != '\0'; c++) {
    if (*c == '"' || *c == '\\') {
      fputc('\\', file);
    }
    fputc(*c >= ' ' && *c <= '~' ? *c : '?', file);
  }
  fputc('"', file);
}

/* Microseconds since the trace's beginning, by rank 0's clock. */
static void write_event(const tr__trace *trace,
                        const tr__event *event,
                        int rank,
                        double offset)
{
  FILE *file = trace->file;
  fputs(",\n{\"ph\":\"X\",\"name\":", file);
  write_text(file, event->name);
  fputs(",\"cat\":", file);
  write_text(file, event->kind);
  fprintf(file, ",\"pid\":%d,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f", rank,
          (int)event->track, 1e6 * (event->begin + offset - trace->zero),
          1e6 * (event->end - event->begin));
  if (event->bytes > 0) {
    fprintf(file, ",\"args\":{\"bytes\":%lld}", (long long)event->bytes);
  }
  fputc('}', file);
}

static void write_names(const tr__trace *trace, int rank)
{
  static const char *const tracks[] = {"compute", "communication"};
  FILE *file = trace->file;
  fprintf(file,
          "%s\n{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":%d,\"args\":"
          "{\"name\":\"rank %d\"}}",
          rank > 0 ? "," : "", rank, rank);
  for (int i = 0; i < 2; i++) {
    fprintf(file,
            ",\n{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":%d,\"tid\":%d,"
            "\"args\":{\"name\":\"%s\"}}",
            rank, i, tracks[i]);
  }
}

/* Send one rank's events in chunks. The communicator has no gather, so the rank
 * broadcasts and all ranks receive. */
static tr_status hand_over(tr__trace *trace, int rank, tr__event *chunk)
{
  tr__comm *comm = trace->comm;
  header h = {.offset = trace->offset, .error = trace->error};
  h.count = tr__timeline_count(trace->timeline, &h.dropped);
  TR_TRY(comm->type->broadcast(comm, &h, sizeof h, rank));
  if (trace->file != NULL) {
    write_names(trace, rank);
  }
  for (int64_t first = 0; first < h.count; first += CHUNK) {
    int64_t count = tr__min(CHUNK, h.count - first);
    for (int64_t i = 0; i < count && comm->rank == rank; i++) {
      chunk[i] = *tr__timeline_get(trace->timeline, first + i);
    }
    size_t bytes = (size_t)count * sizeof *chunk;
    TR_TRY(comm->type->broadcast(comm, chunk, bytes, rank));
    for (int64_t i = 0; i < count && trace->file != NULL; i++) {
      write_event(trace, &chunk[i], rank, h.offset);
    }
  }
  return TR_OK;
}

/* The quality of the events, as arrays of [size]: dropped events and clock
 * errors. */
static tr_status write_quality(tr__trace *trace, int64_t *dropped)
{
  tr__comm *comm = trace->comm;
  *dropped = 0;
  for (int i = 0; i < 2; i++) {
    if (trace->file != NULL) {
      fprintf(trace->file, "%s\"%s\":[",
              i == 0 ? "\n],\n\"displayTimeUnit\":\"ms\",\n\"otherData\":{"
                     : "],\n",
              i == 0 ? "dropped_events" : "clock_error_us");
    }
    for (int r = 0; r < comm->size; r++) {
      int64_t lost;
      tr__timeline_count(trace->timeline, &lost);
      double value = i == 0 ? (double)lost : 1e6 * trace->error;
      TR_TRY(comm->type->broadcast(comm, &value, sizeof value, r));
      *dropped += i == 0 ? (int64_t)value : 0;
      if (trace->file != NULL) {
        fprintf(trace->file, "%s%.*f", r > 0 ? "," : "", i, value);
      }
    }
  }
  if (trace->file != NULL) {
    fputs("]}}\n", trace->file);
  }
  return TR_OK;
}

/* Truncates an old, longer file. EINVAL: a device has no length. */
static tr_status end_file(const tr__trace *trace)
{
  FILE *file = trace->file;
  bool is_written =
      file == NULL ||
      (tr__flush(file) &&
       (ftruncate(fileno(file), ftello(file)) == 0 || errno == EINVAL));
  TR_CHECK(is_written, TR_EIO, "cannot write the trace %s: %s", trace->path,
           strerror(errno));
  return TR_OK;
}

static tr_status write_all(tr__trace *trace, int64_t *dropped)
{
  tr__comm *comm = trace->comm;
  tr__event *chunk = calloc(CHUNK, sizeof *chunk);
  tr_status status =
      chunk != NULL ? TR_OK : TR_FAIL(TR_ENOMEM, "no memory to write a trace");
  TR_TRY_GOTO(tr__agree(comm, status), done);
  if (trace->file != NULL) {
    rewind(trace->file);
    fputs("{\"traceEvents\":[", trace->file);
  }
  for (int r = 0; r < comm->size; r++) {
    TR_TRY_GOTO(hand_over(trace, r, chunk), done);
  }
  TR_TRY_GOTO(write_quality(trace, dropped), done);
  TR_TRY_GOTO(tr__agree(comm, end_file(trace)), done);

done:
  free(chunk);
  return status;
}

tr_status tr__trace_write(tr__trace *trace, int64_t *dropped)
{
  tr__write_guard guard;
  tr__write_begin(&guard);
  locale_t before = tr__locale_begin();
  tr_status status = write_all(trace, dropped);
  tr__locale_end(before);
  tr__write_end(&guard);
  return status;
}

void tr__trace_close(tr__trace **trace)
{
  if (*trace == NULL) {
    return;
  }
  if ((*trace)->file != NULL) {
    tr__flush((*trace)->file);
    fclose((*trace)->file);
  }
  tr__timeline_destroy(&(*trace)->timeline);
  free((*trace)->path);
  free(*trace);
  *trace = NULL;
}
