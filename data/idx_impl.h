/* Files in the IDX format: one array of unsigned bytes. */
#ifndef TR_IDX_IMPL_H
#define TR_IDX_IMPL_H

#include "base/base_impl.h"

#define TR__IDX_MAX_DIMS 3

typedef struct tr__idx {
  int ndim;
  int64_t dims[TR__IDX_MAX_DIMS];
  uint8_t *bytes; /* owned; the product of the extents */
} tr__idx;

/* tr__idx_load - read a file whole; is_gz: through zlib.
 *
 * The header is held against the size of the file before anything is
 * allocated, and the file must end where the array ends. */
tr_status tr__idx_load(const char *path, bool is_gz, int ndim, tr__idx *out);

#endif
