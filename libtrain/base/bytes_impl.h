/* The bytes of files: the format that they look like, and their values as
 * numbers. */
#ifndef TR_BYTES_IMPL_H
#define TR_BYTES_IMPL_H

#include "base/base_impl.h"

/* tr__scale_bytes - x[i] <- bytes[i] / 255 in the element type of x. */
void tr__scale_bytes(const uint8_t *bytes,
                     int64_t count,
                     tr_dtype dtype,
                     void *x);

/* tr__looks_like - describe the first bytes of a file, for example: it begins
 * with "<!DOCTYPE" and looks like a web page or XML. Writes to out and returns
 * it. */
#define TR__FIRST_BYTES 16
#define TR__LOOKS_BYTES (64 + 4 * TR__FIRST_BYTES)
const char *tr__looks_like(const uint8_t *first, size_t count, char *out);

#endif
