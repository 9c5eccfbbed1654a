/* The life of one step: forward, backward, all-reduce, loss. */
#include "base/suspect_impl.h"
#include "model/model_impl.h"

#include <math.h>
#include <string.h>

static tr__run make_run(tr_model *net, bool is_backward)
{
  tr__backend *backend = net->ctx->backend;
  return (tr__run){.net = net,
                   .stream = &backend->stream,
                   .ops = &backend->ops,
                   .shards = net->shards,
                   .rows = net->rows,
                   .is_training = !net->is_evaluating,
                   .is_backward = is_backward,
                   .has_weights = net->has_weights};
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

/* What a batch says of a loss' targets, so that none is read behind its end. */
static tr_status check_target(const tr__node *node, const tr_batch *batch)
{
  int k = node->ordinal;
  const tr__slot *slot = &node->saved[0];
  int64_t wanted = tr_shape_count(&slot->shape);
  size_t bytes = (size_t)wanted * tr_dtype_size(slot->dtype);
  bool wants_classes = slot->dtype == TR_I32;
  int64_t classes = tr__max(batch->target_values[k], wants_classes);
  bool is_told = batch->target_bytes[k] != 0; /* who says the bytes says all */
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

static tr_status check_batch(const tr_model *net, const tr_batch *batch)
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
  TR_TRY(tr__model_check_cut(net, batch));
  TR_TRY(check_inputs(net, batch));
  return check_targets(net, batch);
}

/* The first batch after an optimizer step fixes what all gradients up to the
 * next one are divided by; the optimizer corrects for the true weight. Each
 * forward in training has random numbers of its own, with or without a backward
 * behind it. */
static void upload_seed(tr_model *net)
{
  tr__store *store = &net->store;
  if (store->grads_are_clear) {
    store->planned = (double)net->global_rows;
  }
  int64_t i = net->is_evaluating ? 0 : store->num_forwards++;
  const tr__step_block block = {.seed_scale = 1.0 / store->planned,
                                .planned = store->planned,
                                .rng_step =
                                    (double)(store->num_steps * 256 + i % 256),
                                .rng_first = (double)net->first_row,
                                .rng_round = (double)(i / 256)};
  size_t bytes = offsetof(tr__step_block, lr);
  tr__backend *backend = net->ctx->backend;
  backend->type->upload(&backend->stream, store->block, &block, bytes);
}

void tr__model_compute(tr_model *net, const tr_batch *batch)
{
  tr__model_upload(net, batch);
  const tr__run run = make_run(net, false);
  tr__timeline *timeline = net->ctx->timeline;
  double all = tr__timeline_begin(timeline);
  for (int i = 0; i < net->num_nodes; i++) {
    const tr__node *node = &net->nodes[i];
    if (!node->is_skipped && !(node->flags & TR__IS_INPUT)) {
      tr__overlap_await(net, node);
      double begin = tr__timeline_begin(timeline);
      node->type->forward(&run, node);
      tr__timeline_end(timeline, begin, "forward", node->name);
    }
  }
  tr__timeline_end(timeline, all, "forward", "forward");
}

void tr_model_set_training(tr_model *net, int is_training)
{
  net->is_evaluating = !is_training;
}

static tr_status forward(tr_model *net, const tr_batch *batch)
{
  TR_TRY(check_batch(net, batch));
  net->rows = batch->count;
  net->global_rows = batch->global_count;
  net->shards = tr__model_shards(net);
  net->first_row = batch->first;
  net->has_weights = batch->weights != NULL;
  net->sums_are_known = false;
  upload_seed(net);
  if (net->store.halves != NULL) {
    tr__overlap_await(net, NULL);
  }
  tr__store_refresh(&net->store, &net->ctx->backend->stream);
  tr__model_compute(net, batch);
  TR_TRY(tr__overlap_settle(net));
  tr__model_look_at(net, batch);
  net->phase = TR__PHASE_FORWARD;
  return TR_OK;
}

tr_status tr_model_forward(tr_model *net, const tr_batch *batch)
{
  const tr__board *board = net->ctx->comm->board;
  tr__work before =
      tr__work_begin(board, TR__WORK_FORWARD, net->store.num_steps + 1);
  tr_status status = forward(net, batch);
  tr__work_end(board, before);
  return status;
}

/* grads.tail <- its sums plus those of this batch */
static void add_sums(tr_model *net)
{
  const tr__run run = make_run(net, true);
  tr__tensor tail = tr__store_tail(&net->store);
  if (net->store.grads_are_clear) {
    run.ops->fill(run.stream, &(tr__fill_args){.y = tail});
  }
  int64_t count = TR__TAIL_COUNT;
  tr__tensor sums = tr__tensor_of(net->sums, net->ctx->dtype, 1, &count);
  run.ops->add(run.stream, &(tr__add_args){.y = tail, .x = sums});
}

static void run_backward(tr_model *net)
{
  const tr__run run = make_run(net, true);
  net->backward_rows = net->rows;
  if (net->store.grads_are_clear) {
    tr__model_clear_owners(net);
  }
  tr__timeline *timeline = net->ctx->timeline;
  double all = tr__timeline_begin(timeline);
  for (int i = net->num_nodes - 1; i >= 0; i--) {
    const tr__node *node = &net->nodes[i];
    if (node->wants_gradient && !(node->flags & TR__IS_INPUT)) {
      double begin = tr__timeline_begin(timeline);
      node->type->backward(&run, node);
      tr__timeline_end(timeline, begin, "backward", node->name);
    }
    tr__overlap_pass(net, i);
  }
  tr__timeline_end(timeline, all, "backward", "backward");
  net->store.grads_are_clear = false;
  net->store.grads_are_reduced = false;
  net->phase = TR__PHASE_BACKWARD;
}

static tr_status backward(tr_model *net)
{
  TR_CHECK(net->phase == TR__PHASE_FORWARD, TR_ESTATE,
           "tr_model_backward before tr_model_forward()");
  TR_CHECK(net->num_losses > 0, TR_ESTATE,
           "tr_model_backward: the model has no loss");
  TR_CHECK(!net->store.grads_are_reduced || net->store.grads_are_clear,
           TR_ESTATE,
           "tr_model_backward after tr_model_allreduce_grads(): call "
           "tr_optimizer_step() first");
  if (!net->store.grads_are_clear) {
    TR_TRY(tr__model_end_part(net));
  }
  add_sums(net);
  run_backward(net);
  return TR_OK;
}

tr_status tr_model_backward(tr_model *net)
{
  const tr__board *board = net->ctx->comm->board;
  tr__work before = tr__work_begin(board, TR__WORK_BACKWARD, 0);
  tr_status status = backward(net);
  tr__work_end(board, before);
  return status;
}

tr_status tr__model_backward_from(tr_model *net, const void *gradient)
{
  TR_CHECK(net->phase == TR__PHASE_FORWARD && net->num_losses == 0, TR_ESTATE,
           "tr__model_backward_from: no forward, or the model has a loss");
  TR_TRY(
      tr__write_rows(net, &net->nodes[net->num_nodes - 1].gradient, gradient));
  add_sums(net);
  run_backward(net);
  return TR_OK;
}

static double element(tr_dtype dtype, const void *values, int i)
{
  return dtype == TR_F64 ? ((const double *)values)[i]
                         : (double)((const float *)values)[i];
}

static tr_status read_tail(tr_model *net, const void *tail)
{
  double raw[TR__TAIL_COUNT];
  tr__backend *backend = net->ctx->backend;
  size_t bytes = TR__TAIL_COUNT * tr_dtype_size(net->ctx->dtype);
  TR_TRY(backend->type->download(&backend->stream, raw, tail, bytes));
  for (int i = 0; i < TR__TAIL_COUNT; i++) {
    net->known[i] = element(net->ctx->dtype, raw, i);
  }
  return TR_OK;
}

/* This rank's flags in the tail, behind the sums that backward put there. */
void tr__model_upload_flags(tr_model *net)
{
  tr_context *ctx = net->ctx;
  /* Small, so that the sums of squares are exact in single precision for tens
   * of thousands of ranks. */
  double step = (double)(net->store.num_steps % 16);
  const double flags[] = {
      ctx->pending != TR_OK,
      atomic_load(&ctx->stop_requested) != 0,
      step,
      step * step,
  };
  enum { COUNT = sizeof flags / sizeof flags[0] };
  float narrow[COUNT];
  for (int i = 0; i < COUNT; i++) {
    narrow[i] = (float)flags[i];
  }
  bool is_double = ctx->dtype == TR_F64;
  tr__tensor tail = tr__store_flat(&net->store, net->store.grads,
                                   net->store.count + TR__TAIL_FAILED, COUNT);
  ctx->backend->type->upload(&ctx->backend->stream, tail.data,
                             is_double ? (const void *)flags : narrow,
                             COUNT * tr_dtype_size(ctx->dtype));
}

/* Ranks that are at different steps have lost each other: their sums of steps
 * and of squares do not agree with any single step. */
static tr_status check_steps(const tr_model *net)
{
  double size = net->ctx->comm->size;
  double step = net->known[TR__TAIL_STEP] / size;
  double square = net->known[TR__TAIL_STEP_SQUARE] / size;
  if (square - step * step < 0.5 / size) {
    return TR_OK;
  }
  /* All ranks have the same sums, so all come here. */
  return tr__agree(
      net->ctx->comm,
      TR_FAIL(TR_EMISMATCH,
              "tr_model_allreduce_grads: ranks are at different steps; rank %d "
              "is at step %lld",
              net->ctx->comm->rank, (long long)net->store.num_steps));
}

/* Buffers that ranks update from their own samples become rank 0's, so that
 * all ranks evaluate and hash the same model. */
static tr_status share_buffers(tr_model *net)
{
  tr__store *store = &net->store;
  tr_context *ctx = net->ctx;
  bool is_local = false;
  for (int i = 0; i < net->num_nodes; i++) {
    is_local |= (net->nodes[i].flags & TR__LOCAL_BUFFERS) != 0;
  }
  if (!is_local || ctx->comm->size == 1) {
    return TR_OK;
  }
  int64_t count = store->value_count - store->count;
  tr__tensor buffers =
      tr__store_flat(store, store->values, store->count, count);
  if (ctx->comm->rank != 0) {
    ctx->backend->ops.fill(&ctx->backend->stream,
                           &(tr__fill_args){.y = buffers});
  }
  return tr__allreduce_arena(ctx, buffers.data, count, ctx->dtype);
}

tr_status tr__model_take_sums(tr_model *net)
{
  tr_context *ctx = net->ctx;
  tr__store *store = &net->store;
  tr__model_add_parts(net);
  tr__store_add_uses(store);
  tr_status status = read_tail(net, tr__store_tail(store).data);
  if (status != TR_OK && ctx->pending != TR_OK) {
    ctx->torn = true;
    return tr__context_agree_pending(ctx); /* it has given NaN to the others */
  }
  TR_TRY(status);
  store->grads_are_reduced = true;
  store->grads_are_spread = store->partition != NULL;
  net->sums_are_known = true;
  /* A rank whose device has failed adds NaN, so anything but 0 is a failure. */
  if (!(net->known[TR__TAIL_FAILED] == 0)) {
    ctx->torn = true; /* loaders and statistics have gone on */
    return tr__context_agree_pending(ctx);
  }
  if (net->known[TR__TAIL_STOP] > 0) {
    ctx->stop_agreed = true;
  }
  TR_TRY(check_steps(net));
  return share_buffers(net);
}

tr_status tr_model_allreduce_grads(tr_model *net)
{
  tr__store *store = &net->store;
  TR_CHECK(net->is_built && !store->grads_are_clear, TR_ESTATE,
           "tr_model_allreduce_grads before tr_model_backward()");
  TR_CHECK(!store->grads_are_reduced, TR_ESTATE,
           "tr_model_allreduce_grads: called twice for one step");
  tr__work before =
      tr__work_begin(net->ctx->comm->board, TR__WORK_ALLREDUCE, 0);
  tr__model_upload_flags(net);
  tr__model_drop_empty(net, 0, store->count);
  tr_status status = tr__store_reduce_grads(store);
  if (status == TR_OK) {
    status = tr__model_take_sums(net);
  }
  tr__work_end(net->ctx->comm->board, before);
  return tr_error_push(status, __FILE__, __LINE__);
}

tr_status tr__model_local_sums(tr_model *net, double *sums)
{
  TR_TRY(read_tail(net, net->sums));
  memcpy(sums, net->known, TR__TAIL_FAILED * sizeof *sums);
  net->sums_are_known = false;
  return TR_OK;
}

/* The global sums of the last forward, by messages of their own where no
 * all-reduce of gradients has brought them. */
static tr_status know_sums(tr_model *net, const char *call)
{
  TR_CHECK(net->phase != TR__PHASE_IDLE && net->num_losses > 0, TR_ESTATE,
           "%s before tr_model_forward(), or without a loss", call);
  if (net->sums_are_known) {
    return TR_OK;
  }
  tr__comm *comm = net->ctx->comm;
  TR_TRY(tr__agree(comm, read_tail(net, net->sums)));
  TR_TRY(tr__comm_sum(comm, net->ctx->dtype, net->known, TR__TAIL_FAILED));
  net->sums_are_known = true;
  return TR_OK;
}

static double weighted_mean(const tr_model *net, double sum)
{
  double weight = net->known[TR__TAIL_WEIGHT];
  return weight != 0 ? sum / weight : 0;
}

tr_status tr__model_mean_loss(tr_model *net, double *loss)
{
  *loss = 0;
  TR_TRY(know_sums(net, "tr_model_loss"));
  *loss = weighted_mean(net, tr__tail_loss(net->known));
  return TR_OK;
}

tr_status tr_model_loss(tr_model *net, double *loss)
{
  TR_TRY(tr__model_mean_loss(net, loss));
  if (!(fabs(*loss) < TR__SENSELESS_MEAN)) {
    tr__suspect_warn(net->ctx, "the loss has no sense");
  }
  return TR_OK;
}

tr_status tr_model_accuracy(tr_model *net, double *accuracy)
{
  *accuracy = 0;
  TR_TRY(know_sums(net, "tr_model_accuracy"));
  *accuracy = weighted_mean(net, net->known[TR__TAIL_CORRECT]);
  return TR_OK;
}

static bool is_readable(const tr_model *net, tr_node node)
{
  return node.index >= 0 && node.index < net->num_nodes &&
         net->nodes[node.index].is_kept;
}

size_t tr_model_output_bytes(const tr_model *net, tr_node node)
{
  return net->phase != TR__PHASE_IDLE && is_readable(net, node)
             ? tr__rows_bytes(net, &net->nodes[node.index].output)
             : 0;
}

tr_status tr_model_get_output(tr_model *net, tr_node node, void *values)
{
  TR_CHECK(net->phase != TR__PHASE_IDLE, TR_ESTATE,
           "tr_model_get_output before tr_model_forward()");
  TR_CHECK(is_readable(net, node), TR_EINVAL,
           "tr_model_get_output: the node's memory is used again; call "
           "tr_model_keep() before tr_model_build()");
  return tr__read_rows(net, &net->nodes[node.index].output, values);
}

tr_status tr__model_get_node_gradient(tr_model *net, int node, void *values)
{
  const tr__slot *slot = &net->nodes[node].gradient;
  TR_CHECK(net->phase == TR__PHASE_BACKWARD && slot->bytes > 0, TR_ESTATE,
           "tr__model_get_node_gradient: there is none");
  return tr__read_rows(net, slot, values);
}
