/* Creates and destroys contexts: communicator, device, threads, trace,
 * watchdog. */
#include "backend/backend_table_impl.h"
#include "base/file_impl.h"
#include "base/half_impl.h"
#include "comm/mpi/comm_mpi_impl.h"
#include "comm/queue_impl.h"
#include "core/context_impl.h"
#include "run/trace_impl.h"
#include "run/watchdog_impl.h"
#include "sync/sync_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <train/context.h>

enum { MAX_THREADS = 4096, MAX_SHARDS = 1 << 20 };

/* The fields of a context that only this file knows. */
typedef struct context {
  tr_context base; /* first, so that a tr_context is one of these */
  tr_log_fn log;
  void *log_user;
  tr__watchdog *watchdog; /* NULL: none */
  tr__trace *trace;       /* NULL: none */
} context;

/* The watchdog of a context that is being made. */
typedef struct watch {
  tr__watchdog *dog;
  tr_status status; /* of starting the watchdog */
} watch;

static void default_log(void *user, int level, const char *line)
{
  (void)user;
  bool is_warning = level == TR__LOG_WARNING;
  tr__print_line(is_warning ? stderr : stdout, is_warning ? "warning: " : "",
                 line);
}

static void callers_log(void *user, int level, const char *line)
{
  const context *ctx = user;
  ctx->log(ctx->log_user, (tr_log_level)level, line);
}

static const char *device_of(const tr_context_opts *opts)
{
  return opts->device != NULL ? opts->device : "cpu";
}

static tr_status check_device(const char *device)
{
  if (tr__backend_find(device) != NULL) {
    return TR_OK;
  }
  char names[256] = "";
  const tr__backend_type *const *table = tr__backend_table();
  size_t used = 0;
  for (int i = 0; table[i] != NULL && used < sizeof names; i++) {
    used += (size_t)snprintf(names + used, sizeof names - used, "%s%s",
                             i > 0 ? ", " : "", table[i]->name);
  }
  return TR_FAIL(TR_EUNSUPPORTED, "device \"%.64s\" is none of %s", device,
                 names);
}

static tr_status check_opts(const tr_context_opts *opts)
{
  TR_CHECK(opts->threads >= 0 && opts->threads <= MAX_THREADS, TR_EINVAL,
           "threads is %d, expected 0 (this rank's share of the CPUs) to %d",
           opts->threads, MAX_THREADS);
  TR_CHECK(opts->dtype == TR_F32 || opts->dtype == TR_F64 ||
               tr__is_half(opts->dtype),
           TR_EINVAL,
           "dtype is %s, expected float32, float64, bfloat16 or float16",
           tr__dtype_name(opts->dtype));
  TR_CHECK(opts->wire == 0 || (opts->wire == TR_BF16 && opts->dtype != TR_F64),
           TR_EINVAL,
           "wire is %s with dtype %s, expected 0, or bfloat16 for gradients of "
           "float32",
           tr__dtype_name(opts->wire), tr__dtype_name(opts->dtype));
  TR_CHECK(
      opts->wire == 0 || opts->virtual_shards == 0, TR_EINVAL,
      "wire is %s with %lld virtual shards: what is rounded depends on the "
      "number of ranks",
      tr__dtype_name(opts->wire), (long long)opts->virtual_shards);
  TR_CHECK(opts->stall_timeout != 0 ? !isnan(opts->stall_timeout)
                                    : tr__is_default(opts->stall_timeout),
           TR_EINVAL,
           "stall_timeout is not a number, expected seconds, 0 (120) or less "
           "(no limit)");
  TR_CHECK(opts->virtual_shards >= 0 && opts->virtual_shards <= MAX_SHARDS,
           TR_EINVAL, "virtual_shards is %lld, expected 0 (none) to %d",
           (long long)opts->virtual_shards, MAX_SHARDS);
  return check_device(device_of(opts));
}

/* Ranks may differ in threads, log and stall_timeout. The rest decides numbers.
 */
static tr_status compare_opts(tr__comm *comm, const tr_context_opts *opts)
{
  char text[256];
  snprintf(text, sizeof text,
           "libtrain %s\ndevice %.64s\ndtype %s\nseed %" PRIu64
           "\nvirtual_shards %lld\ntrace %d\nwire %d\n",
           tr_version(), device_of(opts), tr__dtype_name(opts->dtype),
           opts->seed, (long long)opts->virtual_shards,
           opts->trace_path != NULL, (int)opts->wire);
  return tr__agree_text(comm, "options of the context", text);
}

