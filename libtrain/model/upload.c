/* Copies of rows between host memory and the activation arena. Host rows have
 * the context's dtype (int32 for ids and classes). 16-bit values are rounded on
 * the way in and widened on the way out. */
#include "base/half_impl.h"
#include "model/model_impl.h"

#include <stdlib.h>
#include <string.h>

static int64_t count_of(const tr_model *net, const tr__slot *slot)
{
  return net->rows * tr_shape_count(&slot->shape);
}

static void upload_rows(tr_model *net, const tr__slot *slot, const void *rows)
{
  tr__backend *backend = net->ctx->backend;
  size_t bytes = (size_t)count_of(net, slot) * tr_dtype_size(slot->dtype);
  if (bytes > 0) {
    char *arena = net->activations;
    backend->type->upload(&backend->stream, arena + slot->offset, rows, bytes);
  }
}

static tr__tensor flat(const tr_model *net, const tr__slot *slot)
{
  char *arena = net->activations;
  const int64_t count = count_of(net, slot);
  return tr__tensor_of(arena + slot->offset, slot->dtype, 1, &count);
}

const tr__slot *tr__input_slot(const tr__node *node)
{
  return node->num_saved > 0 ? &node->saved[0] : &node->output;
}

static void
upload_input(tr_model *net, const tr__node *node, const tr_batch *batch)
{
  const tr__slot *given = tr__input_slot(node);
  upload_rows(net, given, batch->inputs[node->ordinal]);
  tr__model_clean_input(net, node, batch);
  if (given->dtype != node->output.dtype) {
    tr__backend *backend = net->ctx->backend;
    backend->ops.cast(
        &backend->stream,
        &(tr__cast_args){.y = flat(net, &node->output), .x = flat(net, given)});
  }
}

void tr__model_upload(tr_model *net, const tr_batch *batch)
{
  for (int i = 0; i < net->num_nodes; i++) {
    const tr__node *node = &net->nodes[i];
    if (node->flags & TR__IS_INPUT) {
      upload_input(net, node, batch);
    }
    if (node->flags & TR__IS_LOSS) {
      upload_rows(net, &node->saved[0], batch->targets[node->ordinal]);
      tr__model_clean_targets(net, node, batch);
    }
  }
  if (net->has_weights) {
    upload_rows(net, &net->weights, batch->weights);
  }
}

/* The 16-bit numbers lie in the second half of the memory for the floats. Float
 * i overwrites only 16-bit numbers up to i, which the loop has read. */
static void widen_in_place(tr_dtype dtype, char *values, int64_t count)
{
  for (int64_t i = 0; i < count; i++) {
    uint16_t half;
    memcpy(&half, values + 2 * (count + i), sizeof half);
    float value = tr__half_get(dtype, half);
    memcpy(values + 4 * i, &value, sizeof value);
  }
}

size_t tr__rows_bytes(const tr_model *net, const tr__slot *slot)
{
  size_t size =
      tr__is_half(slot->dtype) ? sizeof(float) : tr_dtype_size(slot->dtype);
  return (size_t)count_of(net, slot) * size;
}

tr_status tr__read_rows(tr_model *net, const tr__slot *slot, void *values)
{
  tr__backend *backend = net->ctx->backend;
  int64_t count = count_of(net, slot);
  bool is_half = tr__is_half(slot->dtype);
  char *to = (char *)values + (is_half ? 2 * count : 0);
  const char *arena = net->activations;
  TR_TRY(backend->type->download(&backend->stream, to, arena + slot->offset,
                                 (size_t)count * tr_dtype_size(slot->dtype)));
  if (is_half) {
    widen_in_place(slot->dtype, values, count);
  }
  return TR_OK;
}

tr_status
tr__write_rows(tr_model *net, const tr__slot *slot, const void *values)
{
  if (!tr__is_half(slot->dtype)) {
    upload_rows(net, slot, values);
    return TR_OK;
  }
  int64_t count = count_of(net, slot);
  uint16_t *halves = malloc((size_t)count * sizeof *halves + 1);
  TR_CHECK(halves != NULL, TR_ENOMEM, "no memory for %lld numbers",
           (long long)count);
  for (int64_t i = 0; i < count; i++) {
    halves[i] = tr__half_set(slot->dtype, ((const float *)values)[i]);
  }
  upload_rows(net, slot, halves);
  free(halves);
  return TR_OK;
}
