/* Samples of weight 0. Their contents must not reach a sum, because 0 times NaN
 * is NaN. So their targets become 0, and so does every input value that is not
 * finite and every id without a row in its table. Finite inputs stay as they
 * are, because the statistics of normalisation count all samples.
 *
 * Batches without weights are not searched. */
#include "base/half_impl.h"
#include "model/model_impl.h"

#include <math.h>

static bool is_left_out(const tr_model *net, const tr_batch *batch, int64_t row)
{
  return net->ctx->dtype == TR_F64 ? ((const double *)batch->weights)[row] == 0
                                   : ((const float *)batch->weights)[row] == 0;
}

/* Set elements of a slot to 0, from `first` on. */
static void
clear(tr_model *net, const tr__slot *slot, int64_t first, int64_t count)
{
  static const char zeros[4096];
  tr__backend *backend = net->ctx->backend;
  size_t size = tr_dtype_size(slot->dtype);
  char *to = (char *)net->activations + slot->offset + (size_t)first * size;
  for (size_t left = (size_t)count * size; left > 0;) {
    size_t bytes = left < sizeof zeros ? left : sizeof zeros;
    backend->type->upload(&backend->stream, to, zeros, bytes);
    to += bytes;
    left -= bytes;
  }
}

/* True if a number is finite in the type that layers compute in. */
static bool is_finite(tr_dtype compute, double x)
{
  return tr__is_half(compute)
             ? isfinite(tr__half_get(compute, tr__half_set(compute, (float)x)))
             : isfinite(x);
}

/* The number of rows of the smallest table that looks up these ids. Valid ids
 * are below it. */
static int64_t id_limit(const tr_model *net, const tr__node *input)
{
  int64_t limit = INT64_MAX;
  for (int i = input->index + 1; i < net->num_nodes; i++) {
    const tr__node *node = &net->nodes[i];
    if (node->type->takes_ids && node->inputs[0] == input->index) {
      limit = tr__min(limit, net->store.params[node->params[0]].shape.dims[0]);
    }
  }
  return limit;
}

static bool is_usable(const tr_model *net,
                      tr_dtype dtype,
                      const void *values,
                      int64_t i,
                      int64_t limit)
{
  if (dtype == TR_I32) {
    int64_t id = ((const int32_t *)values)[i];
    return id >= 0 && id < limit;
  }
  return dtype == TR_F64
             ? isfinite(((const double *)values)[i])
             : is_finite(net->ctx->compute, ((const float *)values)[i]);
}

/* Clear the unusable values of one row. Each upload covers a run of consecutive
 * ones. */
static void clear_unusable(tr_model *net,
                           const tr__slot *slot,
                           const void *values,
                           int64_t row,
                           int64_t limit)
{
  int64_t count = tr_shape_count(&slot->shape), end = (row + 1) * count;
  for (int64_t i = row * count; i < end; i++) {
    int64_t first = i;
    while (i < end && !is_usable(net, slot->dtype, values, i, limit)) {
      i++;
    }
    if (i > first) {
      clear(net, slot, first, i - first);
    }
  }
}

void tr__model_clean_input(tr_model *net,
                           const tr__node *node,
                           const tr_batch *batch)
{
  const tr__slot *slot = tr__input_slot(node);
  const void *values = batch->inputs[node->ordinal];
  int64_t limit = 0;
  for (int64_t row = 0; net->has_weights && row < batch->count; row++) {
    if (!is_left_out(net, batch, row)) {
      continue;
    }
    if (slot->dtype == TR_I32 && limit == 0) {
      limit = id_limit(net, node);
    }
    clear_unusable(net, slot, values, row, limit);
  }
}

void tr__model_clean_targets(tr_model *net,
                             const tr__node *node,
                             const tr_batch *batch)
{
  const tr__slot *slot = &node->saved[0];
  int64_t count = tr_shape_count(&slot->shape);
  for (int64_t row = 0; net->has_weights && row < batch->count; row++) {
    if (is_left_out(net, batch, row)) {
      clear(net, slot, row * count, count);
    }
  }
}
