/* A cache of an array's expanded chunks, since random samples return to the
 * same chunks. */
#ifndef TR_HDF5_CACHE_IMPL_H
#define TR_HDF5_CACHE_IMPL_H

#include "hdf5/hdf5_format_impl.h"

/* tr__hdf5_cache_create - for array->chunks, unless it is better to read them
 * in place. A chunk gets its memory when it is first wanted. */
tr_status tr__hdf5_cache_create(tr__hdf5_array *array);
void tr__hdf5_cache_destroy(tr__hdf5_array *array);

/* tr__hdf5_pin - the values of a chunk, valid until tr__hdf5_unpin(). A thread
 * may pin only one chunk at a time: threads that pin more could deadlock. */
tr_status
tr__hdf5_pin(const tr__hdf5_array *array, int64_t chunk, const uint8_t **out);
void tr__hdf5_unpin(const tr__hdf5_array *array, int64_t chunk);

#endif
