/* Arrays of 16-bit numbers from and to float. */
#ifndef TR_VECTOR_HALF_IMPL_H
#define TR_VECTOR_HALF_IMPL_H

#include "base/half_impl.h"

/* tr__widen - y <- x for `count` numbers; x has dtype TR_BF16 or TR_F16. */
void tr__widen(float *y, const void *x, tr_dtype dtype, int64_t count);

/* tr__narrow - y <- x for `count` numbers; y has dtype TR_BF16 or TR_F16. */
void tr__narrow(void *y, const float *x, tr_dtype dtype, int64_t count);

#endif
