/* The interface of a backend: device memory, copies between host and device,
 * and the op table. */
#ifndef TR_BACKEND_IMPL_H
#define TR_BACKEND_IMPL_H

#include "base/thread_pool_impl.h"
#include "core/ops/ops_impl.h"

typedef struct tr__backend tr__backend;

/* A stream executes its ops in the order of the calls. */
typedef struct tr__stream {
  tr__backend *backend;
  void *handle; /* private to the backend */
} tr__stream;

/* Every change of an op or of an argument struct increments this number. */
#define TR__OPS_VERSION 4u

/* The op table: one pointer per op, never NULL. An op may return before the
 * device has finished it. The backend keeps a failure until wait() or
 * download() returns it. */
typedef struct tr__ops {
  uint32_t version;
#define TR__OP_POINTER(op)                                                     \
  void (*op)(tr__stream * stream, const tr__##op##_args *args);
  TR__OPS(TR__OP_POINTER)
#undef TR__OP_POINTER
} tr__ops;

typedef struct tr__backend_type {
  const char *name; /* as in tr_context_opts.device */

  /* create - the backend borrows pool until destroy. */
  tr_status (*create)(tr__threads *pool, tr__backend **out);
  void (*destroy)(tr__backend *backend);

  /* alloc - zeroed memory with the backend's alignment; bytes may be 0. */
  tr_status (*alloc)(tr__backend *backend, size_t bytes, void **out);
  void (*free)(tr__backend *backend, void *data, size_t bytes);

  /* upload - copy host memory to the device, in stream order. The caller may
   * change src as soon as the call returns. */
  void (*upload)(tr__stream *stream, void *dst, const void *src, size_t bytes);

  /* download - wait for the stream, then copy to the host. Returns a failure of
   * the stream. */
  tr_status (*download)(tr__stream *stream,
                        void *dst,
                        const void *src,
                        size_t bytes);

  /* wait - wait until the stream has finished all ops. Returns a failure of the
   * stream; every later call returns it again. */
  tr_status (*wait)(tr__stream *stream);

  /* host_view - the address at which the host may read and write this memory
   * after wait(). NULL: the host cannot access it and must download and
   * upload. */
  void *(*host_view)(tr__backend *backend, void *data);

  /* workspace - the bytes that an op needs in its args' workspace tensor. The
   * data pointers of the args are still NULL. The number grows with the rows,
   * so the plan passes the largest number of rows. */
  size_t (*workspace)(tr__backend *backend, tr__op op, const void *args);
} tr__backend_type;

struct tr__backend {
  const tr__backend_type *type;
  tr__ops ops;
  tr__threads *pool; /* borrowed */
  tr__stream stream;
};

#endif