static int threads_of(const tr__comm *comm, const tr_context_opts *opts)
{
  if (opts->threads > 0) {
    return opts->threads;
  }
  return (int)tr__max(1, tr__num_cpus() / comm->cpu_sharers);
}

/* Releases what was created; the communicator after its users. */
static void release(context *ctx)
{
  tr_context *base = &ctx->base;
  if (base->backend != NULL) {
    base->backend->type->destroy(base->backend);
  }
  tr__queue_destroy(&base->queue);
  tr__threads_destroy(&base->pool);
  tr__trace_close(&ctx->trace);
  if (base->comm != NULL) {
    base->comm->type->destroy(base->comm);
  }
  free(ctx);
}

static tr_status
make_context(tr__comm *comm, const tr_context_opts *opts, context **out)
{
  context *ctx = calloc(1, sizeof *ctx);
  TR_CHECK(ctx != NULL, TR_ENOMEM, "no memory for a context");
  *out = ctx;
  tr_context *base = &ctx->base;
  base->seed = opts->seed;
  base->step_hooks = tr__sync_hooks();
  base->compute = opts->dtype;
  base->wire = opts->wire;
  base->dtype = tr__is_half(opts->dtype) ? TR_F32 : opts->dtype;
  base->log = opts->log != NULL ? callers_log : default_log;
  base->log_user = ctx;
  ctx->log = opts->log;
  ctx->log_user = opts->log_user;
  TR_TRY(tr__threads_create(threads_of(comm, opts), &base->pool));
  const tr__backend_type *type = tr__backend_find(device_of(opts));
  TR_TRY(type->create(base->pool, &base->backend));
  return TR_OK;
}

static tr_status
trace_and_queue(tr__comm *comm, const tr_context_opts *opts, context *ctx)
{
  tr_context *base = &ctx->base;
  if (opts->trace_path != NULL) {
    TR_TRY(
        tr__trace_open(comm, opts->trace_path, &ctx->trace, &base->timeline));
  }
  return tr__agree(
      comm, tr__queue_create(comm, base->pool, base->timeline, &base->queue));
}

/* Takes ownership of comm on success. */
static tr_status create_on(tr__comm *comm,
                           const tr_context_opts *opts,
                           tr_status before,
                           context **out)
{
  context *ctx = NULL;
  tr_status status = before == TR_OK ? check_opts(opts) : before;
  TR_TRY_GOTO(tr__agree(comm, status), failed);
  TR_TRY_GOTO(compare_opts(comm, opts), failed);
  TR_TRY_GOTO(tr__agree(comm, make_context(comm, opts, &ctx)), failed);
  TR_TRY_GOTO(tr__agree(comm, tr__comm_set_shards(comm, opts->virtual_shards)),
              failed);
  TR_TRY_GOTO(trace_and_queue(comm, opts, ctx), failed);
  ctx->base.comm = comm;
  *out = ctx;
  return TR_OK;

failed:
  if (ctx != NULL) {
    release(ctx);
  }
  return status;
}

/* Takes ownership of the watchdog on success, and of comm in any case. */
static tr_status create(tr__comm *comm,
                        const tr_context_opts *opts,
                        const watch *over,
                        tr_context **out)
{
  context *ctx = NULL;
  tr__work_begin(comm->board, TR__WORK_SETUP, 0);
  tr__watchdog_see(over->dog, comm->board);
  tr_status status = create_on(comm, opts, over->status, &ctx);
  if (status != TR_OK) {
    tr__watchdog_see(over->dog, NULL);
    comm->type->destroy(comm);
    return tr_error_push(status, __FILE__, __LINE__);
  }
  ctx->watchdog = over->dog;
  *out = &ctx->base;
  return TR_OK;
}

static watch start_watch(const tr_context_opts *opts, int rank, tr__call call)
{
  watch over = {0};
  over.status = tr__watchdog_start(tr__watchdog_limit(opts->stall_timeout),
                                   rank, call, &over.dog);
  return over;
}

