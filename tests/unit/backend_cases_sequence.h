/* Random calls of the ops of core/ops/ops_sequence_impl.h. */
#ifndef TR_BACKEND_CASES_SEQUENCE_H
#define TR_BACKEND_CASES_SEQUENCE_H

#include "backend_cases.h"

#define DECLARE(op) void make_##op(op_case *c, draws *d, bool large);
TR__OPS_SEQUENCE(DECLARE)
#undef DECLARE

#endif
