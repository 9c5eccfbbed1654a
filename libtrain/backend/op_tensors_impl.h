/* What is known of every op's arguments without knowing the op: how many bytes
 * they have and which tensors they begin with. For backends that queue or
 * stage ops. */
#ifndef TR_OP_TENSORS_IMPL_H
#define TR_OP_TENSORS_IMPL_H

#include "core/ops/ops_impl.h"

typedef struct tr__op_info {
  const char *name;
  size_t bytes;     /* of the argument struct */
  int num_tensors;  /* the struct begins with so many tensors */
  int workspace;    /* which of them is scratch memory, or -1 */
  unsigned halves;  /* bit i: tensor i may be of 16 bits, the others never */
  bool writes_half; /* of these, the op writes tensor 0, and no other */
} tr__op_info;

#define TR__MAX_OPERANDS 8

/* Room for the arguments of any op; the tensors that they begin with. */
typedef union tr__any_args {
  tr__tensor tensors[TR__MAX_OPERANDS];
#define TR__MEMBER(op) tr__##op##_args op;
  TR__OPS(TR__MEMBER)
#undef TR__MEMBER
} tr__any_args;

const tr__op_info *tr__op_info_of(tr__op op);

/* tr__op_has_16bit - is an operand of this call of 16 bits? */
bool tr__op_has_16bit(tr__op op, const void *args);

#endif
