/* Files in the IDX format: one array of unsigned bytes each. */
#ifndef TR_IDX_IMPL_H
#define TR_IDX_IMPL_H

#include "base/base_impl.h"

#define TR__IDX_MAX_DIMS 3

typedef struct tr__idx {
  int ndim;
  int64_t dims[TR__IDX_MAX_DIMS];
  uint8_t *bytes; /* owned; as many as the product of the extents */
} tr__idx;

/* tr__idx_load - read a whole file; is_gz: through zlib.
 *
 * The size of the file must fit the header before anything is allocated, and
 * the file must end where the array ends. TR_EDATA otherwise. */
tr_status tr__idx_load(const char *path, bool is_gz, int ndim, tr__idx *out);

#endif
