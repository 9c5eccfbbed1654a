/* Data sets over the caller's arrays: which arrays tr_array_open() accepts. */
#ifndef TR_ARRAY_IMPL_H
#define TR_ARRAY_IMPL_H

#include "data/data_impl.h"

/* tr__array_dtype - the element type of x and of regression targets. */
tr_dtype tr__array_dtype(const tr_context *ctx, const tr_array_opts *opts);

/* tr__array_has_classes - whether the targets are classes. A rank without
 * samples may have no arrays: then num_classes decides. */
bool tr__array_has_classes(const tr_array_opts *opts);

/* tr__array_check - check the options, this rank's labels and targets, and that
 * no array that is declared float32 holds doubles. Local. */
tr_status tr__array_check(const tr_context *ctx, const tr_array_opts *opts);

#endif
