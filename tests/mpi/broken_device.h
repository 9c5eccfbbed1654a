/* Test helper: a device that fails on one rank. */
#ifndef TR_BROKEN_DEVICE_H
#define TR_BROKEN_DEVICE_H

#include "core/context_impl.h"

static tr_status failing_wait(tr__stream *stream)
{
  (void)stream;
  return TR_FAIL(TR_EDEVICE, "the device is gone");
}

static tr_status
failing_download(tr__stream *stream, void *dst, const void *src, size_t bytes)
{
  (void)dst;
  (void)src;
  (void)bytes;
  return failing_wait(stream);
}

/* break_last_device - make the device of the last rank fail; returns the
 * argument of mend_device(). */
static const tr__backend_type *break_last_device(tr_context *ctx)
{
  static tr__backend_type broken;
  const tr__backend_type *type = ctx->backend->type;
  broken = *type;
  broken.wait = failing_wait;
  broken.download = failing_download;
  if (ctx->comm->rank == ctx->comm->size - 1) {
    ctx->backend->type = &broken;
  }
  return type;
}

static void mend_device(tr_context *ctx, const tr__backend_type *type)
{
  ctx->backend->type = type;
}

#endif
