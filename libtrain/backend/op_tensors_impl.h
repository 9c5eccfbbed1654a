/* What is known of every op's arguments without knowing the op: how many bytes
 * they have and which tensors they begin with. For backends that queue or
 * stage ops. */
#ifndef TR_OP_TENSORS_IMPL_H
#define TR_OP_TENSORS_IMPL_H

#include "base/ops_impl.h"

typedef struct tr__op_info {
  const char *name;
  size_t bytes;    /* of the argument struct */
  int num_tensors; /* the struct begins with so many tensors */
  int workspace;   /* which of them is scratch memory, or -1 */
} tr__op_info;

const tr__op_info *tr__op_info_of(tr__op op);

#endif
