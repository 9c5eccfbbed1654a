/* Random calls of every op, and how to run one of them on a backend. */
#ifndef TR_BACKEND_CASES_H
#define TR_BACKEND_CASES_H

#include "base/random_impl.h"
#include "core/backend_impl.h"
#include "core/ops/operands_impl.h"
#include "test.h"

enum { MAX_OPERANDS = 8 };

typedef union any_args {
  tr__tensor tensors[MAX_OPERANDS];
#define MEMBER(op) tr__##op##_args op;
  TR__OPS(MEMBER)
#undef MEMBER
} any_args;

/* One call. In `args`, tensors have their extents and, where they are neither
 * TR_I32 nor the step block, TR_F32 in place of the precision of the run. An
 * absent operand has ndim -1. */
typedef struct op_case {
  tr__op op;
  any_args args;
  double *values[MAX_OPERANDS]; /* before the call; owned */
  int alias[MAX_OPERANDS]; /* lies where this earlier operand lies, or -1 */
  bool is_output[MAX_OPERANDS];
  bool is_absent[MAX_OPERANDS]; /* has extents alone */
} op_case;

/* What a call left in its outputs, as it lies in memory. */
typedef struct op_result {
  void *data[MAX_OPERANDS]; /* owned; NULL for what is no output */
  tr_dtype dtype[MAX_OPERANDS];
  int64_t count[MAX_OPERANDS];
} op_result;

/* A stream of random numbers, one after the other. */
typedef struct draws {
  tr__random random;
  int64_t next;
} draws;

/* draw - 0..limit-1 */
int64_t draw(draws *d, int64_t limit);

/* set_block - a step block's numbers. */
void set_block(op_case *c, draws *d, int operand);

/* The cases of backend_cases_optim.c, backend_cases_loss.c and
 * backend_cases_norm.c. */
#define DECLARE_CASE(op) void make_##op(op_case *c, draws *d, bool large);
DECLARE_CASE(sgd_update)
DECLARE_CASE(adam_update)
TR__OPS_OPTIM(DECLARE_CASE)
TR__OPS_LOSS(DECLARE_CASE)
TR__OPS_NORM(DECLARE_CASE)
#undef DECLARE_CASE

/* case_make - case number i of an op; large ones give work to many threads. */
op_case case_make(tr__op op, int64_t i, bool is_large);
void case_free(op_case *c);

/* case_run - the outputs of a call on a backend, in a precision. */
op_result case_run(const op_case *c, tr__backend *backend, tr_dtype dtype);
void result_free(op_result *result);

/* call_op - an op of a table by its number. */
void call_op(tr__backend *backend, tr__op op, const void *args);

/* backend_open - a backend with a pool of its own. */
typedef struct open_backend {
  tr__threads *pool;
  tr__backend *backend;
} open_backend;
open_backend backend_open(const char *name, int threads);
void backend_close(open_backend *b);

#endif
