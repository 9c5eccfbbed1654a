/* The caller's arrays: what they may be. */
#ifndef TR_ARRAY_IMPL_H
#define TR_ARRAY_IMPL_H

#include "data/data_impl.h"

/* tr__array_dtype - of x and of the targets of a regression. */
tr_dtype tr__array_dtype(const tr_context *ctx, const tr_array_opts *opts);

/* tr__array_has_classes - its targets are classes. A rank without samples may
 * have no arrays: then the number of classes says so. */
bool tr__array_has_classes(const tr_array_opts *opts);

/* tr__array_check - the options, the labels and targets of this rank, and
 * whether x may be doubles that are taken for floats. Local. */
tr_status tr__array_check(const tr_context *ctx, const tr_array_opts *opts);

#endif
