/* How this folder calls libhdf5: locked, silent, the reason kept. */
#ifndef TR_H5_IMPL_H
#define TR_H5_IMPL_H

/* The section around calls is the data sets' one: tr__hdf5_begin(). */
#include "data/hdf5_impl.h"

#define TR__H5_REASON_BYTES 160

/* tr__h5_reason - what libhdf5 said last, innermost first; returns out. */
const char *tr__h5_reason(char *out);

#endif
