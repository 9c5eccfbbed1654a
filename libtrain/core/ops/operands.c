/* The operand tables of operands_impl.h: expands the TR__ARGS_ macros of each
 * op into arrays, and answers queries about them. */
#include "base/half_impl.h"
#include "core/ops/operands_impl.h"

/* The flags as the tables write them. */
enum {
  HALF = TR__HALF,
  OPTIONAL = TR__OPTIONAL,
  ADDS = TR__ADDS,
  ALIAS = TR__ALIAS
};

#define OPERAND(name, direction, follows, flags)                               \
  {#name, TR__##direction, TR__##follows, flags},
#define NUMBER(type, name) {#name, #type, offsetof(args, name)},
#define NOTHING(...)

#define DESCRIBE(op)                                                           \
  static const tr__operand op##_operands[] = {                                 \
      TR__ARGS_##op(OPERAND, NOTHING)};                                        \
  _Static_assert(sizeof op##_operands / sizeof(tr__operand) <=                 \
                     TR__MAX_OPERANDS,                                         \
                 #op " has too many operands");
TR__OPS(DESCRIBE)

#define INFO(op)                                                               \
  [TR__OP_##op] = {#op, sizeof(tr__##op##_args),                               \
                   (int)(sizeof op##_operands / sizeof(tr__operand)),          \
                   op##_operands},

static const tr__op_info table[TR__NUM_OPS] = {TR__OPS(INFO)};

const tr__op_info *tr__op_info_of(tr__op op)
{
  return &table[op];
}

int tr__op_workspace(tr__op op)
{
  for (int i = 0; i < table[op].num_operands; i++) {
    if (table[op].operands[i].direction == TR__SCRATCH) {
      return i;
    }
  }
  return -1;
}

bool tr__op_may_have_16bit(tr__op op)
{
  bool may = false;
  for (int i = 0; i < table[op].num_operands; i++) {
    may |= (table[op].operands[i].flags & TR__HALF) != 0;
  }
  return may;
}

bool tr__op_has_16bit(tr__op op, const void *args)
{
  const tr__tensor *tensors = args;
  bool has = false;
  for (int i = 0; i < table[op].num_operands; i++) {
    has |= (table[op].operands[i].flags & TR__HALF) &&
           tr__is_half(tensors[i].dtype);
  }
  return has;
}

const tr__number *tr__op_numbers(tr__op op)
{
  switch (op) {
#define NUMBERS(op)                                                            \
  case TR__OP_##op: {                                                          \
    typedef tr__##op##_args args;                                              \
    static const tr__number numbers[] = {                                      \
        TR__ARGS_##op(NOTHING, NUMBER){NULL, NULL, sizeof(args)}};             \
    return numbers;                                                            \
  }
    TR__OPS(NUMBERS)
  case TR__NUM_OPS:
    break;
  }
  return NULL;
}
