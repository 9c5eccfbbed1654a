/* What every folder may ask a context. run/create_context.c creates it. */
#include "base/locale_impl.h"
#include "core/context_impl.h"

#include <string.h>

int tr_context_rank(const tr_context *ctx)
{
  return ctx->comm->rank;
}

int tr_context_size(const tr_context *ctx)
{
  return ctx->comm->size;
}

void tr_context_request_stop(tr_context *ctx)
{
  atomic_store(&ctx->stop_requested, 1);
}

int tr_context_stop_agreed(const tr_context *ctx)
{
  return ctx->stop_agreed;
}

int tr_context_is_saving(const tr_context *ctx)
{
  return atomic_load(&ctx->is_saving);
}

void tr_context_work_begin(tr_context *ctx)
{
  if (ctx->num_works++ == 0) {
    ctx->work_before = tr__work_begin(ctx->comm->board, TR__WORK_OWN, 0);
  }
}

void tr_context_work_end(tr_context *ctx)
{
  if (ctx->num_works > 0 && --ctx->num_works == 0) {
    tr__work_end(ctx->comm->board, (tr__work)ctx->work_before);
  }
}

static void
log_line(tr_context *ctx, int level, const char *format, va_list arguments)
{
  char line[2 * TR__MESSAGE_BYTES];
  tr__format_list(line, sizeof line, format, arguments);
  ctx->log(ctx->log_user, level, line);
}

void tr_log_root(tr_context *ctx, const char *format, ...)
{
  if (ctx->comm->rank != 0) {
    return;
  }
  va_list arguments;
  va_start(arguments, format);
  log_line(ctx, TR__LOG_INFO, format, arguments);
  va_end(arguments);
}

void tr__warn_root(tr_context *ctx, const char *format, ...)
{
  if (ctx->comm->rank != 0) {
    return;
  }
  va_list arguments;
  va_start(arguments, format);
  log_line(ctx, TR__LOG_WARNING, format, arguments);
  va_end(arguments);
}

void tr__warn_here(tr_context *ctx, const char *format, ...)
{
  char text[TR__MESSAGE_BYTES];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  char line[TR__MESSAGE_BYTES + 32];
  snprintf(line, sizeof line, "rank %d: %s", ctx->comm->rank, text);
  ctx->log(ctx->log_user, TR__LOG_WARNING, line);
}

void tr__context_set_pending(tr_context *ctx, tr_status status)
{
  if (ctx->pending != TR_OK) {
    return;
  }
  ctx->pending = status;
  snprintf(ctx->pending_message, sizeof ctx->pending_message, "%s",
           tr_error_message());
}

tr_status tr__context_agree_pending(tr_context *ctx)
{
  tr_status status = ctx->pending;
  if (status != TR_OK) {
    /* The failure may have happened on a thread of a loader: copy its message
     * into this thread's trace. */
    status = TR_FAIL(status, "%s", ctx->pending_message);
  }
  return tr__agree(ctx->comm, status);
}
