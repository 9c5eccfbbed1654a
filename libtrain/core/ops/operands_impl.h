/* The operand table of every op as data: the tensors that its argument struct
 * begins with, whether the op reads or writes each, and which of them have one
 * row per sample. With this table backends queue, stage or split any op without
 * code of its own, and the tests know its outputs. */
#ifndef TR_OPERANDS_IMPL_H
#define TR_OPERANDS_IMPL_H

#include "core/ops/ops_impl.h"

typedef enum tr__direction {
  TR__IN,
  TR__OUT,
  TR__INOUT,
  TR__SCRATCH /* workspace: undefined before the op and after it */
} tr__direction;

/* What the first axis of an operand counts. All operands of an op that do not
 * follow TR__WHOLE can be split together into the same number of units. */
typedef enum tr__follows {
  TR__WHOLE,   /* its extents are the same in every step: a parameter, a sum, a
                  block */
  TR__SAMPLES, /* samples */
  TR__ROWS,    /* samples, or the tokens of all samples */
  TR__ELEMENTS /* any axes: the op treats each element on its own */
} tr__follows;

enum {
  TR__HALF = 1,     /* may be 16-bit; all other operands never are */
  TR__OPTIONAL = 2, /* may be absent */
  TR__ADDS = 4,     /* an output that the op adds to where args->accumulate */
  TR__ALIAS = 8 /* an input that may alias an output of equal extents, if the op
                   does not add to that output */
};

typedef struct tr__operand {
  const char *name;
  tr__direction direction;
  tr__follows follows;
  unsigned flags;
} tr__operand;

/* A member of the argument struct after the operands. */
typedef struct tr__number {
  const char *name, *type; /* as in the source: "double", "tr__shards" */
  size_t offset;
} tr__number;

typedef struct tr__op_info {
  const char *name;
  size_t bytes;     /* of the argument struct */
  int num_operands; /* tensors at the start of the struct */
  const tr__operand *operands;
} tr__op_info;

#define TR__MAX_OPERANDS 8

/* Room for the arguments of any op; `tensors` are those at their beginning. */
typedef union tr__any_args {
  tr__tensor tensors[TR__MAX_OPERANDS];
#define TR__MEMBER(op) tr__##op##_args op;
  TR__OPS(TR__MEMBER)
#undef TR__MEMBER
} tr__any_args;

const tr__op_info *tr__op_info_of(tr__op op);

static inline bool tr__operand_is_written(const tr__operand *operand)
{
  return operand->direction == TR__OUT || operand->direction == TR__INOUT;
}

/* tr__op_numbers - the members after the operands; name NULL at the end. */
const tr__number *tr__op_numbers(tr__op op);

/* tr__op_workspace - the index of the scratch operand, or -1. */
int tr__op_workspace(tr__op op);

/* tr__op_may_have_16bit - true if some operand of the op may be 16-bit.
 * tr__op_has_16bit - true if some operand of this call is 16-bit. */
bool tr__op_may_have_16bit(tr__op op);
bool tr__op_has_16bit(tr__op op, const void *args);

#endif
