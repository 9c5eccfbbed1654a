/* Ops with 16-bit operands: run the op in single precision on fp32 copies of
 * these operands, then round its output to 16 bits. */
#include "backend/cpu_ref/reference_impl.h"
#include "base/vector_half_impl.h"
#include "core/ops/operands_impl.h"

#include <string.h>

static size_t wide_bytes(const tr__tensor *t)
{
  return tr__align((size_t)tr__tensor_count(t) * sizeof(float), 64);
}

static bool is_widened(const tr__op_info *info, const tr__tensor *t, int i)
{
  return (info->operands[i].flags & TR__HALF) && tr__is_half(t[i].dtype);
}

size_t tr__fp32_bytes(tr__op op, const void *args)
{
  const tr__op_info *info = tr__op_info_of(op);
  const tr__tensor *tensors = args;
  size_t bytes = 0;
  for (int i = 0; i < info->num_operands; i++) {
    bytes += is_widened(info, tensors, i) ? wide_bytes(&tensors[i]) : 0;
  }
  return bytes;
}

/* Operands that alias have one copy. Returns the first operand with this data.
 */
static int first_at(const tr__tensor *tensors, int i)
{
  int k = 0;
  while (tensors[k].data != tensors[i].data || !tr__is_half(tensors[k].dtype)) {
    k++;
  }
  return k;
}

void tr__fp32_run(tr__op op, const void *args, void *scratch, tr__op_fn run)
{
  const tr__op_info *info = tr__op_info_of(op);
  const tr__tensor *given = args;
  tr__any_args wide;
  memcpy(&wide, args, info->bytes);
  char *free = scratch;
  for (int i = 0; i < info->num_operands; i++) {
    tr__tensor *t = &wide.tensors[i];
    if (!is_widened(info, given, i)) {
      continue;
    }
    t->dtype = TR_F32;
    int first = given[i].data != NULL ? first_at(given, i) : i;
    if (given[i].data == NULL || first < i) {
      t->data = wide.tensors[first].data;
      continue;
    }
    t->data = free;
    free += wide_bytes(t);
    tr__widen(t->data, given[i].data, given[i].dtype, tr__tensor_count(t));
  }
  run(op, &wide);
  for (int i = 0; i < info->num_operands; i++) {
    if (is_widened(info, given, i) && given[i].data != NULL &&
        tr__operand_is_written(&info->operands[i])) {
      tr__narrow(given[i].data, wide.tensors[i].data, given[i].dtype,
                 tr__tensor_count(&given[i]));
    }
  }
}
