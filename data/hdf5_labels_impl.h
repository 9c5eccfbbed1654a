/* Labels of an HDF5 file, in each form that can only mean classes. */
#ifndef TR_HDF5_LABELS_IMPL_H
#define TR_HDF5_LABELS_IMPL_H

#include "data/classes_impl.h"
#include "hdf5/hdf5_impl.h"

/* tr__hdf5_add_labels - read the labels of an array and count them.
 *
 *   (N) or (N, 1)  whole numbers, also as floats, and booleans
 *   (N, K)         rows of one 1 and zeros
 *
 * x        that they belong to, whose number of samples they must have; NULL:
 *          any
 * labels   [out]  to be freed, also after failure; NULL: only counted
 * classes  [in,out]  counts them */
tr_status tr__hdf5_add_labels(tr__hdf5_file *file,
                              const char *name,
                              const tr__hdf5_array *x,
                              int32_t **labels,
                              tr__classes *classes);

#endif
