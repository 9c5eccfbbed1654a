/* Helpers for calls of libhdf5, which this library uses only to write: a lock,
 * no printing, and the texts of its errors. */
#ifndef TR_H5_IMPL_H
#define TR_H5_IMPL_H

#include "base/base_impl.h"

#include <hdf5.h>

/* A section of code that calls libhdf5. */
typedef struct tr__hdf5_section {
  H5E_auto2_t handler; /* the program's error handler, restored at the end */
  void *handler_data;
} tr__hdf5_section;

/* tr__hdf5_begin, tr__hdf5_end - take the process-wide lock and keep libhdf5
 * from printing; undo both. */
void tr__hdf5_begin(tr__hdf5_section *section);
void tr__hdf5_end(tr__hdf5_section *section);

#define TR__H5_REASON_BYTES 160

/* tr__h5_reason - write the innermost error of libhdf5's stack into out, of
 * TR__H5_REASON_BYTES; returns out. */
const char *tr__h5_reason(char *out);

#endif
