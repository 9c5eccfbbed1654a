/* Expanded chunks of an array, kept while they are likely to be wanted again.
 */
#ifndef TR_HDF5_CACHE_IMPL_H
#define TR_HDF5_CACHE_IMPL_H

#include "hdf5/hdf5_format_impl.h"

/* tr__hdf5_cache_create - for array->chunks, unless they are better read where
 * they lie. Memory is taken when a chunk is first wanted. */
tr_status tr__hdf5_cache_create(tr__hdf5_array *array);
void tr__hdf5_cache_destroy(tr__hdf5_array *array);

/* tr__hdf5_pin - a chunk's values, until tr__hdf5_unpin(). A thread pins one
 * chunk at a time: more could wait for each other. */
tr_status
tr__hdf5_pin(const tr__hdf5_array *array, int64_t chunk, const uint8_t **out);
void tr__hdf5_unpin(const tr__hdf5_array *array, int64_t chunk);

#endif