static const tr_context_opts *or_defaults(const tr_context_opts *opts)
{
  static const tr_context_opts defaults = {0};
  return opts != NULL ? opts : &defaults;
}

tr_status
tr_context_create_f(int handle, const tr_context_opts *opts, tr_context **out)
{
  TR_CHECK(out != NULL, TR_EINVAL, "out is NULL");
  *out = NULL;
  opts = or_defaults(opts);
  watch over = {0};
  int rank, size = tr__mpi_size(handle, &rank);
  if (size > 1) {
    over = start_watch(opts, rank, TR__CALL_CREATE);
  } else {
    TR_TRY(tr__launcher_check(handle));
  }
  tr__comm *comm;
  tr_status status = tr__comm_create(handle, &comm);
  if (status == TR_OK) {
    status = create(comm, opts, &over, out);
  }
  if (status != TR_OK) {
    tr__watchdog_stop(&over.dog);
  }
  return tr_error_push(status, __FILE__, __LINE__);
}

/* MPI_Init() waits for all ranks, so the watchdog watches it. */
static tr_status init_mpi(const tr_context_opts *opts)
{
  watch over =
      start_watch(or_defaults(opts), tr__launcher_rank(), TR__CALL_INIT);
  tr_status status = tr__mpi_init();
  tr__watchdog_stop(&over.dog);
  return status;
}

static tr_status join_job(const tr_context_opts *opts, tr_context **out)
{
  bool owns_mpi = !tr__mpi_is_active();
  if (owns_mpi) {
    TR_TRY(init_mpi(opts));
  }
  tr_status status = tr_context_create_f(tr__mpi_world(), opts, out);
  if (status == TR_OK) {
    (*out)->owns_mpi = owns_mpi;
    return TR_OK;
  }
  /* If this rank left MPI now, it could end the program, and with it the job,
   * before another rank has said why. So MPI ends at exit(), if the failure is
   * agreed: finalising waits for all ranks, and otherwise not all come here. */
  if (owns_mpi && tr__error_origin()->agreed) {
    atexit(tr__mpi_finalize);
  }
  return tr_error_push(status, __FILE__, __LINE__);
}

tr_status tr_context_create_auto(const tr_context_opts *opts, tr_context **out)
{
  TR_CHECK(out != NULL, TR_EINVAL, "out is NULL");
  *out = NULL;
  if (tr__mpi_is_active() || tr__mpi_is_launched()) {
    TR_TRY(join_job(opts, out));
    return TR_OK;
  }
  tr__comm *comm;
  TR_TRY(tr__comm_self_create(&comm));
  TR_TRY(create(comm, or_defaults(opts), &(watch){0}, out));
  return TR_OK;
}

tr_status tr__context_write_trace(tr_context *ctx)
{
  tr__trace *trace = ((context *)ctx)->trace;
  int64_t dropped = 0;
  if (trace == NULL) {
    return TR_OK;
  }
  TR_TRY(tr__trace_write(trace, &dropped));
  if (dropped > 0) {
    tr__warn_root(ctx, "the trace lacks the oldest %lld events",
                  (long long)dropped);
  }
  return TR_OK;
}

void tr_context_destroy(tr_context **ctx)
{
  if (ctx == NULL || *ctx == NULL) {
    return;
  }
  bool owns_mpi = (*ctx)->owns_mpi;
  if (tr__context_write_trace(*ctx) != TR_OK) {
    tr__warn_root(*ctx, "the trace is lost: %s", tr_error_message());
  }
  tr__watchdog *dog = ((context *)*ctx)->watchdog;
  /* Wait here for ranks that are late, while the watchdog can find them:
   * launchers hang if a job ends while a rank finalises. */
  tr__comm *comm = (*ctx)->comm;
  tr__status_board *board = comm->board;
  tr__work_begin(board, TR__WORK_LEFT, 0);
  (void)comm->type->barrier(comm);
  /* Finalising waits too, so the status board outlives the communicator. */
  comm->board = NULL;
  tr__call_begin(board, TR__CALL_LEAVE, 0);
  tr__block_begin(board, TR__MEETINGS);
  release((context *)*ctx);
  *ctx = NULL;
  if (owns_mpi) {
    tr__mpi_finalize();
  }
  tr__watchdog_stop(&dog);
  if (board != NULL) {
    board->release(board);
  }
}
