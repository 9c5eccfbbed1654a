/* After forward: search the batch for the sample that makes this rank's loss
 * senseless. If the loss looks sound, glance at the batch for large numbers,
 * which a loss need not show. */
#include "core/suspect_impl.h"
#include "model/model_impl.h"

#include <math.h>

static bool has_sense(const tr_model *net)
{
  tr__backend *backend = net->ctx->backend;
  const void *sums = backend->type->host_view(backend, net->sums);
  if (sums == NULL || net->num_losses == 0) {
    return true; /* reading would wait for the device */
  }
  const tr__numbers losses = {
      .values = sums, .dtype = net->ctx->dtype, .count = net->num_losses};
  for (int i = 0; i < net->num_losses; i++) {
    if (!(fabs(tr__number_at(&losses, TR__TAIL_LOSS + i)) <
          TR__SENSELESS_SUM)) {
      return false;
    }
  }
  return true;
}

/* The array of the batch that a node reads; false: it reads none. */
static bool
array_of(const tr__node *node, const tr_batch *batch, tr__looked *out)
{
  bool is_target = (node->flags & TR__IS_LOSS) != 0;
  if (!is_target && !(node->flags & TR__IS_INPUT)) {
    return false;
  }
  const tr__slot *slot = is_target ? &node->saved[0] : tr__input_slot(node);
  *out = (tr__looked){.values = is_target ? batch->targets[node->ordinal]
                                          : batch->inputs[node->ordinal],
                      .dtype = slot->dtype,
                      .elements = tr_shape_count(&slot->shape),
                      .is_target = is_target,
                      .ordinal = node->ordinal};
  return true;
}

void tr__model_look_at(tr_model *net, const tr_batch *batch)
{
  if (batch->count == 0) {
    return;
  }
  tr__looked arrays[2 * TR_MAX_INPUTS];
  int count = 0;
  for (int i = 0; i < net->num_nodes && count < 2 * TR_MAX_INPUTS; i++) {
    count += array_of(&net->nodes[i], batch, &arrays[count]);
  }
  int64_t step = net->step.num_steps + 1;
  if (has_sense(net)) {
    tr__suspect_glance(net->ctx, batch, arrays, count, step);
  } else {
    tr__suspect_look(net->ctx, batch, arrays, count, step);
  }
}
