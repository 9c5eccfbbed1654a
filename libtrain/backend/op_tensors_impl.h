/* Describes the arguments of every op: the size of the struct and the tensors
 * that it begins with. With this table backends queue, stage or split any op
 * without code of its own. */
#ifndef TR_OP_TENSORS_IMPL_H
#define TR_OP_TENSORS_IMPL_H

#include "core/ops/ops_impl.h"

typedef struct tr__op_info {
  const char *name;
  size_t bytes;     /* of the argument struct */
  int num_tensors;  /* that the struct begins with */
  int workspace;    /* index of the scratch tensor, or -1 */
  unsigned halves;  /* bit i: tensor i may be 16-bit; all others never are */
  bool writes_half; /* the op writes tensor 0 and no other 16-bit one */
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

/* tr__op_has_16bit - true if an operand of this call is 16-bit. */
bool tr__op_has_16bit(tr__op op, const void *args);

#endif
