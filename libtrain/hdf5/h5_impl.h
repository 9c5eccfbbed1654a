/* How this folder calls libhdf5, to write: locked, silent, the reason kept. */
#ifndef TR_H5_IMPL_H
#define TR_H5_IMPL_H

#include "base/base_impl.h"

#include <hdf5.h>

/* A section in which libhdf5 is called. */
typedef struct tr__hdf5_section {
  H5E_auto2_t handler; /* the program's own, given back at the end */
  void *handler_data;
} tr__hdf5_section;

/* tr__hdf5_begin, tr__hdf5_end - take the process-wide lock and keep libhdf5
 * from printing; give both back. */
void tr__hdf5_begin(tr__hdf5_section *section);
void tr__hdf5_end(tr__hdf5_section *section);

#define TR__H5_REASON_BYTES 160

/* tr__h5_reason - what libhdf5 said last, innermost first; returns out. */
const char *tr__h5_reason(char *out);

#endif
