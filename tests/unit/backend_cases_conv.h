/* Random calls of the ops of core/ops/ops_conv_impl.h. */
#ifndef TR_BACKEND_CASES_CONV_H
#define TR_BACKEND_CASES_CONV_H

#include "backend_cases.h"

/* random_shards - rows of shards that tile a global batch; this rank holds some
 * of them, *local rows. */
tr__shards random_shards(draws *d, int64_t batch, int64_t *local);

/* set_integers - as case_make() fills integers: 0..limit-1. */
void set_integers(op_case *c, draws *d, int operand, int64_t limit);

#define DECLARE(op) void make_##op(op_case *c, draws *d, bool large);
TR__OPS_CONV(DECLARE)
#undef DECLARE

#endif
