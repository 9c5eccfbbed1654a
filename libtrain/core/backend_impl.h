/* The interface of a backend: memory, transfers and the op table. */
#ifndef TR_BACKEND_IMPL_H
#define TR_BACKEND_IMPL_H

#include "base/thread_pool_impl.h"
#include "core/ops/ops_impl.h"

typedef struct tr__backend tr__backend;

/* Ops of one stream run in the order in which they were given. */
typedef struct tr__stream {
  tr__backend *backend;
  void *handle; /* the backend's own */
} tr__stream;

/* Bumped whenever an op or its argument struct changes. */
#define TR__OPS_VERSION 3u

/* One pointer per op, never NULL. An op may return before it is done; its
 * failure is kept by the backend until wait() or download() returns it. */
typedef struct tr__ops {
  uint32_t version;
#define TR__OP_POINTER(op)                                                     \
  void (*op)(tr__stream * stream, const tr__##op##_args *args);
  TR__OPS(TR__OP_POINTER)
#undef TR__OP_POINTER
} tr__ops;

typedef struct tr__backend_type {
  const char *name; /* as in tr_context_opts.device */

  /* create - pool is borrowed until destroy. */
  tr_status (*create)(tr__threads *pool, tr__backend **out);
  void (*destroy)(tr__backend *backend);

  /* alloc - zeroed memory, aligned for the backend; bytes may be 0. */
  tr_status (*alloc)(tr__backend *backend, size_t bytes, void **out);
  void (*free)(tr__backend *backend, void *data, size_t bytes);

  /* upload - copy host memory in, in stream order; src may change as soon as
   * the call returns. */
  void (*upload)(tr__stream *stream, void *dst, const void *src, size_t bytes);

  /* download - wait for the stream, then copy out; returns what failed. */
  tr_status (*download)(tr__stream *stream,
                        void *dst,
                        const void *src,
                        size_t bytes);

  /* wait - until everything on the stream is done; returns what failed. The
   * failure is sticky. */
  tr_status (*wait)(tr__stream *stream);

  /* host_view - where the host may touch this memory once it has waited, or
   * NULL where it may not and has to download and upload. */
  void *(*host_view)(tr__backend *backend, void *data);

  /* workspace - bytes that an op wants in its args' workspace tensor, for
   * arguments whose data pointers are still NULL. Grows with the rows, so
   * the plan asks with the largest number. */
  size_t (*workspace)(tr__backend *backend, tr__op op, const void *args);
} tr__backend_type;

struct tr__backend {
  const tr__backend_type *type;
  tr__ops ops;
  tr__threads *pool; /* borrowed */
  tr__stream stream;
};

#endif
