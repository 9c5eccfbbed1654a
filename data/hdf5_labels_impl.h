/* Class labels of an HDF5 file, in every form that can only mean classes. */
#ifndef TR_HDF5_LABELS_IMPL_H
#define TR_HDF5_LABELS_IMPL_H

#include "data/classes_impl.h"
#include "hdf5/hdf5_impl.h"

/* tr__hdf5_add_labels - read the labels of an array and count them.
 *
 *   (N) or (N, 1)  whole numbers, also as floats, and booleans
 *   (N, K)         one-hot rows: a single 1 and zeros
 *
 * x        the inputs, which must have as many samples; NULL: any number
 * labels   [out]  the caller frees it, also after failure; NULL: the labels are
 *          only counted
 * classes  [in,out]  counts the labels */
tr_status tr__hdf5_add_labels(tr__hdf5_file *file,
                              const char *name,
                              const tr__hdf5_array *x,
                              int32_t **labels,
                              tr__classes *classes);

#endif
