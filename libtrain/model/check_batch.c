/* Checks that a batch fits the model and, in reproducible mode, that its rows
 * are the rank's shards. */
#include "model/model_impl.h"

static tr_status check_cut(const tr_model *net, const tr_batch *batch)
{
  const tr__comm *comm = net->ctx->comm;
  /* A rank that could not read its batch has an empty one. */
  if (comm->shards.total == 0 || net->ctx->pending != TR_OK) {
    return TR_OK;
  }
  int64_t rows = batch->global_count;
  int64_t first = tr__comm_first_row(comm, rows, comm->rank);
  int64_t end = tr__comm_first_row(comm, rows, comm->rank + 1);
  TR_CHECK(
      batch->first == first && batch->count == end - first, TR_EINVAL,
      "tr_model_forward: the batch holds the samples %lld to %lld of %lld, "
      "with %lld virtual shards expected %lld to %lld: see "
      "tr_batch_range()",
      (long long)batch->first, (long long)(batch->first + batch->count),
      (long long)rows, (long long)comm->shards.total, (long long)first,
      (long long)end);
  return TR_OK;
}

static tr_status check_inputs(const tr_model *net, const tr_batch *batch)
{
  for (int i = 0; i < net->num_nodes; i++) {
    const tr__node *node = &net->nodes[i];
    if (!(node->flags & TR__IS_INPUT)) {
      continue;
    }
    const tr__slot *slot = tr__input_slot(node);
    size_t wanted =
        (size_t)tr_shape_count(&slot->shape) * tr_dtype_size(slot->dtype);
    size_t given = batch->input_bytes[node->ordinal];
    char text[TR__SHAPE_BYTES];
    TR_CHECK(batch->inputs[node->ordinal] != NULL || batch->count == 0,
             TR_EINVAL, "tr_model_forward: inputs[%d] is missing",
             node->ordinal);
    TR_CHECK(given == 0 || given == wanted, TR_ESHAPE,
             "tr_model_forward: inputs[%d] has %zu bytes per sample, \"%s\" "
             "wants %zu: %s of %s",
             node->ordinal, given, node->name, wanted,
             tr__shape_text(&slot->shape, text), tr__dtype_name(slot->dtype));
  }
  return TR_OK;
}

/* Check what the batch says about a loss's targets, so that no upload reads
 * beyond their end. */
static tr_status check_target(const tr__node *node, const tr_batch *batch)
{
  int k = node->ordinal;
  const tr__slot *slot = &node->saved[0];
  int64_t wanted = tr_shape_count(&slot->shape);
  size_t bytes = (size_t)wanted * tr_dtype_size(slot->dtype);
  bool wants_classes = slot->dtype == TR_I32;
  int64_t classes = tr__max(batch->target_values[k], wants_classes);
  bool is_told = batch->target_bytes[k] != 0; /* with target_bytes,
                                                 target_values is known too */
  char text[TR__SHAPE_BYTES];
  TR_CHECK(batch->targets[k] != NULL || batch->count == 0, TR_EINVAL,
           "tr_model_forward: targets[%d] is missing", k);
  TR_CHECK(
      wants_classes || classes == 0 || !is_told, TR_EINVAL,
      "tr_model_forward: targets[%d] are classes, %s \"%s\" wants numbers: "
      "%s",
      k, node->type->name, node->name, tr__shape_text(&slot->shape, text));
  TR_CHECK(!wants_classes || classes == wanted, TR_EINVAL,
           "tr_model_forward: targets[%d] has %lld classes per sample, %s "
           "\"%s\" wants %lld",
           k, (long long)classes, node->type->name, node->name,
           (long long)wanted);
  TR_CHECK(!is_told || batch->target_bytes[k] == bytes, TR_ESHAPE,
           "tr_model_forward: targets[%d] has %zu bytes per sample, %s \"%s\" "
           "wants %zu: %s of %s",
           k, batch->target_bytes[k], node->type->name, node->name, bytes,
           tr__shape_text(&slot->shape, text), tr__dtype_name(slot->dtype));
  return TR_OK;
}

static tr_status check_targets(const tr_model *net, const tr_batch *batch)
{
  for (int i = 0; i < net->num_nodes; i++) {
    if (net->nodes[i].flags & TR__IS_LOSS) {
      TR_TRY(check_target(&net->nodes[i], batch));
    }
  }
  return TR_OK;
}

tr_status tr__model_check_batch(const tr_model *net, const tr_batch *batch)
{
  TR_CHECK(net->is_built, TR_ESTATE,
           "tr_model_forward before tr_model_build()");
  TR_CHECK(!net->is_stale, TR_ESTATE,
           "tr_model_forward after tr_model_freeze(): call tr_model_build() "
           "again");
  TR_CHECK(batch->count >= 0 && batch->count <= net->max_rows, TR_EINVAL,
           "tr_model_forward: batch has %lld samples, expected 0 to %lld",
           (long long)batch->count, (long long)net->max_rows);
  TR_CHECK(batch->global_count >= batch->count && batch->global_count > 0,
           TR_EINVAL,
           "tr_model_forward: global_count is %lld, expected at least %lld",
           (long long)batch->global_count, (long long)tr__max(batch->count, 1));
  TR_TRY(check_cut(net, batch));
  TR_TRY(check_inputs(net, batch));
  return check_targets(net, batch);
}
