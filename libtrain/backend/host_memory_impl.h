/* Memory and transfers of backends whose ops run on the host and are complete
 * when the call returns. The functions fill slots of tr__backend_type
 * (core/backend_impl.h). */
#ifndef TR_HOST_MEMORY_IMPL_H
#define TR_HOST_MEMORY_IMPL_H

#include "core/backend_impl.h"

tr_status tr__host_alloc(tr__backend *backend, size_t bytes, void **out);
void tr__host_free(tr__backend *backend, void *data, size_t bytes);
void tr__host_upload(tr__stream *stream,
                     void *dst,
                     const void *src,
                     size_t bytes);
tr_status
tr__host_download(tr__stream *stream, void *dst, const void *src, size_t bytes);
tr_status tr__host_wait(tr__stream *stream);
void *tr__host_view(tr__backend *backend, void *data);

#endif
