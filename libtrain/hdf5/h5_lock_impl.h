/* The process-wide lock of libhdf5: one call sequence at a time. */
#ifndef TR_H5_LOCK_IMPL_H
#define TR_H5_LOCK_IMPL_H

/* tr__h5_lock, tr__h5_unlock - acquire and release the process-wide HDF5 lock.
 *
 * Hold it from the first to the last call of a sequence that touches libhdf5,
 * never over disk writes of our own and never over communication. It is not
 * recursive. */
void tr__h5_lock(void);
void tr__h5_unlock(void);

#endif
